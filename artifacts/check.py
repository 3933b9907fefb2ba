"""Whether a built folder still says what was built: digests first, then every number wherever it stands.

Two independent looks: a changed file no longer has its digest in build.json; and should that have been changed too,
what reads differently in two places gives it away: cells, macros, provenance, sources, the summary, the figures in the
report, the numbers in the paper. The second look also says what in a changed file is not as it was. Rebuilds nothing,
reads no records.
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
from itertools import count, takewhile
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from artifacts import manuscript, notes, provenance
from artifacts.build import IN_BRIEF, MACROS, MANIFEST, NUMBERS, REPORT, SUMMARY
from artifacts.cells import Places, Problem, between, by_table, csv_rows, differences, markdown_rows, text_of
from artifacts.notes import of_markdown, verdicts
from artifacts.numbers import Number, decode_json, encode_json, encode_tex
from spinn.documents import parse_json
from spinn.errors import InputError, RecordError
from spinn.record import first_problem
from spinn.storage import canonical_json, digest_of, read_file

_COUNTED = ("count.runs", "count.cases", "config.seeds")
_CHANGED = "it was changed after the build"
_PROVENANCE = '<script type="application/json" id="provenance">'
Files = Mapping[str, bytes]


def _inside(name: str) -> str:
    """The path of a file in the folder; one that leads out of it would have a stranger's file read, and packed."""
    leads_out = name.startswith("/") or "\\" in name or ".." in name.split("/")
    if not name or leads_out or not name.isprintable():
        raise ValueError("a path below the folder expected")
    return name


_Name = Annotated[str, AfterValidator(_inside)]


class _Inputs(BaseModel):
    records: dict[_Name, str] | None = None
    code: dict[_Name, str] | None = None


class _Manifest(BaseModel):
    """What is relied on in build.json; what a build asks of it besides is its own business."""

    model_config = ConfigDict(strict=True)

    outputs: dict[_Name, str]
    holds: bool
    inputs: _Inputs | None = None
    sources: dict[str, dict[str, str]] | None = None


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
        manifest = parse_json(read_file(out / MANIFEST))
        _Manifest.model_validate(manifest)
        return {**manifest, "outputs": dict(manifest["outputs"]), "holds": bool(manifest["holds"])}
    except (FileNotFoundError, NotADirectoryError):
        raise RecordError(
            f"{out / MANIFEST}: no such file; a folder to check is what `spinn-artifacts build` wrote"
        ) from None
    except ValidationError as error:
        told = first_problem(error)
        raise RecordError(f"{out / MANIFEST}: not the manifest of a build ({told:.200}); build again") from None
    except ValueError as error:
        raise RecordError(f"{out / MANIFEST}: not the manifest of a build ({error!s:.200}); build again") from None


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
    yield from differences(files, _places(files[NUMBERS]), changed, NUMBERS, REPORT)
    yield from notes.differences(files, changed, REPORT)
    yield from _macros(files, changed)
    yield from _sources(files[NUMBERS], manifest)
    yield from _brief(files, changed)
    yield from _shown(files, changed)
    yield from _sentences(files, numbers, changed)
    yield from manuscript.differences(files, numbers, _places(files[NUMBERS]), changed)
    if REPORT in files and isinstance(manifest.get("sources"), dict):
        yield from _provenance(files, manifest["sources"], changed)


# --- numbers, macros, provenance: remembered by content, so that thousands of altered folders can be tried ----------


@lru_cache(8)
def _numbers(content: bytes) -> dict[str, Number] | str:
    """The numbers of numbers.json, or what stands in the way of reading them."""
    try:
        return decode_json(content, NUMBERS)
    except InputError as error:
        reason = error.__context__
        if isinstance(reason, json.JSONDecodeError):
            return f"{_entry(text_of(content).splitlines(), reason.lineno)}: it is not JSON: {reason}"
        return str(error)


@lru_cache(8)
def _places(content: bytes) -> Places:
    numbers = _numbers(content)
    return by_table({} if isinstance(numbers, str) else numbers)


def _entry(lines: list[str], line: int) -> str:
    """The number that a line of numbers.json belongs to."""
    names = [found[1] for text in lines[:line] if (found := re.match(r' "(.+)": \{', text))]
    return names[-1] if names else "its beginning"


@lru_cache(8)
def _tex(content: bytes) -> bytes:
    numbers = _numbers(content)
    return b"" if isinstance(numbers, str) else encode_tex({name: number.text for name, number in numbers.items()})


def _macros(files: Files, changed: Set[str]) -> Iterator[Problem]:
    """Each macro has the text of its number."""
    wanted = _tex(files[NUMBERS])
    found = files.get(MACROS, wanted)
    if found == wanted:
        return
    blamed = NUMBERS if NUMBERS in changed and MACROS not in changed else MACROS
    lines, right = text_of(found).splitlines(), text_of(wanted).splitlines()
    if len(lines) != len(right):
        yield Problem(blamed, f"{MACROS} has {len(lines)} lines, but {NUMBERS} makes {len(right)}")
    for line, there in zip(lines, right, strict=False):
        if line != there:
            name = there.rpartition("  % ")[2]
            yield Problem(blamed, f"{name}: the macro is {line}, but {NUMBERS} makes {there}")


