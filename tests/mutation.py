"""The verdict on a mutation run: who was killed in each file, and whether the survivors are the ones that are excused.

`make mutation` runs mutmut (settings: `[tool.mutmut]` in pyproject.toml) and then this script, which reads what mutmut
left in `mutants/`. The run holds if at least 95 % of all mutants were killed and the survivors are exactly those of
`tests/mutation-survivors.toml`. A survivor is named there by file, function, and what it removes and adds, since the
numbers that mutmut gives shift with every edit; each has the reason why no test can tell it from the original.

Killed are those that failed a test, ran out of time, or died. A mutant that no test reaches has survived.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

REQUIRED = Fraction(95, 100)
LIST = Path("tests/mutation-survivors.toml")
SURVIVED = ("survived", "no tests")
UNFINISHED = ("not checked", "check was interrupted by user")


@dataclass(frozen=True, order=True)
class Mutant:
    """One change of one function: the lines that it removes and those that it adds, without their indentation."""

    file: str
    function: str
    removed: str
    added: str

    def __str__(self) -> str:
        removed, added = (text.replace("\n", "\n    ") for text in (self.removed, self.added))
        return f"{self.file}, {self.function}\n  - {removed}\n  + {added}"


@dataclass(frozen=True)
class Results:
    """What became of a file's mutants: how many there are, how many were not finished, and the survivors' names."""

    file: str
    total: int
    unfinished: int
    survivors: tuple[str, ...]

    @property
    def killed(self) -> int:
        """Those that a test noticed."""
        return self.total - self.unfinished - len(self.survivors)


def read_results(folder: Path = Path("mutants")) -> list[Results]:
    """What mutmut wrote beside each file that it mutated."""
    results = []
    for path in sorted(folder.rglob("*.py.meta")):
        exits = json.loads(path.read_text())["exit_code_by_key"]
        status = {name: status_by_exit_code[code] for name, code in exits.items()}
        if status:
            survivors = tuple(name for name, said in status.items() if said in SURVIVED)
            unfinished = sum(said in UNFINISHED for said in status.values())
            file = path.relative_to(folder).as_posix().removesuffix(".meta")
            results.append(Results(file, len(status), unfinished, survivors))
    return results


def mutant(file: str, name: str) -> Mutant:
    """The mutant that mutmut calls `name`, by its diff."""
    function, of_class = orig_function_and_class_names_from_key(name)
    lines = get_diff_for_mutant(name, path=file).splitlines()[2:]  # the first two name the file
    removed, added = ("\n".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return Mutant(file, f"{of_class}.{function}" if of_class else function, removed, added)


def read_list(path: Path) -> dict[Mutant, str]:
    """The survivors that are excused, and why."""
    entries = tomllib.loads(path.read_text())["survivor"] if path.exists() else []
    listed = {Mutant(e["file"], e["function"], e["removed"], e["added"]): e["reason"].strip() for e in entries}
    if len(listed) != len(entries) or not all(listed.values()):
        sys.exit(f"{path}: each survivor is there once, with a reason")
    return listed


def added_up(results: Iterable[Results]) -> Results:
    """All files as one."""
    results = tuple(results)
    survivors = tuple(name for file in results for name in file.survivors)
    return Results("total", sum(file.total for file in results), sum(file.unfinished for file in results), survivors)


def faults(results: Iterable[Results], survivors: Iterable[Mutant], listed: Iterable[Mutant]) -> list[str]:
    """Why the run does not hold; empty if it does."""
    survivors, listed, whole = set(survivors), set(listed), added_up(results)
    found = []
    if not whole.total or whole.unfinished:
        found.append(f"{whole.unfinished} of {whole.total} mutants were not tried to the end; run mutmut again")
    if whole.killed < REQUIRED * whole.total:
        found.append(f"{whole.killed} of {whole.total} mutants were killed, expected at least {100 * REQUIRED} %")
    found += [f"survives, and is not on the list: {one}" for one in sorted(survivors - listed)]
    found += [f"is on the list, and does not survive: {one}" for one in sorted(listed - survivors)]
    return found


def table(results: Sequence[Results]) -> str:
    """Killed, survived and score of each file, and of all."""
    lines = [f"{'file':24}{'mutants':>9}{'killed':>9}{'survived':>10}{'score':>10}"]
    for file in (*results, added_up(results)):
        score = 100 * file.killed / max(file.total, 1)
        lines.append(f"{file.file:24}{file.total:9,}{file.killed:9,}{len(file.survivors):10,}{score:8.2f} %")
    return "\n".join(lines)


def main() -> int:
    """Print the score and what is wrong; 0 if nothing is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", type=Path, default=LIST, help="the survivors that are excused")
    listed = read_list(parser.parse_args().list)
    results = read_results()
    survivors = [mutant(file.file, name) for file in results for name in file.survivors]
    print(table(results))
    wrong = faults(results, survivors, listed)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
