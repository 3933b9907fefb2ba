"""What an experiment file states: its schema, every default filled in; a plan holds it as it was resolved.

Knows names, types and what a single value may be; computes nothing, and loads neither torch nor numpy.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from spinn.errors import ScheduleError

Sensors = Literal["absolute", "relative", "none"]
"""How networks read the sensor features (`spinn.data.sensors`)."""

PhysicsTerm = Literal["wear_rate", "heat", "initial", "monotone", "nonnegative", "law"]
RegressorName = Literal["ridge", "random-forest", "gradient-boosting", "gaussian-process", "support-vector"]
BaselineName = Literal[
    "mean",
    "last-value",
    "wear-law",
    "wear-law-growth",
    RegressorName,
    "small-network",
    "small-network-no-sensors",
    "gru",
]
SEES_LABELS: tuple[BaselineName, ...] = ("last-value",)
"""Baselines that see earlier labels of the held-out tool, which nothing else here does: whoever prints them says so."""
WITHOUT_SENSORS: tuple[BaselineName, ...] = ("mean", "last-value", "wear-law", "wear-law-growth")
"""Baselines that read no sensor."""


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100)]
"""Of an experiment or a variant: a part of files' names, for whose other parts it leaves room."""

STACK = 32
"""Runs trained together where nobody says how many. On a processor more gain nothing: the products fill all cores."""


MOST_WEIGHTS = 10**8
"""Of a network; whoever reads a plan makes arrays of the size that it states."""


class Strict(BaseModel):
    """Base of every schema: unknown keys are refused, instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Stated(Strict):
    """Base of what an experiment file states: `inf` and `nan`, which TOML can spell, are refused.

    A record may hold them when it is read: the audit has to find them there.
    """

    model_config = ConfigDict(allow_inf_nan=False)


class SplitConfig(Stated):
    """How cases are divided: `leave-one-case-out`, or `grouped` into `folds` parts."""

    kind: Literal["leave-one-case-out", "grouped"]
    folds: int | None = Field(default=None, ge=2, le=10**9)
    validation_cases: int = Field(default=2, ge=0)  # 0: every other case is trained on, and all epochs are run

    @model_validator(mode="after")
    def _folds_belong_to_grouped(self) -> SplitConfig:
        if (self.kind == "grouped") != (self.folds is not None):
            raise ValueError("folds is given for kind = 'grouped', and only there")
        return self


class DenseConfig(Stated):
    """Training of the dense network: Adam; `batch` rows a step, or all of them where there are fewer."""

    epochs: int = Field(ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    batch: int = Field(default=512, ge=1)
    patience: int | None = Field(default=None, ge=1)  # epochs without a better validation loss; None: all are run
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float | None = Field(default=1.0, gt=0)


class PhysicsConfig(Stated):
    """Weight of each physics term in the loss; 0 switches a term off. Terms are nondimensional."""

    wear_rate: float = Field(default=0.0, ge=0)
    heat: float = Field(default=0.0, ge=0)
    initial: float = Field(default=0.0, ge=0)
    monotone: float = Field(default=0.0, ge=0)
    nonnegative: float = Field(default=0.0, ge=0)
    law: float = Field(default=0.0, ge=0)

    def enabled(self) -> tuple[PhysicsTerm, ...]:
        """The names of the terms whose weight is not zero."""
        names: tuple[PhysicsTerm, ...] = ("wear_rate", "heat", "initial", "monotone", "nonnegative", "law")
        return tuple(name for name in names if getattr(self, name) > 0)


class StageConfig(Stated):
    """One pruning stage, then fine-tuning.

    `ratio` is a decimal string, held exactly: of the weights still active, or, where the pruner removes neurons, of
    the neurons that each hidden layer still has.
    """

    ratio: str
    epochs: int = Field(ge=0)
    learning_rate: float = Field(gt=0)

    @field_validator("ratio")
    @classmethod
    def _ratio_is_exact(cls, ratio: str) -> str:
        from spinn.schedule import parse_ratio

        try:
            parse_ratio(ratio)
        except ScheduleError as error:
            raise ValueError(_expected(error)) from None
        return ratio


class TargetConfig(Stated):
    """What the schedule has to reach (MISSION, success criteria); `None` means not asked."""

    reduction: str | None = None
    parameter_range: tuple[int, int] | None = None
    size_bytes: int | None = None

    @field_validator("reduction")
    @classmethod
    def _reduction_is_exact(cls, reduction: str | None) -> str | None:
        from spinn.schedule import parse_reduction

        if reduction is not None:
            try:
                parse_reduction(reduction)
            except ScheduleError as error:
                raise ValueError(_expected(error)) from None
        return reduction


class OwnDense(Stated):
    """What a variant states of the training of its dense network; what it leaves out is the experiment's."""

    epochs: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)


