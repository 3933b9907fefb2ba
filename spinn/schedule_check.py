"""A schedule check: the ledger, the verdicts and the advice, as text and as JSON; for ratios or an experiment file.

Knows how a check is put together and looks; the arithmetic is `spinn.schedule`'s. Loads the standard library only,
so that the check answers at once: the few keys it needs of an experiment file are read by hand, not by the schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from spinn import variants
from spinn.documents import read_stated
from spinn.errors import InputError, ScheduleError
from spinn.schedule import (
    Criteria,
    CriterionVerdict,
    Stage,
    check_layers,
    judge,
    parse_ratio,
    parse_reduction,
    percent,
    prunable_weights,
    solve,
    total_parameters,
)
from spinn.variants import NEURON_PRUNERS, PRUNERS

MISSES = "schedule-reaches-target"  # the finding a variant declares when it is meant to miss its target

MOST_STAGES = 100  # that `solve` takes

# Keys of an experiment file (schema: `spinn.config.Experiment`), so that a misspelt one is refused here too.
EXPERIMENT_KEYS = frozenset(
    (
        "name",
        "data",
        "sensors",
        "simulator",
        "claims",
        "seeds",
        "layers",
        "stack",
        "split",
        "dense",
        "physics",
        "correction",
        "target",
    )
)
EXPERIMENT_KEYS |= {"variants", "baselines", "adaptation"}
TARGET_KEYS = frozenset(("reduction", "parameter_range", "size_bytes"))
VARIANT_KEYS = frozenset(
    ("name", "pruner", "stages", "expected_findings", "target", "physics", "dense", "correction", "sensors")
)
OWN_DENSE_KEYS = frozenset(("epochs", "learning_rate"))
STAGE_KEYS = frozenset(("ratio", "epochs", "learning_rate"))


@dataclass(frozen=True)
class Check:
    """A schedule, what comes of it, and what would hold instead.

    `declared`: the experiment says that this schedule is meant to miss. `suggestion` is None where nothing needs
    mending, or where nothing holds, which `why_none` then explains. `pruner` says what the ratios are of. `epochs`
    are the most of the dense phase and of each stage, where an experiment states them.
    """

    layers: tuple[int, ...]
    stages: tuple[Stage, ...]
    verdicts: tuple[CriterionVerdict, ...]
    suggestion: tuple[str, ...] | None = None
    why_none: str = ""
    declared: bool = False
    pruner: str = PRUNERS[0]
    epochs: tuple[int, ...] = ()

    @property
    def flops_per_row(self) -> int | None:
        """What a run's training costs at most for each row of an epoch, as `spinn.cost.training_flops` counts it.

        Rows are labelled cuts, starts of life, collocation points that are drawn, and derivatives along time: how many
        there are depends on the data. The network trains at the dense widths, or at those that a stage leaves.
        """
        if not self.epochs:
            return None
        widths = [self.layers, *(stage.widths or self.layers for stage in self.stages)]
        return sum(6 * prunable_weights(w) * epochs for w, epochs in zip(widths, self.epochs, strict=True))

    @property
    def holds(self) -> bool:
        """True if every criterion does."""
        return all(verdict.holds for verdict in self.verdicts)

    def as_json(self) -> dict[str, Any]:
        """The check as `--json` prints it."""
        return {
            "stages": [
                {
                    "stage": stage.stage,
                    "ratio": stage.ratio_text,
                    "active": stage.active,
                    "pruned": stage.pruned,
                    "kept_weights": stage.kept_weights,
                    "parameters": stage.parameters,
                    "weight_sparsity": _number(stage.weight_sparsity),
                    "reduction": _number(stage.reduction),
                    **({} if stage.widths is None else {"widths": list(stage.widths)}),
                }
                for stage in self.stages
            ],
            "criteria": [
                {"name": v.name, "holds": v.holds, "value": _number(v.value), "required": _number(v.required)}
                for v in self.verdicts
            ],
            **({} if self.flops_per_row is None else {"flops_per_row": self.flops_per_row}),
            "holds": self.holds,
            "suggestion": None if self.suggestion is None else {"ratios": list(self.suggestion)},
        }

    def as_text(self) -> str:
        """The ledger, a line for each criterion, and the advice, aligned, without a line end."""
        first = ("stage", "ratio", "widths") if self.pruner in NEURON_PRUNERS else ("stage", "ratio")
        lines = [
            f"{'-'.join(map(str, self.layers))}: {prunable_weights(self.layers):,} prunable weights and "
            f"{sum(self.layers[1:]):,} biases, {total_parameters(self.layers):,} parameters",
            "",
            *_table(
                (*first, "active", "pruned", "kept", "parameters", "weight sparsity", "reduction"),
                [
                    (
                        str(stage.stage),
                        stage.ratio_text,
                        *([] if stage.widths is None else ["-".join(map(str, stage.widths))]),
                        f"{stage.active:,}",
                        f"{stage.pruned:,}",
                        f"{stage.kept_weights:,}",
                        f"{stage.parameters:,}",
                        percent(stage.weight_sparsity),
                        percent(stage.reduction),
                    )
                    for stage in self.stages
                ],
            ),
        ]
        if self.verdicts:
            rows = [_criterion_row(verdict) for verdict in self.verdicts]
            lines += ["", *_table(("criterion", "", "value", "required", ""), rows, left=(0, 1, 3, 4))]
        if self.flops_per_row is not None:
            lines += [
                "",
                f"cost: at most {self.flops_per_row:.2e} FLOPs of each run for each row of an epoch: a labelled cut, a "
                "start of life, a collocation point, a derivative",
            ]
        if self.declared or not self.holds:
            lines += ["", self._advice()]
        return "\n".join(lines)

    def _advice(self) -> str:
        if self.declared and self.holds:
            return f"declared to miss, but every criterion holds: take {MISSES!r} out of its expected_findings"
        if self.declared:
            return f"declared to miss: {MISSES!r} is among its expected_findings"
        if self.suggestion is None:
            return f"no schedule holds: {self.why_none}"
        last = variants.ledger(self.pruner, self.layers, self.suggestion)[-1]
        ratios = ",".join(self.suggestion)
        return (
            f"nearest schedule that holds: {ratios}  ({last.parameters:,} parameters, {percent(last.reduction)} fewer)"
        )


def check(
    layers: Sequence[int],
    ratios: Sequence[str],
    criteria: Criteria,
    *,
    declared: bool = False,
    pruner: str = PRUNERS[0],
    epochs: tuple[int, ...] = (),
) -> Check:
    """Judge a schedule, and look for the nearest one that holds if it does not and is not `declared` to miss.

    Raises:
        ScheduleError: a width or ratio without meaning.
    """
    widths, stages = check_layers(layers), variants.ledger(pruner, layers, ratios)
    found = Check(widths, stages, judge(widths, stages, criteria), declared=declared, pruner=pruner, epochs=epochs)
    if found.holds or declared:
        return found
    nearest = variants.suggest(pruner, widths, ratios, criteria)
    if nearest is not None:
        return replace(found, suggestion=nearest)
    if pruner in NEURON_PRUNERS:
        return replace(found, why_none="all ratios shifted alike, in steps of 0.001, meet the criteria nowhere")
    try:  # as many stages as can be solved for: the reason is the criteria's, not the number of stages
        return replace(found, suggestion=solve(widths, criteria, stages=min(len(ratios), MOST_STAGES)))
    except ScheduleError as error:
        return replace(found, why_none=str(error))


def check_experiment(path: Path, asked: Criteria) -> dict[str, Check]:
    """Judge every variant of an experiment file; a criterion `asked` for takes the place of the file's own.

    Raises:
        InputError: the file is missing, is not TOML, or lacks or misspells something that a check needs.
    """
    layers, stated = _read_experiment(path)
    checks: dict[str, Check] = {}
    for name, variant in stated.items():
        target = variant.target
        criteria = Criteria(
            target.reduction if asked.reduction is None else asked.reduction,
            target.parameter_range if asked.parameter_range is None else asked.parameter_range,
            target.size_bytes if asked.size_bytes is None else asked.size_bytes,
        )
        stated_there = {"declared": variant.declared, "pruner": variant.pruner, "epochs": variant.epochs}
        checks[name] = check(layers, variant.ratios, criteria, **stated_there)
    return checks


def _number(value: Fraction | int | tuple[int, int]) -> float | int | list[int]:
    """For JSON, where a share is a number: rounded once, here, after all arithmetic."""
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, int) else float(value)


def _criterion_row(verdict: CriterionVerdict) -> tuple[str, ...]:
    value, required = verdict.value, verdict.required
    if isinstance(required, tuple):
        shown, wanted = f"{value:,}", "{:,} to {:,}".format(*required)
    elif isinstance(required, int):
        shown, wanted = f"{value:,}", f"at most {required:,} bytes"
    else:
        share, decimals = Fraction(value), 2
        while not verdict.holds and percent(share, decimals) == percent(required, decimals) and decimals < 9:
            decimals += 1  # a miss must not look like a hit
        shown, wanted = percent(share, decimals), f"at least {percent(required, decimals)}"
    return verdict.name, "holds" if verdict.holds else "fails", shown, wanted, verdict.shortfall


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> list[str]:
    """Aligned plain text; columns in `left` to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]


