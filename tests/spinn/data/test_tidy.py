"""Tidy CSV: what is read, and one clear line for each way in which a file can be wrong."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinn.data import describe, load, tidy
from spinn.errors import DataError

HEADER = "case,run,time,DOC,feed,material,VB,force"
GOOD = ("1,1,2,1.5,0.5,cast iron,0.1,800", "1,2,4,1.5,0.5,1,,900", "2,1,1,0.75,0.25,steel,0.2,", "2,2,2,.75,.25,2,.3,5")


@pytest.fixture
def written(tmp_path):
    """Write lines to a CSV file and return its path."""

    def write(*lines: str, name: str = "cuts.csv"):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def test_a_good_file_is_read_whole(written):
    """Materials in words and numbers, missing labels and signals, features after the process parameters."""
    data = load(str(written(HEADER, *GOOD)))
    frame = data.frame
    assert data.source == "tidy (cuts.csv)"
    assert data.features == ("time", "DOC", "feed", "steel", "force")
    assert frame["steel"].tolist() == [0, 0, 1, 1]
    assert frame["VB"].isna().tolist() == [False, True, False, False]
    assert frame["thermal"].isna().tolist() == [True] * 4
    assert data.measured_targets == ("VB",)
    assert [(e.case, e.run, e.what) for e in data.exclusions] == [("1", 2, "label")]


def test_cases_come_in_natural_order_and_keep_theirs_within(written):
    """Case 2 comes before case 10, whichever stands first in the file; blank lines are passed over."""
    lines = [f"{case},1,1,1,1,1,0.1,1" for case in ("10", "2", "b2", "b10", "1")]
    data = tidy.read(written(HEADER, lines[0], "", *lines[1:]))
    assert data.cases == ("1", "2", "10", "b2", "b10")


def test_steel_may_stand_in_place_of_material_and_power_and_thermal_are_no_features(written):
    """The optional columns are read as what they are."""
    data = tidy.read(written("case,run,time,DOC,feed,steel,VB,thermal,power", "1,1,1,1,1,1,0.1,-2.5,900"))
    assert data.features == ("time", "DOC", "feed", "steel")
    assert data.frame[["thermal", "power"]].iloc[0].tolist() == [-2.5, 900.0]
    assert data.measured_targets == ("VB", "thermal")


def test_identifiers_in_disguise_and_text_are_left_out_with_a_note(written):
    """A row number, a column that repeats case or run, and a comment are no features, and the card says so."""
    header = ",case,run,time,DOC,feed,material,VB,tool_id,tool,pass,who"
    data = tidy.read(
        written(header, "0,1,1,1,1,1,1,.1,7,1,1,Ann", "1,2,1,1,1,1,1,.1,8,2,1,Bob", "2,2,2,2,1,1,1,,8,2,2,Eve")
    )
    assert data.features == ("time", "DOC", "feed", "steel")
    assert len(data.notes) == 5
    for name in ("''", "'tool_id'", "'tool'", "'pass'", "'who'"):
        assert any(f"column {name} is left out" in note for note in data.notes)
    assert "repeats 'run'" in describe(data)


LIVES = ("TA", 1), ("TA", 2), ("TB", 1), ("TB", 2), ("TC", 1), ("TC", 2)


@pytest.mark.parametrize("numbers", [(1, 2, 3), (0, 1, 2), (907.5, 11, 42)])
def test_a_number_that_stands_for_the_tool_is_left_out(written, numbers):
    """Constant in each case and of its own in all of them: that says which tool it is, and a model could learn it."""
    serial: dict[str, float] = dict(zip(("TA", "TB", "TC"), numbers, strict=True))
    lines = [f"{case},{run},{run},1,1,1,.1,{serial[case]},{run * 7}" for case, run in LIVES]
    data = tidy.read(written("case,run,time,DOC,feed,material,VB,machine,force", *lines))
    assert data.features == ("time", "DOC", "feed", "steel", "force")
    assert any("column 'machine' is left out: it is constant in each case" in note for note in data.notes)


def test_a_process_parameter_that_tools_share_is_a_feature(written):
    """Constant in each case, but the same for two tools; and one cut a tool is too little to call it constant."""
    speed = {"TA": 200, "TB": 250, "TC": 200}
    header = "case,run,time,DOC,feed,material,VB,speed"
    shared = tidy.read(written(header, *(f"{case},{run},{run},1,1,1,.1,{speed[case]}" for case, run in LIVES)))
    single = tidy.read(written(header, *(f"T{number},1,1,1,1,1,.1,{number}.5" for number in range(9))))
    assert shared.features[-1] == single.features[-1] == "speed"


def test_a_feature_may_be_called_line(written):
    """Lines of the file are counted under a name that no column can have: a production line is a feature."""
    rows = ("1,1,5,1,1,1,.1,3", "1,2,6,1,1,1,.1,4")
    assert tidy.read(written(HEADER.replace("force", "line"), *rows)).features[-1] == "line"
    with pytest.raises(DataError, match="line 3, column 'time' = 4: expected more"):
        tidy.read(written(HEADER.replace("force", "line"), rows[0], "1,2,4,1,1,1,.1,4"))


@pytest.mark.parametrize("source", ["simulator", "mill"])
def test_the_canonical_csv_of_any_source_reads_back_the_same(source, tmp_path, request):
    """The dataset.csv of a folder of runs is a tidy file: same fingerprint, same features."""
    data = load("simulator" if source == "simulator" else str(request.getfixturevalue("mill")))
    path = tmp_path / "dataset.csv"
    path.write_bytes(data.to_csv())
    again = tidy.read(path)
    assert again.to_csv() == data.to_csv()
    assert (again.features, again.cases) == (data.features, data.cases)


finite = st.floats(-1e6, 1e6)
signals = finite.map(lambda value: value if abs(value) > 1e-290 else 0.0)
names = st.text("abcdefgh é°", min_size=3, max_size=8).map(lambda name: f"x{name}".strip())


@st.composite
def tables(draw):
    """Cuts of some cases, as rows of a tidy file, with one or two features."""
    extra = draw(st.lists(names, min_size=1, max_size=2, unique=True))
    rows = []
    for case in draw(st.lists(st.text("abc019 ,\"'", min_size=1, max_size=4).map(str.strip), min_size=1, max_size=4)):
        if not case or case in {row["case"] for row in rows}:
            continue
        steps = draw(st.lists(st.floats(0.01, 100), min_size=1, max_size=4))
        process = {
            "DOC": draw(st.floats(0.01, 10)),
            "feed": draw(st.floats(0.01, 10)),
            "steel": draw(st.integers(0, 1)),
        }
        for run, time in enumerate(steps, start=1):
            labels = {"VB": draw(st.floats(0, 5)), "power": math.nan, "thermal": draw(finite | st.just(math.nan))}
            features = {name: draw(signals) for name in extra}
            rows.append({"case": case, "run": run, "time": time + 100 * run, **process, **labels, **features})
    return extra, rows


@settings(max_examples=40)
@given(drawn=tables())
def test_what_is_written_is_what_is_read(drawn, tmp_path_factory):
    """Writing a data set and reading it back is the identity, to the last bit, quotes and commas in names included."""
    from spinn.data.dataset import REQUIRED

    extra, rows = drawn
    if not rows:
        return
    import pandas as pd

    path = tmp_path_factory.mktemp("tidy") / "drawn.csv"
    pd.DataFrame(rows)[[*REQUIRED, *extra]].to_csv(path, index=False)
    first = tidy.read(path)
    path.write_bytes(first.to_csv())
    second = tidy.read(path)
    assert second.to_csv() == first.to_csv()
    assert second.cases == first.cases
    assert set(first.cases) == {row["case"] for row in rows}
    assert sorted(first.frame["time"]) == sorted(row["time"] for row in rows)


@pytest.mark.parametrize("column", tidy.EXPECTED)
def test_a_missing_column_is_named_with_those_expected(written, column):
    """The message names the missing column, and lists what a tidy file has."""
    with pytest.raises(
        DataError, match=rf"column '{column}' is missing; expected case, run, time, DOC, feed, material, VB"
    ):
        tidy.read(written(HEADER.replace(column, f"other_{column}"), *GOOD))


BAD = {
    "text in a number": ("1,1,x2,1,1,1,.1,1", r"line 2, column 'time' = 'x2': expected a number"),
    "text in a feature": (("1,1,1,1,1,1,.1,1", "1,2,2,1,1,1,.1,n.a."), r"line 3, column 'force' = 'n\.a\.'"),
    "infinite": ("1,1,1,1,1,1,.1,inf", r"column 'force' = 'inf': expected a number"),
    "underscores": ("1,1,1_0,1,1,1,.1,1", r"column 'time' = '1_0': expected a number"),
    "no time": ("1,1,,1,1,1,.1,1", r"line 2, column 'time' is empty: every cut needs it"),
    "no case": (",1,1,1,1,1,.1,1", r"line 2, column 'case' = '': every cut belongs to a case"),
    "material": ("1,1,1,1,1,brass,.1,1", r"column 'material' = 'brass': expected 'cast iron' or 1, 'steel' or 2"),
    "no rows": ((), r"no rows below the header"),
    "no labels": ("1,1,1,1,1,1,NaN,1", r"VB is missing in all 1 rows; at least one label"),
    "cut stands twice": (("1,1,1,1,1,1,.1,1", "1,1,2,1,1,1,.1,1"), r"line 3: case 1 run 1 stands twice"),
    "time falls": (
        ("1,1,5,1,1,1,.1,1", "2,1,1,1,1,1,.1,1", "1,2,4,1,1,1,.1,1"),
        r"line 4, column 'time' = 4: .*case 1",
    ),
    "time stands": (("1,1,5,1,1,1,.1,1", "1,2,5,1,1,1,.1,1"), r"line 3, column 'time' = 5: expected more"),
    "negative time": ("1,1,-1,1,1,1,.1,1", r"column 'time' = -1: expected at least 0 min"),
    "negative wear": ("1,1,1,1,1,1,-.1,1", r"column 'VB' = -0\.1: expected at least 0 mm"),
    "no depth": ("1,1,1,0,1,1,.1,1", r"column 'DOC' = 0: expected above 0 mm"),
    "no feed": ("1,1,1,1,-2,1,.1,1", r"column 'feed' = -2: expected above 0 mm/rev"),
    "endless time": ("1,1,1e300,1,1,1,.1,1", r"line 2, column 'time' = 1e\+300: expected at most 1e\+09 min"),
    "no time at all": ("1,1,1e-300,1,1,1,.1,1", r"column 'time' = 1e-300: expected 0, or at least 1e-06 min"),
    "vast wear": (
        ("1,1,1,1,1,1,.1,1", "1,2,2,1,1,1,1e308,1"),
        r"line 3, column 'VB' = 1e\+308: expected at most 1000 mm",
    ),
    "vast depth": ("1,1,1,1e300,1,1,.1,1", r"column 'DOC' = 1e\+300: expected at most 1000 mm"),
    "tiny depth": ("1,1,1,1e-300,1,1,.1,1", r"column 'DOC' = 1e-300: expected at least 1e-06 mm; mind its unit"),
    "tiny feed": ("1,1,1,1,5e-324,1,.1,1", r"column 'feed' = 4\.94066e-324: expected at least 1e-06 mm/rev"),
    "vast signal": ("1,1,1,1,1,1,.1,-1e308", r"column 'force' = -1e\+308: expected at most 1e\+12 in magnitude"),
    "tiny signal": ("1,1,1,1,1,1,.1,-1e-300", r"column 'force' = -1e-300: expected 0, or at least 1e-290 in magnitude"),
    "half a run": ("1,1.5,1,1,1,1,.1,1", r"column 'run' = 1\.5: expected a whole number"),
    "an endless run": ("1,1e300,1,1,1,1,.1,1", r"column 'run' = 1e\+300: expected a whole number"),
    "short row": ("1,1,1,1,1,1,.1", r"line 2 has 7 cells: expected 8, as in the header"),
    "open quote": ('"1,1,1,1,1,1,.1,1', r"not a CSV file in UTF-8"),
}


@pytest.mark.parametrize("fault", BAD)
def test_each_fault_of_a_row_is_one_line_with_its_place(written, fault):
    """A wrong value is reported with its line, its column, the value, and what was expected."""
    rows, message = BAD[fault]
    with pytest.raises(DataError, match=message) as caught:
        tidy.read(written(HEADER, *([rows] if isinstance(rows, str) else rows)))
    assert "\n" not in str(caught.value)
    assert "cuts.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("thermal", "-1e308", r"at most 1e\+06 µm in magnitude"),
        ("power", "1e308", r"at most 1e\+09 W"),
        ("power", "-1", "at least 0 W"),
        ("steel", "1e300", r"0 \(cast iron\) or 1 \(steel\)"),
    ],
)
def test_optional_columns_have_bounds_too(written, column, value, expected):
    """Each its own, or that of a feature."""
    values = {"steel": "1", column: value}
    path = written(f"case,run,time,DOC,feed,VB,{','.join(values)}", f"1,1,1,1,1,.1,{','.join(values.values())}")
    with pytest.raises(DataError, match=rf"cuts\.csv: line 2, column '{column}' = .*: expected {expected}"):
        tidy.read(path)


@pytest.mark.parametrize(
    "bounds", [[0, "1e-6", "1e-6", 0, 0, 0, "1e-290"], ["1e9", "1e3", "1e3", "1e3", "1e9", "-1e6", "1e12"]]
)
def test_what_lies_at_a_bound_is_read(written, bounds):
    """Least and most; 0 of all but depth and feed."""
    header = "case,run,steel,time,DOC,feed,VB,power,thermal,force"
    data = tidy.read(written(header, f"1,1,1,{','.join(map(str, bounds))}"))
    assert data.frame[header.split(",")[3:]].iloc[0].tolist() == [float(bound) for bound in bounds]


def test_a_wrong_value_of_steel(written):
    """The column steel is 0 or 1."""
    with pytest.raises(DataError, match=r"column 'steel' = 2: expected 0 \(cast iron\) or 1 \(steel\)"):
        tidy.read(written("case,run,time,DOC,feed,steel,VB", "1,1,1,1,1,2,.1"))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER + ",force", "column 'force' stands twice"),
        (HEADER + ",steel", "columns 'material' and 'steel' say the same"),
        (HEADER.replace(",", ";"), "column 'case', 'run', .* is missing"),
    ],
)
def test_a_header_that_contradicts_itself(written, header, message):
    """Names that stand twice, two columns for one thing, another separator."""
    with pytest.raises(DataError, match=message):
        tidy.read(written(header))


def test_files_that_are_no_csv(tmp_path):
    """Missing, empty, a folder, bytes that are no text: one line each."""
    with pytest.raises(DataError, match=r"none\.csv: no such file; expected a CSV with the columns case, run"):
        load(str(tmp_path / "none.csv"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="a folder; expected a CSV file"):
        load(str(tmp_path / "folder.csv"))
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(DataError, match="the file is empty"):
        load(str(tmp_path / "empty.csv"))
    (tmp_path / "bytes.csv").write_bytes(b"case,\xff\xfe\x00")
    with pytest.raises(DataError, match="not a CSV file in UTF-8"):
        load(str(tmp_path / "bytes.csv"))


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    """Spreadsheets write one; the first column is still 'case'."""
    path = tmp_path / "bom.csv"
    path.write_text("\n".join([HEADER, *GOOD]), encoding="utf-8-sig")
    assert tidy.read(path).cases == ("1", "2")
