"""Files from strangers: whatever bytes they hold, reading them ends in a result or in one clear error, soon.

Each example is a good file with a few bytes changed, cut, repeated or put in, or noise under its name. `make fuzz`
tries more than 100,000 of them; what once failed is kept in `CORPUS` and tried always.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spinn import checkpoint, experiment, record
from spinn.checkpoint import Checkpoint
from spinn.data import nasa, tidy
from spinn.data.download import _member
from spinn.errors import SpinnError
from spinn.record import Plan, Record
from spinn.storage import read_stored
from verify.state_files import read_state

EXAMPLES = int(os.environ.get("FUZZ", "40"))
"""Of each kind of file; `make fuzz` asks for more than 100,000 in all."""

TOML = b"""name = "tiny"
seeds = [3]
layers = [18, 8, 2]
[split]
kind = "grouped"
folds = 2
[dense]
epochs = 2
[[variants]]
name = "sparse"
pruner = "global-magnitude"
stages = [{ ratio = "0.30", epochs = 4, learning_rate = 5e-3 }]
"""
CSV = b"case,run,time,DOC,feed,material,VB\n" + b"".join(
    b"%c,%d,%d,1.5,0.5,%d,0.%d\n" % (65 + case, cut, 5 * cut, 1 + case % 2, cut)
    for case in range(3)
    for cut in (1, 2, 3)
)
REFERENCE = Path(__file__).parents[2] / "paper" / "reference" / "minutes"


def mat() -> bytes:
    """A struct array as that of mill.mat, of two runs."""
    names = ["case", "run", "VB", "time", "DOC", "feed", "material", *nasa.CHANNELS]
    mill = np.zeros((1, 2), dtype=[(name, object) for name in names])
    for index in range(2):
        values = [1.0, index + 1.0, 0.1 * index, 2.0 * index + 1, 1.5, 0.5, 1.0]
        for name, value in zip(names, values, strict=False):
            mill[name][0, index] = np.array([[value]])
        for name in nasa.CHANNELS:
            mill[name][0, index] = np.linspace(0, 1, 40)[:, None]
    stream = io.BytesIO()
    scipy.io.savemat(stream, {"mill": mill})
    return stream.getvalue()


def safetensors() -> bytes:
    """A pruned network."""
    weights = tuple(np.arange(o * i, dtype=np.float32).reshape(o, i) for o, i in ((3, 4), (2, 3)))
    masks = tuple(weight % 2 == 0 for weight in weights)
    kept = tuple(np.where(mask, weight, 0).astype(np.float32) for weight, mask in zip(weights, masks, strict=True))
    return checkpoint.encode(Checkpoint(kept, (np.zeros(3, np.float32), np.zeros(2, np.float32)), masks, {}))


def pytorch() -> bytes:
    """A state_dict."""
    stream = io.BytesIO()
    torch.save({"0.weight": torch.ones(3, 4), "0.bias": torch.zeros(3)}, stream)
    return stream.getvalue()


def archive() -> bytes:
    """A zip within a zip, as the milling set comes."""
    inner, outer = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("mill.mat", b"MATLAB" * 20)
    with zipfile.ZipFile(outer, "w") as made:
        made.writestr("mill.zip", inner.getvalue())
    return outer.getvalue()


def stored(name: str) -> bytes:
    """A file of the reference."""
    return read_stored(REFERENCE / name)


def a_record() -> bytes:
    """The record of its first run."""
    run = json.loads(stored("plan.json"))["runs"][0]["run_id"]
    return stored(f"runs/{run}/record.json")


READERS: dict[str, tuple[Callable[[], bytes], Callable[[Path], object]]] = {
    "tiny.toml": (lambda: TOML, experiment.load),
    "cuts.csv": (lambda: CSV, tidy.read),
    "mill.mat": (mat, nasa.read),
    "archive.zip": (archive, lambda path: _member(path, "http://there")),
    "plan.json": (lambda: stored("plan.json"), lambda path: record.read_model(path, Plan)),
    "record.json": (a_record, lambda path: record.read_model(path, Record)),
    "stage-1.safetensors": (safetensors, checkpoint.read),
    "network.safetensors": (safetensors, read_state),
    "network.pt": (pytorch, read_state),
}
"""For each kind of file a good one, and what reads it."""

CORPUS: dict[str, tuple[bytes, ...]] = {
    "archive.zip": (b"", b"PK", archive()[:-30]),
}
"""What once ended in something else than a clear error."""


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """A good file with one to four wounds, or noise."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(0, 16))
        wound = draw(st.sampled_from(("flip", "cut", "end", "repeat", "insert", "number")))
        if wound == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif wound == "cut":
            del content[at : at + length]
        elif wound == "end":
            del content[at:]
        elif wound == "repeat":
            content[at:at] = content[at : at + length] * draw(st.integers(1, 50))
        elif wound == "number":
            content[at : at + 4] = draw(st.sampled_from((b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"1e99", b"-1, ")))
        else:
            content[at:at] = draw(st.binary(max_size=16))
    return bytes(content)


def read(name: str, content: bytes, folder: Path) -> None:
    """Read a file with this content; only an error of this project may come of it."""
    path = folder / name
    path.write_bytes(content)
    said = "a result"
    try:
        READERS[name][1](path)
    except SpinnError as error:
        said = str(error).strip()
    assert 0 < len(said) < 2000


@pytest.fixture(scope="module", params=READERS)
def kind(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """The name of a file and what is good in it."""
    return request.param, READERS[request.param][0]()


def test_good_files_are_read(kind: tuple[str, bytes], tmp_path: Path) -> None:
    """What the wounds are made in is sound."""
    name, good = kind
    (tmp_path / name).write_bytes(good)
    READERS[name][1](tmp_path / name)


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_file_is_a_result_or_one_clear_error(
    kind: tuple[str, bytes], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nothing else is raised, and nothing is printed of what it was read with."""
    name, good = kind
    read(name, data.draw(damaged(good)), tmp_path_factory.getbasetemp())


@pytest.mark.parametrize(("name", "content"), [(name, one) for name, many in CORPUS.items() for one in many])
def test_what_once_failed_does_not_again(name: str, content: bytes, tmp_path: Path) -> None:
    """Kept since it was found."""
    read(name, content, tmp_path)
