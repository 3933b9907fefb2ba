"""What a person gets for bad input: one clear line, the right exit status, no traceback, and no finished work lost."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from spinn.record import RECORD

Call = Callable[..., Any]

FIELDS = ("case", "run", "VB", "time", "DOC", "feed", "material")
CHANNELS = ("smcAC", "smcDC", "vib_table", "vib_spindle", "AE_table", "AE_spindle")
HEADER = "case,run,time,DOC,feed,material,VB\n"


def mat(fields: tuple[str, ...] = (*FIELDS, *CHANNELS), wear: float = 0.2) -> bytes:
    """A file in the layout of mill.mat: two cases of three cuts, with these fields."""
    mill = np.empty((1, 6), dtype=[(field, object) for field in fields])
    for index in range(6):
        values = {"case": 1 + index // 3, "run": 1 + index % 3, "VB": wear, "time": 5 * (1 + index % 3)}
        values |= {"DOC": 1.5, "feed": 0.5, "material": 1}
        for field in fields:
            mill[0, index][field] = np.full(90, 0.5) if field in CHANNELS else np.array([[float(values[field])]])
    content = io.BytesIO()
    scipy.io.savemat(content, {"mill": mill}, do_compression=True)
    return content.getvalue()


def other_mat() -> bytes:
    """A MATLAB file that holds something else."""
    content = io.BytesIO()
    scipy.io.savemat(content, {"other": np.eye(3)})
    return content.getvalue()


def csv(rows: str = "a,1,5,1.5,0.5,1,0.1\na,2,9,1.5,0.5,1,0.2\n", header: str = HEADER) -> bytes:
    """A tidy CSV file."""
    return (header + rows).encode()


BAD_DATA = {
    "missing-mat": ("absent.mat", None, "no such file"),
    "missing-csv": ("absent.csv", None, "no such file"),
    "unknown-ending": ("mill.xls", b"PK", "expected 'simulator', 'nasa'"),
    "text-named-mat": ("mill.mat", b"case run VB\n1 1 0\n" * 40, "not a whole MATLAB"),
    "mat-without-mill": ("mill.mat", other_mat(), "no variable 'mill'"),
    "mat-with-wrong-fields": ("mill.mat", mat(fields=(*FIELDS, "smcAC")), "no field smcDC"),
    "mat-without-VB": ("mill.mat", mat(fields=(*FIELDS[:2], *FIELDS[3:], *CHANNELS)), "no field VB"),
    "truncated-mat": ("mill.mat", mat()[: len(mat()) // 2], "mill.mat"),
    "empty-mat": ("mill.mat", b"", "mill.mat"),
    "mat-without-labels": ("mill.mat", mat(wear=float("nan")), "at least one label"),
    "csv-with-a-missing-column": ("cuts.csv", csv("a,1,5,1.5,0.5,1\n", "case,run,time,DOC,feed,material\n"), "VB"),
    "csv-without-labels": ("cuts.csv", csv("a,1,5,1.5,0.5,1,\na,2,9,1.5,0.5,1,NaN\n"), "label"),
    "csv-without-rows": ("cuts.csv", csv(""), "cuts.csv"),
    "csv-with-a-word": ("cuts.csv", csv("a,1,5,deep,0.5,1,0.1\n"), "DOC"),
    "empty-csv": ("cuts.csv", b"", "cuts.csv"),
    "binary-named-csv": ("cuts.csv", bytes(range(256)) * 8, "cuts.csv"),
}


def refused(ended: Any, command: str, *words: str, status: int = 2) -> None:
    """The command ended with `status` and, after what progress it made, one line that says these words."""
    assert "Traceback" not in ended.err, ended.err
    assert ended.status == status, f"{ended.status}\n{ended.out}{ended.err}"
    messages = [line for line in ended.err.splitlines() if line.startswith(f"{command}: ")]
    assert messages == [ended.last_word], ended.err
    for word in words:
        assert word in ended.last_word


def test_the_made_files_are_good_where_nothing_is_broken(call: Call, tmp_path: Path) -> None:
    """The files that the cases below break are read without complaint when left whole."""
    for name, content in (("mill.mat", mat()), ("cuts.csv", csv())):
        (tmp_path / name).write_bytes(content)
        ended = call("spinn", "data", "describe", tmp_path / name)
        assert ended.status == 0, ended.err


@pytest.mark.parametrize(("name", "content", "word"), BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data_is_one_line(call: Call, tmp_path: Path, name: str, content: bytes | None, word: str) -> None:
    """`spinn data describe` names the file and what is wrong with it, status 2."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    refused(call("spinn", "data", "describe", tmp_path / name), "spinn", name, word)


