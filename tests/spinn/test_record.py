"""The schema and the files: what an experiment may state, and messages that name file, key, value and mend."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinn import experiment, record, storage
from spinn.config import Experiment
from spinn.errors import InputError, RecordError
from verify import strategies

FILE = """
name = "{name}"
seeds = [0]
layers = [18, 6, 2]
[split]
kind = "leave-one-case-out"
[dense]
epochs = 3
learning_rate = {learning_rate}
[physics]
wear_rate = {wear_rate}
[target]
reduction = "{reduction}"
[[variants]]
name = "{variant}"
pruner = "global-magnitude"
stages = [{{ ratio = "{ratio}", epochs = 2, learning_rate = 1e-3 }}]
"""
GOOD = {
    "learning_rate": "1e-3",
    "wear_rate": "0.1",
    "reduction": "0.70",
    "ratio": "0.50",
    "name": "small",
    "variant": "sparse",
}


def _file(tmp_path, **changes: str):
    path = tmp_path / "small.toml"
    path.write_text(FILE.format(**GOOD | changes))
    return path


def test_the_file_itself_is_good(tmp_path):
    """What the tests below break is whole, and names may be as long as this."""
    assert experiment.load(_file(tmp_path)).physics.wear_rate == 0.1
    long = experiment.load(_file(tmp_path, name="a" * 100, variant="b" * 100))
    assert [*map(len, (long.name, long.variants[0].name))] == [100, 100]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wear_rate": "inf"}, r"small\.toml: physics\.wear_rate = inf: input should be a finite number"),
        ({"wear_rate": "nan"}, r"small\.toml: physics\.wear_rate = nan: "),
        ({"learning_rate": "inf"}, r"small\.toml: dense\.learning_rate = inf: input should be a finite number"),
        ({"ratio": "1.2"}, r"small\.toml: variants\.0\.stages\.0\.ratio = '1\.2': a stage ratio is at least 0 and"),
        ({"ratio": "thirty"}, r"small\.toml: variants\.0\.stages\.0\.ratio = 'thirty': a decimal such as 0\.30"),
        ({"reduction": "1.0"}, r"small\.toml: target\.reduction = '1\.0': a reduction is above 0 and below 1"),
        ({"name": "a" * 101}, r"small\.toml: name = 'a+\.*: string should have at most 100 characters"),
        ({"variant": "a" * 101}, r"small\.toml: variants\.0\.name = 'a+\.*: string should have at most 100 characters"),
        ({"reduction": "most"}, r"small\.toml: target\.reduction = 'most': a decimal such as 0\.30"),
    ],
)
def test_a_value_that_means_nothing_is_named_with_its_file_and_key(tmp_path, changes, message):
    """Infinite weights, ratios and targets out of range: one line with file, key, value and what is expected."""
    with pytest.raises(InputError, match=message) as caught:
        experiment.load(_file(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_a_record_may_hold_what_the_audit_has_to_find():
    """A number that is not finite is read from a record, where it is a finding and not a broken file."""
    text = '{"stage": 0, "split": "test", "target": "VB", "n": 2, "r2": NaN, "mae": Infinity, "rmse": 1}'
    assert math.isinf(record.Metric.model_validate_json(text).mae)


def test_a_full_disk_is_named_with_the_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    """A write that fails says which file it was for; the old one stands, and no temporary file is left."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "record.json"
    storage.write_atomic(path, b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"record\.json") as caught:
        storage.write_atomic(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["record.json"]


@pytest.mark.parametrize("content", ['{"schema_version": 1, ', "[]", '{"colour": 3}'])
def test_a_broken_file_of_runs_comes_with_its_mend(tmp_path, content):
    """Cut short, or of another shape: the message names the file and says what to do."""
    path = tmp_path / "plan.json"
    path.write_text(content)
    mend = r"plan\.json: .*; restore the file, or run again with --fresh$"
    with pytest.raises(RecordError, match=mend) as caught:
        record.read_model(path, record.Plan)
    assert "\n" not in str(caught.value)


# --- round trips ----------------------------------------------------------------------------------------------------


def values(kind: Any, least: int = 0) -> st.SearchStrategy[Any]:
    """Anything that a field of this annotation may hold, numbers finite, as an honest writer has them.

    Of a list `least` parts and more.
    """
    plain: dict[Any, st.SearchStrategy[Any]] = {
        float: st.floats(allow_nan=False, allow_infinity=False),
        int: st.integers(),
        bool: st.booleans(),
        str: st.text(),
        type(None): st.none(),
    }
    if kind in plain:
        return plain[kind]
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return st.sampled_from(arguments)
    if get_origin(kind) is UnionType:
        return st.one_of(*map(values, arguments))
    if get_origin(kind) is dict:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=2)
    if get_origin(kind) is tuple and arguments[-1] is ...:
        return st.lists(values(arguments[0]), min_size=least, max_size=2).map(tuple)
    assert issubclass(kind, pydantic.BaseModel), kind
    return st.builds(kind, **{name: _drawn(field) for name, field in kind.model_fields.items()})


