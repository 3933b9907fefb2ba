"""Writes docs/hostile.md: what each hostile file of `hostile/catalogue.py` gets. After a change that is meant."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))

if __name__ == "__main__":
    from hostile.outcome import write

    write()
