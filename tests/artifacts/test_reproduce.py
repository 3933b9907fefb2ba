"""The certificate: what stands on which rung and why, what is caught, and what a reference keeps."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from artifacts import claims, results
from artifacts.certificate import CERTIFICATE, PAGE, write
from artifacts.ladder import ROUNDING, RUNGS, Step, climb, judged
from artifacts.plans import compare
from artifacts.reference import SPREAD, is_cost, make, read_spread, values
from artifacts.reproduce import certify, reproduce
from artifacts.results import Results
from artifacts.slices import of_seeds, without_case
from spinn.errors import InputError, RecordError
from spinn.record import CLAIMS, HISTORY, PLAN, PREDICTIONS, RECORD, Record, read_model
from spinn.storage import PACKED, digest_file, packed, read_stored
from verify.audit import audit

NONE = {"folders": 1, "machines": [], "claims": {}, "numbers": {}}


@pytest.fixture(scope="session")
def reference(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The honest folder and a repeat of it as a reference; not to be changed."""
    out = tmp_path_factory.mktemp("made") / "reference"
    make(honest, out, [honest])
    return out


def shifted(found: Results, by: float) -> Results:
    """The results with each held-out prediction of a network off by a random `by`."""
    noise = np.random.default_rng(1).normal(size=len(found.predictions)) * by
    frame = found.predictions.assign(prediction=found.predictions["prediction"] + noise)
    records = [one.model_copy(update={"files": {**one.files, PREDICTIONS: "0" * 64}}) for one in found.records]
    return replace(found, predictions=frame, records=tuple(records))


def elsewhere(found: Results, **changed: object) -> Results:
    """The results as if another machine had made them."""
    return replace(
        found,
        records=tuple(
            one.model_copy(update={"environment": one.environment.model_copy(update=changed)}) for one in found.records
        ),
    )


def rungs(steps) -> set[str]:
    """The rungs that occur."""
    return {step.rung for step in steps}


def step(certificate, name):
    """The claim or cell of that name."""
    return next(one for one in (*certificate.claims, *certificate.cells) if one.name == name)


# --- the ladder ------------------------------------------------------------------------------------------------------


def test_the_same_runs_are_bitwise(runs: Path, reference: Path, tmp_path: Path):
    """Every run, claim and cell but costs; and the certificate is written."""
    found = reproduce(runs, reference)
    assert found.exit_status == 0
    assert all(found.runs.values())
    assert rungs((*found.claims, *found.cells)) == {"bitwise", "incomparable"}
    assert all("cost" in one.reason for one in found.cells if one.rung == "incomparable")
    write(found, tmp_path)
    assert json.loads((tmp_path / CERTIFICATE).read_text())["holds"] is True
    assert (tmp_path / PAGE).read_text().startswith("reproduced\n")
    assert [table.name for table in found.tables()] == ["certificate", "certificate-cells"]


def test_what_repeats_differed_by_is_allowed_three_times(found: Results):
    """Within, and one hair beyond; where repeats agreed, rounding alone."""
    near = {"reasons": "other thread count", "elsewhere": False}
    assert climb("a", 1.0, 1.3, 0.1, **near).rung == "within tolerance"
    assert climb("a", 1.0, 1.3001, 0.1, **near).rung == "different"
    assert climb("a", 1.0, 1.0 + ROUNDING / 2, 0.0, **near).rung == "within tolerance"
    assert climb("a", 1.0, 1.0 + ROUNDING * 2, 0.0, **near).rung == "different"


def test_a_tolerance_is_never_wider_than_the_margin():
    """The smaller of both holds, and the reason says when it is the margin; 0 leaves rounding alone."""
    near = {"reasons": "other thread count", "elsewhere": False}
    told = "the tolerance is the margin, 0.02: 3 times the spread of repeats, 0.3, is wider; other thread count"
    within, beyond = (climb("a", 1.0, found, 0.1, margin=0.02, **near) for found in (1.015, 1.025))
    assert (within.rung, within.reason, within.tolerance) == ("within tolerance", told, 0.02)
    assert (beyond.rung, beyond.reason) == ("different", f"beyond the tolerance of 0.02; {told}")
    narrow = climb("a", 1.0, 1.25, 0.1, margin=0.5, **near)
    assert (narrow.rung, narrow.reason) == ("within tolerance", "other thread count")
    assert climb("a", 100, 101, 5.0, margin=0, **near).rung == "different"
    assert climb("a", 1.0, 1.0 + ROUNDING / 2, 5.0, margin=0, **near).rung == "within tolerance"


