"""Writes docs/hostile.md: what each hostile file of `hostile/catalogue.py` gets. After a change that is meant."""

from __future__ import annotations

from hostile.outcome import write

if __name__ == "__main__":
    write()
