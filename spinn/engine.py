"""Which engine places the cohorts of a plan, and what it is asked for; `spinn.sweep` alone knows how.

Standard library only: the command line reads it before anything heavy is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from spinn.errors import InputError


@dataclass(frozen=True)
class Engine:
    """`local`, or `ray` with the address of a cluster (None: the one that RAY_ADDRESS names, or a new one here).

    `cpus` and `gpus` are what Ray sets aside for each cohort, fractions included; a cohort trains on as many threads as
    whole cpus. None: as many as threads here, and one GPU where the device is one.
    """

    name: str = "local"
    address: str | None = None
    cpus: float | None = None
    gpus: float | None = None

    def __post_init__(self) -> None:
        if self.name == "local" and (self.address, self.cpus, self.gpus) != (None, None, None):
            raise InputError("--address, --cpus, --gpus: they say what Ray is asked for; give --engine ray too")
        for option, value in (("--cpus", self.cpus), ("--gpus", self.gpus)):
            if value is not None and not 0 <= value < float("inf"):
                raise InputError(f"{option} {value}: 0 or more of them for each cohort")
            if value is not None and value != round(value, 4):
                raise InputError(f"{option} {value}: Ray has no smaller part of one than 0.0001")
        if self.gpus is not None and self.gpus > 1 and self.gpus % 1:
            raise InputError(f"--gpus {self.gpus}: part of one, or whole ones")
