"""Whether a built folder still says what was built: digests first, then every number wherever it stands.

Two independent looks: a changed file no longer has its digest in build.json; and should that have been changed too,
what reads differently in two places gives it away: cells, macros, provenance, sources, the summary, the figures in the
report. The second look also says what in a changed file is not as it was. Rebuilds nothing, reads no records.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping, Set
from functools import lru_cache
from pathlib import Path
from typing import Any

from artifacts import provenance
from artifacts.build import IN_BRIEF, MACROS, MANIFEST, NUMBERS, REPORT, SUMMARY
from artifacts.cells import Problem, differences, markdown_rows
from artifacts.numbers import Number, decode_json, encode_json, encode_tex
from spinn.errors import InputError, RecordError
from spinn.storage import digest_of

_CHANGED = "it was changed after the build"
_PROVENANCE = re.compile(r'<script type="application/json" id="provenance">(.*?)</script>', flags=re.DOTALL)
Files = Mapping[str, bytes]


def check(out: Path) -> tuple[Problem, ...]:
    """Everything in `out` that differs from what was built; empty where all is as it was.

    Raises:
        RecordError: `out` holds no build.json that can be read.
    """
    manifest = read_manifest(out)
    files = {name: (out / name).read_bytes() for name in manifest["outputs"] if (out / name).is_file()}
    return (*problems(files, manifest), *_strays(out, manifest["outputs"]))


def read_manifest(out: Path) -> dict[str, Any]:
    """The manifest of a built folder.

    Raises:
        RecordError: there is none, or it is not one.
    """
    try:
        manifest = json.loads((out / MANIFEST).read_bytes())
        return {**manifest, "outputs": dict(manifest["outputs"]), "holds": bool(manifest["holds"])}
    except (FileNotFoundError, NotADirectoryError):
        raise RecordError(
            f"{out / MANIFEST}: no such file; a folder to check is what `spinn-artifacts build` wrote"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{out / MANIFEST}: not the manifest of a build ({error!r}); build again") from None


def problems(files: Files, manifest: Mapping[str, Any]) -> tuple[Problem, ...]:
    """What differs between the outputs that a manifest lists and their contents, and between any two of them.

    Args:
        files: name → content, of every output that is there.
        manifest: what build.json says, as `read_manifest` returns it.
    """
    outputs: dict[str, str] = manifest["outputs"]
    changed = {name for name in outputs if name in files and _sha256(files[name]) != outputs[name]}
    found: list[Problem] = []
    if not manifest["holds"]:
        found.append(Problem(REPORT, "the audit of these records failed: nothing but the report was built"))
    elif NUMBERS not in outputs:
        found.append(Problem(MANIFEST, f"{NUMBERS} is not among its outputs; build again"))
    elif NUMBERS in files:
        found += _differences(files, manifest, changed)
    known = {problem.file for problem in found}
    bare = [
        Problem(name, f"{_CHANGED}; build again" if name in changed else "it is missing; build again")
        for name in outputs
        if name not in files or (name in changed and name not in known)
    ]
    told = [Problem(p.file, f"{_CHANGED}: {p.message}" if p.file in changed else p.message) for p in found]
    return tuple(dict.fromkeys((*bare, *told)))


def _differences(files: Files, manifest: Mapping[str, Any], changed: Set[str]) -> Iterator[Problem]:
    numbers = _numbers(files[NUMBERS])
    if isinstance(numbers, str):
        yield Problem(NUMBERS, numbers)
        return
    if _without(numbers, files[NUMBERS]):
        yield Problem(NUMBERS, _without(numbers, files[NUMBERS]))
    yield from differences(files, numbers, changed, NUMBERS, REPORT)
    yield from _macros(files, numbers, changed)
    yield from _sources(numbers, manifest)
    yield from _brief(files, changed)
    yield from _shown(files, changed)
    yield from _provenance(files, numbers, manifest, changed)


# --- numbers, macros, provenance ------------------------------------------------------------------------------------


@lru_cache(8)
def _numbers(content: bytes) -> dict[str, Number] | str:
    """The numbers of numbers.json, or what stands in the way of reading them."""
    try:
        return decode_json(content, NUMBERS)
    except InputError as error:
        reason = error.__context__
        if isinstance(reason, json.JSONDecodeError):
            return f"{_entry(content.decode(errors='replace').splitlines(), reason.lineno)}it is not JSON: {reason}"
        return str(error)


def _without(numbers: Mapping[str, Number], content: bytes) -> str:
    """Where numbers.json is spelled as no build spells it, such as with a digit that no float can tell."""
    if encode_json(numbers) == content:
        return ""
    lines, wanted = content.decode(errors="replace").splitlines(), encode_json(numbers).decode().splitlines()
    at = next((i for i, pair in enumerate(zip(lines, wanted, strict=False)) if pair[0] != pair[1]), len(wanted) - 1)
    return f"{_entry(lines, at + 1)}no build spells it so: {lines[at].strip() if at < len(lines) else 'its end'}"


def _entry(lines: list[str], line: int) -> str:
    """The number that a line of numbers.json belongs to."""
    names = [found[1] for text in lines[:line] if (found := re.match(r' "(.+)": \{', text))]
    return f"{names[-1]}: " if names else ""


def _macros(files: Files, numbers: Mapping[str, Number], changed: Set[str]) -> Iterator[Problem]:
    """Each macro has the text of its number."""
    wanted = encode_tex({name: number.text for name, number in numbers.items()})
    found = files.get(MACROS, wanted)
    if found == wanted:
        return
    blamed = NUMBERS if NUMBERS in changed and MACROS not in changed else MACROS
    lines, right = found.decode(errors="replace").splitlines(), wanted.decode().splitlines()
    if len(lines) != len(right):
        yield Problem(blamed, f"{MACROS} has {len(lines)} lines, but {NUMBERS} makes {len(right)}")
    for line, there in zip(lines, right, strict=False):
        if line != there:
            name = there.rpartition("  % ")[2]
            yield Problem(blamed, f"{name}: the macro is {line}, but {NUMBERS} makes {there}")


def _provenance(
    files: Files, numbers: Mapping[str, Number], manifest: Mapping[str, Any], changed: Set[str]
) -> Iterator[Problem]:
    """The report says of each number what numbers.json does, and of each source what the manifest does."""
    if REPORT not in files or not isinstance(manifest.get("sources"), dict):
        return
    found = _PROVENANCE.findall(files[REPORT].decode(errors="replace"))
    if found == [provenance.encode(numbers, manifest["sources"])]:
        return
    blamed = NUMBERS if NUMBERS in changed and REPORT not in changed else REPORT
    try:
        told, sources = provenance.decode(found[0] if found else "")
    except ValueError as error:
        yield Problem(blamed, f"the provenance of its numbers cannot be read: {error}")
        return
    different = [name for name in sorted({*told, *numbers}) if told.get(name) != numbers.get(name)]
    for name in different:
        yield Problem(blamed, f"{name}: {REPORT} says of it {told.get(name)}, but {NUMBERS} {numbers.get(name)}")
    for group in sorted({*sources, *manifest["sources"]}):
        if sources.get(group) != manifest["sources"].get(group):
            yield Problem(REPORT, f"source {group}: its files or digests are not those in {MANIFEST}")
            different.append(group)
    if not different:
        yield Problem(blamed, f"its provenance is not spelled as {NUMBERS} makes it")


# --- sources, summary, figures --------------------------------------------------------------------------------------


def _strays(out: Path, outputs: dict[str, str]) -> Iterator[Problem]:
    """Files beside the tables and figures that the build did not write."""
    for folder in ("tables", "figures"):
        for path in sorted((out / folder).rglob("*")):
            name = path.relative_to(out).as_posix()
            if path.is_file() and name not in outputs:
                yield Problem(name, "the build did not write it; take it away")


def _sources(numbers: Mapping[str, Number], manifest: Mapping[str, Any]) -> Iterator[Problem]:
    """The digest that a number names is that of its source's files, and those are the files that were read."""
    sources, inputs = manifest.get("sources"), manifest.get("inputs")
    records = inputs.get("records") if isinstance(inputs, dict) else None
    if not isinstance(sources, dict) or not isinstance(records, dict):
        yield Problem(MANIFEST, "it does not say what the numbers were made from; build again")
        return
    for group, files in sources.items():
        for name, digest in dict(files).items():
            if records.get(name) != digest:
                yield Problem(MANIFEST, f"source {group}: {name} has another digest among the inputs")
    digests = {group: digest_of(files) for group, files in sources.items()}
    for number in numbers.values():
        for source in number.source:
            group, _, digest = source.partition(" sha256:")
            if digests.get(group) != digest:
                yield Problem(NUMBERS, f"{number.name}: its source {group} is not the one in {MANIFEST}")


