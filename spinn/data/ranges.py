"""What a value of each column can be: the bounds of what is measured, and their units.

Knows no file. The bounds are far beyond any machine: what they keep out are slips of the decimal point, and numbers
whose squares or ratios no arithmetic holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`, in `unit`, and 0 where `zero`; `signed`: or as far below 0."""

    least: float
    most: float
    unit: str = ""
    zero: bool = True
    signed: bool = False

    def expected(self, value: float) -> str:
        """What is expected in place of `value`; nothing where it is in the range, or missing."""
        size = abs(value) if self.signed else value
        unit = (f" {self.unit}" if self.unit else "") + (" in magnitude" if self.signed else "")
        if size > self.most:
            return f"at most {self.most:g}{unit}"
        if size < 0 or (size == 0 and not self.zero):
            return f"at least 0{unit}" if self.zero else f"above 0{unit}"
        if 0 < size < self.least:
            return f"{'0, or ' if self.zero else ''}at least {self.least:g}{unit}"
        return ""


_CODE = Range(0, math.inf, signed=True)  # what it may be, its reader knows
FEATURE = Range(1e-290, 1e12, signed=True)  # the ratio of two of them is a number: see `spinn.data.sensors.relative`
RANGES = {
    "run": _CODE,
    "steel": _CODE,
    "time": Range(1e-6, 1e9, "min"),
    "DOC": Range(1e-6, 1e3, "mm", zero=False),
    "feed": Range(1e-6, 1e3, "mm/rev", zero=False),
    "VB": Range(0, 1e3, "mm"),
    "power": Range(0, 1e9, "W"),
    "thermal": Range(0, 1e6, "µm", signed=True),
}
"""By column; every other one with numbers is a feature."""
