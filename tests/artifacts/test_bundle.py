"""The bundle: the same bytes each time, checked by its own command where it is unpacked, and nothing refused in it."""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from artifacts.build import build
from artifacts.bundle import bundle
from artifacts.check import check
from artifacts.reference import make
from artifacts.results import RefusedError
from spinn.errors import InputError
from verify.audit import audit

DATE = "2026-11-27"


@pytest.fixture(scope="module")
def archive(honest: Path, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the honest folder; not to be changed."""
    return bundle(honest, built, tmp_path_factory.mktemp("bundle") / "spinn.zip", date=DATE).path


@pytest.fixture
def unpacked(archive: Path, tmp_path: Path) -> Path:
    """The bundle unpacked elsewhere, to change."""
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path)
    return tmp_path / "spinn-fabricated"


@pytest.fixture(scope="module")
def beside(honest: Path, history: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a paper can print beside the runs, by the option that names it; not to be changed."""
    folder = tmp_path_factory.mktemp("beside")
    mutants = folder / "as-printed.json"
    mutants.write_text(json.dumps({"mutants": [{"name": "none", "expected": None, "caught_by": []}]}))
    make(honest, folder / "kept")
    return {"benchmarks": history, "mutants": mutants, "reference": folder / "kept"}


@pytest.fixture(scope="module")
def built_beside(honest: Path, beside: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build makes of the honest folder and of all that; not to be changed."""
    out = tmp_path_factory.mktemp("built")
    build(honest, out, **beside)
    return out


def own_check(folder: Path) -> int:
    """The status of the first command that the README in the bundle names."""
    readme = (folder / "README.md").read_text()
    command = readme.partition("```bash\n")[2].partition("\n```")[0]
    assert "sha256sum" in command
    return subprocess.run(["sh", "-c", command], cwd=folder, check=False, capture_output=True).returncode


with_sha256sum = pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum (GNU coreutils) here")


@with_sha256sum
def test_its_own_check_passes_and_fails_after_one_byte(unpacked: Path):
    """Unpacked elsewhere its check command holds; after one changed byte in any kind of file it does not."""
    assert own_check(unpacked) == 0
    names = ["README.md", "CITATION.cff", "ro-crate-metadata.json", "environment.json", "SHA256SUMS", "constraints.txt"]
    names += ["paper/report.html", "paper/build.json", "paper/figures/losses.pdf", "paper/tables/accuracy.csv"]
    names += ["records/plan.json", "records/runs/sparse-f00-s0/predictions.csv", "records/baselines/mean.csv"]
    for name in names:
        content = (unpacked / name).read_bytes()
        at = len(content) // 2
        changed = b"0" if content[at : at + 1] != b"0" else b"1"
        (unpacked / name).write_bytes(content[:at] + changed + content[at + 1 :])
        assert own_check(unpacked) != 0, name
        (unpacked / name).write_bytes(content)
    assert own_check(unpacked) == 0
    (unpacked / "extra").symlink_to("/etc")
    assert own_check(unpacked) != 0
    (unpacked / "extra").unlink()
    (unpacked / "LICENSE").unlink()
    assert own_check(unpacked) != 0


@pytest.mark.usefixtures("latex")
def test_its_pdfs_are_set_again_from_their_latex(honest: Path, archive: Path, tmp_path: Path):
    """By the README's command, to the same bytes; of another text to others; where there is no PDF it is not named."""
    build(honest, tmp_path / "built")
    made = bundle(honest, tmp_path / "built", tmp_path / "spinn.zip", date=DATE)
    with zipfile.ZipFile(made.path) as opened:
        opened.extractall(tmp_path)
    folder = tmp_path / "spinn-fabricated"
    (command,) = re.findall(r"```bash\n([^`]*latexmk[^`]*)```", (folder / "README.md").read_text())
    assert (
        subprocess.run(["sh", "-c", command], cwd=folder / "paper", check=False).returncode != 0
    )  # as it stands there
    assert subprocess.run(["sh", "-c", command], cwd=folder, check=False).returncode == 0
    source = folder / "paper" / "paper" / "supplement.tex"
    source.write_text(source.read_text().replace("audited records", "other records", 1))
    assert subprocess.run(["sh", "-c", command], cwd=folder, check=False).returncode != 0
    with zipfile.ZipFile(archive) as opened:
        assert b"latexmk" not in opened.read("spinn-fabricated/README.md")


@with_sha256sum
def test_no_file_escapes_its_own_check_by_a_change_of_the_list(unpacked: Path):
    """A line taken away, twice there or of another name, and the file it was of changed too: each is seen."""
    path = unpacked / "SHA256SUMS"
    lines = path.read_text().splitlines(keepends=True)
    victim = unpacked / "paper" / "summary.txt"
    at = next(index for index, line in enumerate(lines) if line.endswith("  ./paper/summary.txt\n"))
    before, line, after = lines[:at], lines[at], lines[at + 1 :]
    lists = {
        "taken away": [*before, *after],
        "another name": [*before, line.replace("summary", "summery"), *after],
        "a comment": [*before, f"# {line}", *after],
        "twice": [*before, line, line, *after],
        "no end": [*lines[:-1], lines[-1].removesuffix("\n")],
        "nothing": [],
    }
    for content in (victim.read_bytes(), victim.read_bytes() + b"R2 0.99\n"):
        victim.write_bytes(content)
        for how, changed in lists.items():
            path.write_text("".join(changed))
            assert own_check(unpacked) != 0, how


@with_sha256sum
def test_a_file_more_is_seen(unpacked: Path):
    """Hidden ones, links and ones below a new folder too; the README says that the audit leaves one."""
    for name in (".hidden", "paper/tables/another.csv", "records/runs/another/record.json"):
        (unpacked / name).parent.mkdir(exist_ok=True)
        (unpacked / name).write_text("more")
        assert own_check(unpacked) != 0, name
        (unpacked / name).unlink()
    (unpacked / "link").symlink_to("LICENSE")
    assert own_check(unpacked) != 0
    (unpacked / "link").unlink()
    assert own_check(unpacked) == 0
    audit(unpacked / "records")
    assert own_check(unpacked) != 0
    assert "The commands below leave files behind" in (unpacked / "README.md").read_text()


def test_records_and_paper_hold_where_it_is_unpacked(unpacked: Path):
    """Without weights the audit holds and says what it could not look at; the paper is as it was built."""
    verdict = audit(unpacked / "records")
    assert verdict.holds
    assert any(finding.severity == "unchecked" for finding in verdict.findings)
    assert check(unpacked / "paper") == ()
    assert not list(unpacked.rglob("*.safetensors"))


def test_with_weights_the_predictions_can_be_replayed(honest: Path, built: Path, tmp_path: Path):
    """`weights` puts every network in, and the README names the replay."""
    made = bundle(honest, built, tmp_path / "spinn.zip", date=DATE, weights=True)
    with zipfile.ZipFile(made.path) as opened:
        opened.extractall(tmp_path)
    folder = tmp_path / "spinn-fabricated"
    assert "spinn-verify records records --replay" in (folder / "README.md").read_text()
    verdict = audit(folder / "records", replay=True)
    assert verdict.holds
    assert not any(finding.check == "predictions-replayed" for finding in verdict.findings)


def test_the_same_inputs_give_the_same_bytes(archive: Path, honest: Path, built: Path, tmp_path: Path):
    """Times of files, the folder's name and the archive's do not matter, nor whether the paper was built again."""
    runs = Path(shutil.copytree(honest, tmp_path / "elsewhere", copy_function=shutil.copy))
    paper = Path(shutil.copytree(built, tmp_path / "another", copy_function=shutil.copy))
    (tmp_path / "another" / "notes.txt").write_text("not built, not bundled")
    again = bundle(runs, paper, tmp_path / "other.zip", date=DATE)
    assert again.path.read_bytes() == archive.read_bytes()
    build(runs, tmp_path / "built")
    anew = bundle(runs, tmp_path / "built", tmp_path / "anew.zip", date=DATE)
    assert anew.path.read_bytes() == archive.read_bytes()
    assert again.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()


@with_sha256sum
def test_compressed_records_go_in_as_they_are(honest: Path, built: Path, tmp_path: Path):
    """As a reference keeps them; unpacked, they hold as well."""
    runs = Path(shutil.copytree(honest, tmp_path / "runs"))
    for path in [*runs.glob("runs/*/*.json"), *runs.glob("runs/*/*.csv")]:
        path.with_name(f"{path.name}.xz").write_bytes(lzma.compress(path.read_bytes()))
        path.unlink()
    made = bundle(runs, built, tmp_path / "spinn.zip", date=DATE)
    with zipfile.ZipFile(made.path) as opened:
        opened.extractall(tmp_path)
    unpacked = tmp_path / "spinn-fabricated"
    assert own_check(unpacked) == 0
    assert audit(unpacked / "records").holds
    assert sorted(path.name for path in unpacked.glob("records/runs/*/*.xz")) == sorted(
        path.name for path in runs.glob("runs/*/*.xz")
    )
    (runs / "runs" / "sparse-f00-s0" / "record.json.xz").unlink()
    with pytest.raises(RefusedError):
        bundle(runs, built, tmp_path / "other.zip", date=DATE)


@with_sha256sum
def test_what_the_paper_prints_beside_the_runs_goes_in(
    honest: Path, beside: dict[str, Any], built_beside: Path, tmp_path: Path
):
    """Benchmarks, mutants and reference: as they were built from, described, checked, the same bytes each time."""
    made = bundle(honest, built_beside, tmp_path / "spinn.zip", date=DATE, **beside)
    again = bundle(honest, built_beside, tmp_path / "again.zip", date=DATE, **beside)
    assert again.path.read_bytes() == made.path.read_bytes()
    with zipfile.ZipFile(made.path) as opened:
        opened.extractall(tmp_path)
    folder = tmp_path / "spinn-fabricated"
    assert own_check(folder) == 0
    assert check(folder / "paper") == ()
    assert audit(folder / "records").holds
    assert audit(folder / "reference").holds
    for place in ("records", "reference"):
        (folder / place / "audit.json").unlink()
    read = json.loads((folder / "paper" / "build.json").read_bytes())["inputs"]["records"]
    parts = {part["@id"] for part in json.loads((folder / "ro-crate-metadata.json").read_bytes())["@graph"]}
    files = {"benchmarks/history.jsonl": beside["benchmarks"], "mutants.json": beside["mutants"]}
    files["reference/plan.json"] = beside["reference"] / "plan.json"
    told = (folder / "README.md").read_text()
    for name, path in files.items():
        content = (folder / name).read_bytes()
        assert content == path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == read[name]
        assert name in parts
        assert f"| `{name.replace('plan.json', '')}` |" in told
        (folder / name).write_bytes(content.replace(b"e", b"3", 1))
        assert own_check(folder) != 0, name
        (folder / name).write_bytes(content)
    assert own_check(folder) == 0


@pytest.mark.parametrize("option", ["benchmarks", "mutants", "reference"])
def test_what_is_beside_is_named_and_is_what_was_built_from(
    honest: Path, built: Path, beside: dict[str, Any], built_beside: Path, tmp_path: Path, option: str
):
    """Not named, not there, changed since, or never printed: one line with the option, and no archive."""
    out, changed = tmp_path / "spinn.zip", tmp_path / "changed"
    if beside[option].is_dir():
        shutil.copytree(beside[option], changed)
        (changed / "datacard.json").write_bytes((changed / "datacard.json").read_bytes() + b"\n")
    else:
        changed.write_bytes(beside[option].read_bytes() + b"\n")
    others: dict[str, Any] = {name: path for name, path in beside.items() if name != option}
    wrong: tuple[tuple[Path, dict[str, Any], str], ...] = (
        (built_beside, others, f"it was built with --{option}; name the same with --{option}"),
        (built_beside, others | {option: Path("nowhere")}, f"nowhere.*: no such file; --{option} wants the one"),
        (built_beside, others | {option: changed}, r"changed\S*: not the file that .* was built from"),
        (built, {option: beside[option]}, f"was built without it; leave out --{option}"),
    )
    for paper, named, message in wrong:
        with pytest.raises((InputError, RefusedError), match=message):
            bundle(honest, paper, out, date=DATE, **named)
    assert not out.exists()


def test_the_crate_describes_every_file(unpacked: Path):
    """RO-Crate 1.1: a descriptor, a root with licence, authors and date, and each file with its size and sha256."""
    crate = json.loads((unpacked / "ro-crate-metadata.json").read_bytes())
    assert crate["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    by_id = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(by_id) == len(crate["@graph"])
    descriptor, root = by_id["ro-crate-metadata.json"], by_id["./"]
    assert (descriptor["about"], descriptor["conformsTo"]) == ({"@id": "./"}, {"@id": "https://w3id.org/ro/crate/1.1"})
    assert (root["@type"], root["datePublished"]) == ("Dataset", DATE)
    assert by_id[root["license"]["@id"]]["name"] == "MIT"
    assert [by_id[author["@id"]]["name"] for author in root["author"]] == ["The SPINN authors"]
    there = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert {part["@id"] for part in root["hasPart"]} == there - {"ro-crate-metadata.json"}
    for name in there - {"ro-crate-metadata.json", "SHA256SUMS"}:
        content = (unpacked / name).read_bytes()
        assert by_id[name]["sha256"] == hashlib.sha256(content).hexdigest()
        assert by_id[name]["contentSize"] == str(len(content))


def test_environments_name_every_run(unpacked: Path):
    """Each run was made in one of the environments."""
    environments = json.loads((unpacked / "environment.json").read_bytes())
    planned = json.loads((unpacked / "records" / "plan.json").read_bytes())["runs"]
    assert sorted(run for one in environments for run in one["runs"]) == sorted(run["run_id"] for run in planned)
    assert all(one["environment"]["python"] for one in environments)


def test_refused_records_are_not_bundled(runs: Path, built: Path, tmp_path: Path):
    """Records with a changed file give no archive."""
    path = runs / "runs" / "sparse-f00-s0" / "history.csv"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(RefusedError, match=r"the audit found .* error\(s\), the first digests"):
        bundle(runs, built, tmp_path / "spinn.zip", date=DATE)
    assert not (tmp_path / "spinn.zip").exists()


def test_a_changed_paper_is_not_bundled(honest: Path, out: Path, tmp_path: Path):
    """What `check` refuses gives no archive, nor does the report of refused records."""
    (out / "summary.txt").write_text("R² 0.99")
    with pytest.raises(RefusedError, match=r"problem\(s\), the first summary\.txt: it was changed after the build"):
        bundle(honest, out, tmp_path / "spinn.zip", date=DATE)


def test_a_paper_that_says_not_what_it_is_from_is_not_bundled(honest: Path, out: Path, tmp_path: Path):
    """A manifest without inputs is no bundle's; one that names a file of an ablation asks for the ablation."""
    manifest = json.loads((out / "build.json").read_bytes())
    inputs = manifest["inputs"]
    for broken in ({k: v for k, v in manifest.items() if k != "inputs"}, manifest | {"inputs": None}):
        (out / "build.json").write_text(json.dumps(broken))
        with pytest.raises(RefusedError, match="it does not say what the numbers were made from"):
            bundle(honest, out, tmp_path / "b.zip", date=DATE)
    read = inputs["records"] | {"ablation/x": "0" * 64}
    (out / "build.json").write_text(json.dumps(manifest | {"inputs": inputs | {"records": read}}))
    with pytest.raises(InputError, match="it was built with --ablation"):
        bundle(honest, out, tmp_path / "b.zip", date=DATE)


def test_a_paper_of_other_records_is_not_bundled(honest: Path, out: Path, tmp_path: Path):
    """Each record has to be the one that the paper was built from."""
    manifest = json.loads((out / "build.json").read_bytes())
    manifest["inputs"]["records"]["runs/another/history.csv"] = "0" * 64
    (out / "build.json").write_text(json.dumps(manifest))
    assert check(out) == ()
    with pytest.raises(RefusedError, match=r"history\.csv: not the file that .* was built from"):
        bundle(honest, out, tmp_path / "spinn.zip", date=DATE)


def test_what_is_missing_is_named(
    honest: Path, built: Path, built_with_benchmarks: Path, history: Path, tmp_path: Path
):
    """No weights or no history where one is needed: one line that says how to mend it."""
    with pytest.raises(InputError, match="--benchmarks"):
        bundle(honest, built_with_benchmarks, tmp_path / "spinn.zip", date=DATE)
    made = bundle(honest, built_with_benchmarks, tmp_path / "spinn.zip", date=DATE, benchmarks=history)
    with zipfile.ZipFile(made.path) as opened:
        assert opened.read("spinn-fabricated/benchmarks/history.jsonl") == history.read_bytes()
    bare = Path(shutil.copytree(honest, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors")))
    with pytest.raises(InputError, match="there are no weights in it"):
        bundle(bare, built, tmp_path / "spinn.zip", date=DATE, weights=True)
