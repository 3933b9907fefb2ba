"""What outputs of a network mean: targets in mm and µm, by the record's scaler and, where it has one, its wear law.

Flank wear is either the output in units of the spread of wear about its mean, or a wear law that the output corrects:
VB = law · (1 + c·tanh(output)). numpy, float64; the judge's own arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spinn.record import Scaler
from verify.folder import Data
from verify.laws import Law


@dataclass(frozen=True)
class Head:
    """The meaning of outputs `[rows, 2]` at some cuts; `law` `[rows]` (mm) and the largest `correction`, or neither."""

    mean: np.ndarray
    scale: np.ndarray
    law: np.ndarray | None = None
    correction: float = 0.0

    @classmethod
    def of(cls, stated: Scaler, data: Data, rows: np.ndarray) -> Head:
        """At the chosen cuts (a mask or positions) of the data."""
        if stated.law is None:
            return cls(np.array(stated.target_mean), np.array(stated.target_scale))
        return cls.at(stated, Law.of(data.columns, rows).wear(np.array(stated.law.coefficients)))

    @classmethod
    def at(cls, stated: Scaler, law: np.ndarray) -> Head:
        """Where the wear law of `stated`, which has one, gives `law`."""
        assert stated.law is not None
        return cls(np.array(stated.target_mean), np.array(stated.target_scale), law, stated.law.correction)

    def targets(self, outputs: np.ndarray) -> np.ndarray:
        """Flank wear (mm) and thermal displacement (µm), `[rows, 2]`."""
        found = outputs * self.scale + self.mean
        if self.law is not None:
            found[:, 0] = self.law * (1 + self.correction * np.tanh(outputs[:, 0]))
        return found

    def standardised(self, outputs: np.ndarray) -> np.ndarray:
        """`targets` in units of the targets' spread about their mean."""
        return (self.targets(outputs) - self.mean) / self.scale

    def slope(self, outputs: np.ndarray) -> np.ndarray:
        """The derivative of `standardised` by each output, `[rows, 2]`."""
        slope = np.ones_like(outputs)
        if self.law is not None:
            slope[:, 0] = self.law * self.correction * (1 - np.tanh(outputs[:, 0]) ** 2) / self.scale[0]
        return slope

    def rates(self, outputs: np.ndarray, rates: np.ndarray, law_rate: np.ndarray) -> np.ndarray:
        """Rates of the targets (mm/min, µm/min) from those of outputs and law."""
        found = self.slope(outputs) * rates * self.scale
        if self.law is not None:
            found[:, 0] += law_rate * (1 + self.correction * np.tanh(outputs[:, 0]))
        return found

    def rates_by_output(self, outputs: np.ndarray, rates: np.ndarray, law_rate: np.ndarray) -> np.ndarray:
        """The derivative of `rates` by each output, while its rate stays, `[rows, 2]`; tanh″ = −2·tanh·tanh′."""
        found = np.zeros_like(outputs)
        if self.law is not None:
            bent = np.tanh(outputs[:, 0])
            bend = self.correction * (1 - bent**2)
            found[:, 0] = bend * (law_rate - 2 * bent * self.law * rates[:, 0])
        return found
