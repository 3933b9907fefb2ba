"""The two benchmarks and their commands, end to end with tiny networks. Nothing here is about how long it took."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spinn import checkpoint, step
from spinn.bench import history, inference, networks, resident, train
from spinn.bench.report import Report
from spinn.cli import cli
from spinn.masks import Masks
from spinn.model import Network, to_checkpoint
from spinn.replay import Replayed

INFERENCE = inference.Sizes(
    layers=(18, 24, 16, 2), small=(8, 5), batches=(1, 1024), rounds=1, seconds=0.002, copy_megabytes=1
)
TRAIN = train.Sizes(layers=(18, 24, 16, 2), small=(8, 5), rows=50, batch=20, stack=2, rounds=1, cuda_stack=2)


def quiet(_: str) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def predicted() -> Report:
    """The benchmark of inference."""
    return inference.measure(quiet, INFERENCE)


@pytest.fixture(scope="module")
def trained() -> Report:
    """The benchmark of training."""
    return train.measure(quiet, TRAIN)


def test_every_network_is_timed_in_every_runtime(predicted: Report):
    """Median, 95th percentile and throughput, on one thread and on all; limits and peers beside them."""
    rows = {row.name: row for row in predicted.rows}
    for network in ("dense", "masked", "compacted"):
        for runtime in ("PyTorch", "ONNX Runtime", "ONNX Runtime, bound"):
            for batch in ("1", "1,024"):
                subject = f"{network}, {runtime}, batch {batch}, 1 thread"
                median, p95, throughput = (
                    rows[f"{subject}: {what}"] for what in ("median", "95th percentile", "throughput")
                )
                assert median.value is not None
                assert p95.value is not None
                assert 0 < median.value <= p95.value
                assert throughput.value == pytest.approx(int(batch.replace(",", "")) / median.value * 1e6)
                assert median.ratio_to_limit is not None
                assert median.ratio_to_peer is not None
    assert rows["dense, PyTorch, batch 1, 1 thread: median"].ratio_to_peer == 1
    assert any(name.startswith("memory bandwidth, 1 thread") for name in predicted.limit)
    assert any(name.startswith("matrix products, compacted, batch 1,024, 1 thread") for name in predicted.limit)


def test_sizes_are_those_of_the_files(predicted: Report):
    """The sparse checkpoint is smaller than the dense one, the masked .onnx is not; a process has its resident set."""
    rows = {row.name: row.value or 0 for row in predicted.rows}
    assert rows["masked, PyTorch, .safetensors: file"] < rows["dense, PyTorch, .safetensors: file"]
    assert rows["masked, ONNX Runtime, .onnx: file"] == rows["dense, ONNX Runtime, .onnx: file"]
    dense = len(checkpoint.encode(to_checkpoint(networks.dense(INFERENCE.layers), None, 0, {})))
    assert rows["dense, PyTorch, .safetensors: file"] == dense
    assert all(value > 10 for name, value in rows.items() if name.endswith("resident memory"))


def test_inference_has_every_target_and_says_that_masks_alone_do_not_help(predicted: Report):
    """The speed-ups against their share of the FLOP ratio; size and equality hold whatever the machine."""
    flops = (18 * 24 + 24 * 16 + 16 * 2) / (18 * 8 + 8 * 5 + 5 * 2)
    targets = {target.name: target for target in predicted.targets}
    assert len(targets) == 5
    for batch in ("1", "1,024"):
        name = f"compacted over dense, batch {batch}, each in its best runtime, one thread: times"
        assert targets[name].required == pytest.approx(0.9 * flops)
    assert targets["sparse checkpoint, bytes"].holds
    assert targets["largest difference of an export from PyTorch"].holds
    assert any("mask alone makes nothing faster" in note for note in predicted.notes)


def test_the_sparse_network_of_the_paper_is_small_on_disk():
    """190,030 parameters in at most 850,000 bytes."""
    pruned, masks = networks.masked(networks.dense(networks.LAYERS))
    content = checkpoint.encode(to_checkpoint(pruned, masks, 0, {}))
    assert masks.kept()[0] + sum(networks.LAYERS[1:]) == 190_030
    assert len(content) <= inference.SPARSE_BYTES
    assert all(not bool(weight[~mask].any()) for weight, mask in zip(pruned.weights, masks.layers, strict=True))


def test_every_way_to_train_is_timed_and_what_is_not_here_says_so(trained: Report):
    """Rows beside limit and peer; the CUDA targets are not measured without a device."""
    rows = {row.name: row for row in trained.rows}
    for name in (*train._ways(TRAIN), "stack of 2, per run"):
        row = rows[f"{name}: speed"]
        assert row.value is not None
        assert row.value > 0
        assert row.ratio_to_limit is not None
    assert rows["plain loop: speed"].ratio_to_peer == 1
    assert len(trained.targets) == 7
    assert [target.required for target in trained.targets] == [1.15, 1.3, 0.5, 2.8, 5.0, 20.0, 10.0]
    if not torch.cuda.is_available():
        assert [target.holds for target in trained.targets[-2:]] == [None, None]


def test_masks_hold_and_physics_is_on_in_what_is_timed():
    """The timed run is pruned and stays so; with physics all five terms are there, a point for each row of a step."""
    network, masks = networks.masked(networks.dense(TRAIN.layers), TRAIN.ratios)
    before = network.clone()
    assert len(train.ours(network, masks, TRAIN, physics=True)(2)) == 2
    assert all(not bool(weight[~mask].any()) for weight, mask in zip(network.weights, masks.layers, strict=True))
    assert any(bool((a != b).any()) for a, b in zip(network.weights, before.weights, strict=True))
    task = train.task(network, TRAIN, physics=True)
    assert len(task.terms) == 5
    assert task.at_cuts(TRAIN.batch) + task.drawn == TRAIN.batch


def test_a_stack_is_recorded_and_runs_one_after_another_are_eager(monkeypatch: pytest.MonkeyPatch):
    """On a CUDA device; what is noted here is what each asks for."""
    asked = []

    def noted(device: torch.device, *, recorded: bool) -> Replayed:
        asked.append(recorded)
        return Replayed(device, recorded=recorded)

    monkeypatch.setattr(step, "Replayed", noted)
    train.cuda_row(TRAIN, "cpu")
    assert asked == [False, True]


def test_the_cuda_row_is_the_same_code_on_any_device():
    """A stack against as many runs, one after another."""
    row = train.cuda_row(TRAIN, "cpu")
    assert row.value is not None
    assert row.value > 0


def test_networks_are_made_for_a_stack():
    """Each run has its own masks, with exact counts."""
    _, masks = networks.masked(networks.dense(TRAIN.layers, 2), (".5",))
    assert isinstance(masks, Masks)
    weights = 18 * 24 + 24 * 16 + 16 * 2
    assert masks.kept() == [weights // 2] * 2


def test_a_process_that_fails_is_named(tmp_path: Path):
    """With the last line that it said."""
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(Exception, match=r"broken\.onnx: the process that loads it ended with status 1"):
        resident.resident(tmp_path / "broken.onnx", 3)


def test_an_onnx_process_loads_no_torch(tmp_path: Path):
    """What is deployed needs ONNX Runtime alone."""
    code = "import sys, spinn.runtimes, spinn.bench.resident; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


@pytest.mark.parametrize(("which", "sizes"), [("train", TRAIN), ("inference", INFERENCE)])
@pytest.mark.parametrize("as_json", [True, False])
def test_the_commands(which: str, sizes: object, as_json: bool, tmp_path: Path, monkeypatch, capsys):
    """JSON or tables on standard output, progress on standard error, a line in the history."""
    monkeypatch.setattr(f"spinn.bench.{which}.PAPER", sizes)
    monkeypatch.setattr(inference, "resident", lambda *_: 1)  # six processes, which another test starts
    monkeypatch.chdir(tmp_path)
    status = cli.main(["bench", which, *(["--json"] if as_json else [])], standalone_mode=False)
    caught = capsys.readouterr()
    (kept,) = history.read_history(name=which)
    assert status == (1 if any(target["holds"] is False for target in kept["targets"]) else 0)
    assert all(line.startswith("bench: ") for line in caught.err.splitlines())
    if as_json:
        report = json.loads(caught.out)
        assert report == {name: value for name, value in kept.items() if name not in ("time", "name", "notes")}
    else:
        assert "required" in caught.out


def test_inference_without_the_extra_is_one_clear_line(tmp_path: Path):
    """Status 2 before anything is measured."""
    code = (
        "import sys\nsys.modules['onnxruntime'] = None\nsys.argv = ['spinn', 'bench', 'inference']\n"
        "from spinn.cli import main\nmain()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == ("spinn: onnxruntime is not installed: export needs it; pip install 'spinn[export]'\n")


def test_biases_are_not_zero():
    """As after training: what a removed neuron adds is then no zero."""
    assert all(bool((bias != 0).all()) for bias in networks.dense((3, 4, 2)).biases)
    assert isinstance(networks.dense((3, 4, 2)), Network)
