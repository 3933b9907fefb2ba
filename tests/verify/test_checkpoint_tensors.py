"""Tensors that are not plain floats: quantised, complex, empty, without values, not finite, or no tensors at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from spinn.errors import InputError
from verify.checkpoints import audit_states
from verify.cli import cli
from verify.findings import Finding, Verdict


def of(verdict: Verdict, check: str) -> list[Finding]:
    """Findings of a check."""
    return [finding for finding in verdict.findings if finding.check == check]


def errors(verdict: Verdict) -> list[str]:
    """Checks that do not hold."""
    return [finding.check for finding in verdict.findings if finding.severity == "error"]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_quantised_tensors_are_the_values_that_they_stand_for() -> None:
    """Zero is exact in them."""
    weight = torch.arange(1.0, 13.0).reshape(3, 4)
    quantised = torch.quantize_per_tensor(torch.where(weight > 6, weight, 0), 0.5, 0, torch.qint8)
    verdict = audit_states([{"w": weight}, {"w": quantised}, {"w": weight}], [".5", "0"])
    assert errors(verdict) == ["counts", "resurrection"]
    assert of(verdict, "sparsity")[1].data["kept_weights"] == 6
    assert of(verdict, "resurrection")[0].data["largest"] == 6.0


def test_tensors_without_values_are_refused_by_name() -> None:
    """On the device meta; a network of none."""
    with pytest.raises(
        InputError, match=r"^stage 1, '0\.weight': it is on the device meta, where tensors have no value"
    ):
        audit_states([{"0.weight": torch.ones(2, 2)}, {"0.weight": torch.ones(2, 2, device="meta")}])
    with pytest.raises(InputError, match="dense: no weights"):
        audit_states([{"w": torch.zeros(0, 4)}] * 2)


def test_a_layer_that_was_always_empty_takes_no_part() -> None:
    """One that becomes empty is a collapsed layer."""
    empty = {"w": torch.zeros(0, 4), "v": torch.ones(2, 2)}
    assert errors(audit_states([empty, empty])) == []
    assert list(of(audit_states([empty, empty]), "sparsity")[0].data["layers"]) == ["v"]
    verdict = audit_states([{"w": torch.ones(5, 4)}, {"w": torch.zeros(0, 4)}], [".5"])
    assert errors(verdict) == ["counts", "collapsed-layer"]


def test_complex_weights_are_weights() -> None:
    """Pruned is 0+0j; magnitudes are those of the plane, whatever overflows in them."""
    weight = torch.complex(torch.tensor([[3.0, 0.0], [1.0, 5.0]]), torch.tensor([[4.0, 1.0], [0.0, 0.0]]))
    stage = torch.where(weight.abs() > 2, weight, 0)
    verdict = audit_states([{"w": weight}, {"w": stage}], [".5"])
    assert errors(verdict) == []
    assert of(verdict, "sparsity")[1].data["kept_weights"] == 2
    back = of(audit_states([{"w": weight}, {"w": stage}, {"w": stage + 1j * (stage == 0)}]), "resurrection")[0]
    assert (back.data["count"], back.data["largest"]) == (2, 1.0)
    with pytest.warns(UserWarning, match="ComplexHalf"):
        half = {"w": weight.to(torch.complex32)}
    assert of(audit_states([half, half]), "sparsity")[0].data["weights"] == 4
    huge = {"w": np.full((2, 2), complex(1.5e308, 1.5e308))}
    zero = {"w": np.array([[0, 1], [1, 1]], complex)}
    assert of(audit_states([huge, zero, huge]), "resurrection")[0].data["largest"] == 0.0


@pytest.mark.parametrize("kind", [np.complex64, np.complex128, np.clongdouble])
def test_magnitudes_that_overflow_are_neither_a_size_nor_a_tie_nor_a_warning(kind: type[np.complexfloating]) -> None:
    """Both parts of a number are finite, and what it is away from zero is not."""
    most = np.finfo(kind).max
    huge = {"w": np.full((2, 2), most, kind) + np.full((2, 2), most, kind) * kind(1j)}
    half = {"w": huge["w"] * np.array([[0, 0], [1, 1]])}
    verdict = audit_states([huge, half, huge])
    assert of(verdict, "ties") == []
    assert of(verdict, "resurrection")[0].data["largest"] == 0.0
    assert of(verdict, "non-finite") == []


def test_numbers_that_are_not_finite_leave_the_json_valid(tmp_path: Path) -> None:
    """A tie at inf, an inf that came back: JSON has no such number."""
    wild = {"w": torch.full((2, 2), torch.inf)}
    half = {"w": torch.tensor([[0.0, torch.inf], [torch.nan, 0.0]])}
    paths = [str(tmp_path / f"{number}.pt") for number in range(3)]
    for path, made in zip(paths, (wild, half, wild), strict=True):
        torch.save(made, path)
    shown = CliRunner().invoke(cli, ["checkpoints", *paths, "--json"], standalone_mode=False)

    def refuse(text: str) -> None:
        raise AssertionError(text)

    verdict = json.loads(shown.stdout, parse_constant=refuse)
    assert set(verdict) == {"holds", "findings"}
    assert verdict["holds"] is False
    assert {"check", "severity", "message", "data"} == set(verdict["findings"][0])
    assert not [finding for finding in verdict["findings"] if finding["check"] == "ties"]


def test_entries_that_are_no_tensors_are_named() -> None:
    """`_extra_state` of a module; what has no tensor at all is refused."""
    made = {"w": np.ones((2, 2)), "_extra_state": {"a": 1}, "x": None}
    verdict = audit_states([made, {"w": np.ones((2, 2))}])
    assert of(verdict, "not-read") == [
        Finding(
            "not-read",
            "note",
            "dense: _extra_state, x are no tensors and were not looked at",
            data={"stage": 0, "entries": ["_extra_state", "x"]},
        )
    ]
    packed = {"scale": torch.tensor(1.0), "_packed_params": (1, 2)}
    with pytest.raises(InputError, match=r"that are not ignored; no tensors, and not read: _packed_params$"):
        audit_states([made, packed])
