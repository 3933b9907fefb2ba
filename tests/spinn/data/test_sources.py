"""Sources by name, and the package that resolves its names when they are first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import spinn.data
from spinn.data import load
from spinn.errors import DataError


@pytest.mark.parametrize("source", ["", "NASA", "simulator2", "cuts.parquet", "mill"])
def test_an_unknown_source_is_refused_with_what_there_is(source):
    """The message names the value and every kind of source."""
    with pytest.raises(DataError, match=rf"data = '{source}': expected 'simulator', 'nasa', or a path that ends in"):
        load(source)


@pytest.mark.parametrize("name", ["\x1b[2Jcuts.csv", "cu\u202ets.csv", "cu\nts.mat"])
def test_a_file_whose_name_moves_a_terminal_is_refused(name, tmp_path):
    """The data card and every report say what the data is called."""
    (tmp_path / name).write_text("")
    with pytest.raises(
        DataError, match=r"data = .*: U\+.* in the name of the file is no letter that is seen; give it another name"
    ):
        load(str(tmp_path / name))


def test_nasa_before_it_is_fetched(tmp_path, monkeypatch):
    """The message names the command that fetches it."""
    monkeypatch.setenv("SPINN_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"data = 'nasa': not downloaded yet .*; run `spinn data fetch nasa`"):
        load("nasa")


def test_nasa_after_it_is_fetched(tmp_path, monkeypatch, mill):
    """The file in the cache is what 'nasa' means."""
    monkeypatch.setenv("SPINN_CACHE", str(tmp_path))
    (tmp_path / "mill.mat").write_bytes(mill.read_bytes())
    assert load("nasa").fingerprint() == load(str(mill)).fingerprint()


def test_every_public_name_resolves_and_no_other_does():
    """Each name of `__all__` is there; an unknown one is an AttributeError."""
    assert all(getattr(spinn.data, name) for name in spinn.data.__all__)
    assert dir(spinn.data) == sorted(spinn.data.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = spinn.data.nonsense


def test_importing_the_package_loads_nothing_and_loading_data_loads_no_torch():
    """The package alone loads no pandas; the simulator and its card no torch, pooch or scipy."""
    code = (
        "import sys, spinn.data; assert 'pandas' not in sys.modules and 'numpy' not in sys.modules; "
        "spinn.data.describe(spinn.data.load('simulator')); "
        "assert not {'torch', 'pooch', 'scipy', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
