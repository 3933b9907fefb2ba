"""Files made to do harm: one line, status 1 or 2, or a result that is only text; nothing is run, or written elsewhere.

`docs/hostile.md` says of each what it got, and is compared here with what it gets.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile import makers
from hostile.catalogue import ALL, Hostile
from hostile.outcome import row, rows, run

HARMLESS = {
    *(
        "case-latex",
        "case-html",
        "case-path",
        "case-formula",
    ),  # names that are only text, and are escaped where printed
    *("zip-parent", "zip-absolute", "zip-link"),  # read into memory; no name in them becomes a path
    *("safetensors-names", "verdict-forged"),  # sound networks; a verdict that is none is not believed
}
"""What ends in a result, status 0."""


@pytest.mark.parametrize("hostile", ALL, ids=lambda hostile: hostile.name)
def test_a_hostile_file_does_no_harm(hostile: Hostile, tmp_path: Path) -> None:
    """One line on standard error or findings on standard output, no traceback, no file but a verdict, and the page."""
    outcome = run(hostile, tmp_path)
    assert "Traceback" not in outcome.err, outcome.err
    if hostile.name in HARMLESS:
        assert outcome.status == 0, outcome.err
    else:
        assert outcome.status in (1, 2), f"{outcome.status} {outcome.out} {outcome.err}"
    if outcome.status == 2:
        said = [line for line in outcome.err.splitlines() if line.startswith(f"{hostile.call[0]}: ")]
        assert said == [outcome.err.splitlines()[-1]], outcome.err
        assert len(said[0]) < 1000
        assert said[0].isprintable()
    assert not [name for name in outcome.changed if makers.MARKER in name], "a command in the file was run"
    assert outcome.changed <= {"a/b/runs/audit.json"}
    assert rows()[hostile.name] == row(hostile, outcome), "run python tests/support/hostile_page.py if this is meant"


def test_the_page_has_every_hostile_file_and_no_other() -> None:
    """So that none is told of that is not tried."""
    assert [name for name in rows() if name not in ("name", "---")] == [hostile.name for hostile in ALL]