@lru_cache(8)
def _block(page: bytes) -> str:
    return "".join(between(text_of(page), _PROVENANCE, "</script>"))


@lru_cache(8)
def _told(block: str) -> tuple[dict[str, Number], provenance.Sources] | str:
    """What a page's provenance says, or why it cannot be read."""
    try:
        return provenance.decode(block)
    except ValueError as error:
        return str(error)


def _provenance(files: Files, sources: provenance.Sources, changed: Set[str]) -> Iterator[Problem]:
    """The report says of each number what numbers.json does, and of each source what the manifest does."""
    blamed = NUMBERS if NUMBERS in changed and REPORT not in changed else REPORT
    block, numbers = _block(files[REPORT]), _numbers(files[NUMBERS])
    told = _told(block)
    if isinstance(told, str) or isinstance(numbers, str):
        place = re.search(r"char (\d+)", str(told))
        yield Problem(REPORT, f"{_member(block, int(place[1]) if place else 0)}: {told}")
        return
    different = _unlike(block, files[NUMBERS])
    for name in different:
        yield Problem(blamed, f"{name}: {numbers.get(name)} in {NUMBERS}, but {told[0].get(name)} in {REPORT}")
    groups = [group for group in sorted({*told[1], *sources}) if told[1].get(group) != sources.get(group)]
    for group in groups:
        yield Problem(REPORT, f"source {group}: its files or digests are not those in {MANIFEST}")
    if different or groups:
        return
    wanted = _encoded(files[NUMBERS], canonical_json(sources))
    if block != wanted:
        yield Problem(REPORT, f"{_member(block, _first(block, wanted))}: no build spells its provenance so")
    lines, right = text_of(files[NUMBERS]), text_of(_again(files[NUMBERS]))
    if lines != right:
        line = lines[: _first(lines, right)].count("\n") + 1
        yield Problem(NUMBERS, f"{_entry(lines.splitlines(), line)}: no build spells it so")


@lru_cache(8)
def _unlike(block: str, content: bytes) -> tuple[str, ...]:
    """The numbers of which a page's provenance says something else than numbers.json."""
    told, numbers = _told(block), _numbers(content)
    if isinstance(told, str) or isinstance(numbers, str):
        return ()
    return tuple(name for name in sorted({*told[0], *numbers}) if told[0].get(name) != numbers.get(name))


def _first(found: str, wanted: str) -> int:
    """Where two texts differ first."""
    pairs = enumerate(zip(found, wanted, strict=False))
    return next((at for at, pair in pairs if pair[0] != pair[1]), min(len(found), len(wanted)))


@lru_cache(8)
def _again(numbers: bytes) -> bytes:
    read = _numbers(numbers)
    return b"" if isinstance(read, str) else encode_json(read)


@lru_cache(8)
def _encoded(numbers: bytes, sources: str) -> str:
    read = _numbers(numbers)
    return "" if isinstance(read, str) else provenance.encode(read, json.loads(sources))


def _member(block: str, at: int) -> str:
    """The number that a place in a provenance text is about."""
    names = re.findall(r'"([^"]+)":\[', block[:at])
    return names[-1] if names else "the provenance of its numbers"


# --- sources, summary, figures --------------------------------------------------------------------------------------


def _strays(out: Path, outputs: dict[str, str]) -> Iterator[Problem]:
    """Files beside the tables, the figures and the paper that the build did not write."""
    for folder in ("tables", "figures", "paper"):
        for path in sorted((out / folder).rglob("*")):
            name = path.relative_to(out).as_posix()
            if path.is_file() and name not in outputs:
                yield Problem(name, "the build did not write it; take it away")


def _sources(content: bytes, manifest: Mapping[str, Any]) -> Iterator[Problem]:
    """The digest that a number names is that of its source's files, and those are the files that were read."""
    sources, inputs = manifest.get("sources"), manifest.get("inputs")
    records, code = (inputs.get(key) if isinstance(inputs, dict) else None for key in ("records", "code"))
    if not isinstance(sources, dict) or not isinstance(records, dict) or not isinstance(code, dict):
        yield Problem(MANIFEST, "it does not say what the numbers were made from; build again")
        return
    for group, files in sources.items():
        for name, digest in dict(files).items():
            if digest not in (records.get(name), code.get(name)):
                yield Problem(MANIFEST, f"source {group}: {name} has another digest among the inputs")
    digests = {group: digest_of(files) for group, files in sources.items()}
    right = {f"{group} sha256:{digest}" for group, digest in digests.items()}
    for source, names in _origins(content).items():
        if source not in right:
            group = source.partition(" sha256:")[0]
            for name in names:
                yield Problem(NUMBERS, f"{name}: its source {group} is not the one in {MANIFEST}")