def test_repeats_that_scatter_do_not_excuse_a_claim_or_its_cell(found: Results):
    """Off by more than the margin it has to be shown equivalent, however wide the spread of the reference is."""
    cell = "accuracy.flank-wear-vb-mm.sparse.r2"
    spread = {**NONE, "claims": {"wear-r2": 10.0}, "numbers": {cell: 10.0}}
    made = certify(elsewhere(shifted(found, 0.2), threads=7), found, spread)
    for name in ("wear-r2", cell):
        assert step(made, name).rung == "different"
        assert step(made, name).tolerance == 0.02
        assert (
            "the tolerance is the margin, 0.02: 3 times the spread of repeats, 30, is wider" in step(made, name).reason
        )


def test_a_step_down_says_why(found: Results):
    """Other threads, another processor, another library: each is named in the reason of each step below bitwise."""
    changed = {"threads": 7, "processor": "another", "packages": {"torch": "9.9"}}
    theirs = elsewhere(found, packages={"torch": "1.0"})
    moved = certify(elsewhere(shifted(found, 1e-13), **changed), theirs, NONE)
    below = [one for one in moved.claims if one.rung == "within tolerance"]
    assert below
    for one in below:
        assert "other thread count: threads" in one.reason
        assert "other hardware: processor" in one.reason
        assert "other library version: package torch 1.0 in the reference, 9.9 here" in one.reason


def test_seeds_decide_whether_a_claim_is_equivalent(found: Results):
    """A shift far below the margin is shown equivalent over cases; a large one is different, on any machine."""
    small = certify(elsewhere(shifted(found, 1e-6), threads=7), found, NONE)
    one = step(small, "wear-r2")
    assert one.rung == "equivalent"
    assert one.test is not None
    assert one.test.of == "cases"
    assert one.test.power is not None
    assert "power" in one.reason
    large = certify(elsewhere(shifted(found, 0.2), threads=7), found, NONE)
    assert step(large, "wear-r2").rung == "different"
    assert large.exit_status == 1


def test_memory_and_the_build_of_a_kernel_are_told_and_excuse_nothing(found: Results):
    """They change no number: what differs by more than rounding is different; another C library may change one."""
    release = "Linux-6.1.0-{}-x86_64-with-{}"
    theirs = elsewhere(found, platform=release.format("a1", "glibc2.36"))
    alike = elsewhere(shifted(found, 1e-4), platform=release.format("b2", "glibc2.36"), memory_bytes=8192)
    made = certify(alike, theirs, NONE)
    assert not made.differences.elsewhere
    assert [reason.partition(" in the")[0].rpartition(":")[2].split()[0] for reason in made.differences.reasons] == [
        "platform",
        "memory",
    ]
    assert "different" in rungs(made.cells)
    other = certify(elsewhere(alike, platform=release.format("a1", "glibc2.39")), theirs, NONE)
    assert other.differences.elsewhere
    assert "different" not in rungs(other.cells)


def test_costs_of_another_machine_are_not_compared(found: Results):
    """Neither the claim about time nor any cell in seconds, and it is said."""
    made = certify(elsewhere(found, processor="another"), found, NONE)
    costs = [name for name, number in values(found).items() if is_cost(number)]
    assert costs
    for name in ("inference-time", *costs):
        assert step(made, name).rung == "incomparable"
        assert "measured otherwise" in step(made, name).reason


