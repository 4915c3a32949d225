"""Walk a checkpoint's pickle before it is loaded, without building anything.

PyTorch's safe reader (`weights_only=True`) executes no code, but it builds what the file says: it hashes
dictionary keys and prints what it refuses. A nested tuple of 600 bytes takes for ever to hash or to print,
and a deep one overflows the C stack. A checkpoint has no use for either, so the opcodes are followed first,
with a small mark in place of each value, and whatever would be hashed or called must be of a kind for which
that is cheap. Opcodes as in `pickletools` and torch/_weights_only_unpickler.py.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import IO

from bddzoo.reading import pickle_errors

# A state dict takes some thirty opcodes an entry: this is thirty thousand entries, and two seconds.
_MAX_OPCODES = 1_000_000
# Globals that hash what they are built from.
_HASHING = {
    f"{module} {name}"
    for module, names in {
        "collections": ("OrderedDict", "Counter", "defaultdict"),
        "builtins": ("set", "frozenset", "dict"),
        "__builtin__": ("set", "frozenset", "dict"),
    }.items()
    for name in names
}
_SCALARS = {
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE"),
    *("SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_LISTS = {"EMPTY_LIST", "LIST"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}


class UnsafePickle(Exception):
    """What a checkpoint does not hold, and cannot be read safely."""


@dataclass(slots=True)
class _Value:
    """What is known of a value on the pickle's stack; its items are not kept, so that depth costs nothing.

    Attributes:
        kind: `scalar`, `global`, `tuple`, `list`, `dict` or `object`.
        name: Of a global, and of an object the global that made it.
        size: Number of items of a tuple or list.
        flat: All items of a tuple or list are scalars or globals: hashing it is cheap.
        pairs: All items are tuples or lists that begin with a scalar.
        first: The first item.
    """

    kind: str
    name: str = ""
    size: int = 0
    flat: bool = True
    pairs: bool = True
    first: _Value | None = None

    def take(self, items: list[_Value]) -> _Value:
        """Add items to a tuple or list."""
        if items and self.first is None:
            self.first = items[0]
        self.size += len(items)
        for item in items:
            self.flat = self.flat and item.kind in ("scalar", "global")
            self.pairs = self.pairs and item.begins_with_scalar
        return self

    @property
    def begins_with_scalar(self) -> bool:
        return self.kind in ("tuple", "list") and self.first is not None and self.first.kind == "scalar"


def scan_pickle(file: IO[bytes], pickles: int = 1) -> None:
    """Follow the pickles at a file's position.

    Opcodes that PyTorch's reader does not know, and files that end too early, end the scan: the reader
    refuses them at the same place.

    Args:
        file: Open for reading; legacy checkpoints hold several pickles one after the other.
        pickles: How many of them.

    Raises:
        UnsafePickle: Keys that are not strings or numbers, calls of what is not a global, or too many
            opcodes.
    """
    left = _MAX_OPCODES
    try:
        for _ in range(pickles):
            left = _scan(file, left)
    except pickle_errors():
        return


def _scan(file: IO[bytes], left: int) -> int:
    stack: list[_Value] = []
    marks: list[int] = []
    memo: dict[int, _Value] = {}

    def since_mark() -> list[_Value]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, arg, _position in pickletools.genops(file):
        left -= 1
        if left < 0:
            raise UnsafePickle("its pickle is too long for weights")
        code = opcode.name
        if code in _SCALARS:
            stack.append(_Value("scalar"))
        elif code in _TUPLES:
            count = _TUPLES[code]
            items = stack[len(stack) - count :]
            del stack[len(stack) - count :]
            stack.append(_Value("tuple").take(items))
        elif code == "TUPLE":
            stack.append(_Value("tuple").take(since_mark()))
        elif code in _LISTS:
            stack.append(_Value("list").take(since_mark() if code == "LIST" else []))
        elif code in ("EMPTY_DICT", "EMPTY_SET"):
            stack.append(_Value("dict"))
        elif code == "MARK":
            marks.append(len(stack))
        elif code == "APPEND":
            item = stack.pop()
            stack[-1].take([item])
        elif code == "APPENDS":
            items = since_mark()
            stack[-1].take(items)
        elif code in ("SETITEM", "SETITEMS"):
            items = since_mark() if code == "SETITEMS" else [stack.pop(-2), stack.pop()]
            _check_keys(items[::2])
        elif code == "GLOBAL":
            stack.append(_Value("global", name=str(arg)))
        elif code in ("REDUCE", "NEWOBJ"):
            given, made = stack.pop(), stack.pop()
            stack.append(_call(made, given))
        elif code == "BUILD":
            _check_state(stack.pop(), stack[-1])
        elif code == "BINPERSID":
            storage = stack.pop()
            if storage.kind != "tuple" or not storage.flat:
                raise UnsafePickle("a storage in it is named by something else than text and numbers")
            stack.append(_Value("object"))
        elif code in _PUTS:
            memo[len(memo) if arg is None else int(arg)] = stack[-1]
        elif code in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(str(arg))])
        elif code == "STOP":
            return left
        elif code not in ("PROTO", "FRAME"):
            raise ValueError(code)  # the reader refuses it
    return left


def _check_keys(keys: list[_Value]) -> None:
    if any(key.kind != "scalar" for key in keys):
        raise UnsafePickle("the names of its entries are not text")


def _call(made: _Value, given: _Value) -> _Value:
    if made.kind != "global" or given.kind != "tuple":
        raise UnsafePickle("it calls what is not a function")
    if made.name in _HASHING and not given.flat:
        items = given.first if given.size == 1 else None
        checked = items is not None and (
            items.kind == "dict" or (items.kind in ("tuple", "list") and (items.flat or items.pairs))
        )
        if not checked:
            raise UnsafePickle("the names of its entries are not text")
    return _Value("object", name=made.name)


def _check_state(state: _Value, target: _Value) -> None:
    """The state of a dictionary-like object is a dictionary, whose keys were checked when they were set."""
    if target.name in _HASHING and state.kind not in ("dict", "scalar"):
        raise UnsafePickle("the names of its entries are not text")
