"""The plugin judges another project's tests, found through its entry point, in a pytest of its own."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import pytest

pytest_plugins = "pytester"

PREAMBLE = """
import torch
from torch.nn.utils import prune

def make():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
    return model, torch.optim.Adam(model.parameters(), weight_decay=0.1)

def layers(model):
    return [(model[0], "weight"), (model[2], "weight")]

def train(model, optimizer, masks=()):
    for step in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 6)).square().mean().backward()
        optimizer.step()
        for weight, mask in masks:
            weight.data.masked_fill_(~mask, 0.0)

def cut(model):
    prune.global_unstructured(layers(model), pruning_method=prune.L1Unstructured, amount=0.5)

def by_hand(model):
    masks = [(layer.weight, layer.weight.detach().abs() > 0.2) for layer, _ in layers(model)]
    for weight, mask in masks:
        weight.data.masked_fill_(~mask, 0.0)
    return masks

def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
"""


def run(pytester: pytest.Pytester, test: str, *arguments: str) -> Any:
    """Pytest in a process of its own, on a project that has nothing but this test."""
    pytester.makepyfile(PREAMBLE + test)
    return pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments)


def test_right_use_of_torch_prune_passes_and_the_drift_is_told(pytester: pytest.Pytester) -> None:
    """Three lines; the hidden drift is in the report's section, and one line sums up."""
    result = run(
        pytester,
        """
def test_it(pruning_watch):
    model, optimizer = make()
    cut(model)
    with pruning_watch(model, optimizer):
        train(model, optimizer)
""",
        "-rP",
        "--strict-markers",
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*pruning audit*", "note: hidden-weights: * pruned weights moved under their mask*"])
    result.stdout.fnmatch_lines(["pruning audit: 1 audits, 0 with faults"])


def test_prune_remove_before_going_on_fails_with_the_counts(pytester: pytest.Pytester) -> None:
    """The failure is the finding, without a traceback through the judge."""
    result = run(
        pytester,
        """
def test_it(pruning_watch):
    model, optimizer = make()
    cut(model)
    for layer, name in layers(model):
        prune.remove(layer, name)
    with pruning_watch(model, optimizer):
        train(model, optimizer)
""",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["error: resurrection: 64 pruned weights are not zero when they are used*"])
    assert "pytest_plugin.py" not in result.stdout.str()


@pytest.mark.parametrize(("masks", "passed"), [("masks", 1), ("()", 0)])
def test_a_hand_written_loop_is_judged(pytester: pytest.Pytester, masks: str, passed: int) -> None:
    """Masks applied after every step pass; masks applied once fail."""
    result = run(
        pytester,
        f"""
def test_it(pruning_watch):
    model, optimizer = make()
    masks = by_hand(model)
    with pruning_watch(model, optimizer):
        train(model, optimizer, {masks})
""",
    )
    result.assert_outcomes(passed=passed, failed=1 - passed)


def test_states_are_judged_by_the_markers_ratios(pytester: pytest.Pytester) -> None:
    """`pruning_audit` takes state dicts; the marker says what was planned, the call may say otherwise."""
    result = run(
        pytester,
        """
import pytest

@pytest.mark.pruning(ratios=[".5"])
@pytest.mark.parametrize("own", [None, [".4"]])
def test_it(pruning_audit, own):
    model, optimizer = make()
    dense = state(model)
    cut(model)
    verdict = pruning_audit(dense, state(model), ratios=own)
    assert verdict.holds
""",
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["error: counts: stage 1: 64 weights are kept, planned 77*"])
    result.stdout.fnmatch_lines(["pruning audit: 2 audits, 1 with faults"])


def test_the_marker_names_layers_that_are_not_pruned(pytester: pytest.Pytester) -> None:
    """The ratio is of the others: without the name the counts do not fit."""
    result = run(
        pytester,
        """
import pytest

def states():
    model, _ = make()
    dense = state(model)
    weight = model[0].weight.data
    weight.view(-1)[weight.abs().view(-1).argsort()[:48]] = 0.0
    return dense, state(model)

@pytest.mark.pruning(ratios=[".5"], ignored_layers=["2"])
def test_named(pruning_audit):
    pruning_audit(*states())

@pytest.mark.pruning(ratios=[".5"])
def test_not_named(pruning_audit):
    pruning_audit(*states())
""",
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["error: counts: stage 1: *nothing of 2.weight is pruned: if that is meant, ignore it*"]
    )


def test_the_marker_asks_for_gradients(pytester: pytest.Pytester) -> None:
    """Gradients of pruned weights are an error only where they have to be zero."""
    result = run(
        pytester,
        """
import pytest

@pytest.mark.pruning(gradients=True)
def test_asked(pruning_watch):
    model, optimizer = make()
    masks = by_hand(model)
    with pruning_watch(model, optimizer):
        train(model, optimizer, masks)
""",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["error: gradients: *"])


def test_a_strange_marker_is_named(pytester: pytest.Pytester) -> None:
    """A misspelt argument would check nothing."""
    result = run(
        pytester,
        """
import pytest

@pytest.mark.pruning(ratio=[".5"])
def test_it(pruning_audit):
    pass
""",
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*pruning marker, *ratio*: expected ratios=*"])


def test_ratios_in_one_string_are_refused(pytester: pytest.Pytester) -> None:
    """A string is a sequence of its letters, which are no ratios."""
    result = run(
        pytester,
        """
import pytest

@pytest.mark.pruning(ratios=".5,.5")
def test_it(pruning_audit):
    pass
""",
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*pruning marker, ratios = '.5,.5': expected a list such as *"])


def test_an_error_of_the_test_comes_first(pytester: pytest.Pytester) -> None:
    """The watch does not hide what went wrong in its block."""
    result = run(
        pytester,
        """
def test_it(pruning_watch):
    model, optimizer = make()
    by_hand(model)
    with pruning_watch(model, optimizer):
        train(model, optimizer)
        raise RuntimeError("mine")
""",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*RuntimeError: mine"])


def test_who_does_not_use_it_does_not_notice(pytester: pytest.Pytester) -> None:
    """No line in the summary, and none of torch, numpy or this project's numerics loaded by a start of pytest."""
    pytester.makepyfile("""
import sys

def test_it():
    heavy = {"torch", "numpy", "pandas", "pydantic", "safetensors", "spinn", "verify.checkpoints", "verify.watching"}
    assert not heavy & set(sys.modules)
""")
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:jaxtyping")
    result.assert_outcomes(passed=1)
    assert "pruning audit" not in result.stdout.str()


def test_it_is_found_where_the_project_is_installed() -> None:
    """Pytest loads what is registered under its entry point."""
    (found,) = (point for point in entry_points(group="pytest11") if point.value == "verify.pytest_plugin")
    assert found.name == "verify.pytest_plugin"


def test_who_loads_it_by_hand_as_well_gets_it_once(pytester: pytest.Pytester) -> None:
    """`-p verify.pytest_plugin` where it is installed, too, is no error."""
    result = run(pytester, "def test_it(pruning_audit):\n    pass\n", "-p", "verify.pytest_plugin")
    result.assert_outcomes(passed=1)


def test_a_name_is_no_line_of_its_own(pytester: pytest.Pytester) -> None:
    """In the failure and in the section, of states and of what is watched."""
    result = run(
        pytester,
        """
NAME = "w\\nerror: forged\\x1b"

def test_states(pruning_audit):
    pruning_audit({NAME: torch.ones(2, 2)}, {NAME: torch.full((2, 2), torch.nan)})

def test_watched(pruning_watch):
    model = torch.nn.Module()
    model.register_parameter(NAME, torch.nn.Parameter(torch.tensor([[0.0, 1.0], [1.0, 1.0]])))
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    with pruning_watch(model, optimizer):
        (weight,) = model.parameters()
        weight.grad = torch.ones(2, 2)
        optimizer.step()
""",
        "-rA",
    )
    result.assert_outcomes(failed=2)
    lines = [line.removeprefix("E ").strip() for line in result.outlines]
    assert not [line for line in lines if line.startswith("error: forged") or "\x1b" in line]
    assert len([line for line in lines if line.startswith("error: ")]) >= 4
