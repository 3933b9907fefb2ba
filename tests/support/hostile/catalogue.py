"""Files made to do harm, by name: what each tries, the files themselves, and the command that is given them.

Knows how harm is done, and not what comes of it: `docs/hostile.md` says that, and `e2e/test_hostile.py` compares.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

from hostile import kinds, makers
from spinn.storage import packed

Content = bytes | str | Callable[[], bytes | str] | None
"""Of a file; None: a named pipe in its place."""


@dataclass(frozen=True)
class Hostile:
    """A hostile file and its call: words of a command, or the name of a function in `outcome.LIBRARY` and a file.

    `bomb`: what it does to memory, time or the process itself is the point; it is read in a process of its own.
    """

    name: str
    tries: str
    call: tuple[str, ...]
    files: Mapping[str, Content]
    runs: bool = False  # whether its files lie in a copy of the reference, `runs/`
    bomb: bool = False


HEADER = "case,run,time,DOC,feed,material,VB"
RUN = "runs/sparse-f00-s0"


def cuts(case: str = "A", header: str = HEADER, more: str = "") -> str:
    """A tidy table of two tools, the first of which is called `case`."""
    cell = '"' + case.replace('"', '""') + '"'
    rows = [f"{tool},{cut},{5 * cut},1.5,0.5,1,0.{cut}{more}" for tool in (cell, "B") for cut in (1, 2, 3)]
    return "\n".join([header, *rows]) + "\n"


def toml(old: str = "", new: str = "") -> str:
    """The tiny experiment, one thing in it another."""
    assert old in kinds.TOML.decode()
    return kinds.TOML.decode().replace(old, new) if old else kinds.TOML.decode()


def claims(old: str, new: str) -> str:
    """Two claims, one thing in them another."""
    assert old in kinds.CLAIMS.decode()
    return kinds.CLAIMS.decode().replace(old, new)


def plan(old: str, new: str) -> Callable[[], str]:
    """The reference's plan, one thing in it another."""

    def made() -> str:
        text = kinds.stored("plan.json").decode()
        assert old in text
        return text.replace(old, new)

    return made


def xz(content: bytes) -> Callable[[], bytes]:
    """Compressed."""
    return lambda: lzma.compress(content, preset=0)


def built(name: str, old: str, new: str) -> dict[str, Content]:
    """A built folder `paper/`, one thing in one file of it another."""

    def changed() -> bytes:
        content = kinds.built()[name].decode()
        assert old in content
        return content.replace(old, new).encode()

    whole: dict[str, Content] = {f"paper/{other}": content for other, content in kinds.built().items()}
    return whole | {f"paper/{name}": changed}


def legacy_pickle() -> bytes:
    """The older form of torch.save, which is pickles one after another, the last of which runs a command."""
    return makers.in_older_form(makers.running())


def pickle_in_archive() -> bytes:
    """An archive as torch.save writes it, whose pickle runs a command."""
    return makers.rewritten(makers.state_dict(), {"data.pkl": makers.running()})


def numel() -> bytes:
    """A state_dict whose pickle states more numbers than there are bytes: who believes it reads other memory."""
    good = makers.saved({"a": torch.ones(12)})
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        text = archive.read(name).replace(b"K\x0c", b"J" + struct.pack("<i", 1 << 20))
    return makers.rewritten(good, {"data.pkl": text})


def upon_each_other() -> bytes:
    """An archive in which a hundred entries are the same megabyte."""
    good = makers.archive({"archive/data.pkl": b"", "archive/data/00": bytes(1 << 20)}, zipfile.ZIP_STORED)
    at = good.index(b"PK\x01\x02")
    end = good.index(b"PK\x05\x06")
    entries = [at, good.index(b"PK\x01\x02", at + 4), end]
    first, second = good[entries[0] : entries[1]], good[entries[1] : end]
    directory = first + b"".join(second.replace(b"data/00", b"data/%02d" % number) for number in range(100))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 101, 101, len(directory), at, 0)
    return good[:at] + directory + tail


