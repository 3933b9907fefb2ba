"""A number typed into a template is found wherever it stands, and what is no number of the work is let through."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from artifacts import prose
from artifacts.numbers import Number
from artifacts.paper import FOLDER
from artifacts.typed import NONE, Constants
from artifacts.typeset import BIBLIOGRAPHY, CONSTANTS, TEMPLATES
from spinn.errors import InputError

KNOWN = {
    "accuracy.sparse.r2": Number("accuracy.sparse.r2", 0.90871, "0.909", "", 3, (), ""),
    "progression.sparse.parameters": Number("progression.sparse.parameters", 190030, "190,030", "", 0, (), ""),
}


CITED = Constants({}, frozenset(), cited=frozenset({("Archard", "1953"), ("al.", "2019"), ("Goebel", "2007")}))


def texts(source: str, constants: Constants = NONE) -> list[str]:
    """The literals of a template, as they stand in it."""
    return [one.text for one in prose.literals(source, "t", constants, KNOWN)]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("The network reaches 0.91 at last.", ["0.91"]),
        ("It keeps 190{,}030 of them.", ["190{,}030"]),
        (r"\caption{The 16 tools}", ["16"]),
        (r"\begin{tabular}{@{}p{2cm}r@{}} sparse & 0.909 \\[2pt] dense & .9 \end{tabular}", [".9", "0.909"]),
        (r"\section{Pruned by 71.5\,\%}", ["71.5"]),
        ("It is pruned in four stages.", ["four"]),
        (r"\footnote{On Seven of them.}", ["Seven"]),
        (r"$V = 0.25$", ["0.25"]),
        (r"\begin{equation} y = 3 x \label{eq:a} \end{equation}", ["3"]),
        (r"\newcommand{\score}{0.909}", ["0.909"]),
        (r"\VAR{0.909}", ["0.909"]),
        (r'\VAR{"0.909"}', ["0.909"]),
        (r'\BLOCK{set score = "0.909"}\VAR{score}', ["0.909"]),
        (r'\VAR{"0.909"|upper}', ["0.909"]),
        (r'\VAR{"0.909".strip()}', ["0.909"]),
        (r'\VAR{"{} percent".format("91.5")}', ["91.5"]),
        (r'\VAR{{"a": "0.909"}["a"]}', ["0.909"]),
        (r'\BLOCK{for x in ("0.909",)}\VAR{x}\BLOCK{endfor}', ["0.909"]),
        (r'\VAR{tabular("accuracy", {"R2": "R2 of 0.909"})}', ["R2 of 0.909"]),
        (r'\VAR{tabular("accuracy", columns={"R2": "0.909"}, where={"seeds": ("5",)})}', ["0.909"]),
        ("\\COMMENT{of { and}\nIt is 0.909.", ["0.909"]),
        (r'\VAR{n("a{")} It is 0.909.', ["0.909"]),
        (r"\ref{tab:1}[0.909] and \cite[of 0.808]{han2015}", ["0.808", "0.909"]),
        (r"\url{0.909}", ["0.909"]),
        (r"\hypersetup{pdftitle={With 0.909}}", ["0.909"]),
        (r"\setcounter{score}{91}\thescore", ["91"]),
        (r"\renewcommand{\scorefraction}{0.909}", ["0.909"]),
        (r"\ref{0.909", ["0.909", r"\ref"]),
        (r"\val{accuracy}{0.909}", ["0.909", r"\val"]),
        (r"near-dense \verdict{near-dense}{holds}", [r"\verdict"]),
        (r"on \called{98.7 \%} of cuts", ["98.7", r"\called"]),
        (r"tool \#7; \url{http://x.org/a%b} and 0.943", ["0.943", "7"]),
        ("% 0.909 in a comment of TeX's", ["0.909"]),
        (r"\href{https://x.org/a%20b}{a score of 0.95} and \verb|%| of 43.7", ["0.95", "43.7", r"\verb"]),
        ("XVI cases in IV rows and XL", ["IV", "XL", "XVI"]),
        ("It falls by a third when used, a quarter less, one fifth better.", ["a quarter", "a third", "one fifth"]),
        (r"\textonehalf and \textthreequarters, on \today", [r"\textonehalf", r"\textthreequarters", r"\today"]),
        ("Of many resamples (2000), in Section 0.95, and in 2007.", ["0.95", "2000", "2007"]),
        ("One percentage point, a full third of it, every fourth.", ["every fourth", "percentage point", "third"]),
        (
            "A single percent, an order of magnitude, thirtyfold.",
            ["order of magnitude", "single percent", "thirtyfold"],
        ),
        (r"\input{mytable} and \csvautotabular{results}", [r"\csvautotabular", r"\input"]),
        ("It doubles, or trebled; an eighth, one sixteenth.", ["an eighth", "doubles", "one sixteenth", "trebled"]),
        ("It is a third, or two-thirds, of them.", ["a third", "two-thirds"]),
        ("A tenfold gain by one percent, by one per cent.", ["one per cent", "one percent", "tenfold"]),
        ("Hundreds, tens, doubled, halved.", ["Hundreds", "doubled", "halved", "tens"]),
        ("It is ½ of ① in Ⅷ.", ["½", "Ⅷ", "①"]),
        ("It is ^^y or \\char`9 or \\romannumeral 8.", ["8", "9", "\\char", "\\romannumeral", "^^y"]),
        (r"\begin{tabular}{@{}l@{\quad 0.95\quad}r@{}}a\end{tabular}", ["0.95"]),
        (r"\begin{tabular}{l>{0.95 }r}a\end{tabular}", ["0.95"]),
        (r"\begin{tabular*}{2in}{l@{ 0.95}r}a\end{tabular*}", ["0.95", "2"]),
        (r"\begin{tabular}[t]{l<{0.95}}a\end{tabular}\multicolumn{2}{c@{0.94}}{a}", ["0.94", "0.95"]),
        (r"\setlength{\tabcolsep}{3pt 0.95}", ["0.95", "3", r"\setlength"]),
        (r"\hspace{2pt 0.95}\parbox{2in}{0.91}", ["0.91", "0.95", "2", r"\hspace"]),
        (r"\includegraphics[width=2in 0.95]{a}", ["0.95", "2", r"\includegraphics"]),
        (r"\begin{tikzpicture}[every node/.append style={label={right:0.95}}, text width=2in]a", ["0.95"]),
        (r"\begin{scope}[label=0.95]a\end{scope}\tikzset{every node/.style={label={right:0.94}}}", ["0.94", "0.95"]),
        (r"text width=0.95in", ["0.95"]),
        (r"R-squared is \topfraction, of \textfraction", [r"\textfraction", r"\topfraction"]),
        (r"\renewcommand{\topfraction}{0.95}R-squared is \topfraction", [r"\topfraction"]),
        (r"\setcounter{totalnumber}{9}\arabic{totalnumber}\thetopnumber", ["topnumber", "totalnumber"]),
        (r"\setlength{\parskip}{95pt}\the\parskip\number\parskip", [r"\number", r"\the"]),
        (r"\string\ref{0.95} \detokenize{a}\begin{verbatim}a", [r"\begin{verbatim", r"\detokenize", r"\string"]),
        (r"\let\pageref\textbf \pageref{0.95}", [r"\let", r"\pageref"]),
        (r"\renewcommand{\nameref}[1]{#1}\nameref{0.95}", [r"\nameref"]),
        (r"\newcommand{\x}{\label}\x{0.95}\def\cite#1{#1}\cite{0.94}", ["0.95", r"\cite", r"\label"]),
        (r"\def\tabular#1{#1}", [r"\tabular"]),
        (r"\csname ref\endcsname\RenewDocumentCommand{a}", [r"\RenewDocumentCommand", r"\csname"]),
        (r"\gdef\setcounter#1#2{#2}", [r"\gdef\setcounter"]),
        (r"\emph{about}[3]{} percent", ["3"]),
        (r"Section 95 \%, Section 94\,\%, Sections 3 and 93 percent, Section 92 mm", ["92", "93", "94", "95"]),
        (r"-\VAR{n('a')}", ["-\\VAR{"]),
        (r"of $- \text{\VAR{n('a')}}$, $\pm$\VAR{n('a')}", [r"- \text{\VAR{", r"\pm$\VAR{"]),
        (r"\VAR{'-'}\VAR{n('a')}", ["-"]),
        (r".\VAR{n('a')}", [r".\VAR{"]),
        (r"Section 91 \VAR{unit}, and R-squared.", ["91"]),
        ("A third the size, a tenth the memory.", ["A third", "a tenth"]),
        ("It falls to a third on steel, fell to a quarter on it.", ["a quarter", "a third"]),
        ("A trillion, sextupled.", ["sextupled", "trillion"]),
        (
            r"Zero parameters, nought percent, zero\,\%, zero of them.",
            ["Zero parameters", "nought percent", "zero", "zero of"],
        ),
        ("XC of them, XCIV", ["XC", "XCIV"]),
        (r"\uppercase{xiv} of them, \textsc{vii}; $\xi$, $u_{xx}$, (ii), \textbackslash{}two", ["two", "vii", "xiv"]),
        (r"a \\VII of them, \\se{}ven", ["VII", "seven"]),
        (r"Of sev\/en, t{}wo and \emph{ni}{}ne", ["seven", "two"]),
        ("It is \u2164, \u2167 of them.", ["\u2164", "\u2167"]),
        ("Across \ufb01ve tools, \ufb01fty of them.", ["fifty", "five"]),
        ("Of sev\u00aden and elev\\-en and e\u200bight.", ["eight", "eleven", "seven"]),
        (
            r"\textzerooldstyle.\textnineoldstyle\textfouroldstyle",
            [r"\textfouroldstyle", r"\textnineoldstyle", r"\textzerooldstyle"],
        ),
        (
            "\\input references.bib \\@input{a} \\@@input a \\InputIfFileExists{a}",
            [r"\@@input", r"\@input", r"\InputIfFileExists", r"\input"],
        ),
    ],
)
def test_a_number_typed_by_hand_is_found(source: str, found: list[str]):
    """In prose, captions, cells, headings, words, mathematics, macros, and what an expression prints by itself."""
    assert texts(source) == found


@pytest.mark.parametrize(
    "source",
    [
        r'\VAR{n("accuracy", vb, "dense", "R2")} and \BLOCK{if "neurons-160" in variants}more\BLOCK{endif}',
        r"\COMMENT{of 0.909}",
        r"\documentclass[10pt]{asmeconf}\vspace{2pt}\setlength{\tabcolsep}{3pt}",
        r"\cite{han2015learning} and Table~\ref{tab:2}, Eq.~(\ref{eq:1})",
        "as Archard (1953) has it, in Section 3.2",
        r"\begin{tabular}{@{}p{2.5in}l@{}}a \\[3pt] b\end{tabular}",
        r"\includegraphics[width=0.5\linewidth]{figure2}",
        r"\newcommand{\val}[2]{#2}",
        "as Lee et al.\\ (2019), and Agogino and Goebel, 2007, in Sections~3 and~4",
        r"\cite[pp.~12--13]{han2015} at \url{https://doi.org/10.5281/zenodo.1} by a two-sided test, a third option",
        "one of them, at first, in no case, the third column, one in general",
        r"\setcounter{topnumber}{4}\renewcommand{\topfraction}{0.95}",
        r"\begin{tikzpicture}[text width=0.93\columnwidth]\end{tikzpicture}",
        r'\BLOCK{if verdict("wear-r2") in ("holds", "r2")}a\BLOCK{endif}\VAR{variants["neurons-160"]}',
        r'\VAR{tabular("a", {"p95 (ms)": "slow"}, where={"layer": "layers.2"}, wrap={"layer": "1.2in"})}',
        r"\newcommand{\val}[2]{#2}\newcommand{\called}[1]{#1}\newcommand{\verdict}[2]{#2}",
        r"\cmidrule(lr){2-3}\multicolumn{2}{c}{a}\resizebox{0.9\textwidth}{!}{b}\\*[2pt]\autoref{fig:1}\nocite{han2015}",
        r"\begin{tabular}{@{}>{\raggedright\arraybackslash}p{1.95in}*{3}{r}|l@{\quad}}a\end{tabular}",
        r"\begin{tikzpicture}[box/.style={draw, text width=0.93\columnwidth}, node distance=2pt]a\end{tikzpicture}",
        r"\begin{minipage}[t]{0.5\linewidth}\rule[-1pt]{1pt}{2pt}\hspace*{1em}\cline{2-3}\vspace{0.5\baselineskip}",
        "ILP, LIME, LIDAR, LLM, XLSX and VIF; Type II errors, Appendix II, CI, CLI",
        "In double precision, in the ninth of these, a third option, a third-party tool.",
        "weights are zero; an interval above zero where it falls, set to zero in it, nought for iron, zeros",
        "In Section 3, in Sections 3.1 and~4; Section 2 shows it (Goebel, 2007), as Goebel, 2007 and others have",
        r"the stage-wise \VAR{n('a')}, a value. \VAR{n('a')}",
    ],
)
def test_what_is_no_number_of_the_work_is_let_through(source: str):
    """Names, comments, lengths, citations, years of a citation, section numbers, arguments of macros."""
    assert texts(source, CITED) == []


def test_a_year_is_allowed_as_a_citation_only():
    """A count that looks like a year is a literal."""
    assert texts("after 2000 epochs") == ["2000"]
    assert texts("(2000 of them)") == ["2000"]
    assert texts("Goebel, 2007 parameters", CITED) == ["2007"]
    assert texts("Reached (1953) parameters, Steel, 2019 cuts, Archard (1954)", CITED) == ["1953", "1954", "2019"]


def test_names_and_years_are_those_of_the_bibliography():
    """Every author's surname with the year, and no other year."""
    cited = Constants.read(FOLDER / CONSTANTS, FOLDER / BIBLIOGRAPHY).cited
    assert {("Han", "2015"), ("Dally", "2015"), ("Archard", "1953"), ("al.", "2019")} <= cited
    assert ("Han", "2017") not in cited
    stated = re.findall(r"year\s*=\s*\{(\d{4})\}", (FOLDER / BIBLIOGRAPHY).read_text(encoding="utf-8"))
    assert {year for _, year in cited} == set(stated)


