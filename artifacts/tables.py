"""The paper's tables: which rows and columns each has, in which unit, computed how, from which records.

Every function takes the results and returns a `Table` of raw values (`render.py` prints it). Percentages, MB and
MFLOP are computed here once, so that a number's value is in the unit that its text is in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from artifacts import adaptation, attribution, coefficients, comparisons, costs, luck, search
from artifacts.numbers import Format
from artifacts.predictors import INTERVAL, POOLED, estimate_columns, in_unit_of_target, predictors
from artifacts.render import HIGH, LOW, Table, spread, spread_columns, table_frame
from artifacts.results import Results, target_label, target_name
from artifacts.stats import Estimate, bootstrap_mae, bootstrap_r2, ensemble, measured_range, seed_r2, subset
from spinn.config import SEES_LABELS
from spinn.record import BASELINES, DATACARD, PLAN

NAMES = (
    "claims",
    "data",
    "exclusions",
    "schedule",
    "layers",
    "layers-by-stage",
    "before-after",
    "accuracy",
    "search",
    "settings",
    "comparisons",
    "sensors",
    "split-luck",
    "by-case",
    "wear-levels",
    "intervals",
    "progression",
    "coefficients",
    "residuals",
    "attribution",
    "physics-link",
    "adaptation",
    "training-cost",
    "inference-cost",
    "benchmarks",
    "benchmark-targets",
    "mutants",
    "certificate",
    "certificate-cells",
    "environment",
    "ablation-environment",
)
_MEASURED = re.compile(r"(?:time|VB|thermal|power|DOC|feed|truth: \w+) \((.+)\)")  # rows of the data card with a unit
COUNT = Format(0)
PERCENT = Format(2, "%")
NEURONS = (
    "Where neurons are removed, a ratio is of the neurons that each hidden layer still has, and what counts as kept by "
    "the mask is the smaller network that is left."
)


def data_card(results: Results) -> Table:
    """What data it is, how many cuts and cases, what was left out: as the loader stated it."""
    rows = [{"": str(label), "value": str(value)} for label, value in results.datacard["rows"]]
    notes = tuple(str(note) for note in results.datacard.get("notes", ()))
    units = {row[""]: found[1] for row in rows if (found := _MEASURED.fullmatch(row[""]))}
    formats = {label: Format(unit="" if unit == "1" else unit) for label, unit in units.items()}
    expressions = {"": "as the loader counted and measured it: spinn.data.card"}
    sources = {"": results.source(DATACARD)}
    return Table("data", "Data.", table_frame(rows), notes, formats, ("",), expressions, sources)


def exclusions(results: Results) -> Table | None:
    """Every cut, signal or label that was left out, with its reason; None where nothing was."""
    rows = [
        {
            "case": str(item["case"]),
            "run": str(item["run"]),
            "left out": str(item["what"]),
            "reason": str(item["reason"]),
        }
        for item in results.datacard.get("exclusions", ())
    ]
    if not rows:
        return None
    labels, sources = ("case", "run", "left out", "reason"), {"": results.source(DATACARD)}
    caption, expressions = "What was left out of the data, and why.", {"": "as the loader states its reason"}
    return Table("exclusions", caption, table_frame(rows), (), {}, labels, expressions, sources, stated=("reason",))


def schedule(results: Results) -> Table:
    """Planned and achieved counts of every stage."""
    weights, total, rows = results.total_weights(), results.total_parameters(), []
    compacted = _compacted(results)
    for variant in results.variants:
        ours = results.stages[results.stages["variant"] == variant]
        for planned in results.plan.ledger[variant]:
            at = ours[ours["stage"] == planned.stage]
            counts = ("active", "pruned", "kept_weights", "parameters")
            same = (at[list(counts)] == [getattr(planned, name) for name in counts]).all(axis=1)
            rows.append(
                {
                    "variant": results.label(variant),
                    "stage": str(planned.stage),
                    "ratio": planned.ratio,
                    **({"widths after": _widths(planned.widths)} if compacted else {}),
                    "pruned, planned": planned.pruned,
                    **spread_columns("pruned", at["pruned"]),
                    "parameters, planned": planned.parameters,
                    **spread_columns("parameters", at["parameters"]),
                    **spread_columns("weight sparsity (%)", 100 * (1 - at["kept_weights"] / weights)),
                    **spread_columns("reduction (%)", 100 * (1 - at["parameters"] / total)),
                    "runs": len(at),
                    "runs as planned": int(same.sum()),
                }
            )
    notes = (
        f"Weight sparsity is over the {weights:,} prunable weights, reduction over all {total:,} parameters. Achieved "
        "counts are those of the masks, as each record states them; in brackets: smallest and largest run, where runs "
        "differ.",
        *compacted,
        *results.footnotes,
    )
    formats = {"": COUNT, "weight sparsity (%)": PERCENT, "reduction (%)": PERCENT}
    expressions = {
        "": "planned ledger and masks of every run after the stage",
        "ratio": "share of the weights or neurons still active that the stage removes, as planned",
        "widths after": "neurons from input to output after the stage, as planned",
        "pruned": "weights that the stage removed, mean over runs",
        "parameters": "kept weights and biases by the mask, mean over runs",
        "weight sparsity (%)": "100 (1 - kept weights / prunable weights), mean over runs",
        "reduction (%)": "100 (1 - parameters / parameters of the dense network), mean over runs",
        "runs as planned": "runs whose counts all equal the plan's",
    }
    sources = {results.label(name): results.source(PLAN, name) for name in results.variants}
    caption = "Pruning schedule, planned and achieved."
    labels, stated = ("variant", "stage", "ratio", *(["widths after"] if compacted else [])), ("ratio", "widths after")
    of = _by_row(sources, rows) | dict.fromkeys(stated, results.source(PLAN))
    return Table("schedule", caption, table_frame(rows), notes, formats, labels, expressions, of, stated)


def _compacted(results: Results) -> tuple[str, ...]:
    """The note on what is counted where neurons are removed, if some variant removes any."""
    last = [stages[-1] for stages in results.plan.ledger.values()]
    return (NEURONS,) if any(stage.widths for stage in last) else ()


def _widths(widths: Sequence[int] | None) -> str:
    """Neurons from input to output, where some were removed."""
    return "–" if widths is None else "-".join(map(str, widths))


def _by_row(sources: dict[str, tuple[str, ...]], rows: Sequence[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Sources by variant label; where every row belongs to one variant, that one's in general."""
    only = {str(row.get("variant")) for row in rows}
    return {**sources, "": sources[only.pop()]} if len(only) == 1 else sources


