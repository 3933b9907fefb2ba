"""Sensor features against the tool's own beginning: what a sensor says of wear, less what it says of tool and set-up.

Knows rows and columns of a data set; nothing of channels, files or networks.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spinn.config import Experiment, Variant
from spinn.data.dataset import Dataset
from spinn.data.features import PROCESS

NOTE = "sensor features: natural logarithm of their ratio to the value at the tool's first recorded cut"


def relative(dataset: Dataset) -> Dataset:
    """Every feature but the process parameters as ln(x / x₀), a pure number; x₀ is the tool's first known value.

    Amplifiers, mounting and the piece differ from tool to tool by factors, which the ratio takes out; and each cut sees
    only its own tool's earlier cuts, so that it can be computed while a tool is at work. Missing where x is not above
    0 or is not known: there is no ratio.
    """
    sensors = [name for name in dataset.features if name not in PROCESS]
    frame = dataset.frame.copy()
    values = frame[sensors].astype(float).where(lambda table: table > 0)
    frame[sensors] = np.log(values / values.groupby(frame["case"], sort=False).transform("first"))
    return replace(dataset, frame=frame, notes=(*dataset.notes, NOTE))


def without(dataset: Dataset) -> Dataset:
    """Every feature but the process parameters as 0: a network of the same inputs learns nothing from a sensor."""
    sensors = [name for name in dataset.features if name not in PROCESS]
    return replace(dataset, frame=dataset.frame.assign(**dict.fromkeys(sensors, 0.0)))


def seen(dataset: Dataset, experiment: Experiment, variant: Variant) -> Dataset:
    """The data as networks of `variant` see it; `dataset` is as the experiment has it."""
    reading = experiment.sensors_of(variant)
    if reading == experiment.sensors:
        return dataset
    return relative(dataset) if reading == "relative" else without(dataset)