def tensors(**named: tuple[str, list[int], int, int]) -> bytes:
    """A safetensors file of eight bytes of data, with these entries."""
    return makers.safetensors({name: makers.tensor(*entry) for name, entry in named.items()}, bytes(8))


def strangely_named() -> bytes:
    """Tensors whose names would be markup, a control sequence of a terminal, and a path."""
    ones = np.ones((2, 2), np.float32)
    return safetensors.numpy.save({"[red]x[/a]": ones, "\x1b[2J": ones, "../../x": ones, ":smile:": ones})


def nested_bomb() -> bytes:
    """A zip in a zip, of a mill.mat of 0.6 GiB of zeros."""
    return makers.archive({"mill.zip": makers.archive({"mill.mat": bytes(600 << 20)})})


def forged_verdict() -> str:
    """An audit.json that says of this very folder that all holds, and is no verdict."""
    return json.dumps({"read": {"key": "0", "verdict": {"findings": "none"}, "digest": "0"}, "replayed": [[]]})


def _of(file: str, *call: str) -> Callable[..., Hostile]:
    """What makes entries of one file that is given to the same call."""

    def made(name: str, tries: str, content: Content, bomb: bool = False) -> Hostile:
        return Hostile(name, tries, (*call, file), {file: content}, bomb=bomb)

    return made


table, matlab = _of("x.csv", "spinn", "data", "describe"), _of("x.mat", "spinn", "data", "describe")
network, tensors_of = _of("x.pt", "spinn-verify", "checkpoints"), _of("x.safetensors", "spinn-verify", "checkpoints")
archive, template = _of("x.zip", "archive"), _of("x.j2", "template")
checked = _of("x.toml", "spinn", "schedule", "check")
TRAIN = ("spinn", "run", "x.toml", "--out", "out", "--device", "cpu")


def pipe(name: str, tries: str, file: str, *call: str, runs: bool = False) -> Hostile:
    """A named pipe in place of a file: who opens it waits for a writer."""
    return Hostile(name, tries, call, {file: None}, runs=runs, bomb=True)


def trained(name: str, tries: str, content: Content, stated: Content = "", bomb: bool = False) -> Hostile:
    """An experiment that is to be run, and its claims."""
    return Hostile(name, tries, TRAIN, {"x.toml": content} | ({"claims.toml": stated} if stated else {}), bomb=bomb)


def judged(name: str, tries: str, files: Mapping[str, Content], bomb: bool = False) -> Hostile:
    """Records that are to be audited."""
    return Hostile(name, tries, AUDIT, files, runs=True, bomb=bomb)


def printed(name: str, tries: str, option: str, content: Content) -> Hostile:
    """A file that is to be printed with records."""
    call = ("spinn-artifacts", "build", "runs", "--out", "out", f"--{option}", "x.json")
    return Hostile(name, tries, call, {"x.json": content}, runs=True)


VERIFY, PAPER = ("spinn-verify", "checkpoints"), ("spinn-artifacts", "check", "paper")
UNCHANGED = built("build.json", '"holds"', '"holds"')
DEEP = "[" * 100_000
WIDE = "".join(f",c{column}" for column in range(300_000))
NUL = 'data = "a\\u0000.csv"\nname ='
FIELDS = (makers.element(5, struct.pack("<i", 8)), makers.element(1, b"case".ljust(8, b"\0")))  # of a struct: one
ITS_CLAIMS = 'claims = "claims.toml"\n'
OUTSIDE = '"../../etc/passwd"'
DOTS = "\n".join(f"k{number}" + ".a" * 500 + " = 1" for number in range(60))
AUDIT = ("spinn-verify", "records", "runs")
ENDLESS = '<table data-table="x">' * 20_000 + '<script type="application/json" id="provenance">' * 20_000