def layers(results: Results, *, all_stages: bool = False) -> Table:
    """Statistics of each weight matrix after the last stage of each variant, or after every stage."""
    rows = []
    for variant in results.variants:
        last = results.last_stage(variant)
        frame = results.layers[results.layers["variant"] == variant]
        for (stage, _), at in frame.groupby(["stage", "position"], sort=True):
            if not all_stages and stage != last:
                continue
            weights = int(at["weights"].iloc[0])
            rows.append(
                {
                    "variant": results.label(variant),
                    "stage": str(stage),
                    "layer": str(at["name"].iloc[0]),
                    "weights": weights,
                    **spread_columns("kept", at["kept"]),
                    **spread_columns("sparsity (%)", 100 * (1 - at["kept"] / weights)),
                    "not zero": spread(at["nonzero"])[0],
                    "mean |w|": spread(at["mean_abs"])[0],
                    "std w": spread(at["std"])[0],
                    "min |w|": spread(at["min_abs"])[0],
                    "max |w|": spread(at["max_abs"])[0],
                }
            )
    formats = {"": Format(4, tiny=True), "weights": COUNT, "kept": COUNT, "not zero": COUNT, "sparsity (%)": PERCENT}
    notes = (
        "Mean over runs; in brackets: smallest and largest run, where runs differ. |w| and std are over kept weights, "
        "'not zero' counts every weight that is not 0, masked or not.",
        *results.footnotes,
    )
    sources = _by_row({results.label(name): results.source(name) for name in results.variants}, rows)
    when = "after every stage" if all_stages else "after the last stage"
    name = "layers-by-stage" if all_stages else "layers"
    expressions = {"": "per-layer statistics of the records, mean over runs"}
    labels = ("variant", "stage", "layer")
    return Table(name, f"Weight matrices {when}.", table_frame(rows), notes, formats, labels, expressions, sources)


