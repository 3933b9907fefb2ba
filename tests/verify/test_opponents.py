"""Opponents beyond the mean and the linear law are fitted again too: a weak choice, fit or prediction is a finding."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import spinn.recurrent
import spinn.regressors
from spinn import baselines
from spinn.data.dataset import read_canonical
from spinn.record import BASELINES, DATASET, BaselineFold, BaselineRecord, read_model, write_model
from spinn.storage import digest_file
from verify import regressors
from verify.baselines import recomputed
from verify.folder import UnavailableError, digest_all, read_folder

SMALL = ("small-network", "small-network-no-sensors")
NETWORKS = (*SMALL, "gru")
CHEAP = ("last-value", "wear-law-growth", "ridge")
Edit = Callable[[BaselineFold], dict[str, Any]]


@pytest.fixture(scope="module")
def opposed(honest: Path, tmp_path_factory: pytest.TempPathFactory, edited: Any) -> Path:
    """The honest folder with other baselines; not to be changed."""
    path = Path(shutil.copytree(honest, tmp_path_factory.mktemp("opposed") / "runs"))
    return edited(path, CHEAP)


@pytest.fixture
def opponents(opposed: Path, tmp_path: Path) -> Path:
    """A copy of it, to break."""
    return Path(shutil.copytree(opposed, tmp_path / "opponents"))


@pytest.fixture(scope="module")
def edited(as_runs: Any) -> Callable[[Path, tuple[str, ...]], Path]:
    """Give a folder other baselines than it was planned with, fitted as the system fits them."""

    def give(path: Path, names: tuple[str, ...]) -> Path:
        shutil.rmtree(path / BASELINES)
        runs = as_runs(path)
        runs.edit_plan(lambda plan: plan["experiment"].update(baselines=names))
        baselines.evaluate(runs.plan, read_canonical(path / DATASET, runs.plan.dataset), path)
        return path

    return give


def messages(path: Path) -> list[str]:
    """What the check finds wrong."""
    with np.errstate(all="ignore"):  # as the audit has it
        return [fault.message for fault in recomputed(read_folder(path, digest_all(path)))]


def folds_of(path: Path, name: str) -> tuple[BaselineFold, ...]:
    """The fits of a baseline."""
    return read_model(path / BASELINES / f"{name}.json", BaselineRecord).folds


def edit(path: Path, name: str, change: Edit, **record: Any) -> None:
    """Change every fold of a baseline, and its record, sealed again."""
    file = path / BASELINES / f"{name}.json"
    content = read_model(file, BaselineRecord)
    folds = tuple(fold.model_copy(update=change(fold)) for fold in content.folds)
    write_model(file, content.model_copy(update={"folds": folds, **record}))


def predict(path: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change the predictions of a baseline, digest and seal included."""
    file = path / BASELINES / f"{name}.csv"
    change(pd.read_csv(file, dtype={"case": str})).to_csv(file, index=False, lineterminator="\n")
    edit(path, name, lambda _: {}, predictions_digest=digest_file(file))


def rescored(change: Callable[[list[dict]], object], chosen: int | None = None) -> Edit:
    """Change the candidates of every choice; with `chosen` also which of them is taken."""

    def of(fold: BaselineFold) -> dict[str, Any]:
        choices = []
        for choice in fold.choices:
            content = choice.model_dump()
            content["candidates"] = list(content["candidates"])
            change(content["candidates"])
            choices.append(type(choice).model_validate(content | ({} if chosen is None else {"chosen": chosen})))
        return {"choices": tuple(choices)}

    return of


def test_honest_opponents_hold(opposed: Path) -> None:
    """Last value, the law with growth, and a regressor for both targets."""
    assert messages(opposed) == []