DATA = [
    table("case-latex", "a tool called `\\input{/etc/passwd}`", cuts("\\input{/etc/passwd}")),
    table("case-html", "a tool called `<script>`", cuts("<script>alert(1)</script>")),
    table("case-path", "a tool called as a path", cuts("../../etc/passwd")),
    table("case-formula", "a tool called as a formula of a spreadsheet", cuts("=1+cmd|' /C calc'!A0")),
    table("case-bidi", "a name that turns the direction of writing", cuts("A\u202eB")),
    table("case-invisible", "two tools that look like one", cuts("B\u200b")),
    table("case-terminal", "a name that clears the terminal", cuts("\x1b[2J")),
    table("case-nul", "a name with a NUL", cuts("A\0")),
    table("case-digits", "a tool with a number of 5,000 digits", cuts("9" * 5000)),
    table("column-bidi", "a feature called likewise", cuts(header=HEADER + ",a\u202e", more=",1")),
    table("csv-infinite", "a number that is too large for one", cuts().replace("1.5", "1e999")),
    table("csv-vast", "flank wear of 10³⁰⁸ mm", cuts().replace("0.2", "1e308", 1)),
    table("csv-tiny", "a depth of cut of 10⁻³⁰⁰ mm", cuts().replace("1.5", "1e-300", 1)),
    table("csv-signal", "a sensor that reads 10³⁰⁸", cuts(header=HEADER + ",force", more=",1e308")),
    table("csv-columns", "300,000 columns", lambda: cuts(header=HEADER + WIDE), bomb=True),
    table("csv-line", "a line of 100 MB", lambda: cuts() + "1," * (50 << 20), bomb=True),
    pipe("csv-pipe", "a named pipe as a table", "x.csv", "spinn", "data", "describe", "x.csv"),
    table("csv-pickle", "a pickle under the name of a table", makers.running),
    matlab("mat-pickle", "a pickle under the name of a MATLAB file", makers.running),
    pipe("mat-pipe", "a named pipe as a MATLAB file", "x.mat", "spinn", "data", "describe", "x.mat"),
    matlab("mat-npy", "an array of pickled objects under the name of a MATLAB file", makers.object_array),
    matlab("mat-cells", "100,000 cells within each other", makers.cells_within_cells, bomb=True),
    matlab("mat-zlib", "a compressed matrix of 2 GiB", lambda: makers.inflated(2047), bomb=True),
    matlab("mat-structs", "2³⁰ structs in 120 bytes", lambda: makers.vast(2, *FIELDS), bomb=True),
    matlab("mat-letters", "2³⁰ letters in 100 bytes", lambda: makers.vast(4, makers.element(16, b"")), bomb=True),
    matlab("mat-dimensions", "800,000 dimensions in 3 kB", makers.dimensions),
    matlab("mat-function", "a function in place of data", lambda: makers.HEAD + makers.matrix(16, (1, 1), b"mill")),
]
EXPERIMENTS = [
    trained("name-path", "an experiment called `../../x`", toml('"tiny"', '"../../x"')),
    trained("variant-path", "a variant called `../x`", toml('"sparse"', '"../x"')),
    trained("name-long", "an experiment with a name of 300 letters", toml('"tiny"', '"' + "a" * 300 + '"')),
    trained("variant-long", "a variant with a name of 300 letters", toml('"sparse"', '"' + "a" * 300 + '"')),
    trained("variant-latex", "a variant called `\\input{x}`", toml('"sparse"', "'\\input{x}'")),
    trained(
        "data-nul",
        "data in a file that none can be",
        toml("[simulator]\nseed = 3\n").replace("name =", NUL, 1).replace(ITS_CLAIMS, ""),
    ),
    trained("claims-nul", "claims in a file that none can be", toml("claims.toml", "../x\\u0000")),
    trained("claims-endless", "claims in a file without an end", toml("claims.toml", "/dev/zero"), bomb=True),
    Hostile("claims-pipe", "claims in a named pipe", TRAIN, {"x.toml": toml(), "claims.toml": None}, bomb=True),
    trained("simulator-spread", "tools that differ by e to the 10³⁰⁰", toml("seed = 3", "tool_sd = 1e300")),
    trained("simulator-noise", "measurements with 10³⁰⁰ times their noise", toml("seed = 3", "noise = 1e300")),
    trained(
        "claim-latex", "a claim called as a command of LaTeX", toml(), claims('"few"', "'few}\\input{/etc/passwd}'")
    ),
    trained(
        "claim-code", "a claim called as code", toml(), claims('"few"', "\"__import__('os').system('touch executed')\"")
    ),
    trained("claim-date", "a threshold that is a date", toml(), claims("100.0", "1979-05-27")),
    trained("layers-vast", "a network of 10¹⁸ weights", toml("[18, 8, 2]", "[18, 1000000000, 1000000000, 2]")),
    trained("rate-nan", "a learning rate that is none", toml("5e-3", "nan")),
    checked("toml-twice", "a key that stands twice", toml("seeds", "seeds = [4]\nseeds")),
    checked("toml-deep", "30,000 lists within each other", "a = [" + "\n[" * 30_000),
    checked("toml-tables", "tables within each other", "a = [" + "\n[" * 90 + "]" * 91),
    checked("toml-digits", "a number of 10⁶ digits", "seed = " + "9" * 10**6),
    trained("toml-digits-in-bounds", "a seed of 1,000 hexadecimal digits", toml("[3]", "[0x" + "f" * 1000 + "]")),
    pipe("toml-pipe", "a named pipe as an experiment", "x.toml", "spinn", "schedule", "check", "x.toml"),
    checked("toml-parts", "sixty keys of 501 parts", DOTS, bomb=True),
    checked("toml-dots", "a key of 100,000 parts", "a" + ".a" * 100_000 + " = 1", bomb=True),
]
ARCHIVES = [
    archive("zip-parent", "an archive whose member is `../../mill.mat`", makers.archive({"../../mill.mat": b"x"})),
    archive("zip-absolute", "an archive whose member is `/tmp/mill.mat`", makers.archive({"/tmp/mill.mat": b"x"})),
    archive(
        "zip-link",
        "an archive whose member is a link to /etc/passwd",
        makers.archive({"mill.mat": b"/etc/passwd"}, link="mill.mat"),
    ),
    archive("zip-bomb", "a zip in a zip, of 0.6 GiB of zeros", nested_bomb, bomb=True),
    archive(
        "zip-lzma",
        "a member that is packed with LZMA, which states its own need of memory",
        makers.archive({"mill.mat": b"x" * 99}, zipfile.ZIP_LZMA),
    ),
]
NETWORKS = [
    network("pt-pickle", "a network whose pickle runs a command", pickle_in_archive),
    network("pt-legacy", "the same in the older form", legacy_pickle),
    network("pt-bare", "a bare pickle that runs a command", makers.running),
    network("pt-deflated", "a network of 256 MiB of zeros in 256 kB", makers.inflated_state, bomb=True),
    network("pt-overlapping", "a hundred entries that are the same megabyte", upon_each_other),
    network(
        "pt-sparse", "a sparse tensor with a number at a place that it does not have", makers.beyond_its_size, bomb=True
    ),
    network("pt-numbers", "more numbers than there are bytes", numel, bomb=True),
    network("pt-key", "a key of 2⁵⁸ parts in 540 bytes", lambda: makers.in_archive(makers.doubled_key()), bomb=True),
    network(
        "pt-key-legacy", "the same in the older form", lambda: makers.in_older_form(makers.doubled_key()), bomb=True
    ),
    network("pt-key-bare", "the same as a bare pickle", makers.doubled_key, bomb=True),
    network(
        "pt-bytearray",
        "6 GiB of zeros by one call in a pickle",
        lambda: makers.in_archive(makers.calling("__builtin__.bytearray", 6 << 30)),
        bomb=True,
    ),
    network(
        "pt-bytearray-bare",
        "the same as a bare pickle",
        lambda: makers.calling("__builtin__.bytearray", 6 << 30),
        bomb=True,
    ),
    network(
        "pt-tensor",
        "a tensor of 25,000 by 25,000 by one call, without its numbers",
        lambda: makers.in_archive(makers.calling("torch.FloatTensor", 25_000, 25_000)),
        bomb=True,
    ),
    network(
        "pt-storage",
        "a storage of 6 GiB likewise",
        lambda: makers.in_archive(makers.calling("torch.storage.UntypedStorage", 6 << 30)),
        bomb=True,
    ),
    network(
        "pt-lists",
        "a sparse tensor whose numbers are lists of lists of lists, each named a thousand times",
        lambda: makers.in_archive(makers.sparse_of(makers.LISTS)),
        bomb=True,
    ),
    network(
        "pt-tuples",
        "the same of tuples of tuples of tuples",
        lambda: makers.in_archive(makers.sparse_of(makers.TUPLES)),
        bomb=True,
    ),
    network(
        "pt-layout",
        "a sparse tensor whose layout has 2⁵⁸ parts, which torch hashes",
        lambda: makers.in_archive(makers.holding(makers.sparse(b"NNN", makers.doubled()))),
        bomb=True,
    ),
    network(
        "pt-flags",
        "a tensor one of whose flags has 2⁵⁸ parts, which torch prints",
        lambda: makers.in_archive(makers.holding(makers.flagged(makers.doubled())), bytes(16)),
        bomb=True,
    ),
    network(
        "pt-version",
        "a version of 2⁵⁸ parts in the older form, which torch prints",
        lambda: makers.in_older_form(b"\x80\x02}.", version=b"\x80\x02" + makers.doubled() + b"."),
        bomb=True,
    ),
    network("pt-resized", "four numbers as a tensor of 2³⁰, in the older form", makers.beyond_its_storage, bomb=True),
    tensors_of("safetensors-vast", "a tensor of 2⁶⁰ bytes", tensors(a=("F32", [1 << 58], 0, 1 << 60)), bomb=True),
    tensors_of("safetensors-mask", "a mask of 1.6 · 10⁹ weights, all of them 0", makers.vast_mask, bomb=True),
    tensors_of("safetensors-header", "a header of 2⁶⁰ bytes", makers.safetensors(b"{}", length=1 << 60), bomb=True),
    tensors_of(
        "safetensors-empty",
        "no bytes, in a shape of 2⁶² by 0",
        makers.safetensors({"a": makers.tensor("F32", [1 << 62, 0], 0, 0)}),
        bomb=True,
    ),
    tensors_of(
        "safetensors-overlap", "two tensors upon each other", tensors(a=("F32", [2], 0, 8), b=("F32", [1], 4, 8))
    ),
    tensors_of("safetensors-beyond", "a tensor beyond the end", tensors(a=("F32", [4], 0, 16))),
    tensors_of("safetensors-dtype", "a kind of number that there is not", tensors(a=("X99", [2], 0, 8))),
    tensors_of("safetensors-deep", "a header of 100,000 lists within each other", makers.safetensors(DEEP.encode())),
    Hostile(
        "safetensors-names",
        "tensors called as markup, a control sequence and a path",
        (*VERIFY, "x.safetensors", "x.safetensors"),
        {"x.safetensors": strangely_named},
    ),
]
RECORDS = [
    judged(
        "run-path",
        "a run whose id is a path",
        {"runs/plan.json": plan('"run_id": "sparse-f00-s0"', '"run_id": "../../../x"')},
    ),
    judged(
        "run-long",
        "a run with an id of 300 letters",
        {"runs/plan.json": plan('"run_id": "sparse-f00-s0"', f'"run_id": "{"a" * 300}"')},
    ),
    judged(
        "cohort-path", "a cohort called as a path", {"runs/plan.json": plan('"cohort": "c00"', '"cohort": "/tmp/c00"')}
    ),
    judged("plan-layers", "a plan of a network of 10¹² weights", {"runs/plan.json": plan("512", "1000000")}),
    judged("plan-deep", "a plan of 100,000 lists within each other", {"runs/plan.json": DEEP}),
    judged(
        "record-xz",
        "a compressed record of 40 MiB",
        {f"runs/{RUN}/record.json.xz": xz(b"[" + b"0," * (20 << 20))},
        bomb=True,
    ),
    judged(
        "history-xz",
        "a compressed table of 30 million empty lines",
        {f"runs/{RUN}/history.csv.xz": xz(b"stage\n" + b"\n" * (30 << 20))},
        bomb=True,
    ),
    judged(
        "dataset-line", "data in a line of 100 MB", {"runs/dataset.csv": lambda: HEADER + "," * (100 << 20)}, bomb=True
    ),
    pipe("plan-pipe", "a named pipe as a plan", "runs/plan.json", "spinn", "summary", "runs", runs=True),
    pipe("record-pipe", "a named pipe as a record", f"runs/{RUN}/record.json", *AUDIT, runs=True),
    pipe("history-pipe", "a named pipe as a table", f"runs/{RUN}/history.csv", *AUDIT, runs=True),
    pipe("dataset-pipe", "a named pipe as the data", "runs/dataset.csv", *AUDIT, runs=True),
    judged("verdict-forged", "a kept verdict that is none", {"runs/audit.json": forged_verdict}),
    judged("card-deep", "a data card of 100,000 lists within each other", {"runs/datacard.json": DEEP}),
]
PAPERS = [
    Hostile(
        "manifest-path",
        "a built file that lies outside of the folder",
        PAPER,
        built("build.json", '"numbers.json"', OUTSIDE),
    ),
    Hostile(
        "manifest-absolute",
        "a built file that lies at /etc/passwd",
        PAPER,
        built("build.json", '"numbers.json"', '"/etc/passwd"'),
    ),
    Hostile(
        "bundle-path",
        "a built file that lies outside of the folder, to be packed",
        ("spinn-artifacts", "bundle", "runs", "paper", "--out", "out.zip", "--date", "2026-12-01"),
        built("build.json", '"numbers.json"', OUTSIDE),
        runs=True,
    ),
    Hostile("manifest-pipe", "a named pipe as a manifest", PAPER, {**UNCHANGED, "paper/build.json": None}, bomb=True),
    Hostile("manifest-deep", "a manifest of 100,000 lists within each other", PAPER, {"paper/build.json": DEEP}),
    Hostile(
        "numbers-deep", "numbers of 100,000 lists within each other", PAPER, {**UNCHANGED, "paper/numbers.json": DEEP}
    ),
    Hostile("numbers-huge", "a number of 10,000 digits", PAPER, built("numbers.json", "1.25,", "9" * 10_000 + ",")),
    Hostile(
        "report-tables", "20,000 tables without an end", PAPER, {**UNCHANGED, "paper/report.html": ENDLESS}, bomb=True
    ),
    printed("benchmarks-deep", "a benchmark of 100,000 lists within each other", "benchmarks", DEEP),
    printed("mutants-deep", "an outcome of 100,000 lists within each other", "mutants", DEEP),
]
TEMPLATES = [
    template(
        "template-class", "a template that reaches for all classes", r"\VAR{''.__class__.__mro__[1].__subclasses__()}"
    ),
    template(
        "template-globals",
        "a template that reaches for the globals of a function",
        r"\VAR{cycler.__init__.__globals__.os.system('touch executed')}",
    ),
    template(
        "template-function",
        "a template that reaches for those of a function it is given",
        r"\VAR{n.__func__.__globals__}",
    ),
    template("template-format", "a template that reaches through a format", r"\VAR{'{0.__class__}'.format(source)}"),
    template("template-include", "a template that includes a file", r"\BLOCK{include '/etc/passwd'}"),
    template("template-power", "a template that multiplies a text", r"\VAR{source * n}"),
    template(
        "template-range", "a template that counts to 10¹²", r"\BLOCK{for i in range(1000000000000)}x\BLOCK{endfor}"
    ),
    template(
        "template-recursion", "a template that calls itself", r"\BLOCK{macro m()}\VAR{m()}\BLOCK{endmacro}\VAR{m()}"
    ),
]

ALL: tuple[Hostile, ...] = (*DATA, *EXPERIMENTS, *ARCHIVES, *NETWORKS, *RECORDS, *PAPERS, *TEMPLATES)


def lay_out(hostile: Hostile, folder: Path) -> None:
    """Write the files of a hostile call below a folder."""
    if hostile.runs:
        shutil.copytree(kinds.REFERENCE, folder / "runs")
    for name, content in hostile.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink(missing_ok=True)
            packed(path).unlink(missing_ok=True)
            os.mkfifo(path)
            continue
        made = content() if callable(content) else content
        path.write_bytes(made if isinstance(made, bytes) else made.encode("utf-8"))
