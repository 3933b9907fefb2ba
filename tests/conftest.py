"""What every test shares: how hard Hypothesis tries, how many threads torch takes, and where the real data lies.

Imports nothing of spinn at the top: its functions are instrumented (jaxtyping) when a test first imports them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Workers of pytest-xdist share the machine: one thread each. Set before torch is imported, here or in a subprocess.
if "PYTEST_XDIST_WORKER" in os.environ:
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"

LONG = 500  # examples of each property in the long profile

# `default` tries the same examples every time, so that a red run is red again. `long` draws new ones, and more:
# HYPOTHESIS_PROFILE=long tox -e tests
hypothesis.settings.register_profile("default", deadline=None, max_examples=50, derandomize=True, database=None)
hypothesis.settings.register_profile("long", deadline=None, max_examples=LONG, derandomize=False)
# `mutation` tries what `default` does and is content with the first example that fails: the mutant is dead.
hypothesis.settings.register_profile(
    "mutation",
    hypothesis.settings.get_profile("default"),
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def mill() -> Path:
    """The real, decimated mill.mat beside the repository; it is not part of it."""
    path = ROOT.parent / "shared" / "data" / "mill_decimated.mat"
    if not path.exists():
        pytest.skip("the real data, ../shared/data/mill_decimated.mat, is not on this machine")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the property tests, so that `-m property` selects them, and let each try LONG examples where asked to."""
    for item in items:
        function: Any = getattr(item, "obj", None)
        if not hypothesis.is_hypothesis_test(function):
            continue
        item.add_marker(pytest.mark.property)
        handle = getattr(function, "__func__", function)
        own = getattr(handle, "_hypothesis_internal_use_settings", None)
        if os.environ.get("HYPOTHESIS_PROFILE") == "long" and own is not None and own.max_examples < LONG:
            handle._hypothesis_internal_use_settings = hypothesis.settings(own, max_examples=LONG)
    if os.environ.get("HYPOTHESIS_PROFILE") == "mutation":  # what takes longest comes last: most are dead by then
        items.sort(key=lambda item: item.get_closest_marker("property") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note in the report how many examples a property passed, as Hypothesis' own statistics have it.

    In the long profile a property that passed fewer than LONG fails, unless there are no more.
    """
    report = yield
    statistics = getattr(item, "hypothesis_statistics", None)
    if call.when == "call" and statistics:
        passed = sum(int(number) for number in re.findall(r"(\d+) passing", statistics))
        report.user_properties.append(("examples", passed))
        asked = LONG if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 0
        if report.passed and passed < asked and "nothing left to do" not in statistics:
            report.outcome = "failed"
            report.longrepr = f"{passed} examples passed, expected at least {asked}:\n{statistics}"
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many properties were tried, and on how many examples; fewer than asked for means that there are no more.

    Where more than usual was fuzzed, how each kind of file ended.
    """
    fuzzed = [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, value in report.user_properties
        if name == "fuzz"
    ]
    if fuzzed and "FUZZ" in os.environ:
        totals = ["in all", *(sum(line[column] for line in fuzzed) for column in (1, 2, 3))]
        terminalreporter.write_line(f"{'kind of file':<20}{'inputs':>10}{'results':>10}{'errors':>10}{'crashes':>10}")
        for kind, inputs, results, errors in [*sorted(fuzzed), totals]:
            crashes = inputs - results - errors
            terminalreporter.write_line(f"{kind:<20}{inputs:>10,}{results:>10,}{errors:>10,}{crashes:>10,}")
    tried = {
        report.nodeid: value
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "examples"
    }
    if tried:
        few = sorted((count, name) for name, count in tried.items() if count < LONG)
        terminalreporter.write_line(f"{len(tried)} properties, {sum(tried.values())} examples")
        if os.environ.get("HYPOTHESIS_PROFILE") == "long":
            for count, name in few:
                terminalreporter.write_line(f"  {count} examples: {name}")