class Variant(Stated):
    """One way of pruning that the experiment runs, what the audit is expected to find in it, and a target of its own.

    With `physics` weights, a `dense` training, a `correction` or a reading of the `sensors` of its own it has a dense
    network of its own.

    `pruner`: single weights by magnitude over all layers or within each, at random, or as the faulty first version did;
    or whole neurons with the lowest scores of each hidden layer, by the weights into a neuron, into and out of it, or
    by what its removal changes in the loss, to first order (`spinn.neurons`).
    """

    name: Name
    pruner: Literal[
        "global-magnitude",
        "layerwise-magnitude",
        "random",
        "first-version",
        "neurons-incoming",
        "neurons-both-sides",
        "neurons-first-order",
    ]
    stages: tuple[StageConfig, ...] = Field(min_length=1)
    expected_findings: tuple[str, ...] = ()
    target: TargetConfig | None = None
    physics: PhysicsConfig | None = None
    dense: OwnDense | None = None
    correction: float | None = Field(default=None, gt=0, lt=1)
    # left out of plans that do not state it, whose digests are older than it
    sensors: Literal["relative", "none"] | None = Field(default=None, exclude_if=lambda stated: stated is None)


class SimulatorConfig(Stated):
    """The campaign that `spinn.data.simulator.simulate` makes, of whose arguments these are three.

    `tool_sd` is the standard deviation of the wear rate's logarithm from tool to tool, `noise` a factor on every
    disturbance of a measurement. Within their bounds every tool is worn out after some hundred cuts at most, and no
    power that is measured is below 0.
    """

    seed: int = Field(default=0, ge=0, lt=2**32)
    tool_sd: float = Field(default=0.12, ge=0, le=0.5)
    noise: float = Field(default=1.0, ge=0, le=10)


class AdaptationConfig(Stated):
    """Online adaptation of the first variant's final networks: Adam, `steps` of them after each label of a tool."""

    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)


def _listed(seeds: tuple[int, ...]) -> str:
    """The seeds, of which one with thousands of digits could not be written."""
    return f"[{', '.join(str(seed) if abs(seed) < 2**64 else '…' for seed in seeds)}]"


def _expected(error: ScheduleError) -> str:
    """What a ratio must be; pydantic, and with it `first_problem`, names file, key and value only for a ValueError."""
    return str(error).partition(": ")[2] or str(error)


