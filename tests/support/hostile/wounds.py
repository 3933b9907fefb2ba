"""What damages a file: its bytes, or what the bytes say: values, keys, cells, headers, sizes.

A strategy for each form of file; it draws from a good one. Knows the languages, and nothing of what files mean.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import lzma
import re
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import strategies as st

TEXTS = (
    "", " ", "..", "../..", "../../etc/passwd", "/etc/passwd", "a/b", "C:\\x", "nul\0", "\u202eabc", "\x1b[2J",
    "\ud800", "\\input{/etc/passwd}", "}\\write18{id}{", "<script>alert(1)</script>", "</script>", "{{7*7}}", "=1+1",
    "%s%n", "[/a]", "x" * 5000, "9" * 5000, "nan", "inf", "-1", "1e999", "sha256:0", "\u0660\u0661", "İ", "a\nb",
    "simulator", "VB",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 7, 1 << 31, 1 << 62, 1 << 64, -(1 << 63), 10**30, 10**400, 0.5, -0.0, 1e308, 5e-324, 1e-9)
VALUES: tuple[Any, ...] = (
    *TEXTS, *NUMBERS, float("nan"), float("inf"), -float("inf"), None, True, False, [], {}, [[]], [None], ["VB"],
    {"a": {}}, [1, 2], [[1, 2], [3]], ["x"] * 300, {"name": "x"}, {"__class__": 1},
)  # fmt: skip
TOML = (
    *map(json.dumps, TEXTS), *map(repr, NUMBERS), "nan", "inf", "-inf", "true", "[]", "{}", "[[]]", "[1, 'a']",
    "'''\n'''", "1979-05-27T07:32:00Z", "07:32:00", "0x" + "f" * 4000, "9" * 4050, "[" * 200 + "]" * 200,
    "{a.b.c = 1}", "1_0", "'a' 'b'", "{ a = 1, a = 2 }",
)  # fmt: skip
TOML_LINES = (
    "[a]",
    "[[variants]]",
    "[[claim]]",
    "[dense.x]",
    "[split]",
    "[[split]]",
    "a.b = 1",
    "a" + ".a" * 900 + " = 1",
)
SNIPPETS = (
    r"\VAR{''.__class__.__mro__}", r"\VAR{cycler.__init__.__globals__}", r"\VAR{lipsum.__globals__['os']}",
    r"\VAR{'a' * 9}", r"\VAR{n}", r"\VAR{n()}", r"\VAR{n('x')}", r"\VAR{7}", r"\VAR{tables}", r"\VAR{self}",
    r"\VAR{parts('x')}", r"\VAR{q(1)}", r"\BLOCK{include '/etc/passwd'}", r"\BLOCK{import 'os' as os}",
    r"\BLOCK{extends 'x'}", r"\BLOCK{for i in range(3)}", r"\BLOCK{endfor}", r"\BLOCK{if x}",
    r"\BLOCK{macro m()}\VAR{m()}\BLOCK{endmacro}\VAR{m()}", r"\VAR{tabular('data', 1)}",
    r"\VAR{tabular('data', {'x': 'y'})}", r"\VAR{tabular('data', where={'value': 1})}", r"\VAR{verdict([])}",
    r"\VAR{has(1)}", r"\VAR{tabular('data', rows=['a'])}", r"\VAR{parts('data', [])}", r"\VAR{targets|sum}",
    r"\VAR{source|attr('format')}", r"\VAR{'%s'|format(source)}", r"\VAR{source.format(1)}",
    r"\VAR{stages|map(attribute='x')|list}", r"\VAR{source|tojson}", r"\VAR{1/0}", r"\COMMENT{", r"\VAR{",
    r"\BLOCK{raw}", r"\input{/etc/passwd}", "12", "three", r"\VAR{tabular('data', wrap={})}",
    r"\VAR{source|indent(10**9)}", r"\VAR{source|center(99999999)}", r"\VAR{source|filesizeformat}", r"\VAR{ci()}",
    r"\VAR{q()}",
)  # fmt: skip
DTYPES = ("F64", "F16", "BF16", "I8", "BOOL", "F8_E4M3", "U64", "C64", "F4", "X", "")
WIDTHS = ("[4, 3, 2]", "[4]", "[]", "[-1, -8]", "[0, 4]", "[1e99, 2]", "[4, 3, 2, 2]", "{}", "[[4]]", "x", "[" * 2000)
WORDS = (0, 1, 2, 3, 4, 5, 6, 9, 14, 15, 17, 18, 255, 1 << 16, 1 << 20, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """A good file with one to four wounds, or noise."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(0, 16))
        wound = draw(st.sampled_from(("flip", "cut", "end", "repeat", "insert", "number")))
        if wound == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif wound == "cut":
            del content[at : at + length]
        elif wound == "end":
            del content[at:]
        elif wound == "repeat":
            content[at:at] = content[at : at + length] * draw(st.integers(1, 50))
        elif wound == "number":
            content[at : at + 4] = draw(st.sampled_from((b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"1e99", b"-1, ")))
        else:
            content[at:at] = draw(st.binary(max_size=16))
    return bytes(content)


