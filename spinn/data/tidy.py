"""Bring your own data: a CSV with one row per cut and documented columns.

Knows the columns and every way in which they can be wrong; computes no feature. UTF-8, comma-separated, one header
line; an empty cell, `NaN` or `NA` is a missing value.

| column | unit | meaning | may be missing in a row |
|---|---|---|---|
| case | - | the tool, any text; the group of every split | no |
| run | - | number of the cut, once in each case | no |
| time | min | cutting time of the tool at the end of the cut, increasing | no |
| DOC | mm | depth of cut, above 0 | no |
| feed | mm/rev | feed per revolution, above 0 | no |
| material, or steel | - | 'cast iron' or 1, 'steel' or 2; or, as steel, 0 or 1 | no |
| VB | mm | flank wear | yes |
| thermal (optional) | µm | thermal displacement | yes |
| power (optional) | W | spindle power | yes |

Every other numeric column is a feature, in the file's order, after time, DOC, feed and steel; it may have missing
values. `spinn.data.ranges` has the bounds of each. A column of text, without a single number in it, is left out, and a
note says so; so is one that repeats an identifier, or stands for one: constant in each case, and no two cases share its
value.
The canonical `dataset.csv` of a folder of runs is such a file.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from spinn.data.dataset import Dataset, Exclusion
from spinn.data.features import PROCESS
from spinn.data.lines import MOST_COLUMNS, bounded, refuse_unprintable
from spinn.data.ranges import FEATURE, RANGES
from spinn.errors import DataError
from spinn.storage import refuse_special

EXPECTED = ("case", "run", "time", "DOC", "feed", "material", "VB")
COMPLETE = ("run", "time", "DOC", "feed", "steel")
_LINE = " line"  # column of line numbers; no name in a header begins with a space
KNOWN = ("case", "run", "time", "DOC", "feed", "material", "steel", "VB", "thermal", "power")
MISSING = ("", "nan", "na")
MATERIALS = {"cast iron": 0.0, "1": 0.0, "1.0": 0.0, "steel": 1.0, "2": 1.0, "2.0": 1.0}
_INDEX = re.compile(r"(unnamed.*|index|id|cut|(case|run|tool|row|cut)[ _-]?(id|no|number|index))?", re.IGNORECASE)


def read(path: Path) -> Dataset:
    """Read a tidy CSV.

    Args:
        path: the file.

    Returns:
        The cuts, by case in a natural order (1, 2, …, 10) and then as in the file.

    Raises:
        DataError: the file is missing or not CSV; a column is missing; a value is not a number, not finite, outside of
            `spinn.data.ranges`, or missing where it must not; a cut stands twice; time does not increase within a
            case; there are no rows, or no label at all. Rows are counted as lines of the file, the header being 1.
    """
    header, lines = _table(path)
    _check_header(path, header)
    columns = {name: [cells[place] for _, cells in lines] for place, name in enumerate(header)}
    numbers = [number for number, _ in lines]
    values: dict[str, Sequence[object]] = {"case": _cases(path, columns["case"], numbers)}
    notes, extra = [], []
    for name in header:
        if name == "case":
            continue
        if name == "material":
            values["steel"] = _materials(path, columns[name], numbers)
        elif name in KNOWN:
            values[name] = _numbers(path, name, columns[name], numbers)
        elif _INDEX.fullmatch(name):
            notes.append(f"column {name!r} is left out: it numbers rows or tools, and identifiers are never features")
        elif _is_text(columns[name]):
            notes.append(f"column {name!r} is left out: there is no number in it")
        else:
            values[name] = _numbers(path, name, columns[name], numbers)
            extra.append(name)
    frame = pd.DataFrame(values).assign(**{_LINE: numbers})
    for name in ("power", "thermal"):
        if name not in frame:
            frame[name] = math.nan
    _check_values(path, frame)
    frame = _ordered(path, frame)
    copies = _copies(frame, extra)
    notes += [
        f"column {name!r} is left out: it repeats {key!r}, and identifiers are never features"
        for name, key in copies.items()
    ]
    marks = [name for name in extra if name not in copies and _marks_the_tool(frame, name)]
    notes += [
        f"column {name!r} is left out: it is constant in each case and differs between all of them, so it says which "
        "tool it is, and identifiers are never features"
        for name in marks
    ]
    exclusions = tuple(
        Exclusion(case, run, "label", "no flank wear (VB) in the file")
        for case, run, VB in zip(frame["case"], frame["run"], frame["VB"], strict=True)
        if math.isnan(VB)
    )
    names = (*PROCESS, *(name for name in extra if name not in {*copies, *marks}))
    return Dataset(f"tidy ({path.name})", frame, names, exclusions, tuple(notes))


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and rows as text, each row with the line it ends on; blank lines are passed over."""
    try:
        refuse_special(path)
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(bounded(stream), strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected a CSV with the columns {', '.join(EXPECTED)}") from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder; expected a CSV file") from None
    except (ValueError, csv.Error) as error:  # no text, no CSV, or no name of a file
        raise DataError(f"{path}: not a CSV file in UTF-8 ({error}); save it as one, comma-separated") from None
    if not rows:
        raise DataError(f"{path}: the file is empty; expected a header with the columns {', '.join(EXPECTED)}")
    header = rows[0][1]
    if len(header) > MOST_COLUMNS:
        raise DataError(f"{path}: the header has {len(header):,} columns: at most {MOST_COLUMNS:,} expected")
    for number, cells in rows[1:]:
        if len(cells) != len(header):
            raise DataError(f"{path}: line {number} has {len(cells)} cells: expected {len(header)}, as in the header")
    return header, rows[1:]