def test_energy_that_another_machine_has_no_meter_for_is_no_failure(found: Results):
    """On the same machine a cost that is missing was not run; on another one it is incomparable, and it is said."""

    def metered(results: Results) -> Results:
        costs = [cost.model_copy(update={"energy_joules": 5.0}) for cost in results.records[0].cost]
        records = [record.model_copy(update={"cost": tuple(costs)}) for record in results.records]
        return replace(results, records=tuple(records))

    name = next(name for name in values(metered(found)) if name.endswith(".energy-j"))
    assert step(certify(found, metered(found), NONE), name).rung == "not run"
    there = step(certify(elsewhere(found, processor="another"), metered(found), NONE), name)
    assert there.rung == "incomparable"
    assert there.reason.startswith("a cost that was not measured here: measured otherwise")


def test_cells_without_a_margin_are_judged_where_nothing_else_differs(found: Results):
    """On the same machine a cell beyond its tolerance is different; elsewhere it is not compared, which is said."""
    here, there = (
        certify(one, found, NONE) for one in (shifted(found, 1e-3), elsewhere(shifted(found, 1e-3), cores=99))
    )
    name = next(one.name for one in here.cells if one.rung == "different" and one.name.startswith("wear-levels"))
    assert "no margin is fixed" in step(there, name).reason
    assert step(there, name).rung == "incomparable"


# --- verdicts --------------------------------------------------------------------------------------------------------


def test_another_verdict_is_different_wherever_the_value_stands():
    """Only what was not compared, or has no value on a side, stays where it is; both verdicts are always named."""
    for rung in RUNGS:
        same, moved = (judged(Step("a", rung, "why"), "holds", here) for here in ("holds", "fails"))
        assert (same.rung, same.reason) == (rung, "why")
        assert moved.rung == (rung if rung in ("not run", "incomparable") else "different")
        assert "verdict: holds in the reference, fails here" in moved.reason
        assert "why" in moved.reason
        assert moved.as_json()["verdicts"] == {"reference": "holds", "reproduced": "fails"}
    assert judged(Step("a", "bitwise"), "holds", "fails").reason == (
        "verdict: holds in the reference, fails here: the paper would state something else, though the value alone "
        "stands on 'bitwise'"
    )
    assert "verdicts" not in Step("a", "bitwise").as_json()


def claimed(found: Results, threshold: float, test: str) -> Results:
    """The results with the claim on wear R² alone, its bound moved."""
    base = next(claim for claim in found.claims if claim["name"] == "wear-r2")
    stated = {"statement": f"It is above {threshold!r}.", "threshold": threshold, "test": test}
    return replace(found, claims=({**base, **stated},))


@pytest.mark.parametrize(("spread", "rung"), [(1e-3, "within tolerance"), (0.0, "equivalent")])
@pytest.mark.parametrize(("test", "between"), [("point", {"holds", "fails"}), ("interval", {"holds", "not decidable"})])
def test_a_claim_that_moves_over_its_threshold_is_different(
    found: Results, spread: float, rung: str, test: str, between: set[str]
):
    """However near its value is: the statement that the paper prints is another."""
    other = elsewhere(shifted(found, 1e-6), threads=7)
    sides = [claims.measure(side, "r2.VB") for side in (found, other)]
    ends = [one.value if test == "point" else one.low for one in sides]
    assert ends[0] is not None
    assert ends[1] is not None
    bound = (ends[0] + ends[1]) / 2
    theirs, ours = claimed(found, bound, test), claimed(other, bound, test)
    verdicts = [claims.evaluate(side)[0].verdict for side in (theirs, ours)]
    assert set(verdicts) == between
    made = certify(ours, theirs, {**NONE, "claims": {"wear-r2": spread}})
    one = step(made, "wear-r2")
    assert one.rung == "different"
    assert one.reason.startswith(
        f"verdict: {verdicts[0]} in the reference, {verdicts[1]} here: the paper would state something else, "
        f"though the value alone stands on '{rung}'; "
    )
    assert one.verdicts == tuple(verdicts)
    assert made.exit_status == 1
    assert one.reason in made.text()
    far = bound - 0.1
    assert step(certify(claimed(other, far, test), claimed(found, far, test), NONE), "wear-r2").rung == "equivalent"


