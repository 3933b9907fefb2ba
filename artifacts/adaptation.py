"""Online adaptation: how wrong each method is over a tool's life, and what it costs beside full retraining.

Knows the record of adaptation and its predictions of flank wear; every prediction was made before its label was known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from artifacts.numbers import Format
from artifacts.render import HIGH, LOW, Frame, Table, table_frame
from artifacts.results import Results
from artifacts.stats import LEVEL, RESAMPLES, SEED, Estimate, bootstrap_mae, bootstrap_r2, resample
from spinn.record import ADAPTATION, AdaptationResult

LATE = 3  # labels of a tool that are known, from which on adaptation has to be worth it
AGAIN = "retrained"


def methods(results: Results) -> Mapping[str, AdaptationResult]:
    """The record of each method, by its name; none where nothing was adapted."""
    return {} if results.adaptation is None else {method.name: method for method in results.adaptation.methods}


def late_errors(results: Results, method: str) -> pd.Series:
    """MAE of each case (mm) over its labelled cuts with `LATE` labels before them, mean over seeds; by case."""
    frame = _errors(results, method)
    late = frame[frame["labels_seen"] >= LATE]
    return late.groupby("case", sort=False)["error"].mean()


def error_by_labels(results: Results, method: str) -> Frame:
    """For each number of labels seen: the absolute error (mm), seeds averaged, then cases, and how many cases."""
    frame = _errors(results, method)
    each = frame.groupby(["labels_seen", "case"])["error"].mean()
    return each.groupby("labels_seen").agg(["mean", "count"])


def gain(results: Results) -> Estimate:
    """MAE without adaptation less MAE with it (mm): late cuts, averaged over cases, with its paired interval."""
    return mean_over_cases(late_errors(results, "none") - late_errors(results, "adapted"))


def shares(results: Results, method: str) -> list[float]:
    """FLOPs of a method as a share (%) of full retraining's, for each tool that was trained for again."""
    found = methods(results)
    again = {(tool.fold, tool.case): tool.flops for tool in found[AGAIN].tools if tool.labels >= LATE}
    pairs = [(tool.flops, again.get((tool.fold, tool.case))) for tool in found[method].tools]
    return [100 * mine / whole for mine, whole in pairs if mine is not None and whole]


def mean_over_cases(values: pd.Series) -> Estimate:
    """The mean over cases with its case-bootstrap percentile interval; no value without any case."""
    if values.empty:
        return Estimate(None)
    drawn = resample(len(values)) @ values.to_numpy(dtype=float) / len(values)
    low, high = np.percentile(drawn, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Estimate(float(values.mean()), float(low), float(high))


def adaptation(results: Results) -> Table | None:
    """Error over the held-out tools' lives, and compute, of each method; None where the plan adapts to no tool."""
    if results.adaptation is None:
        return None
    rows, found, settings = [], methods(results), results.adaptation.settings
    trained = [tool for tool in found[AGAIN].tools if tool.labels >= LATE]
    whole = found[AGAIN].seconds / len(trained) if trained else None
    for name, method in found.items():
        held = results.held_adapted(name)
        flops = [
            tool.flops for tool in method.tools if tool.flops is not None and (name != AGAIN or tool.labels >= LATE)
        ]
        tools = len(trained) if name == AGAIN else len(method.tools)
        share = shares(results, name)
        seconds = method.seconds / tools if tools else None
        rows.append(
            {
                "method": name,
                **_estimate("MAE (mm)", bootstrap_mae(held) if held else Estimate(None)),
                **_estimate("R²", bootstrap_r2([held]) if held else Estimate(None)),
                **_estimate(f"MAE from label {LATE} on (mm)", mean_over_cases(late_errors(results, name))),
                "GFLOP a tool": float(np.mean(flops)) / 1e9 if flops else None,
                "share of retraining, FLOPs (%)": float(np.mean(share)) if share else None,
                "seconds a tool": seconds,
                "share of retraining, seconds (%)": 100 * seconds / whole if seconds is not None and whole else None,
                "seeds": len({tool.seed for tool in method.tools}),
            }
        )
    formats = {
        "MAE (mm)": Format(4, "mm"),
        f"MAE from label {LATE} on (mm)": Format(4, "mm"),
        "R²": Format(3),
        "GFLOP a tool": Format(3, "GFLOP"),
        "share of retraining, FLOPs (%)": Format(2, "%"),
        "seconds a tool": Format(2, "s"),
        "share of retraining, seconds (%)": Format(1, "%"),
        "seeds": Format(0),
    }
    notes = (
        "Each held-out tool arrives cut by cut: flank wear is predicted first, then learnt from if it was measured. "
        f"none: the networks that {results.label(results.adaptation.variant)} ended with. adapted: the same, with "
        f"their masks held, and {settings.steps} steps of Adam at {settings.learning_rate:g} after each label, on the "
        "tool's labels so far. refitted-law: the wear law, fitted after each label to all cases that are not held out "
        "and the tool's labels so far. rescaled-law: the law of these cases times the one factor that the tool's "
        "labels give. "
        f"retrained: trained anew, all phases, once the tool has {LATE} labels, with these; before that as none.",
        f"MAE and R² are over all labelled cuts of all lives; from label {LATE} on, over the cuts that come after so "
        "many labels, each case's mean first, then the mean of the cases. In brackets: "
        f"{100 * LEVEL:.0f} % interval, case bootstrap (percentile, {RESAMPLES:,} resamples, seed {SEED}).",
        "FLOPs are those of the networks' matrix products over a whole life, predictions included; a law has none. "
        "Shares are over the tools that were trained for again. Seconds are wall time of a whole stack of tools, "
        "shared out among them, reading and writing included.",
    )
    expressions = {
        "": "over all labelled held-out cuts, each predicted before its label, mean over seeds",
        f"MAE from label {LATE} on (mm)": f"mean over cases of MAE at cuts with labels_seen >= {LATE}, mean over seeds",
        "GFLOP a tool": "mean over tools of FLOPs over the tool's life / 1e9",
        "share of retraining, FLOPs (%)": "mean over tools trained for again of 100 FLOPs / FLOPs of retraining",
        "seconds a tool": "seconds of the method / tools; of retraining / tools trained for again",
        "share of retraining, seconds (%)": "100 seconds a tool / seconds a tool of retraining",
        "seeds": "networks that predict each cut; a law has none",
    }
    sources = {name: results.source(f"{ADAPTATION}/{name}", f"{ADAPTATION}/record") for name in found}
    caption = "Online adaptation to held-out tools: error and compute."
    return Table("adaptation", caption, table_frame(rows), notes, formats, ("method",), expressions, sources)


def _errors(results: Results, method: str) -> Frame:
    frame = results.adaptation_frames[method]
    labelled = frame[frame["measured"].notna()]
    return labelled.assign(error=(labelled["prediction"] - labelled["measured"]).abs())


def _estimate(column: str, estimate: Estimate) -> dict[str, Any]:
    return {column: estimate.value, column + LOW: estimate.low, column + HIGH: estimate.high}
