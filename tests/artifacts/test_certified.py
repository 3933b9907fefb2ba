"""The certificate in a report: its rungs as they were stored, traced to the file; those of other runs are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from artifacts import claims
from artifacts.build import build
from artifacts.certified import CERTIFICATE, Certified
from artifacts.check import check
from artifacts.claims import Outcome
from artifacts.ladder import RUNGS
from artifacts.numbers import Number
from artifacts.reproduce import Certificate, reproduce, write
from artifacts.results import Results
from artifacts.tables import all_tables
from spinn.errors import RecordError
from spinn.record import PLAN, Plan, read_model
from spinn.storage import digest_file


@pytest.fixture(scope="module")
def certificate(honest: Path) -> Certificate:
    """Of runs compared with themselves."""
    return reproduce(honest, honest)


@pytest.fixture
def stored(certificate: Certificate, tmp_path: Path) -> Path:
    """The same as a file."""
    write(certificate, tmp_path)
    return tmp_path / CERTIFICATE


def edited(stored: Path, **changes: Any) -> Path:
    """The file with other values at the top."""
    stored.write_text(json.dumps(json.loads(stored.read_text()) | changes))
    return stored


def test_tables_are_those_of_the_terminal(honest: Path, certificate: Certificate, stored: Path):
    """Row for row and rung for rung, with the verdict in words and the file's digest at each number."""
    read = Certified.read(stored, read_model(honest / PLAN, Plan))
    made, direct = read.tables(), certificate.tables()
    assert [table.name for table in made] == ["certificate", "certificate-cells"]
    assert [table.shown() for table in made] == [table.shown() for table in direct]
    assert made[0].notes[0] == f"Reproduced; the reference is sha256:{certificate.reference['sha256']}."
    counted = made[1].frame[list(RUNGS)].to_numpy().sum()
    assert counted == len(certificate.cells)
    assert all(f"{CERTIFICATE} sha256:" in number.source[0] for table in made for number in table.numbers().values())


def test_what_was_not_reproduced_is_printed_so(honest: Path, stored: Path):
    """The verdict and the rung are what the file says, whatever one wishes."""
    content = json.loads(stored.read_text())
    content["claims"][0]["rung"] = "different"
    read = Certified.read(edited(stored, holds=False, claims=content["claims"]), read_model(honest / PLAN, Plan))
    table = read.tables()[0]
    assert table.notes[0].startswith("NOT reproduced")
    assert table.frame["rung"].tolist()[0] == "different"


def test_what_was_not_asked_for_or_not_seen_is_printed(honest: Path, stored: Path):
    """A certificate of one seed does not read like one of all."""
    content = json.loads(stored.read_text())
    side = content["reproduction"] | {"weights": False}
    read = Certified.read(
        edited(stored, reproduction=side, **{"not asked for": ["seed 1"]}), read_model(honest / PLAN, Plan)
    )
    note = read.tables()[0].notes[0]
    assert "Not asked for: seed 1." in note
    assert "has no weights" in note


@pytest.fixture(scope="module")
def said(found: Results) -> tuple[tuple[Outcome, ...], dict[str, Number]]:
    """What the honest folder says: its claims, and the numbers of its tables."""
    return claims.evaluate(found), {name: n for table in all_tables(found) for name, n in table.numbers().items()}