@pytest.mark.parametrize("names", [("support-vector", "gaussian-process"), ("gradient-boosting", "random-forest")])
def test_every_regressor_comes_out_the_same(
    names: tuple[str, ...], honest: Path, edited: Any, as_runs: Any, tmp_path: Path
) -> None:
    """Prepared, chosen and fitted by the judge's own code, each scores and predicts as recorded, to the last digits.

    The last two take so long that they are fitted in processes of their own: what is wrong there is found as well.
    """
    path = Path(shutil.copytree(honest, tmp_path / "runs"))
    as_runs(path).edit_plan(lambda plan: plan["dataset"].update(targets=["VB"]))
    assert messages(edited(path, names)) == []
    predict(path, names[1], lambda table: table.assign(prediction=table["prediction"] * 1.001))
    edit(path, names[0], lambda _: {}, parameters=3)
    assert [message.split(",")[0] for message in messages(path)] == [
        f"baseline {names[0]}: 3 parameters are recorded",
        *(f"baseline {names[1]}: fold {fold.fold}" for fold in folds_of(path, names[1])),
    ]


@pytest.mark.parametrize("name", CHEAP)
def test_an_edited_prediction_is_found(opponents: Path, name: str) -> None:
    """By a tenth of a per cent, in one cut."""
    predict(
        opponents, name, lambda table: table.assign(prediction=table["prediction"] * (1 + 1e-3 * (table.index == 5)))
    )
    assert any(f"baseline {name}: fold 0, seed 0: predictions of" in message for message in messages(opponents))


def test_a_last_value_that_looks_ahead_is_found(opponents: Path) -> None:
    """The label of the cut itself is no earlier one."""
    predict(opponents, "last-value", lambda table: table.assign(prediction=table["measured"].fillna(0.0)))
    assert any("baseline last-value" in message for message in messages(opponents))


@pytest.mark.parametrize("change", [{"a": 0.1}, {"g": 0.3}])
def test_a_badly_fitted_growing_law_is_found(opponents: Path, change: dict[str, float]) -> None:
    """Coefficients beside the least squares."""
    edit(
        opponents,
        "wear-law-growth",
        lambda fold: {"coefficients": {k: v + change.get(k, 0) for k, v in fold.coefficients.items()}},
    )
    assert any("its sum of squares is" in message for message in messages(opponents))


def test_growth_below_zero_is_found(opponents: Path) -> None:
    """The law has none."""
    edit(opponents, "wear-law-growth", lambda fold: {"coefficients": {**fold.coefficients, "g": -0.1}})
    assert any("g = -0.1, expected at least 0" in message for message in messages(opponents))


def test_other_candidates_are_found(opponents: Path) -> None:
    """A grid of settings that cannot fit makes a weak opponent, however honestly it is searched."""
    edit(opponents, "ridge", rescored(lambda candidates: candidates[0]["settings"].update(alpha=1e9)))
    assert any("not the six that every ridge" in message for message in messages(opponents))


def test_fewer_candidates_are_found(opponents: Path) -> None:
    """Every regressor has the same budget."""
    edit(opponents, "ridge", rescored(lambda candidates: candidates.pop()))
    assert any("not the six that every ridge" in message for message in messages(opponents))


def test_a_candidate_that_is_not_the_best_is_found(opponents: Path) -> None:
    """The one with the lowest score is chosen, and no other."""
    worst = []

    def look(fold: BaselineFold) -> dict[str, Any]:
        scores = [candidate.score for candidate in fold.choices[0].candidates]
        worst.append(int(np.argmax(scores)))
        return rescored(lambda _: None, chosen=worst[-1])(fold)

    edit(opponents, "ridge", look)
    assert any("it is not the one with the lowest score" in message for message in messages(opponents))


def test_a_choice_that_is_no_candidate_is_found(opponents: Path) -> None:
    """A place beyond the list."""
    edit(opponents, "ridge", rescored(lambda _: None, chosen=6))
    assert any("candidate 6 is chosen" in message for message in messages(opponents))


def test_an_edited_score_is_found(opponents: Path) -> None:
    """Of a candidate that is not chosen too: it may have been the best."""
    edit(opponents, "ridge", rescored(lambda candidates: [c.update(score=c["score"] * 1.01) for c in candidates]))
    found = [message for message in messages(opponents) if "held-out training cases alone give" in message]
    assert len(found) == 2 * 2 * 6