def contents(form: str, good: bytes) -> st.SearchStrategy[bytes]:
    """Files of a form that are damaged in their bytes, or, twice as often, in what they say."""
    seeds = st.integers(0, 2**64 - 1)
    if form == "sound-json":  # its reader is given what is JSON
        return seeds.map(lambda seed: reshaped_json(Random(seed), good, sound=True))
    plain = damaged(lzma.compress(good, preset=0) if form == "xz" else good)
    if form not in RESHAPED:
        return plain
    said = seeds.map(lambda seed: RESHAPED[form](Random(seed), good))
    return st.one_of(said, said, plain)


# --- what a file says, by its form; each takes what draws, and a good file -------------------------------------------


def reshaped_json(random: Random, good: bytes, sound: bool = False) -> bytes:
    """JSON with one to three values, keys or entries that are others."""
    content = json.loads(good)
    for _ in range(random.randint(1, 3)):
        content = _hurt(random, content)
    text = json.dumps(content)
    keys = list(re.finditer(r'"[^"\\]*": ', text)) if not sound and random.random() < 0.1 else []
    if keys:  # one that stands twice
        key = random.choice(keys)
        text = f"{text[: key.start()]}{key[0]}{json.dumps(_value(random))}, {text[key.start() :]}"
    if not sound and random.random() < 0.05:
        at = random.randint(0, len(text))
        text = text[:at] + "[" * random.choice((3, 100, 2000)) + text[at:]
    return _bytes(text)


def near_json(random: Random, good: bytes) -> dict[str, Any]:
    """What JSON says, with one value that is another of its kind: most schemas let it through."""
    content = holder = json.loads(good)
    while True:
        key = random.choice(list(holder)) if isinstance(holder, dict) else random.randrange(len(holder))
        if not isinstance(holder[key], dict | list) or not holder[key] or random.random() < 0.15:
            break
        holder = holder[key]
    holder[key] = _near(random, holder[key])
    return content


def _near(random: Random, value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return random.choice((value + 1, value - 1, -value, 0, 10**9))
        case str():
            return random.choice((f"g{value[1:]}", f"{value}x", ""))
        case list():
            return random.choice((value[1:], [*value, *value[-1:]], value[::-1], []))
        case dict():
            left_out = random.choice(list(value)) if value else ""
            return {key: one for key, one in value.items() if key != left_out}
    return random.choice((0, 0.5, "x", [], {}))


def _value(random: Random) -> Any:
    return copy.deepcopy(random.choice(VALUES))  # what is in it may be hurt in turn


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")


def _hurt(random: Random, content: Any) -> Any:
    """The value with one place in it changed."""
    if not isinstance(content, dict | list) or not content or random.random() < 0.02:
        return _value(random)
    holder: Any = content
    while True:
        key = random.choice(list(holder)) if isinstance(holder, dict) else random.randrange(len(holder))
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or random.random() < 0.15:
            break
        holder = inner
    wound = random.choice(("value", "value", "value", "value", "gone", "more", "key", "near"))
    if wound == "gone":
        del holder[key]
    elif wound == "near" and isinstance(inner, int | float) and not isinstance(inner, bool):
        holder[key] = random.choice((inner + 1, -inner, inner * 2, str(inner)))
    elif wound == "more" and isinstance(holder, list):
        holder += [copy.deepcopy(inner) for _ in range(random.choice((1, 2, 50)))]
    elif wound == "key" and isinstance(holder, dict):
        holder[random.choice(TEXTS)] = holder.pop(key)
    else:
        holder[key] = _value(random)
    return content


def reshaped_toml(random: Random, good: bytes) -> bytes:
    """TOML with one to three lines that say something else, stand twice, or are gone."""
    lines = good.decode().splitlines()
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(lines))
        key, equals, _ = lines[at].partition(" = ")
        wound = random.choice(("value", "value", "value", "inside", "gone", "twice", "key", "table"))
        if wound == "value" and equals:
            lines[at] = f"{key} = {random.choice(TOML)}"
        elif wound == "inside":
            lines[at] = re.sub(r"(?<== )[^=,}]+(?=[,}])", lambda _: random.choice(TOML), lines[at], count=1)
        elif wound == "gone" and len(lines) > 1:
            del lines[at]
        elif wound == "twice":
            lines.insert(at, random.choice(lines))
        elif wound == "key":
            lines[at] = f"{json.dumps(random.choice(TEXTS))}{equals or ' = '}{random.choice(TOML)}"
        else:
            lines.insert(at, random.choice(TOML_LINES))
    return _bytes("\n".join(lines))


