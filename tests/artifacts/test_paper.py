"""The paper: filled with named values, its verdicts printed, its pages looked at, the same bytes each time."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from artifacts import claims, executed, marks, paper, predictors, search, tables, typeset
from artifacts.build import build
from artifacts.check import check
from artifacts.claims import Outcome
from artifacts.constants import Constants
from artifacts.marks import unmarked
from artifacts.numbers import Number, decode_json, latex_number
from artifacts.render import Table
from artifacts.results import Results
from artifacts.typed import typed
from spinn.config import OwnDense
from spinn.errors import InputError
from verify.findings import Finding

OWN = ("dense.epochs", "physics.wear-rate", "correction")  # what a variant may have of its own


@pytest.fixture(scope="session")
def content(found: Results) -> paper.Content:
    """What a template can name, of the honest folder."""
    outcomes = claims.evaluate(found)
    made = [*tables.all_tables(found), claims.table(found, outcomes)]
    return filled(found, made, outcomes)


def filled(found: Results, made: list[Table], outcomes: tuple[Outcome, ...]) -> paper.Content:
    """The content with all that the tables number."""
    known: dict[str, Number] = {}
    for table in made:
        known |= table.numbers()
    return paper.Content(found, {one.name: one for one in made}, outcomes, known | executed.executed(found))


def test_every_number_of_the_text_is_a_named_value(built: Path):
    """Each `val` of paper.tex has the text of its entry in numbers.json; there are many, some from the plan."""
    numbers = decode_json((built / "numbers.json").read_bytes(), "numbers.json")
    for name in ("paper", "supplement"):
        marked = marks.VALUE.findall((built / "paper" / f"{name}.tex").read_text(encoding="utf-8"))
        assert len(marked) > 100
        assert all(text == latex_number(numbers[key].text) for key, text in marked)
    assert numbers["config.dense.epochs"].source[0].startswith("plan.json sha256:")


def test_all_that_is_printed_is_called_by_its_name(built: Path):
    """The whole of paper and supplement: nothing prints a number but in a mark; without one it is found."""
    constants = Constants.read(paper.FOLDER / typeset.CONSTANTS, paper.FOLDER / typeset.BIBLIOGRAPHY)
    for name in ("paper", "supplement"):
        source = (built / "paper" / f"{name}.tex").read_text(encoding="utf-8")
        assert list(typed(unmarked(source), constants)) == []
        bare = marks.VALUE.sub(r"\2", source, count=1)
        line = source[: source.index(r"\val{", source.index(r"\begin{document}"))].count("\n") + 1
        assert {at for at, _ in typed(unmarked(bare), constants)} == {line}


def test_the_numbers_of_a_text_in_a_table_are_marked(content: paper.Content):
    """In the data card, in what a claim states, in its threshold; the ratios of a schedule, and the edges of levels."""
    for name, columns in (
        ("data", {"": "", "value": ""}),
        ("claims", {"statement": "", "threshold": ""}),
        ("schedule", {"ratio": "ratio"}),
        ("wear-levels", {"level": "level"}),
    ):
        marked = dict(marks.VALUE.findall(content.tabular(name, columns)))
        assert len(marked) > 1
        assert all(text == latex_number(content.known[key].text) for key, text in marked.items())
        assert all(content.known[key].source for key in marked)


def test_a_verdict_is_printed_whatever_its_reason_says(content: paper.Content):
    """A reason with a number in it is a text with a number; the verdict before it stands in its own mark."""
    first = content.outcomes[0]
    odd = replace(first, verdict="not evaluated", measured=claims.Measured(None, reason="none of 16 has three labels"))
    outcomes = (odd, *content.outcomes[1:])
    made = [table for table in content.tables.values() if table.name != "claims"]
    told = filled(content.results, [*made, claims.table(content.results, outcomes)], outcomes)
    name = first.claim["name"]
    said = (
        rf"\verdict{{{name}}}{{not evaluated}}: none of \val{{claims.{name}.verdict}}{{16}}\called{{ has three labels}}"
    )
    assert said in told.tabular("claims", {"verdict": "verdict"})


def test_the_paper_says_that_weights_were_withheld(content: paper.Content):
    """Masks that the audit could not count are not told as counted."""
    source = (paper.FOLDER / "paper.tex.j2").read_text(encoding="utf-8")
    assert "as counted in the masks of every run" in paper.fill(source, content, "t")
    run = next(record.run_id for record in content.results.records if record.variant == content.results.primary)
    missing = Finding("masks-monotone", "unchecked", "weights withheld", run)
    verdict = replace(content.results.verdict, findings=(*content.results.verdict.findings, missing))
    told = paper.fill(source, replace(content, results=replace(content.results, verdict=verdict)), "t")
    assert "as counted in the masks" not in told
    assert "masks recounted" not in told
    assert "the masks are withheld here" in told


def test_a_long_table_is_printed_in_parts_and_each_row_once(content: paper.Content, monkeypatch: pytest.MonkeyPatch):
    """No part is longer than a page; all but the first say that they go on."""
    monkeypatch.setattr(paper, "ROWS", 3)
    table = content.tables["accuracy"]
    parts = content.parts("accuracy")
    assert [row for part in parts for row in part.rows] == list(range(len(table.frame)))
    assert max(len(part.rows) for part in parts) == 3
    assert [part.more for part in parts] == ["", *[", continued"] * (len(parts) - 1)]
    whole = content.tabular("accuracy").splitlines()
    printed = [line for part in parts for line in content.tabular("accuracy", rows=part.rows).splitlines()]
    assert {line for line in whole if "\\val" in line} == {line for line in printed if "\\val" in line}
    target = table.frame["target"].iloc[0]
    of_one = content.parts("accuracy", {"target": target})
    assert [row for part in of_one for row in part.rows] == table.frame.index[table.frame["target"] == target].tolist()


def test_hyperparameters_are_those_that_were_executed(content: paper.Content):
    """Another plan gives another text."""
    plan = content.results.plan
    dense = plan.experiment.dense.model_copy(update={"epochs": 77})
    other = plan.model_copy(update={"experiment": plan.experiment.model_copy(update={"dense": dense})})
    values = executed.executed(replace(content.results, plan=other))
    assert values["config.dense.epochs"].text == "77"
    assert executed.executed(content.results)["config.dense.epochs"].value == plan.experiment.dense.epochs


def test_hyperparameters_are_those_of_the_variant_that_the_work_stands_for(content: paper.Content):
    """Where a variant has its own dense phase, physics or correction, the text has them, not the experiment's."""
    plan = content.results.plan
    experiment = plan.experiment.model_copy(update={"correction": 0.5})
    own = {
        "dense": experiment.dense.model_copy(update={"epochs": 77}),
        "physics": experiment.physics.model_copy(update={"wear_rate": 0.7}),
        "correction": 0.25,
    }
    for position, expected in enumerate([("77", "0.7", "0.25"), ("3", "0.1", "0.5")]):  # the work stands for the first
        variants = list(experiment.variants)
        variants[position] = variants[position].model_copy(update=own)
        other = plan.model_copy(update={"experiment": experiment.model_copy(update={"variants": tuple(variants)})})
        values = executed.executed(replace(content.results, plan=other))
        assert tuple(values[f"config.{key}"].text for key in OWN) == expected