def _drawn(field: Any) -> st.SearchStrategy[Any]:
    patterns = [one.pattern for one in field.metadata if getattr(one, "pattern", None)]
    if patterns:
        return st.from_regex(patterns[0].replace("$", r"\Z"))
    if any(isinstance(one, pydantic.AfterValidator) for one in field.metadata):  # letters that are seen
        return st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")))
    return values(field.annotation, max((getattr(one, "min_length", 0) for one in field.metadata), default=0))


def written_and_read(model: Any) -> Any:
    """The model as it comes back from its file."""
    with TemporaryDirectory() as folder:
        record.write_model(Path(folder) / "file.json", model)
        return record.read_model(Path(folder) / "file.json", type(model))


@given(st.one_of(values(record.Record), values(record.BaselineRecord)))
def test_any_record_comes_back_as_it_was(written: record.Record | record.BaselineRecord):
    """Every float to its last bit and every text; sealed, so that its seal is that of its content."""
    found = written_and_read(written)
    assert found == written.model_copy(update={"seal": record.seal_of(written)})
    assert found.seal == record.seal_of(found)


@pytest.mark.parametrize("key", ["run_id", "cohort"])
@pytest.mark.parametrize("name", ["../../etc", "a/b", "a.b", "", "a\n"])
def test_what_becomes_a_path_names_no_other_place(key: str, name: str):
    """A stranger's plan leads neither out of its folder nor into another file."""
    content = {"run_id": "a-f00-s0", "variant": "a", "fold": 0, "seed": 0, "cohort": "c00"}
    content |= {"train": ["1"], "validation": [], "test": ["2"]}
    assert record.PlannedRun.model_validate(content).run_id == "a-f00-s0"
    with pytest.raises(pydantic.ValidationError, match=key):
        record.PlannedRun.model_validate({**content, key: name})


@given(
    ratios=strategies.schedules(),
    dataset=values(record.PlannedDataset),
    runs=st.lists(values(record.PlannedRun), max_size=3),
    ledger=st.dictionaries(st.text(), values(tuple[record.LedgerStage, ...]), max_size=2),
)
def test_any_plan_comes_back_as_it_was(ratios: tuple[str, ...], dataset: Any, runs: list[Any], ledger: dict[str, Any]):
    """A schedule's ratios as they were spelt; and the digest is the same, so that records still belong to it."""
    stages = [{"ratio": ratio, "epochs": 1, "learning_rate": 1e-3} for ratio in ratios]
    content = {
        "name": "drawn",
        "seeds": [0],
        "layers": [18, 2],
        "split": {"kind": "leave-one-case-out"},
        "dense": {"epochs": 1},
        "variants": [{"name": "sparse", "pruner": "global-magnitude", "stages": stages}],
    }
    plan = record.Plan(
        spinn_version="0",
        experiment=Experiment.model_validate(content),
        dataset=dataset,
        ledger=ledger,
        runs=tuple(runs),
        claims=record.PlannedClaims(digest="", names=()),
    )
    found = written_and_read(plan)
    assert found == plan
    assert record.plan_digest(found) == record.plan_digest(plan)