def test_constants_of_an_equation_are_those_declared_for_it(tmp_path: Path):
    """A numeral is let through in the equation that declares it, and nowhere else."""
    path = tmp_path / "constants.toml"
    path.write_text('[[constant]]\nvalue = "1"\nequations = ["eq:a"]\ninline = ["R^1"]\nmeaning = "m"\nsource = "s"\n')
    constants = Constants.read(path, FOLDER / BIBLIOGRAPHY)
    assert texts(r"\begin{equation} y = 1 + x \label{eq:a} \end{equation} $R^1$", constants) == []
    assert texts(r"\begin{equation} y = 1 + 2x \label{eq:a} \end{equation}", constants) == ["2"]
    assert texts(r"\begin{equation} y = 1 + x \label{eq:b} \end{equation} $1$", constants) == ["1"]


@pytest.mark.parametrize("key", ["value", "meaning", "source"])
def test_a_constant_without_its_source_is_refused(key: str, tmp_path: Path):
    """Each constant says what it is and where it is from."""
    lines = {"value": '"1"', "meaning": '"m"', "source": '"s"'}
    path = tmp_path / "constants.toml"
    path.write_text("[[constant]]\n" + "".join(f"{name} = {lines[name]}\n" for name in lines if name != key))
    with pytest.raises(InputError, match=rf"constant\.0\.{key}: field required; its head says"):
        Constants.read(path, FOLDER / BIBLIOGRAPHY)


