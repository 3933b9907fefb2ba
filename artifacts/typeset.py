"""LaTeX to PDF, the same bytes every time, and a look at the pages: width, references, fonts, number.

Needs latexmk, pdflatex, the class asmeconf and poppler's tools; where they are missing, says so in one line. Knows
nothing of what the pages say.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from spinn.errors import SpinnError

TEMPLATES, BIBLIOGRAPHY, CONSTANTS = ("paper.tex.j2", "supplement.tex.j2"), "references.bib", "constants.toml"
CLAIMS = "claims.toml"  # which claims a template may ask for, whatever the plan has
SOURCES = (*TEMPLATES, BIBLIOGRAPHY, CONSTANTS, CLAIMS)
PAGES = {"paper": 10, "supplement": None}
OUTPUTS = (
    *(f"{name}.pdf" for name in PAGES),
    *(f"paper/{name}.tex" for name in PAGES),
    f"paper/{BIBLIOGRAPHY}",
    f"paper/{CONSTANTS}",
)
TOOLS = ("latexmk", "pdflatex", "kpsewhich", "pdfinfo", "pdffonts")
FILES = ("asmeconf.cls", "sfrm1000.pfb")  # the class; LaTeX's own fonts as outlines, else they are bitmaps
PACKAGES = (
    "latexmk texlive-publishers texlive-latex-extra texlive-fonts-recommended texlive-fonts-extra cm-super tex-gyre "
    "texlive-plain-generic poppler-utils"
)
OVERFULL = 5.0  # points that a line may stand out; less is not seen
_TIMEOUT = 600  # seconds for one document, on a busy machine
# What a PDF says of its own date: 2007, the year of the data; no build has a date.
DATED = {"SOURCE_DATE_EPOCH": "1167609600", "FORCE_SOURCE_DATE": "1", "TZ": "UTC"}


LATEXMK = ("latexmk", "-norc", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape")


class TypesetError(SpinnError):
    """LaTeX stopped, or a page is not as it should be."""

    exit_status = 1


@cache
def missing() -> str:
    """What of LaTeX is not there and how to get it, in one line; empty where nothing is missing."""
    lacks = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not lacks:
        found = subprocess.run(["kpsewhich", *FILES], capture_output=True, text=True, check=False).stdout.split()
        lacks = [name for name in FILES if name not in [Path(path).name for path in found]]
    if not lacks:
        return ""
    names = ", ".join(lacks)
    return f"no PDF of the paper: {names} not found; on Debian: apt-get install --no-install-recommends {PACKAGES}"


@cache
def version() -> str:
    """What would typeset: part of what a build depends on."""
    lacks = missing()
    if lacks:
        return lacks
    return subprocess.run(["pdflatex", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def typeset(name: str, files: Mapping[str, bytes], most_pages: int | None = None) -> bytes:
    """The PDF of `<name>.tex` among `files`, whose pages passed.

    Raises:
        TypesetError: LaTeX stopped, a line stands out by more than 5 pt, a reference is undefined, a font is not
            embedded, or there are more than `most_pages`.
    """
    with tempfile.TemporaryDirectory(prefix="spinn-latex-") as folder:
        there = Path(folder)
        for path, content in files.items():
            (there / path).parent.mkdir(parents=True, exist_ok=True)
            (there / path).write_bytes(content)
        _latexmk(name, there)
        log = (there / f"{name}.log").read_bytes().decode("latin-1")
        problems = [*of_log(log), *_of_pdf(there / f"{name}.pdf", most_pages)]
        if problems:
            raise TypesetError(f"{name}.pdf: " + "; ".join(problems))
        return (there / f"{name}.pdf").read_bytes()


def _latexmk(name: str, folder: Path) -> None:
    command = [*LATEXMK, name]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **DATED, "max_print_line": "1000"},
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TypesetError(f"{name}.tex: LaTeX took more than {_TIMEOUT} s; is it waiting for something?") from None
    if done.returncode:
        lines = done.stdout.decode("latin-1").splitlines()
        first = next((i for i, line in enumerate(lines) if line.startswith("!")), max(len(lines) - 8, 0))
        raise TypesetError(f"{name}.tex: LaTeX stopped: " + " ".join(" ".join(lines[first : first + 8]).split()))


def of_log(log: str) -> list[str]:
    """What a log says against the pages: lines that stand out, references and citations that lead nowhere."""
    over = re.findall(r"Overfull \\[hv]box \(([\d.]+)pt too (wide|high)\)([^\n]*)", log)
    problems = [f"{size} pt too {way}{_where(place)}" for size, way, place in over if float(size) > OVERFULL]
    problems += [
        f"a float is {size} pt higher than a page" for size in re.findall(r"Float too large[^\n]* by ([\d.]+)pt", log)
    ]
    undefined = re.findall(r"LaTeX Warning: (?:Reference|Citation) [`']([^']*)'[^\n]*undefined", log)
    undefined += re.findall(r"Package natbib Warning: Citation `([^']*)'[^\n]*undefined", log)
    return problems + [f"{key} is referred to and not defined" for key in dict.fromkeys(undefined)]


def _where(place: str) -> str:
    """Where a log says that something stands out: in its lines, or on a page as it was put together."""
    return " on a page" if r"\output is active" in place else place.rstrip()


def _of_pdf(path: Path, most_pages: int | None) -> list[str]:
    about = subprocess.run(["pdfinfo", str(path)], capture_output=True, text=True, check=True).stdout
    pages = int(re.findall(r"^Pages:\s+(\d+)", about, re.MULTILINE)[0])
    fonts = subprocess.run(["pdffonts", str(path)], capture_output=True, text=True, check=True).stdout
    problems = of_fonts(fonts)
    if most_pages is not None and pages > most_pages:
        problems.append(f"{pages} pages, and {most_pages} at most are allowed; move a table to the supplement")
    return problems


def of_fonts(listed: str) -> list[str]:
    """Fonts that `pdffonts` lists as not embedded, or of Type 3, which publishers refuse."""
    problems = []
    for line in listed.splitlines()[2:]:
        found = re.match(r"(\S+)\s+(.*?)\s+(\S+)\s+(yes|no)\s+(yes|no)\s+(yes|no)\s", line)
        if found and found.group(4) == "no":
            problems.append(f"font {found.group(1)} is not embedded")
        if found and found.group(2).startswith("Type 3"):
            problems.append(f"font {found.group(1)} is of Type 3")
    return problems