def _brief(files: Files, changed: Set[str]) -> Iterator[Problem]:
    """Every row of a table in summary.txt reads as in the table's Markdown, in the same order."""
    if SUMMARY not in files:
        return
    lines = [" ".join(line.split()) for line in _text(files[SUMMARY]).splitlines()]
    for name in IN_BRIEF:
        file = f"tables/{name}.md"
        if file not in files or file in changed:
            continue
        rows = [[re.sub(r"\\(.)", r"\1", cell) for cell in row] for row in markdown_rows(files[file])]
        header, *wanted = [" ".join(" ".join(row).split()) for row in rows]
        if header not in lines:
            yield Problem(SUMMARY, f"it has no table {name}")
            continue
        start = lines.index(header) + 2
        found = lines[start : start + len(wanted) + 1]
        for index, (text, cell) in enumerate(zip(found, [*wanted, ""], strict=False), 1):
            if text != cell:
                yield Problem(SUMMARY, f"{name}, row {index}: {text!r}, but {file} says {cell!r}")
                break


def _shown(files: Files, changed: Set[str]) -> Iterator[Problem]:
    """The report shows the figures that lie in figures/, and no other, and the verdict that the summary begins with."""
    page, shown = _text(files.get(REPORT, b"")), set()
    for text in re.findall(r'src="data:image/png;base64,([^"]*)"', page):
        try:
            shown.add(base64.b64decode(text, validate=True))
        except binascii.Error:
            yield Problem(REPORT, "an image in it is not base64")
    there = {name: content for name, content in files.items() if re.fullmatch(r"figures/.*\.png", name)}
    for name, content in there.items():
        if content not in shown and REPORT in changed:
            yield Problem(REPORT, f"it does not show {name} as it lies there")
        elif content not in shown:
            yield Problem(name, f"it is not the figure that {REPORT} shows")
    if shown - set(there.values()) and REPORT not in changed and changed.isdisjoint(there):
        yield Problem(REPORT, "it shows a figure that does not lie in figures/")
    verdict = re.search(r'id="verdict">([^<]*)<', page)
    if SUMMARY in files and not (verdict and html.unescape(verdict[1]) == _text(files[SUMMARY]).partition("\n")[0]):
        blamed = SUMMARY if SUMMARY in changed else REPORT
        yield Problem(blamed, f"the verdict in {REPORT} is not the one with which {SUMMARY} begins")


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
