"""What was measured elsewhere and stored, to be printed with the runs: how it is read, and what it gives.

Standard library and pydantic only: a build in which nothing changed loads no more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from spinn.documents import parse_json
from spinn.errors import RecordError
from spinn.record import first_problem
from spinn.storage import digest_of, read_file

if TYPE_CHECKING:
    from artifacts.render import Table

BENCHMARKS, MUTANTS, ABLATION, REFERENCE = "benchmarks/history.jsonl", "mutants.json", "ablation", "reference"
"""What each is called among inputs and sources, wherever it lies."""
SPREAD = "spread.json"
"""What a reference has beside its runs: how far repeats of them were apart."""


class Kind(NamedTuple):
    """What an option can name to be printed beside runs: a file, or a folder of other runs."""

    name: str
    what: str
    folder: bool = False


KINDS = {
    "benchmarks": Kind(BENCHMARKS, "a history of benchmarks, as `make bench` writes it"),
    "mutants": Kind(MUTANTS, "the outcome of all mutants, as `make mutants` writes it"),
    "ablation": Kind(ABLATION, "runs of the same data, whose variants differ in settings", folder=True),
    "reference": Kind(REFERENCE, "the reference that RUNS reproduce, for their certificate", folder=True),
}
"""By the name of the option."""

Schema = TypeVar("Schema", bound=BaseModel)


class Beside(Protocol):
    """A stored file, or a folder of other runs, read."""

    def tables(self) -> list[Table]:
        """Its tables."""
        ...

    def sources(self) -> dict[str, dict[str, str]]:
        """The groups that its numbers name, each with its files' digests."""
        ...


def grouped(folder: str, groups: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Groups of files of other runs that lie in `folder`: those that have files, with their digests."""
    return {
        f"{folder}/{name}": {f"{folder}/{path}": digest for path, digest in group.items()}
        for name, group in groups.items()
        if group
    }


def traced(groups: Mapping[str, dict[str, str]]) -> tuple[str, ...]:
    """What a number that comes from these groups of files names as its source."""
    return tuple(f"{group} sha256:{digest_of(files)}" for group, files in groups.items())


def read_output(path: Path, schema: type[Schema], command: str, mend: str) -> Schema:
    """What `command` printed or wrote as JSON, types as they stand there.

    Raises:
        RecordError: it is none; says what is wrong with it, and `mend`.
    """
    try:
        return schema.model_validate_json(json.dumps(parse_json(read_file(path))), strict=True)
    except ValidationError as error:
        raise RecordError(f"{path}: not the output of `{command}`: {first_problem(error)}; {mend}") from None
    except ValueError as error:
        raise RecordError(f"{path}: not JSON ({error!s:.120}); {mend}") from None