def before_after(results: Results) -> Table:
    """Each variant at its end, measured: what it claims, what its mask says, what its weights say."""
    total = results.total_parameters()
    columns: dict[str, dict[tuple[str, str], Any]] = {}
    for variant in results.variants:
        stages = results.stages[results.stages["variant"] == variant]
        at = stages[stages["stage"] == results.last_stage(variant)]
        biases = at["parameters"] - at["kept_weights"]  # fewer than the dense network's where neurons went
        quantities = {
            "reduction claimed by the pruner (%)": 100 * at["reported_reduction"],
            "reduction by the mask (%)": 100 * (1 - at["parameters"] / total),
            "reduction in the weights (%)": 100 * (1 - (at["nonzero_weights"] + biases) / total),
            "parameters by the mask": at["parameters"],
            "weights not zero at the end": at["nonzero_weights"],
            "pruned weights revived": (at["nonzero_weights"] - at["kept_weights"]).clip(lower=0),
            "checkpoint (bytes)": at["checkpoint_bytes"],
        }
        column: dict[tuple[str, str], Any] = {}
        for label, values in quantities.items():
            column |= {(label, part): value for part, value in zip(("", LOW, HIGH), spread(values), strict=True)}
        for target in results.targets:
            held = results.held(variant, results.last_stage(variant), target)
            estimate = bootstrap_r2([held]) if held else Estimate(None)
            label = f"R², {target_name(target)}"
            column |= {(label, ""): estimate.value, (label, LOW): estimate.low, (label, HIGH): estimate.high}
        columns[results.label(variant)] = column
    quantities = list(dict.fromkeys(label for column in columns.values() for label, _ in column))
    rows = [
        {"": label, **{name + part: columns[name][label, part] for name in columns for part in ("", LOW, HIGH)}}
        for label in quantities
    ]
    formats = {label: PERCENT if "%" in label else Format(3) if "R²" in label else COUNT for label in quantities}
    formats |= {label: Format(0, "bytes") for label in quantities if label.endswith("(bytes)")}
    expressions = {
        "reduction claimed by the pruner (%)": "100 reported reduction after the last stage, mean over runs",
        "reduction by the mask (%)": "100 (1 - (kept weights + biases) / parameters), mean over runs",
        "reduction in the weights (%)": "100 (1 - (weights that are not 0 + biases) / parameters), mean over runs",
        "pruned weights revived": "weights that are not 0 minus kept weights, at least 0, mean over runs",
        "": "read off the records after the last stage: mean over runs, R² as in table accuracy",
    }
    notes = (
        "All measured on the runs of this folder: mean over runs, in brackets smallest and largest run where runs "
        f"differ. R²: {INTERVAL[0].lower()}{INTERVAL[1:]} 'Revived' are weights outside the final mask that are not 0.",
        *_compacted(results),
        *results.footnotes,
    )
    sources = {results.label(name): results.source(name) for name in results.variants}
    return Table(
        "before-after",
        "Each way of pruning, measured at its end.",
        table_frame(rows),
        notes,
        formats,
        ("",),
        expressions,
        sources,
    )


