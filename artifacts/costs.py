"""The tables of computational cost, and of the machine it was paid on.

Seconds of a phase that several runs share are counted once; what the machine did not report is said to be so.
"""

from __future__ import annotations

from artifacts.numbers import NOT_MEASURED, Format
from artifacts.render import Table, spread_columns, table_frame
from artifacts.results import Results

COUNT = Format(0)
TIMED = "One network of each stack is timed; all have one shape."
PEAK = (
    "Peak memory is that of the device's allocator on a GPU; on the CPU it is the resident set of the whole process, "
    "libraries included."
)
NO_SAVING = (
    "Unstructured masks alone save nothing in memory and compute: the masked network keeps and multiplies all its "
    "weights, zeros included. They save file size, where only kept values and the packed mask are stored. Where "
    "neurons are removed, the smaller network is what is trained on and timed."
)


def training_cost(results: Results) -> Table | None:
    """Time, compute, memory and energy of each phase; a phase that several runs share is counted once."""
    rows, costs = [], results.costs
    if costs.empty:
        return None
    for (phase, variants), at in costs.groupby(["phase", "variants"], sort=False):
        seconds, networks = float(at["seconds"].sum()), int(at["runs"].sum())
        energy = None if at["energy_joules"].isna().any() else float(at["energy_joules"].sum())
        rows.append(
            {
                "phase": phase,
                "variants": ", ".join(results.label(name) for name in variants),
                "networks": networks,
                "seconds": seconds,
                "seconds expected": float(at["estimated_seconds"].sum()),
                "seconds a network": seconds / networks,
                "GFLOP a network": float((at["flops"] * at["runs"]).sum()) / networks / 1e9,
                "peak memory (MB)": float(at["peak_memory_bytes"].max()) / 1e6,
                "energy (J)": energy,
            }
        )
    energy = None if costs["energy_joules"].isna().any() else float(costs["energy_joules"].sum())
    rows.append(
        {
            "phase": "total",
            "variants": "all",
            "networks": None,
            "seconds": float(costs["seconds"].sum()),
            "seconds expected": float(costs["estimated_seconds"].sum()),
            "seconds a network": None,
            "GFLOP a network": None,
            "peak memory (MB)": float(costs["peak_memory_bytes"].max()) / 1e6,
            "energy (J)": energy,
        }
    )
    formats = {
        "networks": COUNT,
        "seconds": Format(1, "s"),
        "seconds expected": Format(1, "s"),
        "seconds a network": Format(2, "s"),
        "GFLOP a network": Format(2, "GFLOP"),
        "peak memory (MB)": Format(0, "MB"),
        "energy (J)": Format(0, "J", NOT_MEASURED),
    }
    notes = (
        "Networks of a cohort train together: seconds are those of the whole phase, and divided by its networks. "
        "Expected, before training began, were all planned epochs at the rate of a few that were tried; early stopping "
        "ends sooner. FLOPs are counted analytically (forward and backward matrix products). MB are 10⁶ bytes. "
        f"Energy is '{NOT_MEASURED}' where this machine does not report it. {PEAK}",
        NO_SAVING,
        *results.footnotes,
    )
    expressions = {"": "sum over phases of all cohorts, each key once", "peak memory (MB)": "largest of all cohorts"}
    sources = {"": results.source(*results.variants)}
    labels = ("phase", "variants")
    return Table("training-cost", "Cost of training.", table_frame(rows), notes, formats, labels, expressions, sources)


def inference_cost(results: Results) -> Table | None:
    """Size, memory, compute and time of one prediction: the dense network and each variant's last one."""
    frame, rows = results.latency, []
    if frame.empty:
        return None
    wanted = [("dense", results.primary, "dense"), *((results.label(v), v, "sparse") for v in results.variants)]
    for label, variant, model in wanted:
        at = frame[(frame["variant"] == variant) & (frame["model"] == model)]
        if at.empty:
            continue
        rows.append(
            {
                "network": label,
                **spread_columns("file (MB)", at["file_bytes"] / 1e6),
                **spread_columns("memory (MB)", at["memory_bytes"] / 1e6),
                **spread_columns("MFLOP of active weights", at["flops"] / 1e6),
                **spread_columns("median (ms)", at["median_ms"]),
                **spread_columns("95th percentile (ms)", at["p95_ms"]),
                "networks timed": len(at),
            }
        )
    formats = {
        "": Format(3, "ms"),
        "file (MB)": Format(3, "MB"),
        "memory (MB)": Format(3, "MB"),
        "MFLOP of active weights": Format(3, "MFLOP"),
        "networks timed": COUNT,
    }
    notes = (
        f"One prediction (batch 1) on one thread of the CPU. {TIMED} Mean over the timed networks, in brackets the "
        "smallest and largest. "
        "FLOPs are those of the active weights, which a masked network does not save: it executes the dense network's.",
        NO_SAVING,
        *results.footnotes,
    )
    sources = {"": results.source(results.primary), **{results.label(v): results.source(v) for v in results.variants}}
    expressions = {"": "latency records, mean over networks"}
    caption = "Size and cost of one prediction."
    return Table("inference-cost", caption, table_frame(rows), notes, formats, ("network",), expressions, sources)


def environment(results: Results) -> Table:
    """The machine and libraries of the runs, as recorded; several values where runs differ."""
    seen: dict[str, dict[str, None]] = {}
    for record in results.records:
        known = record.environment.model_dump()
        packages = known.pop("packages")
        for key, value in {**known, **{f"package {name}": version for name, version in packages.items()}}.items():
            seen.setdefault(key.replace("_", " "), {})[str(value)] = None
    for baseline in results.baselines:
        if baseline.library:
            seen.setdefault("libraries of the baselines", {})[baseline.library] = None
    rows = [{"": key, "value": ", ".join(values)} for key, values in seen.items()]
    return Table(
        "environment",
        "Machine and libraries of the runs.",
        table_frame(rows),
        formats={"memory bytes": Format(unit="bytes")},
        labels=("", "value"),  # versions and models are names, no numbers
        expressions={"": "as each record states it, in the order of the runs"},
        sources={"": results.source(*results.variants)},
        stated=tuple(("value", counted) for counted in ("cores", "memory bytes", "threads")),
    )
