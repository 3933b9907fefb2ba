"""What was executed, as named values: hyperparameters from the plan, counts of data and runs, how statistics are made.

So a text that states a learning rate states the one that the runs had. Knows names, not what a text does with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from artifacts.comparisons import WEAR_EDGES
from artifacts.luck import LUCKY_CASES
from artifacts.numbers import Number, slug
from artifacts.results import Results
from artifacts.significance import SIGN_PATTERNS
from artifacts.stated import stated
from artifacts.stats import LEVEL, RESAMPLES
from spinn.record import CLAIMS, DATACARD, DATASET, PLAN
from spinn.storage import digest_file, digest_of
from verify.laws import DOC_REFERENCE, FEED_REFERENCE

_ROOT = Path(__file__).parent.parent
_MODULES = (
    "artifacts/adaptation.py",
    "artifacts/comparisons.py",
    "artifacts/luck.py",
    "artifacts/significance.py",
    "artifacts/stats.py",
    "verify/laws.py",
)


def executed(results: Results) -> dict[str, Number]:
    """Every value by its name: `config.…` of the plan, `count.…`, `method.…` of this code, `note.…`."""
    made = {number.name: number for number in _notes(results)}
    for name, value, unit, expression in (*_config(results), *_counts(results), *_method(results)):
        text = str(value) if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.12g}"
        number = float(value) if isinstance(value, str) else value
        digits = len(text.partition(".")[2]) if "e" not in text else 0
        made[name] = Number(name, number, text, unit, digits, _source(results, name, expression), expression)
    return made


def sources() -> dict[str, dict[str, str]]:
    """The modules whose constants are values, each with its digest."""
    paths = {name: _ROOT / name for name in _MODULES}
    return {name: {name: digest_file(path)} for name, path in paths.items()}


def _source(results: Results, name: str, expression: str) -> tuple[str, ...]:
    if name.startswith("method."):
        module = "/".join(expression.removeprefix("100 ").split(".")[:2]) + ".py"
        return (f"{module} sha256:{digest_of(sources()[module])}",)
    if name.startswith("config.claims."):
        return results.source(CLAIMS)
    if name.startswith("count.audit-"):
        return results.source(*results.variants)
    return results.source(DATASET if name.startswith("count.") and "cut" in name else PLAN)


def _notes(results: Results) -> Iterator[Number]:
    """The numbers in notes that the paper prints: on marked variants, and on the data as it was read."""
    for at, (variant, text) in enumerate(zip(results.marked, results.footnotes, strict=True), 1):
        yield from stated(text, f"note.mark.{at}", source=results.source(variant), expression=f"note on {variant}")
    for at, note in enumerate(results.datacard.get("notes", ()), 1):
        source = results.source(DATACARD)
        yield from stated(str(note), f"note.data.{at}", source=source, expression="note of the loader")


def _config(results: Results) -> Iterator[tuple[str, Any, str, str]]:
    """The experiment, as it was resolved and run."""
    experiment = results.plan.experiment
    primary = results.plan.variant(results.primary)
    yield "config.seeds", len(experiment.seeds), "", "number of seeds"
    yield "config.hidden-layers", len(experiment.layers) - 2, "", "layers between input and output"
    for position, width in enumerate(experiment.layers):
        yield f"config.layers.{position}", width, "", f"layers[{position}]"
    yield "config.validation-cases", experiment.split.validation_cases, "", "split.validation_cases"
    if experiment.split.folds is not None:
        yield "config.folds", experiment.split.folds, "", "split.folds"
    for key, value in experiment.dense_of(primary).model_dump(exclude_none=True).items():
        yield f"config.dense.{slug(key)}", value, "", f"dense.{key}"
    physics = experiment.physics_of(primary)
    for term in physics.enabled():
        yield f"config.physics.{slug(term)}", getattr(physics, term), "", f"physics.{term}"
    if (correction := experiment.correction_of(primary)) is not None:
        yield "config.correction", correction, "", "correction"
        yield "config.correction-percent", float(f"{100 * correction:.12g}"), "%", "100 correction"
    if experiment.adaptation is not None:
        for key, value in experiment.adaptation.model_dump().items():
            yield f"config.adaptation.{slug(key)}", value, "", f"adaptation.{key}"
    for variant in experiment.variants:
        name = results.label(variant.name)
        yield f"config.variants.{slug(name)}.stages", len(variant.stages), "", f"stages of {variant.name}"
        for number, stage in enumerate(variant.stages, 1):
            for key, value in stage.model_dump().items():
                yield f"config.variants.{slug(name)}.{number}.{slug(key)}", value, "", f"{variant.name}, {key}"
    for claim in results.claims:
        bound = claim["threshold"]
        for part, value in zip(("from", "to"), bound, strict=True) if isinstance(bound, list) else (("", bound),):
            name = ".".join(["config.claims", slug(claim["name"]), *([part] if part else ["threshold"])])
            yield name, value, claim["unit"], f"threshold of {claim['name']}"


def _counts(results: Results) -> Iterator[tuple[str, Any, str, str]]:
    experiment = results.plan.experiment
    cuts = len(results.data.cases) if results.data is not None else 0
    yield "count.cases", len(results.plan.dataset.cases), "", "tools in the data"
    yield "count.cuts", cuts, "", "cuts in the data"
    yield "count.features", experiment.layers[0], "", "inputs of the network"
    yield "count.runs", len(results.records), "", "runs of all variants"
    histories = results.history[results.history["variant"] == results.primary]["run_id"].nunique()
    yield "count.histories", histories, "", f"runs of {results.primary} with a history"
    yield "count.variants", len(results.variants), "", "variants"
    yield "count.baselines", len(results.baselines), "", "baselines"
    yield "count.parameters", results.total_parameters(), "", "weights and biases of the dense network"
    yield "count.weights", results.total_weights(), "", "entries of its weight matrices"
    yield "count.biases", results.total_parameters() - results.total_weights(), "", "its biases"
    yield "count.claims", len(results.claims), "", "claims in the plan"
    unchecked = sum(finding.severity == "unchecked" for finding in results.verdict.findings)
    yield "count.audit-unchecked", unchecked, "", "checks of the audit that lacked what they look at"


def _method(results: Results) -> Iterator[tuple[str, Any, str, str]]:
    yield "method.level", round(100 * LEVEL), "%", "100 artifacts.stats.LEVEL"
    yield "method.resamples", RESAMPLES, "", "artifacts.stats.RESAMPLES"
    yield "method.sign-patterns", SIGN_PATTERNS, "", "artifacts.significance.SIGN_PATTERNS"
    yield "method.lucky-cases", LUCKY_CASES, "", "artifacts.luck.LUCKY_CASES"
    yield "method.doc-reference", DOC_REFERENCE, "mm", "verify.laws.DOC_REFERENCE"
    yield "method.feed-reference", FEED_REFERENCE, "mm/rev", "verify.laws.FEED_REFERENCE"
    for position, edge in enumerate(WEAR_EDGES, 1):
        yield f"method.wear-edge.{position}", edge, "mm", f"artifacts.comparisons.WEAR_EDGES[{position - 1}]"
    if results.adaptation is not None:
        from artifacts.adaptation import LATE

        yield "method.late", LATE, "", "artifacts.adaptation.LATE"
