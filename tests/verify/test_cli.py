"""`spinn-verify records` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from spinn.record import RECORD
from verify import cli
from verify.findings import Finding, Verdict


def call(*arguments: object) -> subprocess.CompletedProcess:
    """Run the command in a process of its own."""
    code = "from verify.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_honest_runs_end_with_status_0(runs) -> None:
    """The table lists every check; the last line is the verdict."""
    done = call("records", runs.path, "--replay")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "the audit holds: 0 errors, 16 declared findings"
    assert "predictions-replayed" in done.stdout
    assert done.stderr == ""


def test_failed_audit_ends_with_status_1(runs) -> None:
    """Findings of many runs are one line, with the first message."""
    for run_id in runs.names("sparse"):
        (runs.folder(run_id) / RECORD).unlink()
    done = call("records", runs.path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "the audit FAILS: 4 errors, 16 declared findings"
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("error: planned-runs-present")]
    assert "4 runs (" in line
    assert line.endswith("the first: no run was recorded")


def test_json_is_the_verdict(runs) -> None:
    """`--json` prints holds, findings and expected findings, and nothing else."""
    done = call("records", runs.path, "--json")
    printed = json.loads(done.stdout)
    assert printed.keys() == {"holds", "findings", "expected"}
    assert printed["holds"] is True
    assert {finding["severity"] for finding in printed["findings"]} == {"note"}
    assert {finding["check"] for finding in printed["expected"]} >= {"resurrection"}
    assert printed["expected"][0].keys() == {"check", "severity", "message", "run_id", "data"}


@pytest.mark.parametrize("arguments", [["records"], ["records", "/nowhere/at/all"], ["recods"], ["records", "--jsn"]])
def test_bad_call_ends_with_status_2(arguments: list[str]) -> None:
    """A wrong call is one line on standard error."""
    done = call(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("spinn-verify: ")


def test_names_in_brackets_are_printed_as_they_are(tmp_path) -> None:
    """Of files and tensors: they are no markup, wherever they stand, and between colons no emoji."""
    dense, stage = tmp_path / "[red]d.pt", tmp_path / "s[" / "a].pt"
    stage.parent.mkdir()
    names = ["blk[/conv].weight", "blk[bold].weight", ":bug:.weight", "head[/]"]
    weight = torch.ones(2, 2)
    torch.save(dict.fromkeys(names, weight), dense)
    torch.save({name: weight.clone().fill_diagonal_(0) for name in names}, stage)
    done = call("checkpoints", dense, stage, "--ignore", "head*")
    assert (done.returncode, done.stderr) == (0, "")
    for name in (*names[:3], "[red]d.pt", "a].pt"):
        assert f"│ {name} " in done.stdout or f"┃ {name} " in done.stdout
    assert "not pruned, and not in these counts of weights: head[/]" in done.stdout.splitlines()
    shown = call("checkpoints", dense, tmp_path / "s[" / "[/a].pt")
    assert shown.stderr.endswith(
        "s[/[/a].pt: no such file; expected a state dict (.pt, .pth, .bin, .ckpt or .safetensors)\n"
    )


def test_names_that_are_no_text_are_shown(tmp_path) -> None:
    """Half a character of UTF-16 has no counterpart in what is printed."""
    path = tmp_path / "a.pt"
    torch.save({"a\ud800": torch.ones(2, 2)}, path)
    done = call("checkpoints", path, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "│ a\\ud800 " in done.stdout


FORGED = "{0}\nthe audit holds: 0 errors\r\x1b[8m{0}"
SPELLED = r"{0} the audit holds: 0 errors \x1b[8m{0}"


def test_a_name_is_no_line_of_its_own(tmp_path) -> None:
    """Of tensors and files, wherever they are printed; what JSON has is the name itself."""
    folder = tmp_path / FORGED.format("f")
    folder.mkdir()
    dense, stage = folder / "d.pt", folder / FORGED.format("s.pt")
    weight = torch.ones(2, 2)
    names = [FORGED.format(letter) for letter in "abc"]
    torch.save(dict.fromkeys(names, weight), dense)
    later = {names[0]: weight.clone().fill_diagonal_(0), names[1]: weight * torch.inf, names[2]: weight, "d\n": "text"}
    torch.save({name: value.clone() if value is weight else value for name, value in later.items()}, stage)
    done = call("checkpoints", dense, stage, "--ignore", names[2])
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("the audit")] == ["the audit FAILS: 1 errors"]
    unfolded = done.stdout.replace(" │\n│ ", "")
    for name in (*(SPELLED.format(letter) for letter in "abc"), SPELLED.format("s.pt")):
        assert name in unfolded
    printed = json.loads(call("checkpoints", dense, stage, "--ignore", names[2], "--json").stdout)
    layers = [finding["data"]["layers"] for finding in printed["findings"] if finding["check"] == "sparsity"]
    assert list(layers[0]) == names[:2]
    missing = call("checkpoints", dense, folder / "\nthe audit holds.pt")
    assert len(missing.stderr.splitlines()) == 1


def test_a_message_is_one_line(capsys) -> None:
    """Of records too, whatever their findings say."""
    run, folder = Finding("digests", "error", "a\nb\x1b", "r"), Finding("digests", "note", "a\nb\x1b")
    cli._print(Verdict((run, folder)), replay=False)
    lines = capsys.readouterr().out.splitlines()
    assert {"error: digests: r: a b\\x1b", "note: digests: a b\\x1b"} <= set(lines)


def test_help_ends_with_status_0() -> None:
    """Help is no error."""
    assert call("records", "--help").returncode == 0