@lru_cache(8)
def _origins(content: bytes) -> dict[str, list[str]]:
    """The numbers that name each source."""
    numbers, out = _numbers(content), dict[str, list[str]]()
    for number in () if isinstance(numbers, str) else numbers.values():
        for source in number.source:
            out.setdefault(source, []).append(number.name)
    return out


def _brief(files: Files, changed: Set[str]) -> Iterator[Problem]:
    """Every row of a table in summary.txt reads as in the table's Markdown, in the same order."""
    if SUMMARY not in files:
        return
    lines = [" ".join(line.split()) for line in text_of(files[SUMMARY]).splitlines()]
    for name in IN_BRIEF:
        file = f"tables/{name}.md"
        if file not in files or file in changed:
            continue
        header, *wanted = _plain(files[file]) or ("no row",)
        if header not in lines:
            yield Problem(SUMMARY, f"it has no table {name}")
            continue
        start = lines.index(header) + 2
        found = lines[start : start + len(wanted) + 1]
        for index, (text, cell) in enumerate(zip(found, [*wanted, ""], strict=False), 1):
            if text != cell:
                yield Problem(SUMMARY, f"{name}, row {index}: {text!r}, but {file} says {cell!r}")
                break
    there = [f"tables/{name}.md" for name in IN_BRIEF if f"tables/{name}.csv" in files]
    if changed.isdisjoint(there) and set(there) <= files.keys():
        told = dict.fromkeys(note for file in there for note in of_markdown(files[file])[1:])
        if not " ".join(text_of(files[SUMMARY]).split()).endswith(" ".join(told)):
            yield Problem(SUMMARY, "the notes below its tables are not those of tables/")


@lru_cache(64)
def _plain(content: bytes) -> tuple[str, ...]:
    """The rows of a Markdown table as words."""
    rows = [[re.sub(r"\\(.)", r"\1", cell) for cell in row] for row in markdown_rows(content)]
    return tuple(" ".join(" ".join(row).split()) for row in rows)


def _shown(files: Files, changed: Set[str]) -> Iterator[Problem]:
    """The report shows the figures that lie in figures/, and no other, and the verdict that the summary begins with."""
    shown = _images(files.get(REPORT, b""))
    if None in shown:
        yield Problem(REPORT, "an image in it is not base64")
    there = {name: content for name, content in files.items() if re.fullmatch(r"figures/.*\.png", name)}
    for name, content in there.items():
        if content not in shown and REPORT in changed:
            yield Problem(REPORT, f"it does not show {name} as it lies there")
        elif content not in shown:
            yield Problem(name, f"it is not the figure that {REPORT} shows")
    if shown - {None, *there.values()} and REPORT not in changed and changed.isdisjoint(there):
        yield Problem(REPORT, "it shows a figure that does not lie in figures/")
    verdict = _verdict(files.get(REPORT, b""))
    if SUMMARY in files and verdict != text_of(files[SUMMARY]).partition("\n")[0]:
        blamed = SUMMARY if SUMMARY in changed else REPORT
        yield Problem(blamed, f"the verdict in {REPORT} is not the one with which {SUMMARY} begins")


def _sentences(files: Files, numbers: Mapping[str, Number], changed: Set[str]) -> Iterator[Problem]:
    """What the report says in its sentences of how much was run, and of how many criteria hold."""
    found = _paragraphs(files.get(REPORT, b""))
    if REPORT not in files or not found:
        return
    runs, cases, seeds = (numbers[name].value if name in numbers else None for name in _COUNTED)
    widths = takewhile(numbers.__contains__, map("config.layers.{}".format, count()))
    told = notes.counted(runs, cases, seeds, (numbers[name].value for name in widths))
    if f": {told} " not in found[0]:
        yield Problem(NUMBERS if NUMBERS in changed else REPORT, f"{found[0]!r}, but {NUMBERS} says {told!r}")
    header, *rows = csv_rows(files.get("tables/claims.csv", b"")) or ((),)
    if "verdict" in header and "tables/claims.csv" not in changed:
        said = verdicts(row[header.index("verdict")] for row in rows if len(row) == len(header))
        if said not in found:
            yield Problem(REPORT, f"it does not say what tables/claims.csv does: {said!r}")


@lru_cache(8)
def _paragraphs(page: bytes) -> tuple[str, ...]:
    return tuple(html.unescape(text) for text in between(text_of(page), "<p>", "</p>"))


@lru_cache(8)
def _images(page: bytes) -> frozenset[bytes | None]:
    """The images in a page; None for one that cannot be decoded."""
    images: set[bytes | None] = set()
    for text in re.findall(rb'src="data:image/png;base64,([^"]*)"', page):
        try:
            images.add(base64.b64decode(text, validate=True))
        except binascii.Error:
            images.add(None)
    return frozenset(images)


@lru_cache(8)
def _verdict(page: bytes) -> str:
    return html.unescape(next(between(text_of(page), 'id="verdict">', "<"), ""))


@lru_cache(256)
def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