def test_bad_data_stops_a_run_before_it_leaves_anything(call: Call, tiny: Path, tmp_path: Path) -> None:
    """`spinn run --data` refuses the same way and creates no folder."""
    (tmp_path / "mill.mat").write_bytes(other_mat())
    ended = call("spinn", "run", tiny, "--data", tmp_path / "mill.mat", "--out", tmp_path / "runs")
    refused(ended, "spinn", "mill.mat", "no variable 'mill'")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("schedule", "check", "--ratios", "1.2", "--layers", "18,8,2"), "1.2"),
        (("schedule", "check", "--ratios", ".3,nan", "--layers", "18,8,2"), "nan"),
        (("schedule", "check", "--ratios", ".3", "--layers", "18,-8,2"), "-8"),
        (("schedule", "check", "--ratios", ".3"), "--layers"),
        (("schedule", "check", "absent.toml"), "absent.toml"),
        (("schedule", "guess"), "guess"),
        (("run",), "EXPERIMENT"),
        (("summary", "absent"), "absent"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_bad_call_is_one_line(call: Call, words: tuple[str, ...], said: str) -> None:
    """Values and words that `spinn` cannot use are named, status 2."""
    refused(call("spinn", *words), "spinn", said)


@pytest.mark.parametrize("command", ["spinn-verify records", "spinn-artifacts build", "spinn-artifacts check"])
def test_a_folder_that_is_not_there_is_one_line(call: Call, tmp_path: Path, command: str) -> None:
    """Audit, build and check name the folder that they did not find, status 2."""
    program, verb = command.split()
    out = ("--out", tmp_path / "paper") if verb == "build" else ()
    refused(call(program, verb, tmp_path / "absent", *out), program, "absent")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[dense]\nepochs = 20", "[dense]\nepochs = 20\nepochz = 3", "epochz"),
        ('name = "tiny"', 'name = "tiny"\nlayerz = [1]', "layerz"),
        ('ratio = "0.30"', 'ratio = "1.2"', "1.2"),
        ("layers = [18, 8, 6, 2]", "layers = [18, 8, 6, 3]", "layers"),
        ("seeds = [3]", "seeds = []", "seeds"),
        ("[split]", "[split", "not a TOML file"),
    ],
    ids=["unknown-key-in-a-table", "unknown-key", "ratio", "width-of-the-output", "no-seed", "not-toml"],
)
def test_a_bad_experiment_file_is_one_line(
    call: Call, tiny_text: str, tmp_path: Path, old: str, new: str, said: str
) -> None:
    """`spinn run` names the file and the key, status 2, and creates no folder."""
    assert old in tiny_text
    path = tmp_path / "broken.toml"
    path.write_text(tiny_text.replace(old, new, 1))
    refused(call("spinn", "run", path, "--out", tmp_path / "runs", "--device", "cpu"), "spinn", said)
    assert not (tmp_path / "runs").exists()


# --- disks and damage, on finished work -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(call: Call, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny experiment, finished; no test changes it."""
    out = tmp_path_factory.mktemp("finished") / "runs"
    ended = call("spinn", "run", tiny, "--out", out, "--device", "cpu")
    assert ended.status == 0, ended.err
    return out


