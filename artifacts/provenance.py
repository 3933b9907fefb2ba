"""Where each number comes from, as the report carries it: written once for all numbers, read back to be compared.

One JSON text: the files of every source with their digests, each expression and each list of sources once, and every
number with its place among them. Knows nothing of pages or tables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from artifacts.numbers import Number, as_number
from spinn.documents import parse_json
from spinn.storage import digest_of

Sources = Mapping[str, Mapping[str, str]]
"""The files behind each source that a number can name, with the sha256 of each."""


def encode(numbers: Mapping[str, Number], sources: Sources) -> str:
    """The text that stands in the page; no `<` in it, so that it may stand inside of a script element."""
    expressions = sorted({number.expression for number in numbers.values()})
    origins = sorted({number.source for number in numbers.values()})
    at_expression = {expression: index for index, expression in enumerate(expressions)}
    at_origin = {origin: index for index, origin in enumerate(origins)}
    content = {
        "sources": {
            group: {"sha256": digest_of(sources[group]), "files": dict(sorted(sources[group].items()))}
            for group in sorted(sources)
        },
        "expressions": expressions,
        "origins": origins,
        "numbers": {
            name: [
                numbers[name].value,
                numbers[name].text,
                numbers[name].unit,
                numbers[name].digits,
                at_expression[numbers[name].expression],
                at_origin[numbers[name].source],
                numbers[name].cells,
                numbers[name].interval,
            ]
            for name in sorted(numbers)
        },
    }
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c")


def decode(text: str) -> tuple[dict[str, Number], dict[str, dict[str, str]]]:
    """The numbers and the sources of an encoded text.

    Raises:
        ValueError: it is not one.
    """
    try:
        content = parse_json(text)
        numbers = {name: _number(name, entry, content) for name, entry in content["numbers"].items()}
        sources = {group: dict(source["files"]) for group, source in content["sources"].items()}
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"not the provenance of numbers ({error!r:.200})") from None
    if not all(isinstance(digest, str) for files in sources.values() for digest in files.values()):
        raise ValueError("not the provenance of numbers: a digest is a text")
    return numbers, sources


def _number(name: str, entry: list[Any], content: dict[str, Any]) -> Number:
    value, text, unit, digits, expression, origin, cells, interval = entry
    told = {"value": value, "text": text, "unit": unit, "digits": digits, "cells": cells, "interval": interval}
    return as_number(name, **told, source=content["origins"][origin], expression=content["expressions"][expression])
