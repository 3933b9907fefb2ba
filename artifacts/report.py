"""The report: one self-contained HTML page with the audit's verdict on top, then everything that was built.

Knows the page's parts; the page itself is `paper/report.html.j2`, and `paper/report.js` is what opens a number. Nothing
in it is loaded from elsewhere, no other script runs in it, and every text is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from artifacts.figures import CAPTIONS, alt
from artifacts.notes import counted, verdicts
from artifacts.render import Table
from artifacts.results import Results
from artifacts.sandbox import Sandbox
from spinn.errors import InputError
from verify.findings import Finding, Verdict

TEMPLATE = Path(__file__).parent.parent / "paper" / "report.html.j2"
SCRIPT = TEMPLATE.with_name("report.js")
_SHOWN = 3  # runs named for each check
_COSTS = ("training-cost", "inference-cost", "benchmarks", "benchmark-targets")
_REPLAY = "predictions-replayed"
_APART = ("claims", "environment", *_COSTS)


def _page(**parts: Any) -> bytes:
    environment = Sandbox(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    script = _source(SCRIPT)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()  # the one script the page may run
    try:
        page = environment.from_string(_source(TEMPLATE)).render(
            script=script, script_digest=f"sha256-{digest}", **parts
        )
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"paper/{TEMPLATE.name}: {error!s:.200}; restore the report's template") from None
    return f"{page.strip()}\n".encode()


def _source(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the report's template belongs to a checkout of this project") from None


def _sorted(verdict: Verdict) -> dict[str, Any]:
    errors = [finding for finding in verdict.findings if finding.severity == "error"]
    others = [finding for finding in verdict.findings if finding.severity != "error"]
    return {
        "holds": verdict.holds,
        "verdict": verdict_line(verdict) if verdict.holds else "",
        "count": len(errors),
        "errors": grouped(errors),
        "others": grouped(others),
        "expected": grouped(verdict.expected),
    }


def verdict_line(verdict: Verdict) -> str:
    """The verdict of an audit with replay that holds, in words and counts."""
    unchecked = [finding for finding in verdict.findings if finding.severity == "unchecked"]
    reasons = list(dict.fromkeys(finding.message for finding in unchecked))
    why = ""
    if reasons:
        others = f"; and {_count(len(reasons) - 1, 'other reason')}" if reasons[1:] else ""
        why = f" ({reasons[0]}{others})"
    counts = [
        _count(len(verdict.expected), "declared finding"),
        _count(sum(finding.severity == "note" for finding in verdict.findings), "note"),
        f"{len(unchecked)} unchecked{why}",
    ]
    withheld = sum(finding.check == _REPLAY for finding in unchecked)
    replayed = "The predictions were replayed from the weights."
    if withheld:
        replayed = f"The predictions of {_count(withheld, 'run')} could not be replayed from the weights."
    return f"The audit holds: {', '.join(counts)}. {replayed}"


def _count(number: int, what: str, several: str = "") -> str:
    return f"{number} {what if number == 1 else several or what + 's'}"


def grouped(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """One row for all findings of a check and severity: the first message, and which runs say the like."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.check, finding.severity), []).append(finding)
    rows = []
    for (check, severity), alike in groups.items():
        ids = [finding.run_id or "the whole folder" for finding in alike]
        message = alike[0].message if len(alike) == 1 else f"{ids[0]}: {alike[0].message}"
        rows.append({"check": check, "severity": severity, "runs": _few(ids), "message": message})
    return rows


def refused(title: str, verdict: Verdict) -> bytes:
    """The page for records that the audit refused: verdict and findings, no number."""
    empty: dict[str, Any] = {"summary": "", "tables": [], "claims": None, "figures": [], "costs": [], "provenance": ""}
    return _page(title=title, warnings=[], machine=None, verdicts="", **empty, **_sorted(verdict))


def report(
    results: Results, tables: Sequence[Table], figures: Mapping[str, Mapping[str, bytes]], provenance: str
) -> bytes:
    """The page for audited records.

    Args:
        results: for the verdict, warnings and the summary line.
        tables: in their order; claims, costs and environment have places of their own.
        figures: name → ending → bytes; the PNG is embedded.
        provenance: where each number comes from, as `artifacts.provenance.encode` writes it.
    """
    by_name = {table.name: table for table in tables}
    shown = {name: _shown(table) for name, table in by_name.items()}
    plan = results.plan
    asked, cases = plan.experiment, len(plan.dataset.cases)
    summary = (
        f"Experiment {asked.name} on {plan.dataset.source}: "
        f"{counted(len(results.records), cases, len(asked.seeds), asked.layers)} "
        "Every number stands in numbers.json with its source, every table in tables/ as LaTeX, CSV and Markdown."
    )
    return _page(
        title=title(plan.experiment.name, plan.dataset.source),
        summary=summary,
        claims=shown.get("claims"),
        tables=[table for name, table in shown.items() if name not in _APART],
        costs=[shown[name] for name in _COSTS if name in shown],
        machine=shown.get("environment"),
        figures=[
            {
                "caption": CAPTIONS[name],
                "alt": alt(name, results, by_name),
                "png": base64.b64encode(files["png"]).decode(),
            }
            for name, files in figures.items()
        ],
        warnings=_warnings(results),
        verdicts=verdicts(by_name["claims"].frame["verdict"]) if "claims" in by_name else "",
        provenance=provenance,
        **_sorted(results.verdict),
    )


def _warnings(results: Results) -> list[tuple[str, str]]:
    """Each warning once, with the runs that it was raised in."""
    runs: dict[str, list[str]] = {}
    for record in results.records:
        for text in record.warnings:
            runs.setdefault(text, []).append(record.run_id)
    return [(_few(ids), text) for text, ids in runs.items()]


def _few(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else "")


def title(experiment: str, source: str) -> str:
    """The page's title."""
    return f"Sparse physics-informed network, experiment {experiment} on {source}"


def _shown(table: Table) -> dict[str, Any]:
    header, *rows = table.shown()
    classes = ["text" if left else "number" for left in table.left_aligned()]
    return {
        "name": table.name,
        "caption": table.caption,
        "header": header,
        "rows": rows,
        "classes": classes,
        "notes": table.notes,
    }
