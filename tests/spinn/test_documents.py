"""TOML and JSON of strangers: within bounds they are what they say, beyond them there is one ValueError."""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path

import pytest

from spinn.documents import DEEPEST, LONGEST_LINE, MOST_PARTS, MOST_TOML, parse_json, parse_toml, read_toml
from spinn.errors import SpinnError, one_line


def toml(folder: Path, content: str | bytes) -> Path:
    """A file with this content."""
    path = folder / "a.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Expecting"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), f"nested more than {DEEPEST} deep"),
        ("[" * 100_000, f"nested more than {DEEPEST} deep"),
        ('{"a":' * 100_000, f"nested more than {DEEPEST} deep"),
        ("9" * 10_000, "4300 digits"),
        ("NaN", "NaN is no number of JSON"),
        ("[-Infinity]", "-Infinity is no number of JSON"),
        ('"\\ud800"', "surrogates not allowed"),
        (b"\xff", "can't decode"),
        (b'"\xed\xa0\x80"', "can't decode"),
    ],
)
def test_json_beyond_its_bounds_is_a_value_error(content: str | bytes, message: str) -> None:
    """Where json.loads raises RecursionError, or returns what cannot be written again."""
    with pytest.raises(ValueError, match=message):
        parse_json(content)


def test_json_within_its_bounds_is_what_it_says() -> None:
    """As deep as may be, with both halves of a letter, in bytes or in text."""
    deep = "[" * DEEPEST + "]" * DEEPEST
    assert parse_json(deep) == parse_json(deep.encode())
    assert parse_json('{"a": "\\ud83d\\ude00", "b": [1, 0.5, null]}') == {"a": "😀", "b": [1, 0.5, None]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a = [" + "\n[" * 100_000, f"nested more than {DEEPEST} deep"),
        ("a = " + "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), f"nested more than {DEEPEST} deep"),
        ("a = " + "9" * 4090, "more than 64 bits"),
        ("a = [{b = 0x" + "f" * 4000 + "}]", "more than 64 bits"),
        ("a = 9223372036854775808", "more than 64 bits"),
        ("a = [9223372036854775807, -9223372036854775808]", None),
        ("a = " + "9" * 5000, "line 1 has 5,004 letters"),
        ("# " + "x" * LONGEST_LINE, f"at most {LONGEST_LINE:,} expected"),
        ("#\n" * MOST_TOML, f"more than {MOST_TOML:,} bytes"),
        (b"a = '\xff'", "can't decode"),
        ("a = ", "Invalid value"),
    ],
)
def test_toml_beyond_its_bounds_is_a_value_error(tmp_path: Path, content: str | bytes, message: str | None) -> None:
    """Of the reader's own errors too; None: it is read."""
    if message is None:
        assert list(read_toml(toml(tmp_path, content))) == ["a"]
        return
    with pytest.raises(ValueError, match=message):
        read_toml(toml(tmp_path, content))


@pytest.mark.parametrize("name", ["/dev/zero", "pipe"])
def test_what_has_no_end_is_not_opened(tmp_path: Path, name: str) -> None:
    """Whatever an experiment names as its claims."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="in place of a file"):
        read_toml(tmp_path / name)


LONG = {
    "bare": ("\nDOTS = 1", 2),
    "header": ("[DOTS]", 1),
    "array of tables": ("x = 1\n\n[[DOTS]]", 3),
    "inline": ("x = [1, {DOTS = 1}]", 1),
    "after one line": (r'''x = ["\"", '\']  # "
DOTS = 1''', 2),
    "after many": (r'''x = """
\"""
"""""
y = {''' + "z = '''\n''''" + '''}
DOTS = 1''', 6),
}  # fmt: skip


@pytest.mark.parametrize("where", LONG)
@pytest.mark.parametrize(
    "part", [".a", " \t. a", ".'a.b'", r'."\" # = b"'], ids=["bare", "spaced", "literal", "quoted"]
)
def test_a_key_of_many_parts_is_refused_wherever_it_stands(where: str, part: str) -> None:
    """However they are spelled, with the line; of as many as may be it is read."""
    content, line = LONG[where]
    with pytest.raises(ValueError, match=rf"^line {line} has a key of {MOST_PARTS + 1} parts: at most {MOST_PARTS} "):
        parse_toml(content.replace("DOTS", "a" + part * MOST_PARTS).encode())
    assert parse_toml(content.replace("DOTS", "a" + part * (MOST_PARTS - 1)).encode())


@pytest.mark.parametrize(
    "content",
    [
        'x = "DOTS"',
        "x = 'DOTS' # DOTS",
        'x = """\nDOTS\n\\"""DOTS\n"DOTS"""',
        "x = '''\nDOTS\n'' 'DOTS\\'''",
        "x = [" + "0.5, " * 99 + "]",
        "'DOTS' = '...'",
    ],
)
def test_dots_that_are_in_no_key_are_not_counted(content: str) -> None:
    """Of texts, comments and numbers."""
    assert len(parse_toml(content.replace("DOTS", "a" + ".b" * 99).encode())) == 1


@pytest.mark.parametrize(
    "part",
    ['\\"""\n', '"""\\\n', "'''\n", '"\n', "'\n", '"\\', '""""\\\n', "a." * (MOST_PARTS - 1) + "a ", "a", "- "],
)
def test_half_texts_are_looked_at_once(part: str) -> None:
    """What looks for long keys does not go on to the end from each place where a text may begin."""
    whole = part * (MOST_TOML // len(part) - 200)
    lines = [line[at : at + 4000] for line in whole.split("\n") for at in range(0, len(line) or 1, 4000)]
    began = time.perf_counter()
    for end in ("", "\\"):
        with pytest.raises(ValueError, match=r"at line \d|at end of"):
            parse_toml(("\n".join(lines) + end).encode())
    assert time.perf_counter() - began < 30


def test_the_most_that_toml_within_the_bounds_takes() -> None:
    """Time and memory grow with the square of a key's parts: sixty keys of 2,000 took a gigabyte."""
    parts = ".a" * (MOST_PARTS - 1)
    content = f"[h{parts}]\n" + "".join(f"k{number}{parts} = 1\n" for number in range(6000))
    assert MOST_TOML * 0.8 < len(content) <= MOST_TOML
    began = time.perf_counter()
    tracemalloc.start()
    parse_toml(content.encode())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20
    assert time.perf_counter() - began < 30


def test_a_message_moves_no_terminal() -> None:
    """What does not print is spelled; what does, whatever its alphabet, stays."""
    assert one_line(SpinnError("a\n  b \x1b[2J \u202e ü 漢")) == "a b \\x1b[2J \\u202e ü 漢"