@pytest.mark.parametrize(
    "entry",
    [
        'text = "1.96"',  # each of its letters would be let through
        'inline = "R^2"',
        "text = [5]",
        "inline = 5",
        "equations = [[1]]",
        'text = [" "]',
        'equation = ["eq:a"]',
    ],
)
def test_a_constant_of_another_form_is_refused(entry: str, tmp_path: Path):
    """Where it may stand is a list of texts under a key that there is: one slip would let more through than is said."""
    path = tmp_path / "constants.toml"
    path.write_text(f'[[constant]]\nvalue = "1.96"\nmeaning = "m"\nsource = "s"\n{entry}\n')
    with pytest.raises(InputError, match=rf"constants\.toml: constant\.0\.{entry.partition(' ')[0]}"):
        Constants.read(path, FOLDER / BIBLIOGRAPHY)


def test_a_piece_of_a_text_is_let_through_whole():
    """A declared text hides no part of another number or word."""
    constants = Constants({}, frozenset(), frozenset({"1.96", "R²"}))
    assert texts("1.96 and R²", constants) == []
    assert set(texts("1.965, 21.96, 0.1.96 and R²0", constants)) == {"1.965", "21.96", "0.1.96", "²", "0"}


def test_what_an_expression_hides_is_found_in_what_it_makes():
    """Letters that are joined, or taken from a name, make a number that no mark calls by its name."""
    source = r'\VAR{"0" ~ "." ~ "9"}'
    assert texts(source) == ["0", "9"]
    hidden = r"\VAR{has.__name__|length}"
    assert texts(hidden) == []
    with pytest.raises(InputError, match=r"paper/paper\.tex:2: 0\.909: accuracy\.sparse\.r2 retyped"):
        prose.refuse(prose.unnamed("A line.\nIt is 0.909.\n", "paper/paper.tex", NONE, KNOWN))
    assert not prose.unnamed("It is \\val{accuracy.sparse.r2}{0.909} in \\called{stage {[}1{]}}.\n", "t", NONE, KNOWN)