def test_counts_are_those_of_the_records(content: paper.Content):
    """Runs, tools, and the networks whose history was kept, are counted in what was read."""
    found = content.results
    ours = [record.run_id for record in found.records if record.variant == "sparse"]
    values = executed.executed(found)
    assert (values["count.runs"].value, values["count.cases"].value) == (16, 4)
    assert values["count.histories"].value == len(ours) == 8
    kept = replace(found, history=found.history[found.history["run_id"].isin(ours[:3])])
    assert executed.executed(kept)["count.histories"].value == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (r'\VAR{n("accuracy", "nothing")}', "asks for accuracy.nothing: no such value in numbers.json"),
        (r"\VAR{unknown}", "'unknown' is undefined"),
        (r"\VAR{targets|length}", "a number is printed by its name"),
        (r'\VAR{tabular("accuracy", {"nothing": "x"})}', "asks for column 'nothing' of table accuracy"),
        (r'\VAR{tabular("accuracy", wrap={"seeds": "1.95in}@{ 0.95 "})}', "wrap['seeds'] = '1.95in}@{ 0.95 '"),
        (r"\BLOCK{if x}", "paper/t:1: Unexpected end of template"),
    ],
)
def test_a_template_that_asks_for_what_is_not_there_is_refused(source: str, message: str, content: paper.Content):
    """Each refusal names what was asked for."""
    with pytest.raises(InputError, match=re.escape(message)):
        paper.fill(source, content, "t")


