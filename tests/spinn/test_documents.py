"""TOML and JSON of strangers: within bounds they are what they say, beyond them there is one ValueError."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from spinn.documents import DEEPEST, LONGEST_LINE, MOST_TOML, parse_json, parse_toml, read_toml
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
        ("a = [" + "\n[" * 30_000, f"nested more than {DEEPEST} deep"),
        ("a = " + "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), f"nested more than {DEEPEST} deep"),
        ("a = " + "9" * 1000, "more than 64 bits"),
        ("a = [{b = 0x" + "f" * 1000 + "}]", "more than 64 bits"),
        ("a = 9223372036854775808", "more than 64 bits"),
        ("a = [9223372036854775807, -9223372036854775808]", None),
        ("a = " + "9" * 5000, "line 1 has 5,004 letters"),
        ("a" + ".a" * DEEPEST + " = 1", f"nested more than {DEEPEST} deep"),
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


def test_the_most_that_toml_within_the_bounds_takes() -> None:
    """Two hundred megabytes, of the longest keys below the longest header; sixty lines of 4,000 took a gigabyte."""
    parts = ".a" * (LONGEST_LINE // 2 - 5)
    lines = [f"k{number:02}{parts}=1" for number in range(MOST_TOML // LONGEST_LINE - 1)]
    content = "\n".join([f"[h{parts}]", *lines])
    assert MOST_TOML * 0.9 < len(content) <= MOST_TOML
    assert max(map(len, lines)) <= LONGEST_LINE
    tracemalloc.start()
    with pytest.raises(ValueError, match="deep"):
        parse_toml(content.encode())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 250 << 20


def test_a_message_moves_no_terminal() -> None:
    """What does not print is spelled; what does, whatever its alphabet, stays."""
    assert one_line(SpinnError("a\n  b \x1b[2J \u202e ü 漢")) == "a b \\x1b[2J \\u202e ü 漢"