def test_a_choice_made_with_the_test_cases_is_found(
    honest: Path, edited: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """Settings chosen on all cases have scores that the training cases alone do not give."""
    sound = spinn.regressors.choose
    monkeypatch.setattr(
        spinn.regressors,
        "choose",
        lambda name, arrays, _, seed: sound(name, arrays, list(dict.fromkeys(arrays.case.tolist())), seed),
    )
    path = edited(Path(shutil.copytree(honest, tmp_path / "runs")), ("ridge",))
    assert any("held-out training cases alone give" in message for message in messages(path))


def test_a_regressor_that_saw_the_test_cases_is_found(
    honest: Path, edited: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """Predictions of a fit on every case, recorded as one on the training cases."""
    sound = baselines._refitted

    def cheating(name: Any, arrays: Any, choice: Any, entry: BaselineFold, *rest: Any) -> Any:
        return sound(name, arrays, choice, entry.model_copy(update={"train": (*entry.train, *entry.test)}), *rest)

    monkeypatch.setattr(baselines, "_refitted", cheating)
    path = edited(Path(shutil.copytree(honest, tmp_path / "runs")), ("ridge",))
    assert any("predictions of VB are not those of its fit" in message for message in messages(path))


def test_a_missing_seed_is_found(opponents: Path) -> None:
    """A baseline that draws is there for every seed of the experiment; one that does not has seed 0."""
    edit(opponents, "ridge", lambda _: {"seed": 1})
    assert any("are not all there, once" in message for message in messages(opponents))


def test_a_wrong_number_of_parameters_is_found(opponents: Path) -> None:
    """It says how small an opponent is."""
    edit(opponents, "ridge", lambda _: {}, parameters=3)
    assert any("baseline ridge: 3 parameters are recorded, it has" in message for message in messages(opponents))


def test_what_was_found_before_a_file_was_missing_is_said(opponents: Path) -> None:
    """Without the data nothing can be computed again; an edited record is one all the same."""
    file = opponents / BASELINES / "ridge.json"
    file.write_text(file.read_text().replace('"scikit-learn 1', '"scikit-learn 2'))
    (opponents / DATASET).unlink()
    found: list[str] = []
    with pytest.raises(UnavailableError, match=r"ridge: .*dataset\.csv: no such file"):
        found.extend(fault.message for fault in recomputed(read_folder(opponents, digest_all(opponents))))
    assert found == ["baseline ridge: its content is not what was sealed; it was edited"]


def test_a_choice_is_needed_for_every_target(opponents: Path) -> None:
    """A regressor without its choices cannot be fitted again."""
    edit(opponents, "ridge", lambda _: {"choices": ()})
    assert any("not one choice for each target" in message for message in messages(opponents))


def test_another_library_is_unchecked(opponents: Path, monkeypatch: Any) -> None:
    """What another version fitted is not called wrong, nor right; the cuts are checked all the same."""
    monkeypatch.setattr(regressors, "library", lambda: "scikit-learn 0.1")
    with pytest.raises(
        UnavailableError, match=r"baseline ridge: fitted by scikit-learn 1\..*, here is scikit-learn 0\.1"
    ):
        messages(opponents)
    predict(opponents, "ridge", lambda table: table.iloc[1:])
    found: list[str] = []
    check = recomputed(read_folder(opponents, digest_all(opponents)))
    with pytest.raises(UnavailableError, match="fitted by"):
        found.extend(fault.message for fault in check)
    assert any("do not cover each test cut once" in message for message in found)


def unchecked(path: Path) -> list[str]:
    """What is found wrong with baselines that cannot all be computed again."""
    found: list[str] = []
    check = recomputed(read_folder(path, digest_all(path)))
    with pytest.raises(UnavailableError, match="its weights are not kept"):
        found.extend(fault.message for fault in check)
    return found


@pytest.fixture(scope="module")
def with_networks(honest: Path, tmp_path_factory: pytest.TempPathFactory, edited: Any) -> Path:
    """The honest folder with all networks among its baselines; not to be changed."""
    path = Path(shutil.copytree(honest, tmp_path_factory.mktemp("networks") / "runs"))
    with pytest.MonkeyPatch.context() as patched:  # what it learns does not matter here, and nobody computes it again
        patched.setattr(spinn.recurrent, "fit", lambda *_, **__: None)
        return edited(path, NETWORKS)


@pytest.fixture
def networks(with_networks: Path, tmp_path: Path) -> Path:
    """A copy of it, to break."""
    return Path(shutil.copytree(with_networks, tmp_path / "networks"))


def test_honest_networks_are_unchecked_with_the_reason(with_networks: Path) -> None:
    """Nothing is wrong with what can be looked at; that predictions cannot is said, for each of them."""
    assert unchecked(with_networks) == []
    with pytest.raises(UnavailableError, match=r"baseline small-network: its weights .*; baseline gru: its weights"):
        messages(with_networks)


def test_a_small_network_is_as_large_as_the_ratios_allow_whatever_the_ledger_says(networks: Path, as_runs: Any) -> None:
    """What the pruned network is left with is counted again, and not read from a plan that may have lost it."""
    as_runs(networks).edit_plan(lambda plan: plan["ledger"].clear())
    assert unchecked(networks) == []


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("side", ["train", "validation"])
def test_a_network_on_other_cases_than_planned_is_found(networks: Path, name: str, side: str) -> None:
    """A test case among those it is trained on, or stopped by."""
    edit(networks, name, lambda fold: {side: (*getattr(fold, side), fold.test[0])})
    assert any(f"baseline {name}: fold 0: it is not fitted on the cases of the plan" in m for m in unchecked(networks))


@pytest.mark.parametrize("side", ["train", "validation"])
def test_a_recurrent_network_that_saw_a_test_case_is_found(networks: Path, side: str) -> None:
    """It is trained on all the others, as the regressors are."""
    edit(networks, "gru", lambda fold: {side: (*getattr(fold, side), fold.test[0])})
    assert any("baseline gru: fold 0: it is not fitted on every case but the test" in m for m in unchecked(networks))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (rescored(lambda candidates: candidates[0]["settings"].update(epochs=1)), "not the six that every gru"),
        (rescored(lambda candidates: candidates.pop()), "not the six that every gru"),
        (rescored(lambda _: None, chosen=6), "candidate 6 is chosen, it is not the one with the lowest"),
        (rescored(lambda candidates: [c.update(score=-float(i)) for i, c in enumerate(candidates)], 0), "not the one"),
        (lambda _: {"choices": ()}, "not one choice for each target"),
    ],
)
def test_a_recurrent_network_that_is_chosen_otherwise_is_found(networks: Path, change: Edit, what: str) -> None:
    """Among fewer or other candidates, or not as the best of them."""
    edit(networks, "gru", change)
    assert any(what in message for message in unchecked(networks))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_for_one_seed_alone_is_found(networks: Path, name: str) -> None:
    """It has as many seeds as the networks that it is compared with."""
    file = networks / BASELINES / f"{name}.json"
    content = read_model(file, BaselineRecord)
    write_model(file, content.model_copy(update={"folds": tuple(f for f in content.folds if f.seed == 0)}))
    assert any("are not all there, once" in message for message in unchecked(networks))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("column", "what"), [("measured", "measured values of"), ("time", "times are not"), ("prediction", "is not finite")]
)
def test_edited_cuts_of_a_network_are_found(networks: Path, name: str, column: str, what: str) -> None:
    """Labels and times are the data's, and every cut has a prediction."""
    predict(networks, name, lambda table: table.assign(**{column: table[column].where(table.index != 4)}))
    assert any(what in message for message in unchecked(networks))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_another_size_is_found(networks: Path, name: str) -> None:
    """The small one has as many parameters as the sparse one, or hardly fewer."""
    edit(networks, name, lambda _: {}, parameters=7)
    assert any(f"baseline {name}: 7 parameters are recorded, it has" in message for message in unchecked(networks))