def test_text_is_escaped_and_values_are_not(content: paper.Content):
    """A stranger's name does no harm; a value keeps its mark."""
    made = paper.fill(r'\VAR{"50% & $x$"} \VAR{n("count.cases")}', content, "t")
    assert made == r"50\% \& \$x\$ \val{count.cases}{4}"


def test_a_name_and_a_text_that_are_equal_are_printed_as_what_they_are(content: paper.Content):
    """Whichever comes first."""
    name, tex = paper.Name("run-2"), paper.Tex("run-2")
    for _ in range(2):
        assert paper._printed(tex) == "run-2"
        assert paper._printed(name) == r"\called{run-2}"
    assert paper._printed(True) is True
    with pytest.raises(InputError, match=r"a template prints 1\.0"):
        paper._printed(1.0)


HOLDS, FAILS, OPEN = "holds", "fails", "not decidable"
SAID = {
    "the abstract on near-dense": {
        HOLDS: "By the measured value, pruning costs no more than the claimed share",
        FAILS: "By the measured value, pruning costs more than the claimed share",
        OPEN: "Whether pruning costs more than the claimed share",
    },
    "the abstract on gain-over-wear-law": {
        HOLDS: "It predicts wear better than a fitted wear law",
        FAILS: "predicts wear better: the claim of a gain over it fails.",
        OPEN: "Whether it is better than a fitted wear law",
    },
    "the abstract on pruned-over-small": {
        HOLDS: "Pruning a large network is better than training a small one",
        FAILS: "Pruning a large network is not better than training a small one",
        OPEN: "Whether pruning a large network is better than training a small one",
    },
    "the abstract on physics-link": {
        HOLDS: "What pruning removes stands against the physics terms more than a random choice does.",
        FAILS: "What pruning removes does not stand against the physics terms more than a random choice does",
        OPEN: "Whether pruning removes what stands against physics",
    },
    "counts": {HOLDS: "Both criteria hold in every run", FAILS: "The criteria on counts do not both hold"},
    "wear-r2": {
        HOLDS: "The sparse network's $R^2$ of tool wear is above the",
        FAILS: "$R^2$ of tool wear misses the",
        OPEN: "Whether the sparse network's $R^2$ of tool wear is above the",
    },
    "near-dense": {
        HOLDS: r"the claim of at most \val{config.claims.near-dense.threshold}{2}\,\% holds.",
        FAILS: r"the claim of at most \val{config.claims.near-dense.threshold}{2}\,\% fails.",
        OPEN: r"the claim of at most \val{config.claims.near-dense.threshold}{2}\,\% these tools do not decide.",
    },
    "gain-over-wear-law": {
        HOLDS: "by which the claim of a gain holds. Of the sign-flip test",
        FAILS: "has not earned its parameters",
        OPEN: "whether it is a gain over a few coefficients, these tools do not decide",
    },
    "wear-error": {
        HOLDS: r"the claimed bound of \val{config.claims.wear-error.threshold}{2}\,\% holds.",
        FAILS: r"the claimed bound of \val{config.claims.wear-error.threshold}{2}\,\% fails.",
        OPEN: r"the claimed bound of \val{config.claims.wear-error.threshold}{2}\,\% these tools do not decide.",
    },
    "pruned-over-small": {
        HOLDS: "(the claim that pruning is better holds)",
        FAILS: "a choice of size after training, not accuracy",
        OPEN: "what it does for accuracy is open",
    },
    "physics-link": {
        HOLDS: "The claim that what goes stands against physics holds",
        FAILS: r"The claim that what goes stands against physics \emph{fails}",
        OPEN: "The data does not decide the claim that what goes stands against physics",
    },
    "adaptation-gain": {
        HOLDS: "by which the claim of a gain holds. A fair rival",
        FAILS: "(the claim of a gain: fails)",
        OPEN: "(the claim of a gain: not decidable)",
    },
    "the conclusion on near-dense": {
        HOLDS: "pruning costs, by the measured value, no more accuracy than was claimed",
        FAILS: "the claim on what pruning costs in accuracy fails",
        OPEN: "The claim on what pruning costs in accuracy these tools do not decide",
    },
    "the conclusion on gain-over-wear-law": {
        HOLDS: "The network adds to what a fitted wear law knows",
        FAILS: "The claim that the network adds to what a fitted wear law knows fails",
        OPEN: "Whether the network adds to what a fitted wear law knows",
    },
}
"""Where the paper tells what became of a claim, and the words for it."""


