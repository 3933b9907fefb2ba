"""The command line: statuses, JSON on standard output, one line for a wrong call."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from artifacts import typeset
from artifacts.cli import main
from spinn.storage import digest_file


def call(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> tuple[int, str, str]:
    """Status, standard output and standard error of a call."""
    monkeypatch.setattr("sys.argv", ["spinn-artifacts", *arguments])
    with pytest.raises(SystemExit, match=r"^\d+$") as ended:
        main()
    printed = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, printed.out, printed.err


def test_build_prints_the_tables_and_where_the_report_lies(honest: Path, out: Path, monkeypatch, capsys):
    """Status 0; schedule, before/after, accuracy and cost are readable; the report is named."""
    status, text, _ = call(["build", str(honest), "--out", str(out)], monkeypatch, capsys)
    assert status == 0
    for caption in ("Pruning schedule", "Each way of pruning", "Accuracy on held-out cases", "Cost of training"):
        assert caption in text
    assert text.strip().endswith(f"nothing had changed; the report is {out / 'report.html'}")


def test_build_as_json(honest: Path, out: Path, monkeypatch, capsys):
    """--json gives the verdict and what was written, and nothing else on standard output."""
    status, text, _ = call(["build", str(honest), "--out", str(out), "--json"], monkeypatch, capsys)
    assert status == 0
    report = str(out / "report.html")
    assert json.loads(text) == {"holds": True, "report": report, "written": [], "removed": [], "faults": []}


def test_pages_that_do_not_hold_are_told_and_all_else_is_there(honest: Path, out: Path, monkeypatch, capsys):
    """Status 1 and a line for each PDF, each time; no line, and status 0, once LaTeX makes them."""

    def too_wide(name: str, files: object, most_pages: int | None = None) -> bytes:
        raise typeset.TypesetError(f"{name}.pdf: 99.9 pt too wide in paragraph at lines 3--4")

    monkeypatch.setattr(typeset, "missing", str)
    monkeypatch.setattr(typeset, "version", lambda: "LaTeX of this test")
    monkeypatch.setattr(typeset, "typeset", too_wide)
    before = {path for path in out.rglob("*") if path.is_file()}
    (out / "paper.pdf").write_bytes(b"of an earlier build")
    build = ["build", str(honest), "--out", str(out)]
    status, text, errors = call(build, monkeypatch, capsys)
    assert status == 1
    assert "Accuracy on held-out cases" in text
    assert errors.splitlines() == [
        f"{name}.pdf: 99.9 pt too wide in paragraph at lines 3--4; it was not written, all else was; "
        f"to see it: latexmk -pdf -cd {out}/paper/{name}.tex"
        for name in ("paper", "supplement")
    ]
    assert {path for path in out.rglob("*") if path.is_file()} == before
    assert call(["check", str(out)], monkeypatch, capsys)[0] == 0
    status, text, again = call([*build, "--json"], monkeypatch, capsys)
    assert (status, again, json.loads(text)["faults"]) == (1, errors, errors.splitlines())
    monkeypatch.setattr(typeset, "typeset", lambda *_: b"%PDF")
    assert call(build, monkeypatch, capsys)[::2] == (0, "")
    assert (out / "paper.pdf").read_bytes() == b"%PDF"
    assert "nothing had changed" in call(build, monkeypatch, capsys)[1]


def test_check_names_the_changed_file(out: Path, monkeypatch, capsys):
    """Status 0 and a line; then 1 and the path of the file that was changed."""
    assert call(["check", str(out)], monkeypatch, capsys)[0] == 0
    (out / "tables" / "accuracy.md").write_text("better")
    status, text, _ = call(["check", str(out)], monkeypatch, capsys)
    assert status == 1
    assert str(out / "tables" / "accuracy.md") in text
    status, text, _ = call(["check", str(out), "--json"], monkeypatch, capsys)
    assert status == 1
    assert {problem["file"] for problem in json.loads(text)["problems"]} == {"tables/accuracy.md"}


def test_a_history_of_benchmarks_is_printed(
    honest: Path, history: Path, built_with_benchmarks: Path, monkeypatch, capsys
):
    """--benchmarks is a part of the build: nothing had changed, and the targets are in brief on standard output."""
    arguments = ["build", str(honest), "--out", str(built_with_benchmarks), "--benchmarks", str(history)]
    status, text, _ = call(arguments, monkeypatch, capsys)
    assert status == 0
    assert "nothing had changed" in text
    assert [line.split()[-1] for line in text.splitlines() if "share of the products" in line] == ["missed"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; --benchmarks names a history of benchmarks"),
        ("", "no report in it"),
        ('{"name": "train"}\n', "line 1: not a benchmark's report: time: field required"),
    ],
)
def test_a_bad_history_is_one_line_and_status_2(honest: Path, content, message, tmp_path: Path, monkeypatch, capsys):
    """Nothing on standard output, and nothing is built."""
    path = tmp_path / "history.jsonl"
    if content is not None:
        path.write_text(content)
    arguments = ["build", str(honest), "--out", str(tmp_path / "out"), "--benchmarks", str(path)]
    status, text, error = call(arguments, monkeypatch, capsys)
    assert (status, text) == (2, "")
    assert f"{path}" in error
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "nowhere", "--out", "out"], "no such file"),
        (["build", "nowhere"], "--out"),
        (["check", "nowhere"], "build.json: no such file"),
        (["paint"], "No such command"),
    ],
)
def test_wrong_calls_are_one_line_and_status_2(arguments, message, tmp_path, monkeypatch, capsys):
    """Bad input ends with one clear line on standard error, and nothing on standard output."""
    monkeypatch.chdir(tmp_path)
    status, text, error = call(arguments, monkeypatch, capsys)
    assert (status, text) == (2, "")
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_an_output_folder_that_is_a_file(honest: Path, tmp_path: Path, monkeypatch, capsys):
    """A file where the folder should be is one line, status 2."""
    (tmp_path / "out").write_text("")
    status, _, error = call(["build", str(honest), "--out", str(tmp_path / "out")], monkeypatch, capsys)
    assert status == 2
    assert len(error.strip().splitlines()) == 1


def test_a_reference_is_made_and_reproduced(honest: Path, tmp_path: Path, monkeypatch, capsys):
    """Status 0 and a certificate; 1 once a record was edited; 2 where there is no reference."""
    folder, out = tmp_path / "reference", tmp_path / "certificate"
    status, text, _ = call(["reference", str(honest), "--out", str(folder)], monkeypatch, capsys)
    assert status == 0
    assert text.startswith(f"{folder}: ")
    arguments = ["reproduce", str(honest), "--reference", str(folder), "--out", str(out)]
    status, text, _ = call(arguments, monkeypatch, capsys)
    assert status == 0
    assert text.startswith("reproduced\n")
    assert json.loads((out / "certificate.json").read_text())["holds"] is True
    claims = json.loads((folder / "claims.json").read_text())
    claims[0]["threshold"] = [0, 1]
    (folder / "claims.json").write_text(json.dumps(claims))
    status, text, _ = call([*arguments, "--json"], monkeypatch, capsys)
    assert status == 1
    assert json.loads(text)["refused"][0].startswith("the reference: ")
    status, _, text = call(["reproduce", str(honest), "--reference", str(tmp_path / "none")], monkeypatch, capsys)
    assert status == 2
    assert "no such file" in text


def test_bundle_prints_what_it_wrote(honest: Path, built: Path, tmp_path: Path, monkeypatch, capsys):
    """Status 0, the archive and its digest; 2 and one line for a date that is none; 1 for a changed paper."""
    archive = tmp_path / "spinn.zip"
    words = ["bundle", str(honest), str(built), "--out", str(archive), "--date", "2026-11-27"]
    status, text, _ = call([*words, "--json"], monkeypatch, capsys)
    assert status == 0
    assert json.loads(text)["sha256"] == digest_file(archive)
    status, text, _ = call(words, monkeypatch, capsys)
    assert text.startswith(f"{archive}: ")
    assert text.strip().endswith(digest_file(archive))
    status, _, errors = call([*words[:-1], "tomorrow"], monkeypatch, capsys)
    assert (status, errors.count("\n")) == (2, 1)
    assert "tomorrow" in errors
    changed = Path(shutil.copytree(built, tmp_path / "changed"))
    (changed / "summary.txt").write_text("R² 0.99")
    status, _, errors = call([words[0], words[1], str(changed), *words[3:]], monkeypatch, capsys)
    assert status == 1
    assert "summary.txt: it was changed after the build" in errors


def test_bundle_takes_what_the_build_took(honest: Path, tmp_path: Path, monkeypatch, capsys):
    """--mutants and --reference name for an archive what they named for the build."""
    folder, mutants, out = tmp_path / "kept", tmp_path / "mutants.json", tmp_path / "out"
    mutants.write_text(json.dumps({"mutants": [{"name": "none", "expected": None, "caught_by": []}]}))
    call(["reference", str(honest), "--out", str(folder)], monkeypatch, capsys)
    beside = ["--mutants", str(mutants), "--reference", str(folder)]
    assert call(["build", str(honest), "--out", str(out), *beside], monkeypatch, capsys)[0] == 0
    words = ["bundle", str(honest), str(out), "--out", str(tmp_path / "spinn.zip"), "--date", "2026-11-27"]
    assert call([*words, *beside], monkeypatch, capsys)[0] == 0
    status, _, errors = call([*words, *beside[2:]], monkeypatch, capsys)
    assert (status, errors.count("\n")) == (2, 1)
    assert "name the same with --mutants" in errors