def blocks(folder: Path) -> int:
    """KiB that the files below `folder` take on a tmpfs, in pages of 4 KiB."""
    return sum(4 * (1 + path.stat().st_size // 4096) for path in folder.rglob("*") if path.is_file())


def finished_networks(out: Path) -> list[Path]:
    """Dense networks of the variants all of whose runs have one on record: they train together, or not at all."""
    folders = {path.parent for name in (RECORD, "progress.json") for path in out.glob(f"runs/*/{name}")}
    whole = [v for v in ("sparse", "first-version") if sum(folder.name.startswith(v) for folder in folders) == 2]
    return [folder / "dense.safetensors" for folder in folders if folder.name.startswith(tuple(whole))]


@pytest.mark.parametrize("share", [0.02, 0.6])
def test_a_full_disk_is_one_line_and_loses_nothing(
    call: Call, disk: Call, digests: Call, runs: Path, tiny: Path, share: float
) -> None:
    """On a disk too small for the runs: status 2, one message; with room, the same command ends as if undisturbed."""
    out = disk(f"size={4 * int(blocks(runs) * share / 4)}k") / "runs"
    ended = call("spinn", "run", tiny, "--out", out, "--device", "cpu")
    assert ended.status == 2, ended.err
    assert "Traceback" not in ended.err
    assert "no space left" in ended.last_word
    written = {path: path.stat().st_mtime_ns for path in finished_networks(out)}
    disk("size=64m")
    ended = call("spinn", "run", tiny, "--out", out, "--device", "cpu")
    assert ended.status == 0, ended.err
    assert digests(out) == digests(runs)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert written or share < 0.5
    assert not list(out.rglob(".*")), "a file that was never finished is left behind"


def test_a_read_only_disk_is_one_line(call: Call, disk: Call, tiny: Path) -> None:
    """A mount that cannot be written to as output: status 2, said so, and nothing was trained first."""
    disk("size=1m")
    out = disk("ro") / "runs"
    refused(call("spinn", "run", tiny, "--out", out, "--device", "cpu"), "spinn", "read-only")


def test_finished_runs_on_a_read_only_disk_can_be_audited_but_not_built_there(
    call: Call, disk: Call, runs: Path, tmp_path: Path
) -> None:
    """An audit needs no room for its cache; building onto the same disk is refused with one line."""
    where = disk("size=64m")
    shutil.copytree(runs, where / "runs")
    (where / "runs" / "audit.json").unlink(missing_ok=True)
    disk("ro")
    ended = call("spinn-verify", "records", where / "runs")
    assert ended.status == 0, ended.out + ended.err
    assert call("spinn-artifacts", "build", where / "runs", "--out", tmp_path / "paper").status == 0
    refused(call("spinn-artifacts", "build", where / "runs", "--out", where / "p"), "spinn-artifacts", "read-only")


def test_a_full_disk_under_the_builder_is_one_line(call: Call, disk: Call, runs: Path, tmp_path: Path) -> None:
    """`spinn-artifacts build` onto a disk of one page: status 2, and with room it builds."""
    out = disk("size=32k") / "paper"
    ended = call("spinn-artifacts", "build", runs, "--out", out)
    assert ended.status == 2, ended.err
    assert "Traceback" not in ended.err
    assert "no space left" in ended.last_word
    disk("size=64m")
    assert call("spinn-artifacts", "build", runs, "--out", out).status == 0
    assert call("spinn-artifacts", "check", out).status == 0


@pytest.mark.parametrize("name", ["dense.safetensors", "stage-4.safetensors", "predictions.csv", "history.csv"])
def test_a_tampered_file_fails_the_audit(call: Call, runs: Path, tmp_path: Path, name: str) -> None:
    """One changed byte in a recorded file: `spinn-verify records` ends with status 1 and names the file."""
    out = tmp_path / "runs"
    shutil.copytree(runs, out)
    path = sorted(out.glob(f"runs/*/{name}"))[0]
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    ended = call("spinn-verify", "records", out)
    assert ended.status == 1, ended.out + ended.err
    assert "Traceback" not in ended.err
    assert name in ended.out + ended.err
    assert path.parent.name in ended.out + ended.err


@pytest.mark.parametrize(
    ("name", "length"), [("stage-2.safetensors", 40), (RECORD, 200), ("predictions.csv", 100), ("plan.json", 300)]
)
def test_a_truncated_file_ends_without_a_traceback(
    call: Call, runs: Path, tmp_path: Path, name: str, length: int
) -> None:
    """A file of the runs cut short is named by the audit: status 1, or 2 where nothing is left to judge by."""
    out = tmp_path / "runs"
    shutil.copytree(runs, out)
    path = sorted(out.rglob(name))[0]
    path.write_bytes(path.read_bytes()[:length])
    ended = call("spinn-verify", "records", out)
    assert ended.status in (1, 2), ended.out + ended.err
    assert "Traceback" not in ended.err
    assert name in ended.out + ended.err


def test_a_tampered_checkpoint_is_not_gone_on_from(call: Call, runs: Path, tiny: Path, tmp_path: Path) -> None:
    """Rolling back to a stage whose network was changed is refused with status 1 and the file's name."""
    out = tmp_path / "runs"
    shutil.copytree(runs, out)
    path = sorted(out.glob("runs/*/stage-2.safetensors"))[0]
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    ended = call("spinn", "run", tiny, "--out", out, "--device", "cpu", "--from-stage", "2")
    assert ended.status == 1, ended.err
    assert "Traceback" not in ended.err
    assert "stage-2.safetensors" in ended.last_word
