"""The report's template: filled where nothing is computed, and refused in a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts import report
from spinn.errors import InputError


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ('{{ "x" * 10**9 }}', r"a template computes nothing, and has '\*\*'"),
        ("{{ 40 + 2 }}", r"a template computes nothing, and has '\+'"),
        ("{{ nothing }}", "'nothing' is undefined"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ 5|join }}", "'int' object is not iterable"),
        ("{% if %}", "Expected an expression"),
    ],
)
def test_a_template_that_is_none_is_refused(
    template: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It reaches what it is given, computes nothing, and has no page of its own where it is broken."""
    path = tmp_path / "report.html.j2"
    path.write_text(template)
    monkeypatch.setattr(report, "TEMPLATE", path)
    with pytest.raises(InputError, match=rf"paper/report\.html\.j2: {told}.*; restore the report's template"):
        report._page()
