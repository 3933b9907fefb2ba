"""The README's commands: what it shows as output is what they print, and every other one exists as written.

A line `$ command` in a `console` block is run, and what follows it is its whole output; `# exit status N` names a
status other than 0. In a `bash` block cheap commands are run; for the expensive ones the target, the environment, or
the command with its options is looked up where it is defined.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"
CHEAP = ("spinn schedule", "spinn data describe simulator")
Call = Callable[..., Any]


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands() -> Iterator[str]:
    """Every line of every `bash` block, once."""
    return iter(dict.fromkeys(line for block in blocks("bash") for line in block.splitlines() if line.strip()))


def shown() -> Iterator[tuple[str, int, str]]:
    """Command, exit status and output of every `console` block."""
    for block in blocks("console"):
        first, _, output = block.partition("\n")
        found = re.fullmatch(r"\$ (.+?)(?:\s+# exit status (\d))?", first)
        assert found, first
        yield found[1], int(found[2] or 0), output


@pytest.mark.parametrize(("command", "status", "output"), list(shown()))
def test_the_output_it_shows_is_what_the_command_prints(call: Call, command: str, status: int, output: str) -> None:
    """Status and standard output, to the letter."""
    ended = call(*shlex.split(command))
    assert (ended.status, ended.out) == (status, output)


@pytest.mark.parametrize("command", list(commands()))
def test_every_command_in_it_exists_as_written(call: Call, root: Path, command: str) -> None:
    """Cheap commands end with status 0; targets, environments, subcommands and options are defined."""
    program, *words = shlex.split(command)
    if command.startswith(CHEAP):
        ended = call(program, *words)
        assert ended.status == 0, ended.err
    elif program == "make":
        makefile = (root / "Makefile").read_text()
        for word in words:
            variable, equals, _ = word.partition("=")
            assert re.search(rf"^{variable} \?=" if equals else rf"^{variable}:", makefile, flags=re.MULTILINE), word
    elif program == "tox":
        tox = ConfigParser()
        tox.read(root / "tox.ini")
        environments = [name.strip() for name in tox["tox"]["env_list"].split(",")]
        assert words[0] == "-e"
        assert words[1] in environments
        assert f"testenv:{words[1]}" in tox
    else:
        verbs = [word for word in words[:2] if re.fullmatch(r"[a-z]+", word)]
        ended = call(program, *verbs, "--help")
        assert ended.status == 0, ended.err
        for option in (word for word in words if word.startswith("--")):
            assert option in ended.out, option


def test_experiments_it_names_are_there(root: Path) -> None:
    """An experiment given to make or to a command is a file in paper/experiments."""
    text = README.read_text()
    names = re.findall(r"EXPERIMENT=(\w+)", text) + re.findall(r"paper/experiments/(\w+)\.toml", text)
    assert names
    for name in names:
        assert (root / "paper" / "experiments" / f"{name}.toml").is_file(), name


def test_make_without_a_target_explains_itself(root: Path) -> None:
    """The first target is the help, and it names both commands of the README."""
    makefile = (root / "Makefile").read_text()
    assert ".DEFAULT_GOAL := help" in makefile
    for target in ("paper-artifacts", "verify", "clean"):
        assert f'@echo "make {target}' in makefile
