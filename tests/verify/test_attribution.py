"""The judge's own gradients are exact, and an area that does not follow from weights and data is found."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinn import experiment
from verify import attribution
from verify.attribution import backward
from verify.faults.mutant import EXPERIMENT
from verify.findings import Finding
from verify.folder import digest_all, read_folder
from verify.residuals import with_rate

PRUNERS = ("global-magnitude", "layerwise-magnitude", "random", "neurons-incoming", "first-version")
NAMES = [f"{score}_{choice}" for score in ("physics", "data", "physics_signed")
         for choice in ("pruner", "magnitude", "random")]  # fmt: skip


TERMS = "monotone = 0.2\nnonnegative = 0.3"
PLAIN = EXPERIMENT.replace("initial = 0.1", f"initial = 0.1\n{TERMS}")
CORRECTING = PLAIN.replace('data = "simulator"', 'data = "simulator"\ncorrection = 0.3')
CORRECTING = CORRECTING.replace(f"initial = 0.1\n{TERMS}", "monotone = 0.2\nlaw = 2.0")  # by the law, the others hold


@pytest.fixture(scope="module", params=[PLAIN, CORRECTING], ids=["plain", "correcting-a-law"])
def pruned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real runs, of each kind of pruner, all physics terms on that there are; not to be changed."""
    path = tmp_path_factory.mktemp("pruned")
    (variant,) = re.findall(r"\[\[variants\]\].*", request.param, re.DOTALL)
    variants = []
    for name in PRUNERS:
        found = '"ledger-achieved", "masks-monotone", "resurrection"' if name == "first-version" else ""
        declared = f'pruner = "{name}"\nexpected_findings = [{found}]'
        variants.append(variant.replace('"sparse"', f'"{name}"').replace('pruner = "global-magnitude"', declared))
    (path / "experiment.toml").write_text(request.param.replace(variant, "\n".join(variants)))
    with contextlib.redirect_stderr(io.StringIO()):
        return experiment.run(path / "experiment.toml", out=path / "runs", device="cpu")


@pytest.fixture
def runs(pruned: Path, tmp_path: Path, runs: Any) -> Any:
    """A copy of it, to break."""
    return type(runs)(Path(shutil.copytree(pruned, tmp_path / "pruned")))


def test_gradients_agree_with_differences(random_network) -> None:
    """Of a loss of outputs and of rates, through three layers, for every weight."""
    made, random = random_network(4, 7, 5, 2), np.random.default_rng(5)
    x, v, h = random.normal(size=(6, 4)), random.normal(size=(6, 4)), 1e-5

    def loss() -> float:
        outputs, rates = with_rate(made, x, v)
        return float((outputs**2).sum() + (rates**2).sum() + (outputs * rates).sum())

    found = backward(made, x, v, lambda y, rate: (2 * y + rate, 2 * rate + y))
    for weight, gradient in zip(made.weights, found, strict=True):
        assert gradient.shape == weight.shape
        for place in np.ndindex(*weight.shape):
            sides = []
            for step in (h, -h):
                weight[place] += step
                sides.append(loss())
                weight[place] -= step
            assert gradient[place] == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-6, abs=1e-7)


def test_areas_of_known_scores() -> None:
    """Ties count half, negative scores are below, and levels differ where float32 differs by a hundredth."""
    level = attribution._levels(np.array([-2.0, -1.0, 0.0, 0.0, 1.0, 1.01]))
    assert level.tolist() == sorted(level.tolist())
    assert len(set(level.tolist())) == 5
    stays = np.array([False, True, True, False, True, True])
    assert (
        attribution._area(level, stays) == (0.5 * 1 + 1 + 1 + 1 + 1 + 1 + 1) / 8
    )  # of -2 all four, of 0 two and a tie


def test_what_is_recorded_follows_from_weights_and_data(runs: Any) -> None:
    """Of every pruner, every stage, every score and choice; the first version is found out for what is declared."""
    verdict = runs.audit()
    assert [finding for finding in verdict.findings if finding.severity not in ("note",)] == []
    for planned in runs.plan.runs:
        for stage in runs.record(planned.run_id).stages:
            if planned.variant != "first-version":  # at whose second stage no more weights go
                assert sorted(stage.attribution or {}) == (sorted(NAMES) if stage.stage else [])


@pytest.mark.parametrize("name", NAMES)
def test_an_area_that_is_not_the_checkpoints_is_found(runs: Any, name: str) -> None:
    """A hundredth more than there is, of one of the nine."""

    def edit(record: dict) -> None:
        record["stages"][2]["attribution"][name] += 0.01

    run_id, other = runs.names("random")[:2]
    runs.edit_record(run_id, edit)
    folder = read_folder(runs.path, digest_all(runs.path))
    chosen = [run for run in folder.runs if run.planned.variant == "random"]
    faults = {run.planned.run_id: list(attribution.recomputed(folder, run)) for run in chosen}
    (fault,) = faults[run_id]
    assert fault.message.startswith(f"stage 2: attribution {name} = ")
    assert fault.data["stated"] == pytest.approx(fault.data["own"] + 0.01, abs=attribution.TOLERANCE)
    assert faults[other] == []


def test_a_wrong_area_fails_the_audit(runs: Any) -> None:
    """Under the name of the check of physics, and under no other."""
    run_id = runs.names("neurons-incoming")[0]
    runs.edit_record(run_id, lambda record: record["stages"][1]["attribution"].update(physics_pruner=1.0))
    assert runs.failed() == {"physics-recomputed"}
    assert [finding.run_id for finding in _found(runs)] == [run_id]


def test_areas_of_other_names_are_found(runs: Any) -> None:
    """One that is missing; where all are, nothing is claimed."""
    run_id = runs.names("global-magnitude")[0]
    runs.edit_record(run_id, lambda record: record["stages"][1]["attribution"].pop("data_random"))
    (found,) = _found(runs)
    assert found.message.startswith("stage 1: attribution of ['data_magnitude', 'data_pruner', 'physics_magnitude'")
    runs.edit_record(run_id, lambda record: record["stages"][1].update(attribution=None))
    assert runs.failed() == set()


def _found(runs: Any) -> list[Finding]:
    return [finding for finding in runs.audit().findings if finding.severity == "error"]