# --- the experiment file, as far as a check needs it ------------------------------------------------------------------


@dataclass(frozen=True)
class _Stated:
    """What a file states of a variant; `declared`: that it is meant to miss the target."""

    pruner: str
    ratios: tuple[str, ...]
    declared: bool
    target: Criteria
    epochs: tuple[int, ...]


def _read_experiment(path: Path) -> tuple[tuple[int, ...], dict[str, _Stated]]:
    """Layers, and of each variant what a check needs; nothing else is judged.

    By hand, because the schema's library alone would take longer to load than the whole check may.
    """
    content = read_stated(path, "paper/experiments/smoke.toml")
    try:
        _known(content, EXPERIMENT_KEYS, "")
        layers = check_layers(_widths(_typed(content, "layers", list, "")))
        target = _read_target(content, "")
        dense = _table_of(content.get("dense", {}), "dense.")
        stated: dict[str, _Stated] = {}
        for index, variant in enumerate(_typed(content, "variants", list, "")):
            where = f"variants[{index}]."
            name = _typed(_table_of(variant, where), "name", str, where)
            if name in stated:
                raise InputError(f"{where}name = {name!r:.80}: names are unique")
            stated[name] = _read_variant(variant, where, target, dense)
        if not stated:
            raise InputError("variants = []: at least one")
    except InputError as error:
        raise type(error)(f"{path}: {error}") from None
    return layers, stated