class Experiment(Stated):
    """An experiment file (`paper/experiments/*.toml`), resolved: every default filled in."""

    name: Name
    data: str = "simulator"
    simulator: SimulatorConfig | None = None  # None: as the simulator's own defaults have it
    sensors: Literal["absolute", "relative"] = "absolute"  # relative: as `spinn.data.sensors` has it
    claims: str | None = None  # a TOML file, relative to the experiment's
    seeds: tuple[int, ...] = Field(min_length=1)
    layers: tuple[int, ...] = Field(min_length=2)
    stack: int | None = Field(default=None, ge=1)  # runs trained together; None: as spinn.stack chooses
    split: SplitConfig
    dense: DenseConfig
    physics: PhysicsConfig = PhysicsConfig()
    correction: float | None = Field(default=None, gt=0, lt=1)  # see `spinn.task.Task.standardised`; None: no wear law
    target: TargetConfig = TargetConfig()
    variants: tuple[Variant, ...] = Field(min_length=1)
    baselines: tuple[BaselineName, ...] = ("mean", "wear-law")
    adaptation: AdaptationConfig | None = None  # None: no tool is adapted to

    @property
    def primary(self) -> Variant:
        """The variant that the work stands for: the first that declares no finding, or simply the first."""
        return next((variant for variant in self.variants if not variant.expected_findings), self.variants[0])

    def physics_of(self, variant: Variant) -> PhysicsConfig:
        """The weights of the physics terms that `variant` is trained with: its own, or else the experiment's."""
        return self.physics if variant.physics is None else variant.physics

    def dense_of(self, variant: Variant) -> DenseConfig:
        """How the dense network of `variant` is trained: as it states itself, in all else as the experiment does."""
        own = {} if variant.dense is None else variant.dense.model_dump(exclude_none=True)
        return self.dense.model_copy(update=own)

    def correction_of(self, variant: Variant) -> float | None:
        """By what share networks of `variant` may correct a wear law: its own, or else the experiment's; None: none."""
        return self.correction if variant.correction is None else variant.correction

    def sensors_of(self, variant: Variant) -> Sensors:
        """How networks of `variant` read the sensors: in its own way, or else in the experiment's."""
        return self.sensors if variant.sensors is None else variant.sensors

    def families(self) -> list[list[Variant]]:
        """The variants that share a dense network: those with the same physics, training, correction and sensors."""
        found: dict[object, list[Variant]] = {}
        for variant in self.variants:
            training = self.dense_of(variant), self.correction_of(variant)
            settings = self.physics_of(variant), training, self.sensors_of(variant)
            found.setdefault(settings, []).append(variant)
        return list(found.values())

    def target_of(self, variant: Variant) -> TargetConfig:
        """What the schedule of `variant` has to reach: its own target, or else the experiment's."""
        return self.target if variant.target is None else variant.target

    @model_validator(mode="after")
    def _what_is_asked_for_can_be_done(self) -> Experiment:
        if self.dense.patience is not None and not self.split.validation_cases:
            raise ValueError("dense.patience asks for a validation loss, and split.validation_cases is 0: leave it out")
        for variant in self.variants:
            corrects = self.correction_of(variant) is not None
            idle = set(self.physics_of(variant).enabled()) & ({"initial", "nonnegative"} if corrects else {"law"})
            if idle and corrects:
                raise ValueError(
                    f"variant {variant.name}: physics.{min(idle)} has nothing to do where the network corrects a wear "
                    "law, which is 0 at time 0 and above from there on: leave it out"
                )
            if idle:
                raise ValueError(
                    f"variant {variant.name}: physics.law holds a network to the wear law that it corrects: set "
                    "correction, or leave it out"
                )
        return self

    @field_validator("layers")
    @classmethod
    def _a_network_of_this_size_can_be_held(cls, layers: tuple[int, ...]) -> tuple[int, ...]:
        if min(layers) < 1:
            raise ValueError("a width is a whole number of at least 1")
        weights = sum(a * b for a, b in pairwise(layers))
        if weights > MOST_WEIGHTS:
            told = f"{weights:.3g}" if weights < 10**300 else "10^300 and more"  # which is no float
            raise ValueError(f"{told} weights: at most {MOST_WEIGHTS:,} expected")
        return layers

    @model_validator(mode="after")
    def _only_the_simulator_is_set(self) -> Experiment:
        if self.simulator is not None and self.data != "simulator":
            raise ValueError(f"[simulator] is for data = 'simulator', and data is {self.data!r}: leave one of them out")
        return self

    @model_validator(mode="after")
    def _what_is_adapted_holds_masks(self) -> Experiment:
        pruner = self.variants[0].pruner
        if self.adaptation is not None and (pruner == "first-version" or pruner.startswith("neurons-")):
            raise ValueError(
                f"adaptation holds the masks of the first variant, and {pruner} leaves none to hold: put a variant "
                "with another pruner first, or leave adaptation out"
            )
        return self

    @model_validator(mode="after")
    def _what_is_beside_reads_sensors_as_the_experiment(self) -> Experiment:
        beside = [name for name in self.baselines if name not in WITHOUT_SENSORS]
        beside += ["adaptation"] if self.adaptation is not None else []
        if beside and self.variants[0].sensors is not None:
            raise ValueError(
                f"variants.0.sensors = {self.variants[0].sensors}: {beside[0]} reads sensors as the experiment does; "
                f"set sensors there, or leave {beside[0]} out"
            )
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> Experiment:
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError(f"variants: names are unique, got {names}")
        if len(set(self.seeds)) != len(self.seeds) or not all(0 <= seed < 2**32 for seed in self.seeds):
            raise ValueError(f"seeds: each stands once and is from 0 to 2**32 - 1, got {_listed(self.seeds)}")
        return self