def test_verdicts_on_what_is_not_compared_change_no_rung(found: Results):
    """A time is the machine's own; what one side has no data for was not run. Both verdicts are named."""
    slow = [
        one.model_copy(update={"latency": tuple(time.model_copy(update={"p95_ms": 1e3}) for time in one.latency)})
        for one in found.records
    ]
    timed = step(certify(elsewhere(replace(found, records=tuple(slow)), threads=7), found, NONE), "inference-time")
    assert (timed.rung, timed.verdicts) == ("incomparable", ("holds", "fails"))
    assert "verdict: holds in the reference, fails here" in timed.reason
    less = step(certify(replace(found, baselines=()), found, NONE), "at-least-wear-law")
    assert less.rung == "not run"
    assert less.reason.startswith("the reproduction has no value; verdict: ")
    assert less.reason.endswith("in the reference, not evaluated here")


def test_another_machine_is_no_cell_that_differs(found: Results):
    """Cores, threads and memory are told as what a difference may come from; no number of a table is judged by them."""
    there = {"cores": 99, "threads": 7, "memory_bytes": 12345}
    made = certify(elsewhere(found, **there), found, NONE)
    assert not any(name.startswith("environment") for name in values(found))
    assert rungs(made.cells) == {"bitwise", "incomparable"}
    assert {reason.split(": ")[1].rpartition(" in the")[0] for reason in made.differences.reasons} == {
        "cores 2",
        "threads 1",
        "memory bytes 1",
    }


def test_every_claim_of_a_certificate_has_its_verdicts(found: Results):
    """In certificate.json, as they are in the tables of either side."""
    stated = {one["name"]: one["verdicts"] for one in certify(found, found, NONE).as_json()["claims"]}
    for one in claims.evaluate(found):
        assert stated[one.claim["name"]] == {"reference": one.verdict, "reproduced": one.verdict}


# --- other plans, and what was changed ------------------------------------------------------------------------------


def planned(found: Results, **changed: object) -> Results:
    """The results as if the experiment had said so."""
    asked = found.plan.experiment.model_copy(update=changed)
    return replace(found, plan=found.plan.model_copy(update={"experiment": asked}))


def test_another_schedule_is_different(found: Results):
    """The plan says so by name, and the status is 1 even if every number agreed."""
    first, *others = found.plan.experiment.variants
    changed = first.stages[1].model_copy(update={"ratio": "0.25"})
    other = first.model_copy(update={"stages": (first.stages[0], changed)})
    made = certify(planned(found, variants=(other, *others)), found, NONE)
    told = f"variant {first.name}.stages.1.ratio = {first.stages[1].ratio} in the reference, 0.25 here"
    assert made.differences.plan == (told,)
    assert made.exit_status == 1
    assert "the plan differs" in made.text()


def test_another_physics_weight_or_variant_is_different(found: Results):
    """Whatever the experiment states, but for the names of files, the stack and the data, which are reasons."""
    assert compare(planned(found, layers=(18, 2)), found).plan
    shorter = found.plan.experiment.variants[0].model_copy(
        update={"stages": found.plan.experiment.variants[0].stages[:1]}
    )
    assert ".stages = [{" in compare(planned(found, variants=(shorter,)), found).plan[-1]
    assert compare(planned(found, variants=found.plan.experiment.variants[:1]), found).plan
    assert compare(planned(found, stack=99), found).reasons[0].startswith("other stack: ")
    data = found.plan.dataset.model_copy(update={"fingerprint": "0", "source": "mine"})
    assert (
        "other data" in compare(replace(found, plan=found.plan.model_copy(update={"dataset": data})), found).reasons[0]
    )


def test_other_code_explains_and_excuses_nothing(found: Results):
    """It is a reason on every rung, and a number for which no margin is fixed is different all the same."""
    ours = elsewhere(shifted(found, 1e-4), code="b" * 64)
    made = certify(ours, elsewhere(found, code="a" * 64), NONE)
    told = "other code: spinn sha256:aaaaaaaaaaaa in the reference, bbbbbbbbbbbb here"
    assert made.differences.code == told
    assert not made.differences.elsewhere
    assert "different" in rungs(made.cells)
    assert all(told in one.reason for one in made.cells if one.rung == "different")
    assert told in made.text()
    assert certify(found, found, NONE).differences.code == "of which code the reference is, it does not say"
    same = elsewhere(found, code="a" * 64)
    assert certify(same, same, NONE).differences.code == ""
    assert "not stated here" in certify(found, same, NONE).differences.code