def accuracy(results: Results) -> Table:
    """Held-out error of networks and baselines, for each target and overall."""
    rows, sources = [], {}
    for target in (*results.targets, "overall"):
        chosen = results.targets if target == "overall" else (target,)
        for label, source, held in predictors(results):
            sources[label] = source
            whole = all(name in held for name in chosen)
            row = {
                "target": "overall" if target == "overall" else target_label(target),
                "predictor": label,
                **estimate_columns("R²", bootstrap_r2([held[name] for name in chosen]) if whole else None),
            }
            mean = [ensemble(held[name]) for name in chosen] if whole else None
            row |= estimate_columns("R², mean prediction", bootstrap_r2(mean) if mean else None)
            one = held.get(target)
            mae = bootstrap_mae(one) if one else None
            reach = measured_range(one) if one else 0.0
            row |= estimate_columns("MAE", mae)
            row |= estimate_columns("MAE ÷ range (%)", mae if reach > 0 else None, 100 / (reach or 1))
            row |= {"cuts": len(one.measured) if one else None, "seeds": one.prediction.shape[1] if one else None}
            rows.append(row)
    formats = {"R²": Format(3), "R², mean prediction": Format(3), "MAE ÷ range (%)": PERCENT, "": COUNT}
    formats = {**formats, **in_unit_of_target(4, "MAE")}
    measured = " and ".join(target_name(target) for target in results.targets)
    unmeasured = "" if len(results.targets) > 1 else "; the other target has no label in this data and is not reported"
    notes = (
        f"{POOLED} Beside it the pooled R² of the ensemble, the mean over seeds of the predictions of a cut; "
        f"with one seed the two are the same. MAE is in the target's unit, mean over seeds. {INTERVAL}",
        f"'Overall' is the mean R² of the measured targets, here {measured}{unmeasured}.",
        "A baseline with '–' does not predict that target.",
        *_about_baselines(results),
        *results.footnotes,
    )
    expressions = {
        "R²": "1 - SS_res / SS_tot over all labelled held-out cuts, mean over seeds",
        "R², mean prediction": "1 - SS_res / SS_tot over all labelled held-out cuts, of the mean prediction over seeds",
        "MAE": "mean absolute error over all labelled held-out cuts, mean over seeds",
        "MAE ÷ range (%)": "100 MAE / (largest - smallest measured value)",
        "cuts": "labelled held-out cuts",
        "seeds": "networks, or fits of a baseline, that predict each cut",
    }
    labels = ("target", "predictor")
    return Table(
        "accuracy", "Accuracy on held-out cases.", table_frame(rows), notes, formats, labels, expressions, sources
    )


def _about_baselines(results: Results) -> list[str]:
    """What a reader has to know of the baselines in the table: which one sees labels, and how others were tuned."""
    names = [baseline.name for baseline in results.baselines]
    notes = [
        f"{name} sees the earlier labels of the held-out tool (0 before the first); no other predictor here sees any."
        for name in names
        if name in SEES_LABELS
    ]
    tuned = [baseline for baseline in results.baselines if baseline.folds[0].choices]
    if tuned:
        candidates = len(tuned[0].folds[0].choices[0].candidates)
        notes.append(
            f"Settings and inputs of {', '.join(baseline.name for baseline in tuned)}: the best of {candidates} "
            "candidates each, by inner cross-validation over the training cases of each fold."
        )
    sizes = {baseline.name: baseline.parameters for baseline in results.baselines}
    if "small-network" in sizes:
        notes.append(f"small-network: dense, {sizes['small-network']:,} parameters, trained as the large one.")
    if "small-network-no-sensors" in sizes:
        notes.append(
            "small-network-no-sensors: the same, every sensor feature 0: it knows time, depth, feed and material."
        )
    if "gru" in sizes:
        notes.append(
            f"gru: recurrent over the cuts of a tool so far, {sizes['gru']:,} parameters, without physics, on "
            "statistics of each cut's signals, not on the signals."
        )
    return notes


