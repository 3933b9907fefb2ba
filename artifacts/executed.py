"""What was executed, as named values: hyperparameters from the plan, counts of data and runs, how statistics are made.

So a text that states a learning rate states the one that the runs had. Knows names, not what a text does with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

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

Value: TypeAlias = tuple[str, Any, str, str]
"""Name, value, unit, and the expression that it is."""
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
    plan, modules = results.source(PLAN), {module: digest_of(files) for module, files in sources().items()}
    groups = [(plan, _config(results)), (results.source(CLAIMS), _thresholds(results)), (plan, _counts(results))]
    groups += [(results.source(DATASET), _cuts(results)), (results.source(*results.variants), _unchecked(results))]
    groups += [((f"{module} sha256:{modules[module]}",), iter([value])) for module, value in _method(results)]
    for source, values in groups:
        for name, value, unit, expression in values:
            text = str(value) if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.12g}"
            number = float(value) if isinstance(value, str) else value
            digits = len(text.partition(".")[2]) if "e" not in text else 0
            made[name] = Number(name, number, text, unit, digits, source, expression)
    return made


def sources() -> dict[str, dict[str, str]]:
    """The modules whose constants are values, each with its digest."""
    return {name: {name: digest_file(_ROOT / name)} for name in _MODULES}


def _notes(results: Results) -> Iterator[Number]:
    """The numbers in notes that the paper prints: on marked variants, and on the data as it was read."""
    for at, (variant, text) in enumerate(zip(results.marked, results.footnotes, strict=True), 1):
        yield from stated(text, f"note.mark.{at}", source=results.source(variant), expression=f"note on {variant}")
    for at, note in enumerate(results.datacard.get("notes", ()), 1):
        source = results.source(DATACARD)
        yield from stated(str(note), f"note.data.{at}", source=source, expression="note of the loader")


def _config(results: Results) -> Iterator[Value]:
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


def _thresholds(results: Results) -> Iterator[Value]:
    for claim in results.claims:
        bound = claim["threshold"]
        for part, value in zip(("from", "to"), bound, strict=True) if isinstance(bound, list) else (("", bound),):
            name = ".".join(["config.claims", slug(claim["name"]), *([part] if part else ["threshold"])])
            yield name, value, claim["unit"], f"threshold of {claim['name']}"


def _counts(results: Results) -> Iterator[Value]:
    experiment = results.plan.experiment
    yield "count.cases", len(results.plan.dataset.cases), "", "tools in the data"
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


def _cuts(results: Results) -> Iterator[Value]:
    yield "count.cuts", len(results.data.cases) if results.data is not None else 0, "", "cuts in the data"


def _unchecked(results: Results) -> Iterator[Value]:
    unchecked = sum(finding.severity == "unchecked" for finding in results.verdict.findings)
    yield "count.audit-unchecked", unchecked, "", "checks of the audit that lacked what they look at"


def _method(results: Results) -> Iterator[tuple[str, Value]]:
    """Each constant of this code, with the module that has it."""
    stats, laws = "artifacts/stats.py", "verify/laws.py"
    yield stats, ("method.level", round(100 * LEVEL), "%", "100 artifacts.stats.LEVEL")
    yield stats, ("method.resamples", RESAMPLES, "", "artifacts.stats.RESAMPLES")
    patterns = "artifacts.significance.SIGN_PATTERNS"
    yield "artifacts/significance.py", ("method.sign-patterns", SIGN_PATTERNS, "", patterns)
    yield "artifacts/luck.py", ("method.lucky-cases", LUCKY_CASES, "", "artifacts.luck.LUCKY_CASES")
    yield laws, ("method.doc-reference", DOC_REFERENCE, "mm", "verify.laws.DOC_REFERENCE")
    yield laws, ("method.feed-reference", FEED_REFERENCE, "mm/rev", "verify.laws.FEED_REFERENCE")
    for position, edge in enumerate(WEAR_EDGES):
        told = f"artifacts.comparisons.WEAR_EDGES[{position}]"
        yield "artifacts/comparisons.py", (f"method.wear-edge.{position + 1}", edge, "mm", told)
    if results.adaptation is not None:
        from artifacts.adaptation import LATE

        yield "artifacts/adaptation.py", ("method.late", LATE, "", "artifacts.adaptation.LATE")
