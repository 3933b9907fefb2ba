"""A claim that could not be judged later is refused before anything is trained."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from spinn import experiment
from spinn.claims import refuse
from spinn.errors import InputError

SOUND: dict[str, Any] = {
    "name": "wear-loss",
    "statement": "Pruning costs less than 5 % of it.",
    "value": "r2-loss.VB",
    "comparison": "below",
    "threshold": 5.0,
    "unit": "%",
    "test": "paired-case-bootstrap",
    "margin": 2.0,
    "applies_to": {"targets": ["VB"], "data": ["any"]},
}
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "another threshold": ({"threshold": 7.0}, "claim wear-loss: threshold = 7.0 is not in the statement, which has 5"),
    "another direction": (
        {"comparison": "above"},
        "claim wear-loss: comparison = 'above' is not what the statement says",
    ),
    "no comparison": ({"comparison": "near"}, "claim wear-loss: comparison = 'near': one of at-least, at-most, "),
    "no test": ({"test": ["exact"]}, "claim wear-loss: test = ['exact']: one of exact, "),
    "a range of one": ({"comparison": "within", "threshold": [5.0]}, "two numbers where comparison = 'within'"),
    "another kind": ({"margin": "wide"}, "claim wear-loss: margin"),
    "a name of another kind": ({"name": "Wear Loss"}, "claim Wear Loss: name = 'Wear Loss': string should match"),
}


def test_a_sound_claim_is_let_through():
    """And each of its keys is needed."""
    refuse(SOUND)
    for key in SOUND.keys() - {"name"}:
        with pytest.raises(InputError, match=f"claim wear-loss: {key} is missing"):
            refuse({name: value for name, value in SOUND.items() if name != key})
    with pytest.raises(InputError, match="'wear-loss': a table of what a claim states expected"):
        refuse("wear-loss")


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS)
def test_what_contradicts_itself_is_refused(change: dict[str, Any], message: str):
    """With the claim's name and what was expected."""
    with pytest.raises(InputError, match=re.escape(message)):
        refuse(SOUND | change)


def test_claims_are_refused_where_they_are_loaded(tmp_path: Path):
    """Before a plan is made: the file is named, and so is a name that stands there twice."""
    planned = experiment.load(Path(__file__).parents[2] / "paper" / "experiments" / "smoke.toml")
    planned = planned.model_copy(update={"claims": "claims.toml"})

    def write(*claims: dict[str, Any]) -> None:
        lines = []
        for claim in claims:
            lines += ["[[claim]]", *(f"{key} = {_toml(value)}" for key, value in claim.items())]
        (tmp_path / "claims.toml").write_text("\n".join(lines) + "\n")

    write(SOUND)
    assert experiment.load_claims(tmp_path / "e.toml", planned) == [SOUND]
    write(SOUND, SOUND | {"threshold": 7.0, "name": "other"})
    with pytest.raises(InputError, match=r"claims\.toml: claim other: threshold = 7\.0 is not in the statement"):
        experiment.load_claims(tmp_path / "e.toml", planned)
    write(SOUND, SOUND)
    with pytest.raises(InputError, match=r"claims\.toml: claim wear-loss stands there twice"):
        experiment.load_claims(tmp_path / "e.toml", planned)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)
