"""Results of some seeds, or without a case: what a number would be had only those been run. Computes no number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from artifacts.render import Frame
from artifacts.results import Results
from spinn.record import PlannedRun, Record


def of_seeds(results: Results, seeds: tuple[int, ...]) -> Results:
    """Only the runs of `seeds`; what draws nothing, and so has one seed of its own, stays as it is."""

    def keep(frame: Frame) -> Frame:
        return frame[frame["seed"].isin(seeds)] if frame["seed"].nunique() > 1 else frame

    sliced = _slice(results, keep, lambda run: run.seed in seeds)
    adapted = results.adaptation
    if adapted is not None:
        methods = [
            method.model_copy(update={"tools": tuple(tool for tool in method.tools if tool.seed in seeds)})
            if len({tool.seed for tool in method.tools}) > 1
            else method
            for method in adapted.methods
        ]
        adapted = adapted.model_copy(update={"methods": tuple(methods)})
    asked = results.plan.experiment.model_copy(update={"seeds": seeds})
    return replace(
        sliced,
        plan=sliced.plan.model_copy(update={"experiment": asked}),
        baseline_frames={name: keep(frame) for name, frame in results.baseline_frames.items()},
        adaptation=adapted,
        adaptation_frames={name: keep(frame) for name, frame in results.adaptation_frames.items()},
    )


def without_case(results: Results, case: str) -> Results:
    """Without the held-out cuts of `case`, and without the runs that held out nothing else."""

    def keep(frame: Frame) -> Frame:
        return frame[frame["case"] != case] if "case" in frame else frame

    sliced = _slice(results, keep, lambda run: run.test != (case,))
    frames = {name: keep(frame) for name, frame in results.baseline_frames.items()}
    adapted = {name: keep(frame) for name, frame in results.adaptation_frames.items()}
    return replace(sliced, baseline_frames=frames, adaptation_frames=adapted)


def _slice(results: Results, keep: Callable[[Frame], Frame], chosen: Callable[[PlannedRun], bool]) -> Results:
    runs = tuple(run for run in results.plan.runs if chosen(run))
    ids = {run.run_id for run in runs}
    records: tuple[Record, ...] = tuple(record for record in results.records if record.run_id in ids)
    law = None if results.law is None else keep(results.law)
    plan = results.plan.model_copy(update={"runs": runs})
    history = results.history[results.history["run_id"].isin(ids)]
    return replace(results, plan=plan, records=records, predictions=keep(results.predictions), history=history, law=law)
