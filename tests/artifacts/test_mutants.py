"""The table of mutants: a stored output as it is, missed faults too, and anything else refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from artifacts.build import build
from artifacts.mutants import Mutants
from spinn.errors import RecordError
from spinn.storage import digest_file, digest_of

STORED: list[dict[str, Any]] = [
    {"name": "none", "expected": None, "caught_by": []},
    {"name": "float-rounding", "expected": "ledger-arithmetic", "caught_by": ["ledger-arithmetic", "ledger-achieved"]},
    {"name": "masks-in-hand", "expected": "resurrection", "caught_by": ["masks-monotone"]},
]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """An output of `spinn-verify mutants --json`: one fault caught, one by the wrong check alone."""
    return write(tmp_path / "stored.json", STORED)


def write(path: Path, mutants: Any) -> Path:
    """An output with these mutants."""
    path.write_text(json.dumps({"mutants": mutants}))
    return path


def test_each_fault_has_a_row_with_what_caught_it(stored: Path):
    """The control is clean; a fault that another check alone caught is missed, and the note counts it so."""
    (table,) = Mutants.read(stored).tables()
    assert table.shown()[1:] == [
        ["none", "none: the control", "clean", "–", "0"],
        ["float-rounding", "ledger-arithmetic", "caught", "ledger-achieved", "2"],
        ["masks-in-hand", "resurrection", "MISSED", "masks-monotone", "1"],
    ]
    assert table.notes[0].startswith("1 of 2 faults are caught by the check that is made for them; 3 checks caught one")
    source = f"mutants.json sha256:{digest_of({'mutants.json': digest_file(stored)})}"
    assert {number.source for number in table.numbers().values()} == {(source,)}


def test_a_control_in_which_something_is_found_is_missed(tmp_path: Path):
    """A check that finds faults where there are none is no better than one that misses them."""
    dirty = write(tmp_path / "dirty.json", [{"name": "none", "expected": None, "caught_by": ["digests"]}])
    assert Mutants.read(dirty).tables()[0].shown()[1][2] == "MISSED"


BAD: dict[str, tuple[str, str]] = {
    "no-json": ("{", "bad.json: not JSON"),
    "no-text": ("\udcff", "bad.json: not JSON"),
    "list": ("[]", "not the output of `spinn-verify mutants --json`"),
    "empty": ('{"mutants": []}', "mutants: tuple should have at least 1 item"),
    "unknown": ('{"mutants": [{"name": "a", "expected": "b", "caught_by": [], "holds": true}]}', "holds = True"),
    "twice": (json.dumps({"mutants": [STORED[1]] * 2}), "mutant float-rounding stands in it 2 times, once expected"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_what_is_no_output_is_refused(tmp_path: Path, content: str, message: str):
    """With what is wrong, and how to make it again."""
    path = tmp_path / "bad.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(RecordError, match=f"{re.escape(message)}.*make mutants"):
        Mutants.read(path)


def test_the_build_prints_a_stored_matrix_and_takes_it_away_again(honest: Path, out: Path, stored: Path):
    """Three files and a source more with it; without it all is as before; a file that is not there is refused."""
    before = (out / "numbers.json").read_bytes()
    made = build(honest, out, mutants=stored)
    assert {"tables/mutants.tex", "tables/mutants.csv", "tables/mutants.md"} < set(made.written)
    manifest = json.loads((out / "build.json").read_bytes())
    assert manifest["inputs"]["records"]["mutants.json"] == digest_file(stored)
    assert manifest["sources"]["mutants.json"] == {"mutants.json": digest_file(stored)}
    assert 'data-table="mutants"' in (out / "report.html").read_text()
    assert build(honest, out, mutants=stored).written == ()
    assert len(build(honest, out).removed) == 3
    assert (out / "numbers.json").read_bytes() == before
    with pytest.raises(RecordError, match=r"nowhere\.json: no such file; .* `make mutants`"):
        build(honest, out, mutants=Path("nowhere.json"))