@pytest.mark.parametrize("verdict", [HOLDS, FAILS, OPEN, "not evaluated"])
def test_the_text_adapts_to_the_verdict(verdict: str, content: paper.Content):
    """Each verdict is told in words of its own, wherever there are any: what is open is not told as a failure."""
    known = verdict != "not evaluated"
    measured = claims.Measured(0.01, -0.1, 0.1) if known else claims.Measured(None, reason="nothing measures it")
    outcomes = tuple(replace(one, verdict=verdict, measured=measured) for one in content.outcomes)
    made = [one for one in content.tables.values() if one.name != "claims"]
    other = filled(content.results, [*made, claims.table(content.results, outcomes)], outcomes)
    text = " ".join(paper.fill((paper.FOLDER / "paper.tex.j2").read_text(encoding="utf-8"), other, "t").split())
    assert text.count(f"}}{{{verdict}") == len(outcomes)
    told = {place: [one for one, words in by_verdict.items() if words in text] for place, by_verdict in SAID.items()}
    assert told == {place: [verdict] if verdict in by_verdict else [] for place, by_verdict in SAID.items()}


@pytest.fixture
def by_settings(content: paper.Content) -> paper.Content:
    """The same with a table by settings: the marked variant was trained longer, and a check of it was not made."""
    found = content.results
    first, second = found.plan.experiment.variants
    variants = (first, second.model_copy(update={"dense": OwnDense(epochs=77)}))
    experiment = found.plan.experiment.model_copy(update={"variants": variants})
    unvalidated = tuple(run.model_copy(update={"validation": ()}) for run in found.plan.runs)
    plan = found.plan.model_copy(update={"experiment": experiment, "runs": unvalidated})
    run = next(record.run_id for record in found.records if record.variant == second.name)
    unseen = Finding("masks-monotone", "unchecked", "weights withheld", run)
    verdict = replace(found.verdict, findings=(*found.verdict.findings, unseen))
    table = search.by_settings(replace(found, plan=plan, verdict=verdict))
    assert table is not None
    made = filled(found, [*content.tables.values(), table], tuple(content.outcomes))
    return replace(made, known={**made.known, **paper.noted([table])})


def test_the_text_names_the_settings_that_were_varied(by_settings: paper.Content):
    """Of epochs it says epochs, and nothing of the weights of physics."""
    text = " ".join(paper.fill((paper.FOLDER / "paper.tex.j2").read_text(encoding="utf-8"), by_settings, "t").split())
    section = text[text.index(r"\subsection{Choice of the Settings}") : text.index(r"\subsection{Computational Cost}")]
    assert "by the settings that were varied (dense.epochs)" in section
    assert "hysics" not in text[text.index(r"\subsection{Choice") :].partition(r"\begin{table*}")[0]
    assert "wear law" not in section


def test_the_mark_in_the_table_by_settings_is_explained_below_it(by_settings: paper.Content):
    """With the table's own note, each number of which is a named value."""
    text = paper.fill((paper.FOLDER / "paper.tex.j2").read_text(encoding="utf-8"), by_settings, "t")
    below = text[text.index(r"\label{tab:settings}") :].partition(r"\end{table*}")[0]
    assert below.count(r"\textdagger{}") == 3  # a row, the heading of a difference has none, and the note
    note = below.rpartition(r"\bottomrule")[2]
    assert r"first-version: declared in the plan and found by the audit" in note
    told = dict(marks.VALUE.findall(note))
    assert set(told) == {"note.settings.1.1", "note.settings.1.2"}
    assert all(by_settings.known[name].source for name in told)