def test_other_kernels_are_told_and_may_compute_otherwise(found: Results):
    """On the same processor: a small difference is then judged as on another machine, whatever record does not say."""
    for stated in ("openblas SkylakeX, ATen AVX512", ""):
        there = elsewhere(found, kernels=stated)
        made = certify(elsewhere(shifted(found, 1e-4), kernels="openblas Haswell, ATen AVX512"), there, NONE)
        told = f"other kernels: {stated or 'not stated'} in the reference, openblas Haswell, ATen AVX512 here"
        assert made.differences.reasons == (told,)
        assert made.differences.elsewhere
        assert "different" not in rungs(made.cells)


def test_one_seed_is_compared_with_that_seed(found: Results):
    """The reference is cut to it; the other seeds are listed as not asked for."""
    one = of_seeds(found, (1,))
    made = certify(one, found, NONE)
    assert made.exit_status == 0
    assert made.differences.left_out == ("seed 0 of the reference",)
    assert rungs(made.claims) <= {"bitwise", "incomparable"}


def test_a_claim_changed_after_the_reference_is_different(found: Results):
    """Even where its value is the same: the threshold was moved."""
    first = {**found.claims[0], "threshold": [180000, 180000]}
    one = step(certify(replace(found, claims=(first, *found.claims[1:])), found, NONE), "final-parameters")
    assert one.rung == "different"
    assert "threshold = [180000, 210000] in the reference, [180000, 180000] here" in one.reason


def test_a_claim_that_was_dropped_is_not_run(found: Results):
    """A missing claim fails the certificate."""
    made = certify(replace(found, claims=found.claims[1:]), found, NONE)
    assert step(made, str(found.claims[0]["name"])).rung == "not run"
    assert made.exit_status == 1


def test_a_seed_removed_from_the_records_is_caught(runs: Path, reference: Path):
    """The audit misses the run; no number is compared."""
    shutil.rmtree(next(path for path in (runs / "runs").iterdir() if path.name.endswith("-s1")))
    found = reproduce(runs, reference)
    assert found.exit_status == 1
    assert "planned-runs-present" in {finding.check for finding in audit(runs, replay=True).findings}
    assert found.refused[0].startswith("the reproduction: ")
    assert rungs(found.claims) == {"not run"}


def test_an_edited_metric_is_caught(runs: Path, reference: Path):
    """One digit of a metric in a record."""
    path = next((runs / "runs").glob(f"*/{RECORD}"))
    content = json.loads(path.read_text())
    content["metrics"][0]["mae"] *= 0.5
    path.write_text(json.dumps(content, indent=1) + "\n")
    assert reproduce(runs, reference).exit_status == 1


def test_a_threshold_edited_after_the_plan_is_caught(runs: Path, reference: Path):
    """claims.json is not what the plan was made with."""
    content = json.loads((runs / CLAIMS).read_text())
    content[0]["threshold"] = [0, 1]
    (runs / CLAIMS).write_text(json.dumps(content, indent=1) + "\n")
    found = reproduce(runs, reference)
    assert found.exit_status == 1
    assert "plan-unchanged" in found.refused[0]


def test_a_reference_that_was_edited_proves_nothing(runs: Path, reference: Path, tmp_path: Path):
    """Its audit comes first as well."""
    copy = Path(shutil.copytree(reference, tmp_path / "reference"))
    victim = next((copy / "runs").glob(f"*/{PREDICTIONS}{PACKED}"))
    victim.write_bytes(victim.read_bytes()[:-20])
    found = reproduce(runs, copy)
    assert found.exit_status == 1
    assert found.refused[0].startswith("the reference: ")


def test_a_folder_without_a_plan_is_a_bad_call(runs: Path, tmp_path: Path):
    """Status 2, by name."""
    with pytest.raises(RecordError, match="no such file"):
        reproduce(runs, tmp_path)


# --- the reference --------------------------------------------------------------------------------------------------