def _read_target(content: dict[str, Any], where: str) -> Criteria:
    target = _table_of(content.get("target", {}), f"{where}target.")
    _known(target, TARGET_KEYS, f"{where}target.")
    reduction, bounds, size = (target.get(key) for key in ("reduction", "parameter_range", "size_bytes"))
    if bounds is not None and not (isinstance(bounds, list) and len(bounds) == 2 and all(map(_whole, bounds))):
        raise InputError(f"{where}target.parameter_range = {bounds!r:.80}: two whole numbers, such as [180000, 210000]")
    if reduction is not None and not isinstance(reduction, str):
        kind = type(reduction).__name__
        raise InputError(
            f"{where}target.reduction = {reduction!r:.80}: a string such as '0.30', which is held exactly, not a {kind}"
        )
    if size is not None and not _whole(size):
        raise InputError(f"{where}target.size_bytes = {size!r:.80}: a whole number")
    return Criteria(
        None if reduction is None else parse_reduction(reduction, f"{where}target.reduction"),
        None if bounds is None else (bounds[0], bounds[1]),
        size,
    )


def _read_variant(variant: dict[str, Any], where: str, target: Criteria, dense: dict[str, Any]) -> _Stated:
    _known(variant, VARIANT_KEYS, where)
    pruner = _typed(variant, "pruner", str, where)
    if pruner not in PRUNERS:
        raise InputError(f"{where}pruner = {pruner!r:.80}: one of {', '.join(PRUNERS)}")
    ratios: list[str] = []
    for index, stage in enumerate(_typed(variant, "stages", list, where)):
        place = f"{where}stages[{index}]."
        _known(_table_of(stage, place), STAGE_KEYS, place)
        ratios.append(_typed(stage, "ratio", str, place))
        parse_ratio(ratios[-1], f"{place}ratio")
    if not ratios:
        raise InputError(f"{where}stages = []: at least one")
    declared = "expected_findings" in variant and MISSES in _typed(variant, "expected_findings", list, where)
    own = _read_target(variant, where) if "target" in variant else target
    own_dense = _table_of(variant.get("dense", {}), f"{where}dense.")
    _known(own_dense, OWN_DENSE_KEYS, f"{where}dense.")
    phases = ({**dense, **own_dense}, *variant["stages"])
    epochs = tuple(phase["epochs"] for phase in phases if _whole(phase.get("epochs")))
    return _Stated(pruner, tuple(ratios), declared, own, epochs if len(epochs) == len(phases) else ())


def _widths(stated: list[Any]) -> list[int]:
    for index, width in enumerate(stated):
        if not _whole(width):
            raise InputError(f"layers[{index}] = {width!r:.80}: a width is a whole number of at least 1")
    return stated


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _table_of(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where.rstrip('.')} = {value!r:.80}: a table")
    return value


def _known(table: dict[str, Any], keys: frozenset[str], where: str) -> None:
    for key in table:
        if key not in keys:
            raise InputError(f"{where}{key:.80}: no such key; there are {', '.join(sorted(keys))}")


def _typed(table: dict[str, Any], key: str, kind: type, where: str) -> Any:
    if key not in table:
        raise InputError(f"{where}{key}: is missing")
    if not isinstance(table[key], kind):
        expected = {str: "a string, such as '0.30'" if key == "ratio" else "a string", list: "a list"}[kind]
        raise InputError(f"{where}{key} = {table[key]!r:.80}: {expected}")
    return table[key]