def test_the_paper_prints_of_the_settings_what_fits_a_page(by_settings: paper.Content):
    """A part for each target, the settings beside R² where they are few; with many they stand in a part before it."""
    scores = [
        [f"R², {target}, {what}" for what in ("dense", "last stage", "less sparse")]
        for target in ("flank wear VB", "thermal displacement")
    ]
    names = by_settings.names()
    assert [list(part) for part in names["settings"]] == [["variant", "dense.epochs", *part] for part in scores]
    assert names["kept"] == {}
    table = by_settings.tables["settings"]
    others = {"physics.law": "3", "correction": "0.3", "wear law missed (mm)": 0.5}
    wide = replace(table, frame=table.frame.assign(**others))
    names = replace(by_settings, tables={**by_settings.tables, "settings": wide}).names()
    ahead = ["variant", "dense.epochs", "physics.law", "correction"]
    assert [list(part) for part in names["settings"]] == [ahead, *(["variant", *part] for part in scores)]
    assert list(names["kept"]) == ["variant", "wear law missed (mm)"]


def test_headings_break_their_lines_where_asked(by_settings: paper.Content):
    """Behind commas and full stops, on the side of their column."""
    columns = {name: name for name in ("variant", "dense.epochs", "R², flank wear VB, dense")}
    head = by_settings.tabular("settings", columns, stacked=True).split("\n")[2]
    assert head.startswith(r"variant & \shortstack[l]{dense. \\ epochs} & \shortstack[r]{")
    assert head.endswith(r" \\ flank wear VB, \\ dense} \\")


def test_the_supplement_says_what_its_numbers_are_from(content: paper.Content):
    """Planted faults and the machine of other runs are named where they are printed, and only there."""
    source = (paper.FOLDER / "supplement.tex.j2").read_text(encoding="utf-8")
    alone = paper.fill(source, content, "t")
    assert "planted faults are from the runs" not in alone
    assert "the runs by settings, audited too" not in alone
    data = content.tables["data"]
    table = Table("mutants", "Faults.", data.frame.rename(columns={"": "fault"}), labels=("fault",))
    other = replace(content, tables={**content.tables, "mutants": table, "ablation-environment": data})
    start = source.partition(r"\BLOCK{if remarks}")[0]
    told = paper.fill(start, other, "t")
    assert "planted faults are from the runs" in told
    assert "the runs by settings, audited too" in told


def test_a_figure_that_is_wide_goes_over_both_columns(content: paper.Content):
    """Whatever is wider than a column, by the page of its PDF."""
    source = (paper.FOLDER / "paper.tex.j2").read_text(encoding="utf-8")
    for wide, environment in ((frozenset(), "figure"), (frozenset({"compared"}), "figure*")):
        text = paper.fill(source, replace(content, wide=wide), "t")
        assert f"\\begin{{{environment}}}[tb]\n\\centering\\includegraphics{{compared}}" in text
    assert paper._width(b"<< /MediaBox [ 0 0 518.4 243.25 ] >>") == 518.4


