"""The judge in any project's own tests: fixtures `pruning_watch` and `pruning_audit`, and the marker `pruning`.

pytest finds it where this project is installed. It loads nothing but pytest until a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from verify.findings import Verdict

_SECTION = "pruning audit"
_ARGUMENTS = {"ratios", "ignored_layers", "gradients"}
_COUNTS = pytest.StashKey[list[bool]]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "pruning(ratios=None, ignored_layers=(), gradients=False): what the fixtures pruning_audit and pruning_watch "
        "ask for in this test",
    )
    config.stash[_COUNTS] = []


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """One line, if anything was judged in this process."""
    held = config.stash[_COUNTS]
    if held:
        terminalreporter.write_line(f"{_SECTION}: {len(held)} audits, {held.count(False)} with faults")


@pytest.fixture
def pruning_watch(request: pytest.FixtureRequest) -> Callable[..., AbstractContextManager[Any]]:
    """`verify.watch` as a fixture: the test fails where pruning does not hold.

    Use it as `with pruning_watch(model, optimizer):`. Arguments are those of `verify.watch`, `gradients` by default the
    marker's. What was found, notes among it, is in the test's section "pruning audit".
    """
    stated = _stated(request)

    @contextmanager
    def around(model: Any, optimizer: Any, masks: Any = None, **options: Any) -> Iterator[Any]:
        from verify.watching import watch

        options = {"gradients": stated.get("gradients", False), **options}
        with watch(model, optimizer, masks, **{**options, "raises": False}) as watched:
            yield watched
        _judge(request, watched.verdict, fails=options.get("raises", True))

    return around


@pytest.fixture
def pruning_audit(request: pytest.FixtureRequest) -> Callable[..., Verdict]:
    """`verify.audit_states` as a fixture: the test fails where pruning does not hold.

    Call it as `pruning_audit(dense, stage_1, …)`, with state dicts, `ratios` and `ignored_layers`, by default the
    marker's. It returns the verdict.
    """
    stated = _stated(request)

    def audit(*states: Mapping[str, Any], **options: Any) -> Verdict:
        from verify.checkpoints import audit_states

        asked = {name: stated[name] for name in ("ratios", "ignored_layers") if name in stated}
        verdict = audit_states(states, **{**asked, **options})
        _judge(request, verdict, fails=True)
        return verdict

    return audit


def _stated(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the test's marker asks for."""
    marker = request.node.get_closest_marker("pruning")
    if marker is None:
        return {}
    strange = sorted(set(marker.kwargs) - _ARGUMENTS)
    if marker.args or strange:
        given = strange or list(marker.args)
        pytest.fail(
            f"pruning marker, {given}: expected ratios=[…], ignored_layers=[…] and gradients=True or False",
            pytrace=False,
        )
    if isinstance(ratios := marker.kwargs.get("ratios"), str):
        pytest.fail(f"pruning marker, ratios = {ratios!r}: expected a list such as ['.30', '.30']", pytrace=False)
    return marker.kwargs


def _judge(request: pytest.FixtureRequest, verdict: Verdict, *, fails: bool) -> None:
    from spinn.errors import one_line

    lines = [f"{finding.severity}: {finding.check}: {one_line(finding.message)}" for finding in verdict.findings]
    request.node.add_report_section("call", _SECTION, "\n".join(lines) or "nothing found")
    request.config.stash[_COUNTS].append(verdict.holds)
    errors = [line for line in lines if line.startswith("error: ")]
    if errors and fails:
        pytest.fail("\n".join(errors), pytrace=False)
