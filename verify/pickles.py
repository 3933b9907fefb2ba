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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pickle import UnpicklingError
from typing import IO, Any

MOST_IN_KEY = 1000  # letters and parts of a key that is a tuple
MOST_ODD_KEYS = 10_000  # whose hashes a stranger can make the same: numbers beyond 60 bits, tuples of numbers
_DIMENSIONS = 64  # torch has no more
_FOREIGN = "it holds more than tensors, and was not loaded"
_DAMAGED = "it is damaged or of another kind"
_BITS = {
    "Double": 64, "Float": 32, "Half": 16, "BFloat16": 16, "ComplexDouble": 128, "ComplexFloat": 64, "Bool": 8,
    "Long": 64, "Int": 32, "Short": 16, "Char": 8, "Byte": 8,
    "QInt8": 8, "QUInt8": 8, "QInt32": 32, "QUInt4x2": 4, "QUInt2x4": 2,
}  # fmt: skip
_STORAGES = {f"torch.{module}{kind}Storage": bits for kind, bits in _BITS.items() for module in ("", "cuda.")}
_STORAGES |= {"torch.storage.UntypedStorage": 8, "torch.UntypedStorage": 8}
_DTYPE = re.compile(r"torch\.(b?float|complex|q?u?int|bits)(\d+)\w*|torch\.bool")
_SCHEME = re.compile(r"torch\.per_(tensor|channel)_(affine|symmetric)(_float_qparams)?")
_CLASSES = ("torch.Tensor", "torch.nn.parameter.Parameter")  # that are named, and never called
_NUMBERS = ("data", "real", "imag")  # attributes of a tensor that are its numbers: setting them changes or copies all


class RefusedError(Exception):
    """What a pickle asks for that it does not get, in words that can stand in a message."""


@dataclass(frozen=True, slots=True)
class _Tuple:
    items: tuple[Any, ...]
    weight: int  # parts and letters, each counted as often as it stands in it


