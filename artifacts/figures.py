"""Every figure of the paper: its caption, its text for those who do not see it, and its bytes as PDF and PNG.

The kinds of figures are the files of `plots/`; how all of them look is `plots/style.py`. Values come from the same
tables and frames as the numbers.
"""

from __future__ import annotations

from functools import partial

from artifacts.plots import accuracy, cost, lives, pruning, training
from artifacts.plots.style import Plot, Tables, draw
from artifacts.results import Results

PLOTS: dict[str, Plot] = {plot.name: plot for kind in (training, accuracy, pruning, lives, cost) for plot in kind.PLOTS}
"""Every figure, by its name, in the order of the report."""

CAPTIONS: dict[str, str] = {name: plot.caption for name, plot in PLOTS.items()}
"""What stands below each figure."""


def alt(name: str, results: Results, tables: Tables) -> str:
    """What a reader hears who does not see the figure: what is drawn, and its values.

    `tables` by name, those that `all_figures` drew.
    """
    return PLOTS[name].alt(results, tables)


def all_figures(results: Results, tables: Tables) -> dict[str, dict[str, bytes]]:
    """Every figure that these results have something for: name → ending → bytes.

    `tables` by name: what figures draw of `progression`, `accuracy` and `split-luck` is what these print.
    """
    drawn = {name: draw(partial(plot.make, results, tables)) for name, plot in PLOTS.items()}
    return {name: files for name, files in drawn.items() if files}
