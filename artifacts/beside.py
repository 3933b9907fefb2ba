"""What was measured elsewhere and stored, to be printed with the runs: how it is read, and what it gives.

Standard library and pydantic only: a build in which nothing changed loads no more.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from spinn.documents import parse_json
from spinn.errors import RecordError
from spinn.record import first_problem
from spinn.storage import read_file

if TYPE_CHECKING:
    from artifacts.render import Table

ABLATION = "ablation"
"""What the folder of an ablation's runs is called among inputs and sources, wherever it lies."""

Schema = TypeVar("Schema", bound=BaseModel)


class Beside(Protocol):
    """A stored file, or a folder of other runs, read."""

    def tables(self) -> list[Table]:
        """Its tables."""
        ...

    def sources(self) -> dict[str, dict[str, str]]:
        """The groups that its numbers name, each with its files' digests."""
        ...


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