def _check_header(path: Path, header: list[str]) -> None:
    for name in header:
        refuse_unprintable(name, f"{path}: column")
    twice = next((name for name, count in Counter(header).items() if count > 1 and name), None)
    if twice is not None:
        raise DataError(f"{path}: column {twice!r} stands twice; expected each name once")
    if "material" in header and "steel" in header:
        raise DataError(f"{path}: columns 'material' and 'steel' say the same; give one of them")
    missing = [n for n in EXPECTED if n not in header and not (n == "material" and "steel" in header)]
    if missing:
        raise DataError(
            f"{path}: column {', '.join(map(repr, missing))} is missing; expected {', '.join(EXPECTED)} "
            f"(steel in place of material), optional thermal, power and features; found {', '.join(header)}"
        )


def _is_text(cells: list[str]) -> bool:
    """Whether a column says something, and nothing of it is meant as a number."""
    present = [cell for cell in cells if cell.lower() not in MISSING]
    return bool(present) and not any(_is_number(cell) or "inf" in cell.lower() for cell in present)


def _is_number(cell: str) -> bool:
    try:
        return "_" not in cell and math.isfinite(float(cell))
    except ValueError:
        return False


def _numbers(path: Path, name: str, cells: list[str], lines: list[int]) -> list[float]:
    values = []
    for line, cell in zip(lines, cells, strict=True):
        missing = cell.lower() in MISSING
        if not missing and not _is_number(cell):
            raise DataError(f"{path}: line {line}, column {name!r} = {cell!r:.40}: expected a number, or nothing")
        if missing and name in COMPLETE:
            raise DataError(f"{path}: line {line}, column {name!r} is empty: every cut needs it")
        values.append(math.nan if missing else float(cell))
        if expected := RANGES.get(name, FEATURE).expected(values[-1]):
            raise DataError(
                f"{path}: line {line}, column {name!r} = {values[-1]:g}: expected {expected}; mind its unit"
            )
    return values


def _cases(path: Path, cells: list[str], lines: list[int]) -> list[str]:
    for line, cell in zip(lines, cells, strict=True):
        if cell.lower() in MISSING:
            raise DataError(f"{path}: line {line}, column 'case' = {cell!r}: every cut belongs to a case (a tool)")
        refuse_unprintable(cell, f"{path}: line {line}, case")
    return cells


def _materials(path: Path, cells: list[str], lines: list[int]) -> list[float]:
    for line, cell in zip(lines, cells, strict=True):
        if cell.lower() not in MATERIALS:
            raise DataError(
                f"{path}: line {line}, column 'material' = {cell!r:.40}: expected 'cast iron' or 1, 'steel' or 2"
            )
    return [MATERIALS[cell.lower()] for cell in cells]


def _check_values(path: Path, frame: pd.DataFrame) -> None:
    """Codes and numbers of cuts, and that there is something to learn from."""
    if frame.empty:
        raise DataError(f"{path}: no rows below the header; expected one for each cut")
    ranges = {
        "steel": (~frame["steel"].isin((0, 1)), "0 (cast iron) or 1 (steel)"),
        "run": ((frame["run"] % 1 != 0) | (frame["run"].abs() > 1e9), "a whole number"),
    }
    for name, (wrong, expected) in ranges.items():
        if np.any(wrong):
            row = frame[wrong].iloc[0]
            raise DataError(f"{path}: line {row[_LINE]}, column {name!r} = {row[name]:g}: expected {expected}")
    if np.isnan(frame["VB"].to_numpy(float)).all():
        raise DataError(f"{path}: VB is missing in all {len(frame)} rows; at least one label is needed")


def _copies(frame: pd.DataFrame, extra: list[str]) -> dict[str, str]:
    """Columns that repeat `case` or `run` under another name → the identifier they repeat."""
    identifiers = {"case": pd.to_numeric(frame["case"], errors="coerce"), "run": frame["run"]}
    return {
        name: key
        for key, identifier in identifiers.items()
        for name in extra
        if identifier.nunique() > 1 and np.array_equal(frame[name].to_numpy(float), identifier.to_numpy(float))
    }


def _marks_the_tool(frame: pd.DataFrame, name: str) -> bool:
    """Whether a column holds one number for each tool and no two tools share it: case - 1, a serial number.

    Judged only where at least 3 tools have it in several cuts: a signal of single cuts always looks so, and with two
    tools so does any process parameter.
    """
    cases = frame.groupby("case", sort=False)[name]
    several = np.count_nonzero(cases.count() > 1) > 2
    return bool(several and (cases.nunique() <= 1).all() and cases.first().dropna().is_unique)


def _ordered(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Rows by case, each case in the file's order, after the checks that need several rows."""
    frame = frame.astype({"run": int, "steel": int})
    twice = frame[frame.duplicated(["case", "run"])]
    if len(twice):
        row = twice.iloc[0]
        raise DataError(f"{path}: line {row[_LINE]}: case {row['case']} run {row['run']} stands twice; expected once")
    place = {case: number for number, case in enumerate(sorted(set(frame["case"]), key=natural))}
    order = np.argsort([place[case] for case in frame["case"]], kind="stable")
    frame = frame.iloc[order].reset_index(drop=True)
    behind = frame[frame.groupby("case", sort=False)["time"].diff() <= 0]
    if len(behind):
        row = behind.iloc[0]
        raise DataError(
            f"{path}: line {row[_LINE]}, column 'time' = {row['time']:g}: expected more than at the cut of case "
            f"{row['case']} before it; time is the tool's cutting time, summed over its cuts"
        )
    return frame.drop(columns=_LINE)


def natural(case: str) -> list[tuple[int, int, str]]:
    """Sort key in which '2' comes before '10'."""
    parts = re.split(r"(\d{1,9})", case)  # longer numbers in parts: what makes an integer of text has a limit
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]