def test_a_piece_of_text_is_let_through_where_it_is_declared():
    """What the coefficient of determination is called has a digit, and is no number."""
    declared = Constants({}, frozenset(), frozenset({"R²"}))
    assert texts("R² is high, x² is not", declared) == ["²"]


def test_a_refusal_names_file_line_value_and_what_is_retyped():
    """A rounding of a known value is called by that value's name."""
    source = "First line.\nIt reaches 0.91 with 190,030 parameters and 0.123.\n"
    with pytest.raises(InputError) as caught:
        prose.refuse(prose.literals(source, "paper/paper.tex.j2", NONE, KNOWN))
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        "paper/paper.tex.j2:2: 0.123: a number typed by hand; print a named value in its place, or declare a constant "
        "of an equation in paper/constants.toml"
    )
    assert lines[1].startswith("paper/paper.tex.j2:2: 0.91: accuracy.sparse.r2 retyped, perhaps rounded")
    assert lines[2].startswith("paper/paper.tex.j2:2: 190,030: progression.sparse.parameters retyped")


def test_a_sign_before_a_value_is_called_one():
    """It is no number: the value that it stands before becomes another."""
    (found,) = prose.literals(r"of -\VAR{n('a')}", "t", NONE, {})
    told = "a sign or a point typed before a value makes another of it; print the value alone"
    assert str(found) == rf"t:1: -\VAR{{: {told}"


def test_a_refused_command_says_that_it_can_hide_a_number():
    """Its value is not there to be named."""
    with pytest.raises(InputError, match=r"t:1: \\let: can print a number that is not read here"):
        prose.refuse(prose.literals(r"\let\pageref\textbf", "t", NONE, KNOWN))


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_templates_have_no_number_of_their_own(name: str):
    """What is in the repository passes its own checker, and stops passing with a number in prose, caption or table."""
    source = (FOLDER / name).read_text(encoding="utf-8")
    constants = Constants.read(FOLDER / CONSTANTS, FOLDER / BIBLIOGRAPHY)
    assert prose.literals(source, name, constants, {}) == []
    for place, text in (
        (r"\maketitle", r"\maketitle Accuracy is 0.909."),
        (r"\caption{", r"\caption{With 0.909, "),
        (r"\VAR{tabular(", r"\begin{tabular}{l}0.909\end{tabular}\VAR{tabular("),
    ):
        typed = source.replace(place, text, 1)
        found = prose.literals(typed, name, constants, KNOWN)
        assert [(one.text, one.names) for one in found] == [("0.909", ("accuracy.sparse.r2",))]
        assert found[0].line == source[: source.index(place)].count("\n") + 1
