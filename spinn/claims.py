"""What a claim has to state before any run: all of it, each thing of its kind, and nothing twice in two ways.

Knows the form of a claim (`paper/claims.toml` says what each key means), nothing of what is measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from spinn.documents import read_stated
from spinn.errors import InputError
from spinn.record import CLAIM_NAME, first_problem
from spinn.statements import PHRASES, contradiction
from spinn.storage import canonical_json

COMPARISONS = tuple(PHRASES)
TESTS = ("exact", "point", "case-bootstrap", "paired-case-bootstrap", "interval")


class Claim(BaseModel):
    """What a claim states, so that nothing in it is taken for what it is not: its name stands in LaTeX as it is."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    name: str = Field(pattern=f"^{CLAIM_NAME}$", max_length=100)
    statement: str
    value: str
    comparison: str
    threshold: float | list[float]
    unit: str
    test: str
    margin: float | Literal["none"]
    applies_to: dict[str, list[str]]

    @model_validator(mode="after")
    def _bounds(self) -> Claim:
        both = isinstance(self.threshold, list)
        if both != (self.comparison == "within") or (isinstance(self.threshold, list) and len(self.threshold) != 2):
            raise ValueError(f"threshold = {self.threshold}: two numbers where comparison = 'within', else one")
        return self

    @model_validator(mode="after")
    def _statement(self) -> Claim:
        bounds = self.threshold if isinstance(self.threshold, list) else [self.threshold]
        told = contradiction(self.statement, self.comparison, bounds)
        if told:
            raise ValueError(f"{told}: the same expected of both")
        return self


def read(path: Path) -> list[dict[str, Any]]:
    """The claims of a file.

    Raises:
        InputError: it cannot be read, has something else in it, or a claim that `refuse` refuses.
    """
    stated = read_stated(path, "paper/claims.toml").get("claim", [])
    try:
        canonical_json(stated)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: a value that JSON cannot spell ({error}); use finite numbers and text") from None
    if not isinstance(stated, list):
        raise InputError(f"{path}: claim = {stated!r:.80}: [[claim]] tables expected")
    for claim in stated:
        try:
            refuse(claim)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    names = [claim["name"] for claim in stated]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path}: claim {twice[0]} stands there twice; give one of them another name")
    return stated


def refuse(claim: Any) -> None:
    """Refuse what is no claim, or one that contradicts itself.

    Raises:
        InputError: it is no table, lacks a key, names a comparison or a test that does not exist, or says in its
            statement something else than in its threshold or comparison.
    """
    name = f"{claim.get('name')!s:.80}" if isinstance(claim, dict) else ""
    if not name:
        raise InputError(f"{claim!r:.80}: a table of what a claim states expected")
    missing = [key for key in Claim.model_fields if key not in claim]
    if missing:
        raise InputError(f"claim {name}: {missing[0]} is missing; paper/claims.toml says what each claim states")
    for key, known in (("comparison", COMPARISONS), ("test", TESTS)):
        if claim[key] not in known:
            raise InputError(f"claim {name}: {key} = {claim[key]!r:.80}: one of {', '.join(known)} expected")
    try:
        Claim.model_validate(claim)
    except ValidationError as error:
        told = first_problem(error).removeprefix("content: ")
        raise InputError(f"claim {name}: {told}; paper/claims.toml has sound ones") from None
