"""The certificate in a report: computed of both folders as the build runs, traced to both, and nothing read of one."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from artifacts.build import build
from artifacts.certificate import write
from artifacts.check import check
from artifacts.ladder import RUNGS
from artifacts.plans import Differences
from artifacts.reference import make
from artifacts.reproduce import reproduce
from spinn.errors import RecordError
from spinn.storage import digest_file


@pytest.fixture(scope="module")
def reference(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference of the honest folder; not to be changed."""
    folder = tmp_path_factory.mktemp("certificate") / "kept"
    make(honest, folder)
    return folder


def test_its_tables_say_verdict_rungs_and_where_from(honest: Path, reference: Path):
    """The verdict first, each cell counted once, and every number names files of the reference and of the runs."""
    found = reproduce(honest, reference)
    stated, counted = found.tables()
    assert stated.notes[0] == "Reproduced."
    assert f"sha256:{found.reference['sha256']}" in stated.notes[1]
    assert counted.frame[list(RUNGS)].to_numpy().sum() == len(found.cells)
    named = {
        source.partition(" ")[0] for table in (stated, counted) for n in table.numbers().values() for source in n.source
    }
    assert {"reference/plan.json", "reference/sparse", "plan.json", "sparse"} <= named
    path = next(path for path in found.sources()["reference/sparse"] if path.endswith("predictions.csv"))
    kept = reference / f"{path.removeprefix('reference/')}.xz"
    assert found.sources()["reference/sparse"][path] == digest_file(kept.with_suffix(""))


def test_what_was_not_reproduced_not_asked_for_or_not_seen_is_printed(honest: Path, reference: Path):
    """A certificate that fails, or of one seed, does not read like one of all."""
    found = reproduce(honest, reference)
    differences = Differences(plan=("variant sparse: not run",), left_out=("seed 1 of the reference",))
    other = replace(
        found,
        differences=differences,
        reproduction=found.reproduction | {"weights": False},
        claims=(replace(found.claims[0], rung="different"), *found.claims[1:]),
    )
    table = other.tables()[0]
    assert table.notes[0] == "NOT reproduced."
    for told in ("The plan differs: variant sparse: not run.", "Not asked for: seed 1 of the reference."):
        assert told in table.notes
    assert any("has no weights" in note for note in table.notes)
    assert table.frame["rung"].tolist()[0] == "different"
    (alone,) = replace(other, claims=(), cells=()).tables()
    assert alone.notes[0] == "NOT reproduced."
    assert alone.frame["claim"].tolist() == ["none is stated"]
    assert b"none is stated" in alone.latex()


def test_the_build_prints_it_and_the_check_holds_it(honest: Path, reference: Path, out: Path):
    """Its tables are in the page; a number of them with another digit is named; without it all is as before."""
    before = (out / "numbers.json").read_bytes()
    build(honest, out, reference=reference)
    assert 'data-table="certificate-cells"' in (out / "report.html").read_text()
    assert check(out) == ()
    table = out / "tables" / "certificate.csv"
    table.write_text(re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), table.read_text(), count=1))
    assert any("certificate" in str(problem) for problem in check(out))
    build(honest, out)
    assert (out / "numbers.json").read_bytes() == before
    with pytest.raises(RecordError, match=r"nowhere/plan\.json: no such file"):
        build(honest, out, reference=Path("nowhere"))


def test_a_forged_certificate_is_not_looked_at(honest: Path, reference: Path, out: Path, tmp_path: Path):
    """The report has what the records of both folders say; a changed reference is refused, in so many words."""
    ran, changed = tmp_path / "runs", tmp_path / "changed"
    shutil.copytree(honest, ran)
    shutil.copytree(reference, changed)
    made = reproduce(honest, reference)
    forged = replace(made, claims=(replace(made.claims[0], rung="different", reference=123.0), *made.claims[1:]))
    for folder in (ran, changed, out):
        write(forged, folder)
    build(ran, out, reference=changed)
    assert "123.0" not in (out / "tables" / "certificate.csv").read_text()
    claims = json.loads((changed / "claims.json").read_text())
    (changed / "claims.json").write_text(json.dumps([claims[0] | {"threshold": [0, 1]}, *claims[1:]]))
    build(ran, out, reference=changed)
    assert "NOT reproduced" in (out / "report.html").read_text()
    assert "not run" in (out / "tables" / "certificate.csv").read_text()