def test_a_certificate_of_other_values_is_refused(honest: Path, stored: Path, said: Any, tmp_path: Path):
    """One side says what these runs say, claims, verdicts and cells; only the reproduction where not all was asked."""
    plan, content = read_model(honest / PLAN, Plan), json.loads(stored.read_text())
    listed, cells = content["claims"], content["cells"]
    at = next(at for at, one in enumerate(listed) if one["name"] == "wear-r2")
    there = next(at for at, one in enumerate(cells) if one["name"].startswith("accuracy."))
    Certified.read(stored, plan).refuse(*said)

    def forged(kind: str, at: int, **change: Any) -> Certified:
        entries = [one | change if at == index else one for index, one in enumerate(content[kind])]
        holds = all(one["rung"] not in ("different", "not run") for one in entries)
        return Certified.read(edited(stored, **{**content, kind: entries, "holds": holds}), plan)

    value = listed[at]["reference"]
    forged("claims", at, reproduced=2 * value, rung="different").refuse(*said)
    forged("claims", at, reference=2 * value, rung="different").refuse(*said)
    both = dict.fromkeys(("reference", "reproduced"), 2 * value)
    same = dict.fromkeys(("reference", "reproduced"), "not decidable")
    with pytest.raises(RecordError, match=r"certificate\.json: claim wear-r2 is .* in it, and .* by these runs; give"):
        forged("claims", at, **both).refuse(*said)
    with pytest.raises(RecordError, match=r"claim wear-r2 is .* \(not decidable\) in it, and"):
        forged("claims", at, verdicts=same).refuse(*said)
    with pytest.raises(RecordError, match=r"accuracy\.\S+ is 123\.0 in it, and"):
        forged("cells", there, reference=123.0, reproduced=123.0).refuse(*said)
    with pytest.raises(RecordError, match=r"is None in it, and"):
        Certified.read(edited(stored, **{**content, "cells": cells[-1:]}), plan).refuse(*said)
    content["not asked for"] = ["seed 1"]
    forged("claims", at, reference=2 * value, rung="different").refuse(*said)
    with pytest.raises(RecordError, match="claim wear-r2 is"):
        forged("claims", at, reproduced=2 * value, rung="different").refuse(*said)
    del content["not asked for"]
    forged("claims", at, **both)
    with pytest.raises(RecordError, match="claim wear-r2 is"):
        build(honest, tmp_path / "out", certificate=stored)


def test_a_rung_that_the_margin_does_not_allow_is_refused(honest: Path, stored: Path, said: Any):
    """Whoever puts a claim on a rung has the margin against him that the claim fixed before the runs."""
    plan, listed = read_model(honest / PLAN, Plan), json.loads(stored.read_text())["claims"]
    at = next(at for at, one in enumerate(listed) if one["name"] == "wear-r2")
    changes: list[tuple[dict[str, Any], str]] = [
        ({"rung": "incomparable"}, "incomparable, and its margin is 0.02"),
        ({"rung": "within tolerance", "tolerance": 5.0}, "are further apart than its margin, 0.02"),
        ({"rung": "equivalent", "test": {"p": 0.01, "power": 0.9}}, "are further apart than its margin, 0.02"),
    ]
    for change, message in changes:
        other = listed[at] | change | {"reproduced": listed[at]["reference"] - 0.3}
        read = Certified.read(edited(stored, claims=[*listed[:at], other, *listed[at + 1 :]]), plan)
        with pytest.raises(RecordError, match=f"claim wear-r2: .*{message}"):
            read.refuse(*said)


def test_the_build_prints_it_and_the_check_holds_it(honest: Path, out: Path, stored: Path):
    """Its tables are in the page; a number of them with another digit is named; without it all is as before."""
    before = (out / "numbers.json").read_bytes()
    build(honest, out, certificate=stored)
    assert 'data-table="certificate-cells"' in (out / "report.html").read_text()
    manifest = json.loads((out / "build.json").read_bytes())
    assert manifest["sources"][CERTIFICATE] == {CERTIFICATE: digest_file(stored)}
    assert check(out) == ()
    table = out / "tables" / "certificate.csv"
    table.write_text(re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), table.read_text(), count=1))
    assert any("certificate" in str(problem) for problem in check(out))
    build(honest, out)
    assert (out / "numbers.json").read_bytes() == before
    with pytest.raises(RecordError, match=r"nowhere\.json: no such file; .* `make reproduce`"):
        build(honest, out, certificate=Path("nowhere.json"))