def test_a_dropped_claim_stops_the_build(content: paper.Content, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A template that prints no table of claims is refused, with the first claim's name."""
    folder = Path(shutil.copytree(paper.FOLDER, tmp_path / "paper", ignore=shutil.ignore_patterns("reference")))
    source = (folder / "paper.tex.j2").read_text(encoding="utf-8")
    assert 'if "claims" in tables' in source
    (folder / "paper.tex.j2").write_text(source.replace('if "claims" in tables', 'if "none" in tables'))
    monkeypatch.setattr(paper, "FOLDER", folder)
    with pytest.raises(InputError, match="claim final-parameters: the paper does not print its verdict"):
        paper.outputs(content.results, list(content.tables.values()), content.outcomes, content.known, {})


UNWORDED = "verdict is never 'fail'; expected one of holds, fails, not decidable, "
NAMED = 'verdict("claim") has the name of one claim in it'
HIDDEN = 'verdict("claim") is printed alone, or compared by == with a word'


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (r'\BLOCK{if verdict("wear-error") == "fail"}', UNWORDED),
        (r'\BLOCK{if "fail" != verdict("wear-error")}', UNWORDED),
        (r'\VAR{"it" if verdict("wear-error") == "fail"}', UNWORDED),
        (r'\BLOCK{if verdict("wear-error") in ("holds", "fail")}', HIDDEN),
        (r'\BLOCK{if verdict("wear-error")|lower == "hold"}', HIDDEN),
        (r'\BLOCK{if verdict("wear-error").startswith("hold")}', HIDDEN),
        (r'\BLOCK{if verdict("wear-error") == source}', HIDDEN),
        (r'\VAR{{"hold": "yes"}[verdict("wear-error")]}', HIDDEN),
        (r'\BLOCK{set v = verdict("wear-error")}', HIDDEN),
        (r"\BLOCK{set v = verdict}", HIDDEN),
        (r'\VAR{verdict("wear-eror")}', "wear-eror: no such claim; perhaps wear-error"),
        (r'\BLOCK{if simulated and not simulated and verdict("wear-eror") == "holds"}', "wear-eror: no such claim"),
        (r"\VAR{verdict(primary)}", NAMED),
        (r'\VAR{verdict("wear-error", x=primary)}', NAMED),
        (r'\BLOCK{set v}\VAR{verdict("wear-error")}\BLOCK{endset}', "a block keeps what it prints"),
        (r'\BLOCK{macro f()}\VAR{verdict("wear-error")}\BLOCK{endmacro}', "a block keeps what it prints"),
        (r'\BLOCK{filter lower}\VAR{verdict("wear-error")}\BLOCK{endfilter}', "a block keeps what it prints"),
        (r"\BLOCK{macro verdict(x)}\BLOCK{endmacro}", "a block keeps what it prints"),
    ],
)
def test_a_verdict_that_there_is_not_stops_the_build(
    source: str, message: str, content: paper.Content, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """A branch for a mistyped verdict would never be taken, and a failure be told as something milder."""
    shutil.copytree(paper.FOLDER, tmp_path / "paper", ignore=shutil.ignore_patterns("reference"))
    monkeypatch.setattr(paper, "FOLDER", tmp_path / "paper")
    path = tmp_path / "paper" / "paper.tex.j2"
    line = path.read_text().count("\n") + 1
    path.write_text(path.read_text() + source + (r"\BLOCK{endif}" if r"\BLOCK{if" in source else ""))
    with pytest.raises(InputError, match=re.escape(f"paper/paper.tex.j2:{line}: {message}")):
        paper.outputs(content.results, list(content.tables.values()), content.outcomes, content.known, {})


def test_the_paper_compares_with_the_best_of_the_wear_laws(content: paper.Content, monkeypatch: pytest.MonkeyPatch):
    """The R² that stands beside the claim of a gain is the law's by which the claim was judged."""
    assert content.names()["best_law"] == "wear-law"
    source = (paper.FOLDER / "paper.tex.j2").read_text(encoding="utf-8")
    assert r"\val{accuracy.flank-wear-vb-mm.wear-law.r2}" in paper.fill(source, content, "t").partition("document")[2]
    growth = next(one for one in predictors.predictors(content.results) if one.label == "mean")
    monkeypatch.setattr(predictors, "best_wear_law", lambda known, targets: growth)
    abstract = paper.fill(source, content, "t").partition(r"\end{abstract}")[0]
    assert r"\val{accuracy.flank-wear-vb-mm.mean.r2}" in abstract
    assert "wear-law" not in abstract


def test_simulated_data_is_marked_on_every_page(content: paper.Content):
    """The mark is there where the data is the simulator's, and only there."""
    dataset = content.results.plan.dataset
    for name in typeset.TEMPLATES:
        source = (paper.FOLDER / name).read_text(encoding="utf-8")
        for where in ("simulator", "nasa (mill.mat)"):
            plan = content.results.plan.model_copy(update={"dataset": dataset.model_copy(update={"source": where})})
            made = paper.fill(source, replace(content, results=replace(content.results, plan=plan)), name)
            assert (r"\AddToHook{shipout/foreground}" in made) == (where == "simulator")


def test_a_changed_number_in_the_paper_is_found(out: Path):
    """The check names the file and the value, even where the manifest was made to agree."""
    path = out / "paper" / "paper.tex"
    path.write_text(path.read_text().replace(r"\val{count.cases}{4}", r"\val{count.cases}{5}", 1))
    assert [problem.file for problem in check(out)] == ["paper/paper.tex"]
    manifest = (out / "build.json").read_text()
    old = re.findall(r'"paper/paper.tex": "([0-9a-f]{64})"', manifest)[-1]
    from spinn.storage import digest_file

    (out / "build.json").write_text(manifest.replace(old, digest_file(path)))
    assert "count.cases: 5 in paper/paper.tex, but numbers.json says 4" in [problem.message for problem in check(out)]


def test_without_latex_all_else_is_written_and_one_line_says_so(honest: Path, out: Path, built: Path):
    """No PDF, status 0, and how to get it; the sources of the paper are there."""
    report = build(honest, out)
    assert report.exit_status == 0
    assert report.notice.startswith("no PDF of the paper: latexmk, pdflatex")
    assert "apt-get install" in report.notice
    assert "\n" not in report.notice
    assert (built / "paper" / "paper.tex").is_file()
    assert not list(built.glob("*.pdf"))


def test_what_a_log_says_against_the_pages_is_told():
    """A line that stands out too far, and references that lead nowhere; a little is let through."""
    log = (
        "Overfull \\hbox (7.2pt too wide) in paragraph at lines 3--4\n"
        "Overfull \\hbox (1.4pt too wide) in paragraph at lines 8--9\n"
        "LaTeX Warning: Reference `tab:x' on page 1 undefined on input line 5.\n"
        "Package natbib Warning: Citation `who' on page 1 undefined on input line 6.\n"
        "LaTeX Warning: Float too large for page by 12.0pt on input line 9.\n"
        "Overfull \\vbox (7.1pt too high) has occurred while \\output is active []\n"
    )
    assert typeset.of_log(log) == [
        "7.2 pt too wide in paragraph at lines 3--4",
        "7.1 pt too high on a page",
        "a float is 12.0 pt higher than a page",
        "tab:x is referred to and not defined",
        "who is referred to and not defined",
    ]
    assert typeset.of_log("Overfull \\hbox (4.9pt too wide) in paragraph") == []


def test_fonts_that_are_not_embedded_or_of_type_3_are_told():
    """As `pdffonts` lists them."""
    listed = (
        "name                type         encoding   emb sub uni object ID\n"
        "------------------- ------------ ---------- --- --- --- ---------\n"
        "ABCDEF+Fine         Type 1       Custom     yes yes yes     17  0\n"
        "Helvetica           Type 1       Standard   no  no  no      18  0\n"
        "Bitmap              Type 3       Custom     yes no  no      19  0\n"
    )
    assert typeset.of_fonts(listed) == ["font Helvetica is not embedded", "font Bitmap is of Type 3"]


def test_the_paper_becomes_a_pdf_of_the_same_bytes(built: Path, latex: None):
    """From the records of a stranger, too: names that LaTeX would run, sizes that none of ours has."""
    folder = built / "paper"
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    once = typeset.typeset("paper", files, typeset.PAGES["paper"])
    assert once.startswith(b"%PDF")
    assert typeset.typeset("paper", files, typeset.PAGES["paper"]) == once
    with pytest.raises(typeset.TypesetError, match="pages, and 1 at most are allowed"):
        typeset.typeset("paper", files, 1)


@pytest.mark.parametrize("name", typeset.FILES)
def test_a_file_that_latex_lacks_is_named(name: str, latex: None, monkeypatch: pytest.MonkeyPatch):
    """As is how to get it, in one line."""
    monkeypatch.setattr(typeset, "FILES", (*typeset.FILES, f"no-{name}"))
    typeset.missing.cache_clear()
    assert re.fullmatch(
        rf"no PDF of the paper: no-{name} not found; on Debian: apt-get .* cm-super .*", typeset.missing()
    )


def test_the_packages_are_those_that_readme_and_ci_install():
    """One list, in three places."""
    root = Path(__file__).parents[2]
    for place in ("README.md", ".ci/run"):
        assert typeset.PACKAGES in " ".join((root / place).read_text().replace("\\\n", " ").split())


def test_latex_that_stops_says_where(latex: None):
    """The first error, in one line."""
    source = rb"\documentclass{article}\begin{document}\nosuch\end{document}"
    with pytest.raises(typeset.TypesetError, match=r"x\.tex: LaTeX stopped: ! Undefined control sequence"):
        typeset.typeset("x", {"x.tex": source})
