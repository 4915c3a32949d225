"""A digest of weights that does not depend on the file around them, and the safetensors form.

The digest is SHA-256 over the entries sorted by name. Each entry adds one line of JSON,
`["name","F32",[64,3,7,7]]` with no spaces and UTF-8 characters as they are, a newline, and the
elements in row-major order, little-endian. Types are called as in the safetensors format. Shape and
type fix the number of bytes, so that no two state dicts give the same stream.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from bddzoo.artifacts.digests import CHUNK_BYTES
from bddzoo.errors import IntegrityError, MissingError, UsageError, install_hint
from bddzoo.files import is_special, replacing
from bddzoo.reading import json_errors
from bddzoo.text import printable

if TYPE_CHECKING:
    from torch import Tensor

# torch's names, and the safetensors names with the bytes of an element.
DTYPES = {
    "float64": ("F64", 8),
    "float32": ("F32", 4),
    "float16": ("F16", 2),
    "bfloat16": ("BF16", 2),
    "float8_e4m3fn": ("F8_E4M3", 1),
    "float8_e5m2": ("F8_E5M2", 1),
    "int64": ("I64", 8),
    "int32": ("I32", 4),
    "int16": ("I16", 2),
    "int8": ("I8", 1),
    "uint8": ("U8", 1),
    "uint16": ("U16", 2),
    "uint32": ("U32", 4),
    "uint64": ("U64", 8),
    "bool": ("BOOL", 1),
    "complex64": ("C64", 8),
}
_SIZES = dict(DTYPES.values())
# A header as large as this describes a million tensors.
MAX_HEADER_BYTES = 100_000_000

TensorDigester = Callable[[Path], str]


class _Entry(msgspec.Struct):
    """One entry of a safetensors header; offsets in bytes."""

    dtype: str
    shape: tuple[Annotated[int, msgspec.Meta(ge=0, le=1 << 40)], ...]
    data_offsets: tuple[
        Annotated[int, msgspec.Meta(ge=0, le=1 << 50)], Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]
    ]


def digest_state(state: Mapping[str, Tensor]) -> str:
    """Digest of a state dict, tensor by tensor.

    Args:
        state: Entry name to tensor, of any device, layout and order.

    Returns:
        64 hexadecimal digits.

    Raises:
        UsageError: A tensor that has no plain elements: sparse or quantised.
    """
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach()
        code = _code(name, tensor)
        total.update(_line(name, code, tuple(tensor.shape)))
        for piece in _pieces(tensor):
            total.update(piece)
    return total.hexdigest()


def digest_safetensors(path: Path) -> str:
    """Digest of the weights in a safetensors file; needs no torch and holds a mebibyte at a time.

    Raises:
        MissingError: The file cannot be read.
        IntegrityError: It is not a whole safetensors file.
    """
    total = hashlib.sha256()
    try:
        with path.open("rb") as file:
            start, header = _read_header(path, file)
            for name in sorted(header):
                code, shape, (first, last) = header[name]
                total.update(_line(name, code, shape))
                file.seek(start + first)
                left = last - first
                while left:
                    data = file.read(min(left, CHUNK_BYTES))
                    if not data:
                        raise _damaged(path, "it ends too early")
                    total.update(data)
                    left -= len(data)
    except OSError as error:
        raise MissingError(f"{path}: cannot be read: {error.strerror or error}") from error
    return total.hexdigest()


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The weights in a safetensors file, on the CPU.

    Raises:
        MissingError: The file cannot be read, or the safetensors package is not installed.
        IntegrityError: It is not a whole safetensors file.
    """
    _need_safetensors()
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except OSError as error:
        raise MissingError(f"{path}: cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise _damaged(path, str(error)) from None


def write_safetensors(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> str:
    """Write weights as a safetensors file and read them back to compare.

    Args:
        state: Entry name to tensor.
        path: The file; it appears whole and checked, or not at all.
        metadata: Texts by name.

    Returns:
        Digest of the tensors, equal before and after.

    Raises:
        MissingError: The safetensors package is not installed.
        IntegrityError: What was read back differs.
        UsageError: `path` is a device or a pipe.
        OSError: The file cannot be written.
    """
    _need_safetensors()
    if is_special(path):
        raise UsageError(f"{path} is not a regular file", hint="choose another one")
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    before = digest_state(state)
    # Tensors that share memory, as tied weights do, are written one by one.
    plain = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
    with replacing(path) as temporary:
        try:
            save_file(plain, temporary, metadata={**metadata, "tensors": before})
        except SafetensorError as error:
            raise _of_the_system(error) from error
        after = digest_safetensors(temporary)
        if after != before:
            raise IntegrityError(f"{path}: what was written differs: tensors {after}, expected {before}")
        temporary.chmod(0o644)
    return before


def _of_the_system(error: Exception) -> OSError:
    """The system's error that safetensors tells in words: `I/O error: ... (os error 28)`."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))


def is_safetensors(path: Path) -> bool:
    """Whether a file begins like a safetensors file: a length, then a JSON object."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError:
        return False
    return len(head) == 9 and head[8:] == b"{" and 2 <= struct.unpack("<Q", head[:8])[0] <= MAX_HEADER_BYTES


def _code(name: str, tensor: Tensor) -> str:
    word = str(tensor.dtype).removeprefix("torch.")
    if word not in DTYPES or tensor.layout.__repr__() != "torch.strided":
        hint = "only dense tensors of plain types can be compared"
        raise UsageError(f"entry '{name}' is a {tensor.layout} tensor of {word}", hint=hint)
    return DTYPES[word][0]


def _line(name: str, code: str, shape: Iterable[int]) -> bytes:
    text = json.dumps([name, code, list(shape)], ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass") + b"\n"


def _pieces(tensor: Tensor) -> Iterable[memoryview]:
    """The bytes of a tensor in row-major order, in pieces; bfloat16 and the like included."""
    import torch

    flat = tensor.cpu().contiguous().reshape(-1)
    step = max(1, (16 << 20) // max(1, flat.element_size()))
    for start in range(0, flat.numel(), step):
        piece: Any = flat[start : start + step].view(torch.uint8).numpy()
        yield memoryview(piece)


def _read_header(
    path: Path, file: Any
) -> tuple[int, dict[str, tuple[str, tuple[int, ...], tuple[int, int]]]]:
    """Where the data begin, and each entry's type, shape and place in them.

    As the safetensors library has it, the places follow each other without gaps from the first byte to the
    last: what is hashed is the whole file, once.

    Raises:
        IntegrityError: The header does not describe the file.
    """
    lead = file.read(8)
    size = struct.unpack("<Q", lead)[0] if len(lead) == 8 else 0
    total = os.fstat(file.fileno()).st_size
    if not 2 <= size <= min(MAX_HEADER_BYTES, total - 8):
        raise _damaged(path, "no header")
    try:
        raw = msgspec.json.decode(file.read(size), type=dict[str, Any])
    except json_errors():
        raise _damaged(path, "its header is not a JSON object") from None
    raw.pop("__metadata__", None)
    found: dict[str, tuple[str, tuple[int, ...], tuple[int, int]]] = {}
    for name, fields in raw.items():
        try:
            entry = msgspec.convert(fields, _Entry)
            count = math.prod(entry.shape, start=_SIZES[entry.dtype])
        except (msgspec.ValidationError, KeyError):
            raise _damaged(path, f"entry {_shown(name)} makes no sense") from None
        first, last = entry.data_offsets
        if count != last - first:
            raise _damaged(path, f"entry {_shown(name)} makes no sense")
        found[name] = (entry.dtype, entry.shape, (first, last))
    end = 0
    for name, (_, _, (first, last)) in sorted(found.items(), key=lambda item: item[1][2]):
        if first != end:
            raise _damaged(path, f"entry {_shown(name)} does not begin where the one before ends")
        end = last
    if 8 + size + end != total:
        raise _damaged(path, f"its entries end at {8 + size + end} of {total} bytes")
    return 8 + size, found


def _shown(name: str) -> str:
    return f"'{printable(name, 80)}'"


def _need_safetensors() -> None:
    try:
        import safetensors.torch  # noqa: F401
    except ImportError:
        raise MissingError(
            "the safetensors package is not installed", hint=install_hint("networks")
        ) from None


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(f"{path} is not a whole safetensors file: {why}", hint="fetch or convert it again")
