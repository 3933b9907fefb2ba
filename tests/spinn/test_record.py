"""The schema and the files: what an experiment may state, and messages that name file, key, value and mend."""

from __future__ import annotations

import errno
import math
import os

import pytest

from spinn import experiment, record
from spinn.errors import InputError, RecordError

FILE = """
name = "small"
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
name = "sparse"
pruner = "global-magnitude"
stages = [{{ ratio = "{ratio}", epochs = 2, learning_rate = 1e-3 }}]
"""
GOOD = {"learning_rate": "1e-3", "wear_rate": "0.1", "reduction": "0.70", "ratio": "0.50"}


def _file(tmp_path, **changes: str):
    path = tmp_path / "small.toml"
    path.write_text(FILE.format(**GOOD | changes))
    return path


def test_the_file_itself_is_good(tmp_path):
    """What the tests below break is whole."""
    assert experiment.load(_file(tmp_path)).physics.wear_rate == 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wear_rate": "inf"}, r"small\.toml: physics\.wear_rate = inf: input should be a finite number"),
        ({"wear_rate": "nan"}, r"small\.toml: physics\.wear_rate = nan: "),
        ({"learning_rate": "inf"}, r"small\.toml: dense\.learning_rate = inf: input should be a finite number"),
        ({"ratio": "1.2"}, r"small\.toml: variants\.0\.stages\.0\.ratio = '1\.2': a stage ratio is at least 0 and"),
        ({"ratio": "thirty"}, r"small\.toml: variants\.0\.stages\.0\.ratio = 'thirty': a decimal such as 0\.30"),
        ({"reduction": "1.0"}, r"small\.toml: target\.reduction = '1\.0': a reduction is above 0 and below 1"),
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
    record.write_atomic(path, b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"record\.json") as caught:
        record.write_atomic(path, b"new")
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
