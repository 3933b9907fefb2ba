"""A simulated milling experiment whose wear and heat laws are known: sixteen tools, eight conditions, two tools each.

Knows physics, its own declared disturbances and nothing of files. Everything a network could be asked to recover is in
`TRUTH`, and what is drawn at random is declared in `Noise` and `Truth.tool_sd`; both can be switched off.

Time `t` is cutting time in minutes since the tool was new; while the tool is lifted, that clock stops. At any moment:

* **Wear.** Archard (J. Appl. Phys. 24, 1953, eq. 3): volume worn per distance is K·F/H, so at cutting speed v the
  land grows as dVB/dt ∝ K·F·v/H. The force on a worn edge grows with its land, F = F₀·(1 + g·VB), hence
  dVB/dt = r·(1 + g·VB) with ln r = a + b·ln(DOC/0.75) + c·ln(f/0.25) + d·[steel] + u, and u ~ N(0, tool_sd²) one draw
  per tool. The exponents b, c, d are those fitted to the NASA labels (a law linear in time: e^−5.06, 0.63, 0.38,
  1.46); a is lowered to −5.30 so that, with g = 0.8 /mm, a tool reaches 0.7 mm at the same time as under that law.
  In closed form VB = (e^(r·g·t) − 1)/g.
* **Force.** Kienzle (VDI-Z 94, 1952): F₀ = z·kc1.1·DOC·h^(1−mc) over z engaged teeth, with h the feed per tooth
  (f/6 inserts, a 70 mm face mill half engaged). kc1.1 and mc are handbook values for grey cast iron and stainless
  steel.
* **Power.** P = P_idle + F·v, the power of the spindle (W, N, m/s).
* **Heat.** One lumped body: C·dθ/dt = η·P − G·θ, δ = α·L·θ, so that dδ/dt = k·P − δ/τ with k = α·L·η/C and τ = C/G.
  As 1 + g·VB = e^(r·g·t), P is a constant plus one exponential, and δ has the closed form in `thermal`.

Spindle current follows power, vibration follows force and wear; their sensitivities (`Sensors`) are chosen so that
the simulated channels have the range of the NASA recordings (spindle current 1.4 V idle, below 10 V cutting).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from spinn.data import features
from spinn.data.dataset import DOC_REFERENCE, FEED_REFERENCE, Dataset
from spinn.record import COEFFICIENT_UNITS

DESIGN = (  # (DOC mm, feed mm/rev, steel) of cases 1 to 16: as in the NASA experiment
    (1.5, 0.5, 0), (0.75, 0.5, 0), (0.75, 0.25, 0), (1.5, 0.25, 0),
    (1.5, 0.5, 1), (1.5, 0.25, 1), (0.75, 0.25, 1), (0.75, 0.5, 1),
    (1.5, 0.5, 0), (1.5, 0.25, 0), (0.75, 0.25, 0), (0.75, 0.5, 0),
    (0.75, 0.25, 1), (0.75, 0.5, 1), (1.5, 0.25, 1), (1.5, 0.5, 1),
)  # fmt: skip
END_OF_LIFE = 0.6  # mm: a tool is replaced after the first cut that ends at or above it
CUTS_TO_END = 9.4  # cuts in which a tool without deviation gets there
SAMPLES = 240  # of one recorded pass
MAINS = 9.0  # periods of the alternating current in one recorded pass


@dataclass(frozen=True)
class Truth:
    """Every constant of the simulated process; VB in mm, time in min, thermal displacement in µm, power in W."""

    a: float = -5.30  # ln(mm/min), wear rate at the reference conditions in cast iron
    b: float = 0.63  # exponent of DOC/0.75 mm
    c: float = 0.38  # exponent of feed/0.25 mm/rev
    d: float = 1.46  # of steel over cast iron
    g: float = 0.80  # 1/mm, growth of force, and so of wear rate, with the wear land
    tool_sd: float = 0.12  # standard deviation of a from tool to tool
    kc_iron: float = 1020.0  # N/mm², specific cutting force kc1.1 of grey cast iron
    mc_iron: float = 0.28
    kc_steel: float = 1700.0  # N/mm², of stainless steel
    mc_steel: float = 0.21
    inserts: int = 6
    engaged: int = 3
    speed: float = 200.0 / 60.0  # m/s, cutting speed
    idle_power: float = 400.0  # W
    heat_share: float = 0.05  # η: share of the spindle's power that heats tool holder and spindle nose
    heat_capacity: float = 9000.0  # C, J/K: about 20 kg of steel
    heat_loss: float = 6.0  # G, W/K
    expansion: float = 11.7e-6  # α, 1/K, of steel
    length: float = 0.20  # L, m

    @property
    def coefficients(self) -> dict[str, float]:
        """What a network is asked to recover, in the units of `spinn.record.COEFFICIENT_UNITS`."""
        return {name: getattr(self, name) for name in COEFFICIENT_UNITS}

    @property
    def k(self) -> float:
        """Heating coefficient αLη/C in µm/(W·min)."""
        return 1e6 * self.expansion * self.length * self.heat_share / self.heat_capacity * 60.0

    @property
    def tau(self) -> float:
        """Thermal time constant C/G in min."""
        return self.heat_capacity / self.heat_loss / 60.0


TRUTH = Truth()


@dataclass(frozen=True)
class Noise:
    """Standard deviations of what disturbs a measurement, all independent from cut to cut."""

    wear: float = 0.012  # mm, reading the wear land under a microscope
    thermal: float = 0.5  # µm, displacement sensor
    power: float = 0.01  # relative, power meter
    force: float = 0.04  # relative, dynamometer and workpiece
    current: float = 0.03  # relative
    vibration: float = 0.08  # relative
    ripple: float = 0.05  # relative, from sample to sample within a recording

    def scaled(self, factor: float) -> Noise:
        """The same disturbances, `factor` times as large."""
        return Noise(**{name: factor * value for name, value in vars(self).items()})


@dataclass(frozen=True)
class Sensors:
    """Sensitivities of the channels; declared, not recovered from anything."""

    idle_current: float = 1.4  # V of smcDC at idle power
    current: float = 1e-3  # V of smcDC per W of cutting power
    alternating: float = 0.4  # V of smcAC amplitude per V of smcDC
    table: float = 0.10  # V of vib_table when idle
    table_force: float = 2.0e-4  # V per N
    table_wear: float = 0.6  # 1/mm
    spindle: float = 0.25  # V of vib_spindle when idle
    spindle_force: float = 5.0e-5  # V per N
    spindle_wear: float = 0.3  # 1/mm
    tooth: float = 0.12  # amplitude of the tooth-passing ripple of the force, relative


SENSORS = Sensors()


def wear_rate(DOC: float, feed: float, steel: float, truth: Truth = TRUTH, deviation: float = 0.0) -> float:
    """Rate r of a new edge in mm/min: e^(a + deviation)·(DOC/0.75)^b·(feed/0.25)^c·e^(d·steel)."""
    exponent = truth.a + deviation + truth.d * steel
    exponent += truth.b * np.log(DOC / DOC_REFERENCE) + truth.c * np.log(feed / FEED_REFERENCE)
    return float(np.exp(exponent))


def wear(time: np.ndarray, rate: float, truth: Truth = TRUTH) -> np.ndarray:
    """Wear land VB in mm after `time` min: (e^(r·g·t) − 1)/g, the solution of dVB/dt = r·(1 + g·VB), VB(0) = 0."""
    return np.expm1(rate * truth.g * time) / truth.g if truth.g else rate * time


def force(DOC: float, feed: float, steel: float, truth: Truth = TRUTH) -> float:
    """Main cutting force of a new tool in N: z·kc1.1·DOC·h^(1−mc), h = feed per tooth in mm (Kienzle)."""
    kc, mc = (truth.kc_steel, truth.mc_steel) if steel else (truth.kc_iron, truth.mc_iron)
    return truth.engaged * kc * DOC * (feed / truth.inserts) ** (1.0 - mc)


def power(new_force: float, VB: np.ndarray, truth: Truth = TRUTH) -> np.ndarray:
    """Spindle power in W: idle, plus force times speed, the force grown by 1 + g·VB."""
    return truth.idle_power + new_force * truth.speed * (1.0 + truth.g * VB)


def thermal(time: np.ndarray, rate: float, new_force: float, truth: Truth = TRUTH) -> np.ndarray:
    """Thermal displacement δ in µm after `time` min: the solution of dδ/dt = k·P(t) − δ/τ, δ(0) = 0.

    With P = P_idle + P_cut·e^(ρt), ρ = r·g:
    δ = k·P_idle·τ·(1 − e^(−t/τ)) + k·P_cut·(e^(ρt) − e^(−t/τ))/(ρ + 1/τ).
    """
    growth = rate * truth.g
    decay = np.exp(-time / truth.tau)
    idle = truth.idle_power * truth.tau * (1.0 - decay)
    cutting = new_force * truth.speed * (np.exp(growth * time) - decay) / (growth + 1.0 / truth.tau)
    return truth.k * (idle + cutting)


def simulate(seed: int = 0, tool_sd: float | None = None, noise: float = 1.0, truth: Truth = TRUTH) -> Dataset:
    """The sixteen-case experiment, each tool cut to the end of its life.

    A pass is as long as its conditions need to wear an average tool out in `CUTS_TO_END` cuts: nobody knows a tool's
    deviation beforehand. Measured values are rounded to the resolution of their instrument, which also makes the data
    the same on machines whose exponentials differ in the last bit.

    Args:
        seed: the same seed gives the same data, bit by bit.
        tool_sd: standard deviation of the wear rate's logarithm from tool to tool; None for the truth's own, 0 for
            sixteen tools that are alike.
        noise: factor on every disturbance of `Noise`; 0 switches all of them off.
        truth: the constants of the process.

    Returns:
        A row per cut: its time, labels, spindle power (W) and recording all belong to the cut's end. Both targets are
        measured; 18 features (`features.SIMULATOR`).
    """
    spread = truth.tool_sd if tool_sd is None else tool_sd
    disturbances = Noise().scaled(noise)
    rows = []
    for number, (DOC, feed, steel) in enumerate(DESIGN, start=1):
        generator = np.random.default_rng((seed, number))
        rate = wear_rate(DOC, feed, steel, truth, spread * generator.standard_normal())
        new_force, times = force(DOC, feed, steel, truth), _cut_times(rate, DOC, feed, steel, truth)
        exact = pd.DataFrame({"time": times, "VB": wear(times, rate, truth)})
        exact["force"] = new_force * (1.0 + truth.g * exact["VB"])
        exact["power"] = power(new_force, exact["VB"].to_numpy(), truth)
        exact["thermal"] = thermal(times, rate, new_force, truth)
        for run, cut in enumerate(exact.to_dict("records"), start=1):
            measured = _measured(cut, truth.idle_power, disturbances, generator)
            rows.append({"case": str(number), "run": run, "DOC": DOC, "feed": feed, "steel": steel, **measured})
    note = f"simulated with seed {seed}; tool-to-tool standard deviation {spread:g}; measurement noise × {noise:g}"
    names = features.names(features.SIMULATOR)
    return Dataset("simulator", pd.DataFrame(rows), names, notes=(note,), truth=truth.coefficients)


def _cut_times(rate: float, DOC: float, feed: float, steel: float, truth: Truth) -> np.ndarray:
    """Times in min at which the cuts of one tool end: equal passes, up to the first that ends at `END_OF_LIFE`."""
    growth = np.log1p(truth.g * END_OF_LIFE) / truth.g if truth.g else END_OF_LIFE
    step = max(round(growth / wear_rate(DOC, feed, steel, truth) / CUTS_TO_END, 1), 0.1)
    return np.round(step * np.arange(1, int(np.ceil(growth / rate / step)) + 1), 1)


def _measured(
    cut: dict[Any, float], idle_power: float, noise: Noise, generator: np.random.Generator
) -> dict[str, float]:
    """What is read off one cut: labels, power, and the statistics of its recording.

    Args:
        cut: what is true at its end: time (min), VB (mm), force (N), power (W), thermal (µm).
        idle_power: of the spindle, W.
        noise: size of the disturbances.
        generator: source of the disturbances.
    """
    VB, newtons, watts = cut["VB"], cut["force"], cut["power"]
    wear_error, heat_error, power_error, force_error, current_error, table_error, spindle_error = (
        generator.standard_normal(7).tolist()
    )
    table = SENSORS.table_force * newtons * (1.0 + SENSORS.table_wear * VB) * (1.0 + noise.vibration * table_error)
    spindle = SENSORS.spindle_force * newtons * (1.0 + SENSORS.spindle_wear * VB)
    spindle *= 1.0 + noise.vibration * spindle_error
    current = SENSORS.current * (watts - idle_power) * (1.0 + noise.current * current_error)
    recording = _recording(
        newtons * (1.0 + noise.force * force_error), current, table, spindle, noise.ripple, generator
    )
    return {
        "time": cut["time"],
        "power": round(watts * (1.0 + noise.power * power_error), 1),
        "VB": max(round(VB + noise.wear * wear_error, 3), 0.0),
        "thermal": round(cut["thermal"] + noise.thermal * heat_error, 2),
        **features.channel_features(recording, features.SIMULATOR),
    }


def _recording(
    newtons: float, current: float, table: float, spindle: float, ripple: float, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Channels of one pass, `[SAMPLES]` each: idle, entry, steady cut, exit; the arguments are the steady levels."""
    place = np.linspace(0.0, 1.0, SAMPLES)
    engaged = np.interp(place, (0.10, 0.35, 0.80, 0.95), (0.0, 1.0, 1.0, 0.0))
    load = engaged * (1.0 + ripple * generator.standard_normal((4, SAMPLES)))
    direct = SENSORS.idle_current + current * load[1]
    return {
        "smcAC": SENSORS.alternating * direct * np.sin(2.0 * np.pi * MAINS * place),
        "smcDC": direct,
        "vib_table": SENSORS.table + table * load[2],
        "vib_spindle": SENSORS.spindle + spindle * load[3],
        "force": newtons * load[0] * (1.0 + SENSORS.tooth * np.sin(2.0 * np.pi * 40.0 * place)),
    }
