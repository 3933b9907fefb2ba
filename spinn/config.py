"""What an experiment file states: its schema, every default filled in; a plan holds it as it was resolved.

Knows names, types and what a single value may be; computes nothing, and loads neither torch nor numpy.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from spinn.errors import ScheduleError

PhysicsTerm = Literal["wear_rate", "heat", "initial", "monotone", "nonnegative"]
BaselineName = Literal["mean", "wear-law"]


STACK = 32
"""Runs trained together where nobody says how many. On a processor more gain nothing: the products fill all cores."""


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
    folds: int | None = Field(default=None, ge=2)
    validation_cases: int = Field(default=2, ge=1)

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
    patience: int = Field(default=50, ge=1)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float | None = Field(default=1.0, gt=0)


class PhysicsConfig(Stated):
    """Weight of each physics term in the loss; 0 switches a term off. Terms are nondimensional."""

    wear_rate: float = Field(default=0.0, ge=0)
    heat: float = Field(default=0.0, ge=0)
    initial: float = Field(default=0.0, ge=0)
    monotone: float = Field(default=0.0, ge=0)
    nonnegative: float = Field(default=0.0, ge=0)

    def enabled(self) -> tuple[PhysicsTerm, ...]:
        """The names of the terms whose weight is not zero."""
        names: tuple[PhysicsTerm, ...] = ("wear_rate", "heat", "initial", "monotone", "nonnegative")
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


class Variant(Stated):
    """One way of pruning that the experiment runs, what the audit is expected to find in it, and a target of its own.

    `pruner`: single weights by magnitude over all layers or within each, at random, or as the faulty first version did;
    or whole neurons with the lowest scores of each hidden layer, by the weights into a neuron, into and out of it, or
    by what its removal changes in the loss, to first order (`spinn.neurons`).
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
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


def _expected(error: ScheduleError) -> str:
    """What a ratio must be; pydantic, and with it `first_problem`, names file, key and value only for a ValueError."""
    return str(error).partition(": ")[2] or str(error)


class Experiment(Stated):
    """An experiment file (`paper/experiments/*.toml`), resolved: every default filled in."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    data: str = "simulator"
    claims: str | None = None  # a TOML file, relative to the experiment's
    seeds: tuple[int, ...] = Field(min_length=1)
    layers: tuple[int, ...] = Field(min_length=2)
    stack: int | None = Field(default=None, ge=1)  # runs trained together; None: as spinn.stack chooses
    split: SplitConfig
    dense: DenseConfig
    physics: PhysicsConfig = PhysicsConfig()
    target: TargetConfig = TargetConfig()
    variants: tuple[Variant, ...] = Field(min_length=1)
    baselines: tuple[BaselineName, ...] = ("mean", "wear-law")

    def target_of(self, variant: Variant) -> TargetConfig:
        """What the schedule of `variant` has to reach: its own target, or else the experiment's."""
        return self.target if variant.target is None else variant.target

    @model_validator(mode="after")
    def _names_are_unique(self) -> Experiment:
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError(f"variants: names are unique, got {names}")
        if len(set(self.seeds)) != len(self.seeds) or not all(0 <= seed < 2**32 for seed in self.seeds):
            raise ValueError(f"seeds: each stands once and is from 0 to 2**32 - 1, got {list(self.seeds)}")
        return self