FORGED: dict[str, tuple[dict[str, Any], str]] = {
    "a rung too high": (
        {"rung": "bitwise", "reference": 0.719, "reproduced": 0.9},
        "0.719 and 0.9 are not bitwise equal",
    ),
    "nothing as bitwise": ({"rung": "bitwise", "reference": 0.719, "reproduced": None}, "are not bitwise equal"),
    "beyond its tolerance": (
        {"rung": "within tolerance", "reference": 0.719, "reproduced": 99.0, "tolerance": 0.01},
        "0.719 and 99.0 are not within a tolerance of 0.01",
    ),
    "no tolerance": ({"rung": "within tolerance", "tolerance": None}, "are not within a tolerance of None"),
    "a test that shows nothing": ({"rung": "equivalent", "test": {"p": 0.99, "power": 0.1}}, "equivalent by no test"),
    "two verdicts": (
        {"verdicts": {"reference": "holds", "reproduced": "fails"}},
        "bitwise, with two verdicts: holds, fails",
    ),
    "no test": ({"rung": "equivalent", "test": None}, "equivalent by no test"),
    "a verdict that is not its own": ({"rung": "different"}, "holds = true, and what speaks against it is"),
}


@pytest.mark.parametrize(("change", "message"), FORGED.values(), ids=FORGED)
def test_a_certificate_that_contradicts_itself_is_refused(
    honest: Path, stored: Path, change: dict[str, Any], message: str
):
    """What it says of a claim has to be what its values are, and its verdict what the claims are."""
    listed = json.loads(stored.read_text())["claims"]
    listed[0] |= change
    with pytest.raises(RecordError, match=re.escape(message)):
        Certified.read(edited(stored, claims=listed), read_model(honest / PLAN, Plan))


def test_a_verdict_is_made_again_from_all_of_the_certificate(honest: Path, stored: Path):
    """A difference of the plans, a refusal, a claim that is left out: none can stand beside `holds`."""
    plan, listed = read_model(honest / PLAN, Plan), json.loads(stored.read_text())["claims"]
    for change in ({"plan": ["seeds: 2 in the reference, 1 here"]}, {"refused": ["the audit"]}, {"holds": False}):
        kept = stored.read_text()
        with pytest.raises(RecordError, match="what speaks against it is"):
            Certified.read(edited(stored, **change), plan)
        stored.write_text(kept)
    with pytest.raises(RecordError, match="each claim and each number of the tables expected once"):
        Certified.read(edited(stored, claims=[*listed, listed[0]]), plan)
    with pytest.raises(RecordError, match=f"claim {listed[0]['name']} of the plan is not in it"):
        Certified.read(edited(stored, claims=listed[1:]), plan)


_SIDES = (
    '"holds": true, "refused": [], "plan": [], "reference": {"plan": "0123456789abcdef"}, '
    '"reproduction": {"plan": "fedcba9876543210"}'
)
BAD: dict[str, tuple[str, str]] = {
    "no-json": ("{", "not JSON"),
    "list": ("[]", "not the output of `spinn-artifacts reproduce`"),
    "no-claims": (f'{{{_SIDES}, "cells": []}}', "claims"),
    "no-rung": (
        f'{{{_SIDES}, "cells": [], "claims": [{{"name": "a", "rung": "nearly", "reference": 1, "reproduced": 1}}]}}',
        "claims.0.rung",
    ),
    "others": (
        f'{{{_SIDES}, "claims": [], "cells": [{{"name": "a", "rung": "bitwise", "reference": 1, "reproduced": 1}}]}}',
        "a certificate of the plans 0123456789ab and fedcba987654, and these runs are of",
    ),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_what_is_no_certificate_of_these_runs_is_refused(honest: Path, tmp_path: Path, content: str, message: str):
    """With what is wrong."""
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=f"bad.json: .*{re.escape(message)}"):
        Certified.read(path, read_model(honest / PLAN, Plan))