def test_a_reference_keeps_what_it_can_check_and_says_what_it_cannot(honest: Path, reference: Path):
    """No weights, histories of the first seed, digests as recorded; the audit holds and calls the rest unchecked."""
    assert not list(reference.rglob("*.safetensors"))
    kept = {path.parent.name for path in reference.rglob(f"{HISTORY}{PACKED}")}
    assert kept == {path.name for path in (honest / "runs").iterdir() if path.name.endswith("-s0")}
    for path in (honest / "runs").rglob(PREDICTIONS):
        assert digest_file(reference / path.relative_to(honest)) == digest_file(path)
    verdict = audit(reference, replay=True)
    assert verdict.holds
    unchecked = {finding.message for finding in verdict.findings if finding.severity == "unchecked"}
    assert {"weights withheld", "history withheld: kept for one seed"} <= unchecked


@pytest.mark.parametrize("seed", ["s0", "s1"])
def test_a_history_may_be_left_out_with_its_seed_alone(reference: Path, tmp_path: Path, seed: str):
    """A single history of the first seed that is missing is a lost file; so is another seed's beside some of them."""
    copy = Path(shutil.copytree(reference, tmp_path / "reference"))
    first, *_ = sorted((copy / "runs").glob(f"*-{seed}"))
    if seed == "s0":
        packed(first / HISTORY).unlink()
    else:
        shutil.copy(packed(sorted((copy / "runs").glob("*-s0"))[0] / HISTORY), packed(first / HISTORY))
    assert not audit(copy).holds


def test_a_changed_byte_of_a_compressed_file_is_found(reference: Path, tmp_path: Path):
    """A digest is of the content; a file beside its compressed form is one too many."""
    copy = Path(shutil.copytree(reference, tmp_path / "reference"))
    path = next((copy / "runs").glob(f"*/{PREDICTIONS}{PACKED}"))
    path.with_name(PREDICTIONS).write_bytes(read_stored(path.with_name(PREDICTIONS)))
    (fault,) = [finding for finding in audit(copy).findings if finding.severity == "error"]
    assert "not a file of a run" in fault.message
    path.unlink()
    assert audit(copy).holds


def test_spread_is_of_every_claim_and_number_but_costs(found: Results, reference: Path):
    """Two equal folders: all differences are 0, and no time is among them."""
    spread = read_spread(reference)
    assert spread["folders"] == 2
    assert set(spread["numbers"]) == {name for name, number in values(found).items() if not is_cost(number)}
    assert set(spread["numbers"].values()) == {0.0}


def test_a_spread_that_is_none_is_refused(reference: Path, tmp_path: Path):
    """By the file's name."""
    copy = Path(shutil.copytree(reference, tmp_path / "reference"))
    (copy / SPREAD).write_text("{}")
    with pytest.raises(RecordError, match=f"{SPREAD}: not the spread of repeats"):
        read_spread(copy)


def test_a_reference_is_not_written_over(honest: Path, reference: Path):
    """Nor made of runs of two plans."""
    with pytest.raises(InputError, match="is there already"):
        make(honest, reference)


def test_slices_are_what_the_runs_alone_would_be(found: Results):
    """R² of seed 1 alone; without a case, none of its cuts."""
    both = claims.measure(found, "r2.VB").value
    each = [claims.measure(of_seeds(found, (seed,)), "r2.VB").value for seed in found.plan.experiment.seeds]
    assert both == pytest.approx(np.mean([one for one in each if one is not None]), abs=1e-12)
    case = found.plan.dataset.cases[0]
    assert case not in set(without_case(found, case).predictions.query("split == 'test'")["case"])


def test_a_compressed_record_reads_as_it_was_written(honest: Path, reference: Path):
    """Its seal among the rest."""
    path = next((honest / "runs").rglob(RECORD))
    assert read_model(path, Record) == read_model(reference / path.relative_to(honest), Record)
    assert results.read(reference, audit(reference, replay=True)).plan == read_model_of(honest)


def read_model_of(folder: Path):
    """The plan of a folder."""
    from spinn.record import Plan

    return read_model(folder / PLAN, Plan)
