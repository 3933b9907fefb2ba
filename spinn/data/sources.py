"""From the name of a source to its data: the simulator, the fetched NASA file, or a path ending in .mat or .csv.

Knows which loader reads what; the loaders know the formats.
"""

from __future__ import annotations

from pathlib import Path

from spinn.config import SimulatorConfig
from spinn.data.dataset import Dataset
from spinn.documents import unseen
from spinn.errors import DataError, InputError


def load(source: str, campaign: SimulatorConfig | None = None) -> Dataset:
    """Read the data called `source`.

    Args:
        source: 'simulator', 'nasa' (the file that `spinn data fetch nasa` put into the cache), or the path of a .mat
            file in the NASA layout or of a tidy .csv file.
        campaign: which campaign is simulated; None for the simulator's defaults. No other source takes one.

    Returns:
        The data, one row per cut; the same source gives the same data, bit by bit.

    Raises:
        DataError: there is no such source or file, or it cannot be read as one.
        InputError: a campaign is given for data that is not simulated.
    """
    if source == "simulator":
        from spinn.data import simulator

        return simulator.simulate(**(campaign or SimulatorConfig()).model_dump())
    if campaign is not None:
        raise InputError(f"[simulator] is for data = 'simulator', and data is {source!r}: leave one of them out")
    if source == "nasa":
        from spinn.data import download, nasa

        return nasa.read(download.fetched())
    if "\0" in source:
        raise DataError(f"data = {source!r:.80}: no file can have such a name; give the path of a .mat or .csv file")
    path = Path(source)
    if letter := unseen(path.name):
        told = f"U+{ord(letter):04X} in the name of the file is no letter that is seen"
        raise DataError(f"data = {source!a:.80}: {told}; give it another name")
    if path.suffix.lower() == ".mat":
        from spinn.data import nasa

        return nasa.read(path)
    if path.suffix.lower() == ".csv":
        from spinn.data import tidy

        return tidy.read(path)
    raise DataError(f"data = {source!r}: expected 'simulator', 'nasa', or a path that ends in .mat or .csv")
