"""The pickles of a PyTorch file, gone through before torch reads them: nothing in them is made or called.

Knows what torch.save writes of state dicts and what stands beside them, and what reading it would cost; not what the
numbers are. `torch.load(weights_only=True)` runs no code of a stranger, but calls what it knows with whatever the file
says: `bytearray(6 << 30)`, a tensor of any size, a key of 2**58 parts that has to be hashed. Here each opcode is
followed on stand-ins of the values (the machine is that of torch/_weights_only_unpickler.py), and refused is what no
state dict needs, or what takes more than the file is long.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pickle import UnpicklingError
from typing import IO, Any

MOST_NUMBER, MOST_OTHERS = 10**6, 5000  # of numbers as keys: how large, and of larger ones and fractions how many
_DIMENSIONS = 64  # torch has no more
_FOREIGN = "it holds more than tensors, and was not loaded"
_DAMAGED = "it is damaged or of another kind"
_BYTES = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "ComplexDouble": 16, "ComplexFloat": 8, "Bool": 1,
    "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "QInt8": 1, "QUInt8": 1, "QInt32": 4,
}  # fmt: skip
_STORAGES = {f"torch.{module}{kind}Storage": size for kind, size in _BYTES.items() for module in ("", "cuda.")}
_STORAGES |= {"torch.storage.UntypedStorage": 1, "torch.UntypedStorage": 1}
_DTYPE = re.compile(r"torch\.(b?float|complex|u?int)(8|16|32|64|128)\w*|torch\.bool")
# dtypes of which a dict may speak, and no tensor here is
_KEPT = re.compile(r"torch\.(q?u?int\d\w*|float4\w*|bits\d\w*)")
_SCHEME = re.compile(r"torch\.per_(tensor|channel)_affine(_float_qparams)?")


class RefusedError(Exception):
    """What a pickle asks for that it does not get, in words that can stand in a message."""


@dataclass(slots=True)
class _Dict:
    """A dict, of which its size, its first key and the kind of its values matter, and whether it has an order."""

    size: int = 0
    ordered: bool = False  # and so may have attributes
    first: Any = None
    flags: bool = True  # whether all values are True or False


@dataclass(frozen=True, slots=True)
class _Global:
    name: str


@dataclass(frozen=True, slots=True)
class _Bytes:
    """What `encode` makes of a text; no text, and not equal to one."""

    size: int


@dataclass(frozen=True, slots=True)
class _Storage:
    size: int  # bytes
    each: int  # of one number


@dataclass(frozen=True, slots=True)
class _Tensor:
    numbers: int


_OTHER = object()  # what can be kept, and no more


def walk(stream: IO[bytes], pickles: int, size: int) -> None:
    """Go through pickles, one after another; the last of several has the names of storages in the others.

    Args:
        stream: Where the first begins; afterwards where the last has ended.
        pickles: How many.
        size: Bytes of the whole file.

    Raises:
        RefusedError: they ask for what no state dict needs, or for more than the file is long.
        UnpicklingError: they are no pickles that torch reads.
    """
    walked = _Walk(size)
    try:
        for number in range(pickles):
            walked.go_through(stream)
            if pickles > 1 and number < 2 and not isinstance(walked.stack[-1], int):  # torch prints the version
                raise UnpicklingError("a version that is no number")
        named = walked.stack[-1]
        if pickles > 1 and not (
            isinstance(named, list) and all(isinstance(name, str) and name in walked.storages for name in named)
        ):
            raise UnpicklingError("storages that are in no pickle")
    except (ValueError, LookupError, MemoryError) as error:  # of opcodes that are none, or want what is not there
        raise UnpicklingError(str(error)) from None


class _Walk:
    """The machine: a stack of stand-ins, its marks and memo, and what the pickles have asked for so far."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, _Storage] = {}
        self.stored = self.copied = self.others = 0

    def go_through(self, stream: IO[bytes]) -> None:
        """Follow one pickle to its end."""
        self.stack, self.marks, self.memo = [], [], {}
        for opcode, argument, _ in pickletools.genops(stream):
            name = opcode.name
            if name == "SHORT_BINSTRING":  # of Python 2; torch takes it for UTF-8
                self.stack.append(str(argument).encode("latin-1").decode("utf-8"))
            elif name in _PUSHED:
                self.stack.append(argument)
            elif name in _NEW:
                self.stack.append(_NEW[name]())
            elif name in _STEPS:
                _STEPS[name](self, argument)
            elif name not in ("PROTO", "STOP"):
                raise UnpicklingError(f"opcode {name}, which torch does not read")

    # --- the stack --------------------------------------------------------------------------------------------------

    def mark(self, _: object) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def put(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def get(self, place: int) -> None:
        self.stack.append(self.memo[place])

    def tuple_of(self, count: int | None) -> None:
        items = self.since_mark() if count is None else [self.stack.pop() for _ in range(count)][::-1]
        self.stack.append(tuple(items))

    def append(self, items: Sequence[Any]) -> None:
        self.target(list).extend(items)

    def set_items(self, items: Sequence[Any]) -> None:
        target = self.target(_Dict)
        self.keys(items[::2])
        target.first = items[0] if items and not target.size else target.first
        target.size += len(items) // 2
        target.flags &= all(isinstance(value, bool) for value in items[1::2])

    def target(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise UnpicklingError(f"expected a {kind.__name__} to put something into")
        return self.stack[-1]

    # --- what costs -------------------------------------------------------------------------------------------------

    def keys(self, keys: Sequence[Any]) -> None:
        """Stop at a key that may take long to hash, or whose hash a stranger can choose, as that of a large number."""
        for key in keys:
            if key is None or isinstance(key, str) or (isinstance(key, int) and abs(key) <= MOST_NUMBER):
                continue
            self.others += 1
            if not isinstance(key, int | float) or abs(key) >= 1 << 63:
                raise RefusedError(f"{_FOREIGN} (a key in it is neither a text nor a number); save state_dict()")
            if self.others > MOST_OTHERS:
                told = f"more than {MOST_OTHERS:,} keys in it are fractions, or numbers above {MOST_NUMBER:,}"
                raise RefusedError(f"{_FOREIGN} ({told}); save state_dict()")

    def copy(self, name: str, *values: Any) -> None:
        """Count what is made anew of values, which a pickle can name again and again."""
        self.copied += sum(map(_weight, values))
        if self.copied > self.size:
            raise RefusedError(f"{_FOREIGN} (it has {name} make more than its {self.size:,} bytes); save state_dict()")

    def storage(self, _: object) -> None:
        """A storage that the file has: torch makes it as large as the pickle says."""
        match self.stack.pop():
            case ("storage", _Global(name), str(key), str(), int(count), *view) if (
                name in _STORAGES and count >= 0 and view in ([], [None])  # one of a part of another is refused
            ):
                self.stack.append(self.storages.get(key) or self.new_storage(key, count, _STORAGES[name]))
            case _:
                raise UnpicklingError("a storage that is none")

    def new_storage(self, key: str, count: int, each: int) -> _Storage:
        made = self.storages[key] = _Storage(count * each, each)
        self.stored += made.size
        if self.stored > self.size:
            states = f"{self.stored:,}" if self.stored < 1 << 60 else "more than 1e18"
            raise RefusedError(f"its tensors have {states} bytes, and the file has {self.size:,}; {_DAMAGED}")
        return made

    # --- calls ------------------------------------------------------------------------------------------------------

    def named(self, words: str) -> None:
        """A class or a function, by module and name; only what state dicts have is let through."""
        module, _, name = words.partition(" ")
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if not (full in _CALLS or full in _STORAGES or any(kind.fullmatch(full) for kind in (_DTYPE, _KEPT, _SCHEME))):
            raise RefusedError(f"{_FOREIGN} (it asks for {full:.80}); save state_dict()")
        self.stack.append(_Global(full))

    def call(self, _: object) -> None:
        """What would be returned; a stand-in of a function knows which arguments torch.save writes for it."""
        given, function = self.stack.pop(), self.stack.pop()
        name = function.name if isinstance(function, _Global) else "what is no function"
        made = _CALLS[name](self, name, given) if name in _CALLS and isinstance(given, tuple) else None
        if made is None:
            raise RefusedError(f"{_FOREIGN} (it calls {name:.80} otherwise than torch.save does); save state_dict()")
        self.stack.append(made)

    def build(self, _: object) -> None:
        """Attributes: the `_metadata` of a state dict."""
        state, target = self.stack.pop(), self.stack[-1]
        metadata = isinstance(state, _Dict) and (state.size, state.first) in ((0, None), (1, "_metadata"))
        if not (isinstance(target, _Dict) and target.ordered and metadata):
            raise RefusedError(f"{_FOREIGN} (it sets attributes otherwise than torch.save does); save state_dict()")

    # --- what torch.save has called, by its arguments; None where they are others -----------------------------------

    def plain(self, name: str, given: tuple[Any, ...]) -> Any:
        """Layouts, devices, complex numbers: of texts and numbers."""
        self.copy(name, *given)
        return _OTHER if all(isinstance(item, str | int | float) for item in given) else None

    def shape(self, name: str, given: tuple[Any, ...]) -> Any:
        return given[0] if len(given) == 1 and _is_shape(given[0]) else None

    def text(self, name: str, given: tuple[Any, ...]) -> Any:
        """Bytes, which protocol 2 has only as a text: `encode(text, "latin1")`, `bytearray(text, "latin-1")`."""
        self.copy(name, *given)
        match given:
            case () if name == "builtins.bytearray":
                return _OTHER
            case (str(text), "latin1" | "latin-1"):
                return _OTHER if name == "builtins.bytearray" else _Bytes(len(text))
            case (_Bytes(),) if name == "builtins.bytearray":
                return _OTHER
        return None

    def elements(self, name: str, given: tuple[Any, ...]) -> Any:
        """A set."""
        self.copy(name, *given)
        match given:
            case (list(items),):
                self.keys(items)
                return _OTHER
        return None

    def mapping(self, name: str, given: tuple[Any, ...]) -> Any:
        """A Counter of a dict; an OrderedDict of nothing, or of pairs, as Python 2 wrote it."""
        self.copy(name, *given)
        ordered = name == "collections.OrderedDict"
        match given:
            case ():
                return _Dict(0, ordered)
            case (_Dict(size),) if not ordered:
                return _Dict(size, flags=False)
            case (list(pairs),) if ordered and all(isinstance(one, list | tuple) and len(one) == 2 for one in pairs):
                self.keys([key for key, _ in pairs])
                return _Dict(len(pairs), ordered, flags=not pairs)
        return None

    def tensor(self, name: str, given: tuple[Any, ...]) -> Any:
        """A tensor upon a storage; torch makes a storage larger where it does not hold the tensor."""
        match given:
            case (_Storage() as storage, int(offset), size, stride, *flags) if all(map(_is_flag, flags)):
                return _within(storage, offset, size, stride, storage.each)
        return None

    def tensor_of_type(self, name: str, given: tuple[Any, ...]) -> Any:
        """Likewise, of a kind that has no storage of its own."""
        match given:
            case (_Storage() as storage, int(offset), size, stride, one, other, _Global(kind), *flags) if all(
                map(_is_flag, (one, other, *flags))
            ):
                return _within(storage, offset, size, stride, _each(kind))
        return None

    def quantised(self, name: str, given: tuple[Any, ...]) -> Any:
        """Likewise, which is made whole, and only then put upon its storage."""
        match given:
            case (_Storage() as storage, int(offset), size, stride, tuple() as scheme, *flags) if all(
                (*map(_is_part, scheme), *map(_is_flag, flags))
            ):
                made = _within(storage, offset, size, stride, storage.each)
                self.copy(name, _Bytes(made.numbers * storage.each), *scheme)
                return made
        return None

    def without_storage(self, name: str, given: tuple[Any, ...]) -> Any:
        """A tensor on the device meta."""
        match given:
            case (_Global(), size, stride, flag) if _is_shape(size) and _is_shape(stride) and _is_flag(flag):
                return _Tensor(prod(size))
        return None

    def sparse(self, name: str, given: tuple[Any, ...]) -> Any:
        """A tensor of tensors, whose numbers torch looks at or copies: also where these are expanded, to many more."""
        match given:
            case (layout, tuple() as parts) if layout is _OTHER and all(map(_is_part, parts)):
                self.copy(name, *parts)
                return _Tensor(sum(map(_weight, parts)))
        return None

    def parameter(self, name: str, given: tuple[Any, ...]) -> Any:
        match given:
            case (_Tensor() as tensor, one, other) if _is_flag(one) and _is_flag(other):
                return tensor
        return None


# --- stand-ins ------------------------------------------------------------------------------------------------------


def _weight(value: Any) -> int:
    """Letters, parts or numbers of a value; what its parts refer to is counted where it is made."""
    match value:
        case str() | list() | tuple():
            return 1 + len(value)
        case _Dict(size) | _Bytes(size) | _Tensor(size):
            return 1 + size
    return 1


def _is_part(value: Any) -> bool:
    """What torch.save writes of sparse and quantised tensors; of tuples in tuples torch makes a tensor of any size."""
    return value is None or isinstance(value, int | float | _Tensor | _Global) or _is_shape(value)


def _is_flag(value: Any) -> bool:
    """What it writes after the shape of one: whether it has a gradient, hooks, of which there are none, flags by name.

    Torch tells what else is there in a message, with all parts of it that are named again and again.
    """
    return value is None or isinstance(value, bool) or (isinstance(value, _Dict) and value.flags)


def _is_shape(value: Any) -> bool:
    """Whether it is a tuple of as many sizes as a tensor may have."""
    return (
        isinstance(value, tuple)
        and len(value) <= _DIMENSIONS
        and all(isinstance(size, int) and 0 <= size < 1 << 63 for size in value)
    )


def _within(storage: _Storage, offset: int, size: Any, stride: Any, each: int) -> _Tensor:
    """A tensor that its storage holds; `each` is the size of one of its numbers in bytes."""
    if not (_is_shape(size) and _is_shape(stride) and len(size) == len(stride) and offset >= 0):
        raise UnpicklingError("a tensor of no shape")
    numbers = prod(size)
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if numbers and (last + 1) * each > storage.size:
        held = f"a tensor of shape {size!s:.60} is larger than its storage of {storage.size:,} bytes"
        raise RefusedError(f"{held}; {_DAMAGED}")
    return _Tensor(numbers)


def _each(kind: str) -> int:
    """Bytes of a number of this dtype."""
    found = _DTYPE.fullmatch(kind)
    if found is None:
        raise UnpicklingError("a tensor of no dtype")
    return int(found[2] or 8) // 8


_PUSHED = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE")
_NEW: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": _Dict,
}
_STEPS: Mapping[str, Callable[[_Walk, Any], None]] = {
    "MARK": _Walk.mark,
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Walk.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Walk.get),
    "TUPLE": lambda walk, _: walk.tuple_of(None),
    "TUPLE1": lambda walk, _: walk.tuple_of(1),
    "TUPLE2": lambda walk, _: walk.tuple_of(2),
    "TUPLE3": lambda walk, _: walk.tuple_of(3),
    "APPEND": lambda walk, _: walk.append([walk.stack.pop()]),
    "APPENDS": lambda walk, _: walk.append(walk.since_mark()),
    "SETITEM": lambda walk, _: walk.set_items([walk.stack.pop(), walk.stack.pop()][::-1]),
    "SETITEMS": lambda walk, _: walk.set_items(walk.since_mark()),
    "GLOBAL": _Walk.named,
    "BINPERSID": _Walk.storage,
    "REDUCE": _Walk.call,
    "BUILD": _Walk.build,
}
_CALLS: Mapping[str, Callable[[_Walk, str, tuple[Any, ...]], Any]] = {
    **dict.fromkeys(("torch.device", "torch.serialization._get_layout", "builtins.complex"), _Walk.plain),
    **dict.fromkeys(("_codecs.encode", "builtins.bytearray"), _Walk.text),
    **dict.fromkeys(("collections.OrderedDict", "collections.Counter"), _Walk.mapping),
    "builtins.set": _Walk.elements,
    "torch.Size": _Walk.shape,
    **dict.fromkeys(("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"), _Walk.tensor),
    "torch._utils._rebuild_tensor_v3": _Walk.tensor_of_type,
    "torch._utils._rebuild_qtensor": _Walk.quantised,
    "torch._utils._rebuild_meta_tensor_no_storage": _Walk.without_storage,
    "torch._utils._rebuild_sparse_tensor": _Walk.sparse,
    "torch._utils._rebuild_parameter": _Walk.parameter,
}