def reshaped_csv(random: Random, good: bytes) -> bytes:
    """A table with cells, rows or columns that are others."""
    rows = list(csv.reader(io.StringIO(good.decode())))
    for _ in range(random.randint(1, 3)):
        row = random.randrange(len(rows))
        wound = random.choice(("cell", "cell", "cell", "header", "gone", "twice", "column", "short", "long"))
        where = rows[0] if wound == "header" else rows[row]
        if wound in ("cell", "header") and where:
            where[random.randrange(len(where))] = random.choice(
                (*TEXTS, *map(str, NUMBERS), "case", "steel", "thermal")
            )
        elif wound == "gone" and len(rows) > 1:
            del rows[row]
        elif wound == "twice":
            rows.insert(row, list(random.choice(rows)))
        elif wound == "column":
            for each in rows:
                each.append(random.choice(TEXTS) if each is rows[0] else str(random.choice(NUMBERS)))
        elif wound == "short":
            rows[row] = rows[row][:-1]
        else:
            rows[row] = [*rows[row], "1"]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", quoting=random.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))).writerows(rows)
    return _bytes(out.getvalue())


def reshaped_safetensors(random: Random, good: bytes) -> bytes:
    """A header that lies: about offsets, shapes, dtypes, names, widths, or its own length."""
    (length,) = struct.unpack_from("<Q", good)
    header: Any = json.loads(good[8 : 8 + length])
    data = good[8 + length :]
    for _ in range(random.randint(1, 2)):
        name = random.choice(list(header))
        wound = random.choice(("shape", "dtype", "offset", "name", "widths", "both"))
        if wound == "widths" or name == "__metadata__":
            drawn = str([random.choice(NUMBERS) for _ in range(random.randint(1, 4))])
            header["__metadata__"] = {"layers": random.choice((*WIDTHS, drawn))}
        elif wound == "shape":
            header[name]["shape"] = [random.choice((*NUMBERS, 3, 4)) for _ in range(random.randint(0, 3))]
        elif wound == "dtype":
            header[name]["dtype"] = random.choice(DTYPES)
        elif wound == "offset":
            places = (0, 4, 8, -1, 1 << 60, len(data), len(data) + 8)
            header[name]["data_offsets"] = [random.choice(places) for _ in range(2)]
        elif wound == "both":  # a shape that its offsets fit
            size = random.choice((0, 1, 2, 4, 8, len(data) // 4))
            shape = random.choice(([size], [size, 1], [1, size, 1]))
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * size]}
        else:
            header[random.choice((*TEXTS, "layers.0.neurons", "physics.a", "layers.0.weight"))] = header.pop(name)
    if random.random() < 0.1:
        header = _hurt(random, header)
    text = _bytes(json.dumps(header))
    stated = random.choice((*[len(text)] * 6, len(text) - 1, 0, 1 << 60, (1 << 64) - 1))
    return struct.pack("<Q", stated) + text + data


def reshaped_mat(random: Random, good: bytes) -> bytes:
    """Words of the file, packed or not, that state another size, class or kind."""
    words = bytearray(good)
    if struct.unpack_from("<I", good, 128)[0] == 15 and random.random() < 0.8:
        words = bytearray(good[:128] + zlib.decompress(good[136:]))
    for _ in range(random.randint(1, 3)):
        at = 128 + 4 * random.randrange((len(words) - 128) // 4)
        if random.random() < 0.5:  # most heads of elements lie early, at multiples of 8
            at = min(at, 128 + 8 * random.randrange(60))
        struct.pack_into("<I", words, at, random.choice(WORDS))
    if random.random() < 0.6:
        return bytes(words)
    packed = zlib.compress(bytes(words[128:]))
    packed = packed[: len(packed) - random.choice((0, 0, 0, 4, len(packed) // 2))]
    stated = len(packed) + random.choice((0, 0, 0, 8, -8, 1 << 20))
    return bytes(words[:128]) + struct.pack("<Ii", 15, stated) + packed


def reshaped_xz(random: Random, good: bytes) -> bytes:
    """Sound compression of a record that is not."""
    return lzma.compress(reshaped_json(random, good), preset=0)


def reshaped_template(random: Random, good: bytes) -> bytes:
    """A template with something in it that should not be there, or without something that should."""
    lines = good.decode().splitlines()
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(lines))
        if random.random() < 0.15 and len(lines) > 1:
            del lines[at]
        else:
            place = random.randint(0, len(lines[at]))
            lines[at] = lines[at][:place] + random.choice(SNIPPETS) + lines[at][place:]
    return _bytes("\n".join(lines))


RESHAPED: dict[str, Callable[[Random, bytes], bytes]] = {
    "json": reshaped_json,
    "toml": reshaped_toml,
    "csv": reshaped_csv,
    "safetensors": reshaped_safetensors,
    "mat": reshaped_mat,
    "xz": reshaped_xz,
    "template": reshaped_template,
}
