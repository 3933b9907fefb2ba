"""How every figure looks: text of at least 8 pt, colours, markers and lines that differ in grey.

A figure is a journal column wide, or two where it would be too high in one.

Colours are those of Okabe & Ito (2008, Color Universal Design); every series also has a marker and a line style of its
own. No pyplot: nothing global is touched. Knows nothing of records.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from artifacts.render import Table
from artifacts.results import Results

WIDTH = 3.375  # inch: a column of a two-column ASME page is 3.25 to 3.5 in wide
WIDE = 7.2  # inch: both columns, for what would be too high in one
HIGHEST = 8.2  # inch: what a page has room for, above a caption
TEXT = 8.0  # points in print, the smallest size that is used
ROW = 0.19  # inch: the height of a row of text with air around it
LINE = 45  # characters of text that surely fit a column
R2_FLOOR = -0.5  # the axis of R² goes no lower; what lies below is drawn at its edge and said to be
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
_COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, BLACK, SKY)
_MARKERS = ("o", "s", "^", "D", "v", "x", "P", "*", "<", "+", ">")
_LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
STYLE: dict[Any, Any] = {
    "font.size": TEXT,
    "axes.labelsize": TEXT,
    "axes.titlesize": TEXT,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "legend.fontsize": TEXT,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,  # a name with a $ is a name, and superscripts would be smaller than the smallest text
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.borderaxespad": 0.2,
    "figure.constrained_layout.use": True,
}
_Item = TypeVar("_Item")
Tables = Mapping[str, Table]


@dataclass(frozen=True)
class Plot:
    """A figure of the paper: `make` draws it, or gives None where these results have nothing for it.

    `caption` is what stands below it, `alt` what a reader hears who does not see it: what is drawn, and the values.
    """

    name: str
    caption: str
    make: Callable[[Results, Tables], Figure | None]
    alt: Callable[[Results, Tables], str]


@dataclass(frozen=True)
class Look:
    """Colour, marker and line style of a series; no two series share all three, the first six not even one."""

    colour: str
    marker: str
    line: Any


def looks() -> Iterator[Look]:
    """A look for each series, without end; the periods have no common divisor, so that 462 looks differ."""
    for index in count():
        yield Look(_COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)], _LINES[index % len(_LINES)])


def series(items: Iterable[_Item]) -> Iterator[tuple[_Item, Look]]:
    """Each item with a look of its own: however many there are, none is left out."""
    yield from zip(items, looks(), strict=False)  # the looks have no end


def wrapped(text: str, width: int = LINE) -> str:
    """`text` broken into lines that fit a column; a name is not broken at its hyphens."""
    return "\n".join(textwrap.wrap(text, width, break_on_hyphens=False)) or text


def number(value: float, digits: int = 3) -> str:
    """A number on a figure or in its text: a true minus sign, thousands parted."""
    shown = f"{value:,.{digits}f}"
    return (shown if any(figure in "123456789" for figure in shown) else shown.removeprefix("-")).replace("-", "−")


def together(names: Iterable[str], most: int = 4) -> str:
    """Several names as one label; of many, the first and how many more."""
    listed = list(names)
    return ", ".join(listed) if len(listed) <= most else f"{listed[0]} and {len(listed) - 1} more"


def legend_below(figure: Figure, handles: list[Any], labels: list[str]) -> None:
    """A legend below all panels, in as many columns as the longest label lets fit."""
    widest = max((max(map(len, label.split("\n"))) for label in labels), default=0)
    columns = 3 if widest <= 9 else 2 if widest <= 19 else 1
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, columnspacing=1, labelspacing=0.3)


def draw(make: Callable[[], Figure | None]) -> dict[str, bytes]:
    """The figure that `make` returns, as PDF and PNG bytes, none for None; equal figures give equal bytes."""
    with mpl.rc_context(STYLE):
        figure = make()
        if figure is None:
            return {}
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()  # lay out once, for all formats
        figure.set_layout_engine("none")
        out = {}
        for ending, metadata in (("pdf", {"CreationDate": None, "ModDate": None}), ("png", {"Software": None})):
            stream = io.BytesIO()
            figure.savefig(stream, format=ending, dpi=300, metadata=metadata)
            out[ending] = stream.getvalue()
        return out