def by_case(results: Results) -> Table:
    """Held-out error of each case: the dense network, the variant this work stands for, and the wear law."""
    wanted = ("dense", results.label(results.primary), "wear-law")
    chosen = [(label, held) for label, _, held in predictors(results) if label in wanted]
    rows = []
    for target in results.targets:
        known = {label: held[target] for label, held in chosen if target in held}
        first = next(iter(known.values()), None)
        if first is None:
            continue
        for case in dict.fromkeys(first.case):
            parts = {label: subset(held, held.case == case) for label, held in known.items()}
            row: dict[str, Any] = {
                "target": target_label(target),
                "case": str(case),
                "cuts": int((first.case == case).sum()),
            }
            row |= {f"R² {label}": _mean(seed_r2(parts[label])) if label in parts else None for label, _ in chosen}
            row |= {
                f"MAE {label}": float(abs(parts[label].prediction - parts[label].measured[:, None]).mean())
                if label in parts
                else None
                for label, _ in chosen
            }
            rows.append(row)
    formats = {"cuts": COUNT, **{f"R² {label}": Format(2) for label in wanted}}
    formats = {**formats, **in_unit_of_target(4, *(f"MAE {label}" for label in wanted))}
    notes = (
        "Each case when it is held out; mean over seeds, MAE in the target's unit. R² within one case is against that "
        "case's own mean and can be far below zero where wear hardly varies. '–': fewer than two distinct values, or "
        "no prediction of that target.",
        *(results.footnotes if results.primary in results.marked else ()),
    )
    baselines = [f"{BASELINES}/{baseline.name}" for baseline in results.baselines if baseline.name in wanted]
    sources = {"": results.source(results.primary, *baselines)}
    expressions = {"": "over the labelled cuts of the case, when held out; mean over seeds"}
    labels = ("target", "case")
    return Table(
        "by-case", "Accuracy by held-out case.", table_frame(rows), notes, formats, labels, expressions, sources
    )


def _mean(values: Any) -> float | None:
    return None if values is None else float(values.mean())


def progression(results: Results) -> Table:
    """Parameters and accuracy from the dense network to the last stage, for each variant."""
    total, weights, rows = results.total_parameters(), results.total_weights(), []
    for variant in results.variants:
        stages = results.stages[results.stages["variant"] == variant]
        for stage in range(results.last_stage(variant) + 1):
            at = stages[stages["stage"] == stage]
            row = {
                "variant": results.label(variant),
                "stage": "dense" if stage == 0 else str(stage),
                **spread_columns("parameters", at["parameters"]),
                **spread_columns("weight sparsity (%)", 100 * (1 - at["kept_weights"] / weights)),
                **spread_columns("reduction (%)", 100 * (1 - at["parameters"] / total)),
            }
            for target in results.targets:
                held = results.held(variant, stage, target)
                row |= estimate_columns(f"R², {target_name(target)}", bootstrap_r2([held]) if held else None)
            rows.append(row)
    formats = {"": Format(3), "parameters": COUNT, "weight sparsity (%)": PERCENT, "reduction (%)": PERCENT}
    notes = (f"Parameters are those of the mask. {POOLED} {INTERVAL}", *_compacted(results), *results.footnotes)
    sources = _by_row({results.label(name): results.source(name) for name in results.variants}, rows)
    expressions = {"": "R² as in table accuracy, after this stage", "parameters": "by the mask, mean over runs"}
    labels = ("variant", "stage")
    caption = "Pruning progression."
    return Table("progression", caption, table_frame(rows), notes, formats, labels, expressions, sources)


def all_tables(results: Results) -> list[Table]:
    """Every table of the paper but the claims, in the order of the report."""
    tables = [
        data_card(results),
        exclusions(results),
        schedule(results),
        layers(results),
        layers(results, all_stages=True),
        before_after(results),
        accuracy(results),
        search.search(results),
        search.by_settings(results),
        comparisons.comparisons(results),
        comparisons.sensors(results),
        luck.table(results),
        by_case(results),
        comparisons.wear_levels(results),
        comparisons.intervals(results),
        progression(results),
        coefficients.table(results),
        coefficients.residuals(results),
        attribution.table(results),
        attribution.link(results),
        adaptation.adaptation(results),
        costs.training_cost(results),
        costs.inference_cost(results),
        costs.environment(results),
    ]
    return [table for table in tables if table is not None and len(table.frame)]