@dataclass(slots=True)
class _Dict:
    """A dict, of which only what hangs on its size matters, and the names in it where they become attributes."""

    names: Sequence[Any] = ()
    kind: str = "dict"


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
    bits: int  # of one number

    @property
    def unit(self) -> int:
        """Bytes that the file counts by: of numbers of less than one byte, that byte."""
        return max(1, self.bits // 8)


@dataclass(frozen=True, slots=True)
class _Tensor:
    numbers: int


_OTHER = object()  # what can be kept, and no more


def walk(stream: IO[bytes], pickles: int, size: int, trusted: Collection[str] = ()) -> None:
    """Go through pickles, one after another.

    Args:
        stream: Where the first begins; afterwards where the last has ended.
        pickles: How many.
        size: Bytes of the whole file.
        trusted: Names of classes and functions that the caller lets torch call with anything.

    Raises:
        RefusedError: they ask for what no state dict needs, or for more than the file is long.
        UnpicklingError: they are no pickles that torch reads, or name what torch does not call.
    """
    walked = _Walk(size, trusted)
    try:
        for _ in range(pickles):
            walked.go_through(stream)
    except (ValueError, LookupError) as error:  # of opcodes that there are not, or that lack what they take
        raise UnpicklingError(str(error)) from None


class _Walk:
    """The machine: a stack of stand-ins, its marks and memo, and what the pickles have asked for so far."""

    def __init__(self, size: int, trusted: Collection[str]) -> None:
        self.size, self.trusted = size, trusted
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, _Storage] = {}
        self.stored = self.copied = self.odd = 0

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
        self.stack.append(_tuple(items))

    def append(self, items: Sequence[Any]) -> None:
        self.target(list).extend(items)

    def set_items(self, items: Sequence[Any]) -> None:
        target = self.target(_Dict)
        for key in items[::2]:
            self.hash(key)
        if items:
            target.names = [*target.names] if isinstance(target.names, tuple) else target.names
            target.names += items[::2]

    def target(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise UnpicklingError(f"expected a {kind.__name__} to put something into")
        return self.stack[-1]

    # --- what costs -------------------------------------------------------------------------------------------------

    def hash(self, key: Any) -> None:
        """Stop at a key that takes long to hash, or at many of which a stranger can choose the hashes."""
        if isinstance(key, str) or (isinstance(key, int) and abs(key) < 1 << 60):
            return
        if _weight(key) > MOST_IN_KEY:
            raise RefusedError(f"{_FOREIGN} (a key in it has more than {MOST_IN_KEY:,} parts); save state_dict()")
        if not (isinstance(key, _Tuple) and any(isinstance(item, str) for item in key.items)):
            self.odd += 1
        if self.odd > MOST_ODD_KEYS:
            kept = f"more than {MOST_ODD_KEYS:,} keys in it are neither texts nor whole numbers of 60 bits"
            raise RefusedError(f"{_FOREIGN} ({kept}); save state_dict()")

    def copy(self, name: str, *values: Any) -> None:
        """Count what is made anew of values, which a pickle can name again and again."""
        self.copied += sum(map(_weight, values))
        if self.copied > self.size:
            raise RefusedError(f"{_FOREIGN} (it has {name} make more than its {self.size:,} bytes); save state_dict()")

    def storage(self, _: object) -> None:
        """A storage that the file has: torch makes it as large as the pickle says."""
        match self.stack.pop():
            case _Tuple(items=("storage", _Global(name), str(key), str(), int(count), *view)) if (
                name in _STORAGES and count >= 0 and len(view) < 2
            ):
                found = self.storages.get(key) or self.new_storage(key, count, _STORAGES[name])
            case _:
                raise UnpicklingError("a storage that is none")
        self.stack.append(self.part(found, *view))

    def new_storage(self, key: str, count: int, bits: int) -> _Storage:
        made = self.storages[key] = _Storage(count * max(1, bits // 8), bits)
        self.stored += made.size
        if self.stored > self.size:
            states = f"{self.stored:,}" if self.stored < 1 << 60 else "more than 1e18"
            raise RefusedError(f"its tensors have {states} bytes, and the file has {self.size:,}; {_DAMAGED}")
        return made

    def part(self, storage: _Storage, view: Any = None) -> _Storage:
        """A part of a storage, as the older form of torch.save has it, by its own name; the whole without one."""
        match view:
            case None:
                return storage
            case _Tuple(items=(str(key), int(start), int(count))) if (
                start >= 0 and count >= 0 and (start + count) * storage.unit <= storage.size
            ):
                return self.storages.setdefault(key, _Storage(count * storage.unit, storage.bits))
        raise UnpicklingError("a part of a storage that it does not have")

    # --- calls ------------------------------------------------------------------------------------------------------

    def named(self, words: str) -> None:
        """A class or a function, by module and name; only what state dicts have is let through."""
        module, _, name = words.partition(" ")
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        known = full in _CALLS or full in _STORAGES or full in _CLASSES or full in self.trusted
        if not (known or _DTYPE.fullmatch(full) or _SCHEME.fullmatch(full)):
            raise UnpicklingError(f"GLOBAL {full}")
        self.stack.append(_Global(full))

    def call(self, _: object) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self.called(function, arguments))

    def called(self, function: Any, arguments: Any) -> Any:
        """What would be returned; a stand-in of a function knows which arguments torch.save writes for it."""
        name = function.name if isinstance(function, _Global) else "what is no function"
        if name in self.trusted:
            return _OTHER
        if name in _CALLS and isinstance(arguments, _Tuple):
            made = _CALLS[name](self, name, arguments)
            if made is not None:
                return made
        raise RefusedError(f"{_FOREIGN} (it calls {name:.80} otherwise than torch.save does); save state_dict()")

    def new_object(self, _: object) -> None:
        self.stack.pop()
        made = self.stack.pop()
        if not (isinstance(made, _Global) and made.name in self.trusted):
            raise UnpicklingError(f"GLOBAL {made.name if isinstance(made, _Global) else 'none'}")
        self.stack.append(_OTHER)

    def build(self, _: object) -> None:
        """Attributes: the `_metadata` of a state dict."""
        state, target = self.stack.pop(), self.stack[-1]
        if target is _OTHER:
            return  # of what the caller trusts; torch builds nothing else
        if not (isinstance(target, _Dict) and target.kind == "collections.OrderedDict" and isinstance(state, _Dict)):
            raise RefusedError(f"{_FOREIGN} (it sets attributes otherwise than torch.save does); save state_dict()")
        self.copy("attributes", state)

    # --- what torch.save has called, by its arguments; None where they are others -----------------------------------

    def plain(self, name: str, given: _Tuple) -> Any:
        """Layouts, devices, complex numbers: of texts and numbers."""
        self.copy(name, given)
        return _OTHER if all(isinstance(item, str | int | float) for item in given.items) else None

    def shape(self, name: str, given: _Tuple) -> Any:
        self.copy(name, given)
        return given.items[0] if len(given.items) == 1 and _is_shape(given.items[0]) else None

    def text(self, name: str, given: _Tuple) -> Any:
        """Bytes, which protocol 2 has only as a text: `encode(text, "latin1")`, `bytearray(text, "latin-1")`."""
        self.copy(name, given)
        match given.items:
            case () if name == "builtins.bytearray":
                return _OTHER
            case (str(text), "latin1" | "latin-1"):
                return _OTHER if name == "builtins.bytearray" else _Bytes(len(text))
            case (_Bytes(),) if name == "builtins.bytearray":
                return _OTHER
        return None

    def elements(self, name: str, given: _Tuple) -> Any:
        """A set."""
        self.copy(name, *given.items)
        match given.items:
            case (list(items),):
                for item in items:
                    self.hash(item)
                return _OTHER
        return None

    def mapping(self, name: str, given: _Tuple) -> Any:
        """A Counter of a dict; an OrderedDict of nothing, or of pairs, as Python 2 wrote it."""
        self.copy(name, *given.items)
        match given.items:
            case ():
                return _Dict((), name)
            case (_Dict(names),) if name == "collections.Counter":
                return _Dict(tuple(names), name)
            case (list(items),) if name == "collections.OrderedDict":
                pairs = [item.items if isinstance(item, _Tuple) else item for item in items]
                if any(not isinstance(pair, list | tuple) or len(pair) != 2 for pair in pairs):
                    return None
                for key, _ in pairs:
                    self.hash(key)
                return _Dict(tuple(key for key, _ in pairs), name)
        return None

    def tensor(self, name: str, given: _Tuple) -> Any:
        """A tensor upon a storage; torch makes a storage larger where it does not hold the tensor."""
        self.copy(name, given)
        match given.items:
            case (_Storage() as storage, int(offset), _Tuple() as size, _Tuple() as stride, *more):
                bits = _bits(more) if name.endswith("_v3") else storage.bits
                made = _within(storage, offset, size, stride, bits)
                if name.endswith("_qtensor"):  # is made whole, and only then put upon its storage
                    self.copy(name, made)
                return made
        return None

    def without_storage(self, name: str, given: _Tuple) -> Any:
        """A tensor on the device meta."""
        self.copy(name, given)
        match given.items:
            case (_Global(), _Tuple() as size, _Tuple() as stride, _) if _is_shape(size) and _is_shape(stride):
                return _Tensor(prod(size.items))
        return None

    def of_tensors(self, name: str, given: _Tuple) -> Any:
        """A sparse tensor, or one of another device: torch looks at all numbers of what it is made of, or copies them.

        Also where these are expanded, so that there are many more of them than in the file.
        """
        self.copy(name, given)
        return _Tensor(given.weight)

    def parameter(self, name: str, given: _Tuple) -> Any:
        """A tensor as a parameter, at times with attributes."""
        match given.items:
            case (_Tensor() as tensor, _, _, *state) if len(state) < 2:
                return self.with_attributes(name, tensor, *state)
        return None

    def of_type(self, name: str, given: _Tuple) -> Any:
        """A tensor with attributes, by the function that makes one without them."""
        match given.items:
            case (_Global(function), _Global(kind), _Tuple() as arguments, state) if (
                function.startswith("torch._utils._rebuild_") and kind in (*_CLASSES, *self.trusted)
            ) or function in self.trusted:
                made = self.called(given.items[0], arguments)
                return self.with_attributes(name, made, state) if isinstance(made, _Tensor) else _OTHER
        return None

    def with_attributes(self, name: str, tensor: _Tensor, *states: Any) -> Any:
        self.copy(name, *states)
        parts = [part for state in states for part in (state.items if isinstance(state, _Tuple) else [state])]
        for part in parts:
            if isinstance(part, _Dict) and any(key in _NUMBERS for key in part.names if isinstance(key, str)):
                return None
        return tensor


# --- stand-ins ------------------------------------------------------------------------------------------------------


def _tuple(items: Sequence[Any]) -> _Tuple:
    return _Tuple(tuple(items), min(1 + sum(map(_weight, items)), 1 << 62))


def _weight(value: Any) -> int:
    """What copying a value takes: parts and letters; of what is only referred to, one."""
    if isinstance(value, _Tuple):
        return value.weight
    if isinstance(value, _Dict):
        return 1 + len(value.names)
    if isinstance(value, str | list):
        return 1 + len(value)
    if isinstance(value, _Bytes):
        return 1 + value.size
    return 1 + value.numbers if isinstance(value, _Tensor) else 1


def _is_shape(value: Any) -> bool:
    """Whether it is a tuple of as many sizes as a tensor may have."""
    return (
        isinstance(value, _Tuple)
        and len(value.items) <= _DIMENSIONS
        and all(isinstance(size, int) and 0 <= size < 1 << 63 for size in value.items)
    )


def _within(storage: _Storage, offset: int, size: _Tuple, stride: _Tuple, bits: int) -> _Tensor:
    """A tensor that its storage holds."""
    if not (_is_shape(size) and _is_shape(stride) and len(size.items) == len(stride.items) and offset >= 0):
        raise UnpicklingError("a tensor of no shape")
    numbers = prod(size.items)
    last = offset + sum((count - 1) * step for count, step in zip(size.items, stride.items, strict=True))
    if numbers and (last + 1) * bits > 8 * storage.size:
        held = f"a tensor of shape {size.items!s:.60} is larger than its storage of {storage.size:,} bytes"
        raise RefusedError(f"{held}; {_DAMAGED}")
    return _Tensor(numbers)


def _bits(more: Sequence[Any]) -> int:
    """Bits of a number of the dtype that stands among the arguments after the stride."""
    match more:
        case (_, _, _Global(name), *_) if found := _DTYPE.fullmatch(name):
            return int(found[2] or 8)
    raise UnpicklingError("a tensor of no dtype")


_PUSHED = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE")
_NEW: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": lambda: _tuple(()),
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
    "NEWOBJ": _Walk.new_object,
    "BUILD": _Walk.build,
}
_CALLS: Mapping[str, Callable[[_Walk, str, _Tuple], Any]] = {
    **dict.fromkeys(("torch.device", "torch.serialization._get_layout", "builtins.complex"), _Walk.plain),
    **dict.fromkeys(("_codecs.encode", "builtins.bytearray"), _Walk.text),
    **dict.fromkeys(("collections.OrderedDict", "collections.Counter"), _Walk.mapping),
    "builtins.set": _Walk.elements,
    "torch.Size": _Walk.shape,
    **dict.fromkeys(("torch._utils._rebuild_tensor", "torch._utils._rebuild_qtensor"), _Walk.tensor),
    **dict.fromkeys(("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"), _Walk.tensor),
    "torch._utils._rebuild_meta_tensor_no_storage": _Walk.without_storage,
    "torch._utils._rebuild_sparse_tensor": _Walk.of_tensors,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _Walk.of_tensors,
    **dict.fromkeys(("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"), _Walk.parameter),
    "torch._tensor._rebuild_from_type_v2": _Walk.of_type,
}
