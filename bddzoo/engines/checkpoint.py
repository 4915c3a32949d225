"""Read a checkpoint file without executing anything in it."""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.artifacts.tensors import is_safetensors, read_safetensors
from bddzoo.artifacts.verification import HEAD_BYTES, wrong_content
from bddzoo.engines.pickle_scan import UnsafePickle, scan_pickle
from bddzoo.errors import IntegrityError, MissingError
from bddzoo.reading import archive_errors, pickle_errors
from bddzoo.text import is_text, printable

if TYPE_CHECKING:
    from torch import Tensor


class IgnoredObject:
    """Takes the place of a harmless object that is not weights, and keeps nothing of it.

    Training states carry learning-curve buffers and NumPy scalars, which nothing here reads. Whatever a file
    builds by one of `IGNORED_GLOBALS` becomes one of these.
    """

    def __new__(cls, *_: object) -> IgnoredObject:
        """Take any arguments and keep none."""
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """Drop an item."""

    def extend(self, values: object) -> None:
        """Drop items."""


# mmengine's history buffers pickle their methods through getattr; this class looks nothing up.
IGNORED_GLOBALS = (
    *(
        f"{home}.{name}"
        for home in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("scalar", "_reconstruct")
    ),
    "numpy._core.numeric._frombuffer",
    "numpy.core.numeric._frombuffer",
    "numpy.ndarray",
    "numpy.dtype",
    *(
        f"numpy.dtypes.{name}DType"
        for name in (
            *(f"Float{bits}" for bits in (16, 32, 64)),
            *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
            "Bool",
            "Str",
            "Bytes",
        )
    ),
    *(f"numpy.{name}" for name in ("float32", "float64", "int32", "int64", "bool_", "bool")),
    "_codecs.encode",
    "builtins.getattr",
    "__builtin__.getattr",
    "builtins.bytes",  # of an array that holds nothing
    "__builtin__.bytes",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "mmcv.runner.log_buffer.LogBuffer",
)


_AGAIN = "fetch it again, or check where it comes from"
# torch.nn.DataParallel puts the first before every name, torch.compile the second before a module's.
_PREFIX, _COMPILED = "module.", "_orig_mod."
# Where the weights are in a file that holds more, in the order in which they are looked for.
_KEYS = ("state_dict", "model", "model_state_dict")
# Of what `torch.load` reads without executing it.
_LAST_PROTOCOL = 3
# Weights hardly get smaller by compression, and few entries share their numbers with another.
_MAX_RATIO = 20
_MAX_SHARING = 4
_SMALL_BYTES = 1 << 20  # below it, neither is worth a refusal
_LEGACY_PICKLES = 5


@dataclass(frozen=True)
class Checkpoint:
    """The weights in a file.

    Attributes:
        state: Entry name to tensor on the CPU, without the `module.` and `_orig_mod.` of PyTorch's wrappers.
        wrappers: `_orig_mod.` where names held it.
    """

    state: dict[str, Tensor]
    wrappers: tuple[str, ...] = ()


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read the weights in a checkpoint file.

    Safetensors, zip and legacy files, `{"state_dict": ...}`, `{"model": ...}` and bare dicts, names with and
    without `module.`, with optimizer state and metadata or without. Read through `weights_only`:
    a file never executes code.

    Returns:
        Entry name to tensor, on the CPU, in the order of the file.

    Raises:
        MissingError: There is no such file, or it cannot be read.
        IntegrityError: It is not a checkpoint, is damaged, or names objects that are not weights.
    """
    return open_checkpoint(path).state


def open_checkpoint(path: str | Path) -> Checkpoint:
    """As `read_checkpoint`, with what its names held."""
    path = Path(path)
    if is_safetensors(path):
        return _stripped(path, read_safetensors(path))
    zipped, stored, held_bytes = _check_format(path)
    _check_pickle(path, zipped)
    state = _find_state(path, _load(path, zipped, stored))
    _check_size(path, state, held_bytes)
    return _stripped(path, state)


def _check_format(path: Path) -> tuple[bool, bool, int]:
    """Whether the file is a zip archive, and one without compression, and the bytes that it holds unpacked.

    Raises on what is recognisably no checkpoint.
    """
    if path.is_dir():
        raise MissingError(f"{path} is a folder, not a checkpoint", hint="name the file in it")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise MissingError(f"no checkpoint at {path}", hint="fetch it, or check the path") from error
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror}", hint="check its permissions") from error
    other = wrong_content(head, "weights.pth") or _name_format(head)
    if other:
        raise IntegrityError(f"{path} is {other}, not a checkpoint", hint=_AGAIN)
    if head.startswith(b"\x80"):
        return False, False, path.stat().st_size
    if not head.startswith(b"PK"):
        raise IntegrityError(f"{path} is not a checkpoint: it begins with {head[:8].hex(' ')}", hint=_AGAIN)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            stored = all(m.compress_type == zipfile.ZIP_STORED for m in archive.infolist())
            unpacked = sum(m.file_size for m in archive.infolist())
    except archive_errors() as error:
        size = path.stat().st_size
        raise IntegrityError(
            f"{path} is incomplete: {size} bytes, and its archive directory is missing", hint=_AGAIN
        ) from error
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner:
        raise IntegrityError(f"{path} is a TorchScript program, not a checkpoint", hint="use its state dict")
    if "data.pkl" not in inner:
        raise IntegrityError(f"{path} is a zip archive without weights ({_names(names)} ...)", hint=_AGAIN)
    if unpacked > max(_MAX_RATIO * path.stat().st_size, _SMALL_BYTES):
        raise IntegrityError(
            f"{path} is refused: {path.stat().st_size} bytes unpack to {unpacked}, which no weights do",
            hint=_AGAIN,
        )
    return True, stored, path.stat().st_size if stored else unpacked


def _check_pickle(path: Path, zipped: bool) -> None:
    """Raises on what would be hashed or printed without end while it is read."""
    try:
        if zipped:
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.partition("/")[2] == "data.pkl":
                        with archive.open(name) as file:
                            scan_pickle(file)
        else:
            with path.open("rb") as file:
                scan_pickle(file, _LEGACY_PICKLES)
    except UnsafePickle as error:
        raise IntegrityError(f"{path} is not a checkpoint: {error}", hint=_AGAIN) from None
    except archive_errors() as error:
        raise IntegrityError(f"{path} is damaged or incomplete: {_first_line(error)}", hint=_AGAIN) from error


def _check_size(path: Path, state: Mapping[str, Tensor], held_bytes: int) -> None:
    """Raises where the tensors are larger than the bytes that the file has for them (strides of zero)."""
    for name, tensor in state.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise IntegrityError(
                f"{path} is not a checkpoint: {printable(name, 60)} is larger than what is stored of it",
                hint=_AGAIN,
            )
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if claimed > max(_MAX_SHARING * held_bytes, _SMALL_BYTES):
        raise IntegrityError(
            f"{path} is not a checkpoint: its tensors claim {claimed} bytes, and it holds {held_bytes}",
            hint=_AGAIN,
        )


def _names(names: Iterable[object]) -> str:
    """The first names of a list from a file, each short and printable."""
    return ", ".join(printable(str(name), 60) for name in islice(names, 5))


def _name_format(head: bytes) -> str | None:
    """A known format that is not a checkpoint, by its first bytes."""
    if re.match(rb"\x08[\x01-\x20](\x12|:|B)", head) and not head.startswith(b"\x80"):
        return "an ONNX model"
    if head.startswith(b"\x1f\x8b"):
        return "a gzip file"
    if head.startswith(b"\x89HDF"):
        return "an HDF5 file"
    if head.lstrip()[:1] in (b"<", b"{", b"[") or re.fullmatch(rb"[\t\r\n -~]+", head):
        return "a text file"
    return None


def _load(path: Path, zipped: bool, stored: bool) -> Any:
    import pickle

    import torch

    allowed = [(IgnoredObject, name) for name in IGNORED_GLOBALS]
    try:
        # torch remarks on pickle protocols to whoever wrote the file; what matters is raised.
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):  # type: ignore[arg-type]
            warnings.simplefilter("ignore", UserWarning)
            # torch maps files by names in UTF-8.
            if not is_text(os.fspath(path)):
                with path.open("rb") as file:
                    return torch.load(file, map_location="cpu", weights_only=True)
            # Mapped, not read: the weights are copied once, into the network. An archive that was
            # packed again with compression has to be read, mapping would take its bytes as they are.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True if stored else None)
    except (pickle.UnpicklingError, AttributeError, TypeError) as error:
        names = _foreign_globals(path, zipped, str(error))
        if names:
            shown = _names(names) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            raise IntegrityError(
                f"{path} is refused: loading it would run code, it names {shown}",
                hint="save only its state dict with torch.save",
            ) from error
        protocol = _protocol(path, zipped)
        if protocol > _LAST_PROTOCOL:
            raise IntegrityError(
                f"{path} is refused: its pickle protocol is {protocol}, PyTorch's safe reader goes up to "
                f"{_LAST_PROTOCOL}",
                hint="save it again with torch.save, without pickle_protocol",
            ) from error
        raise IntegrityError(f"{path} is damaged: {_first_line(error)}", hint=_AGAIN) from error
    except pickle_errors() as error:
        raise IntegrityError(f"{path} is damaged or incomplete: {_first_line(error)}", hint=_AGAIN) from error


def _protocol(path: Path, zipped: bool) -> int:
    """The pickle protocol that a file says it is written in; 0 where it says none."""
    try:
        if zipped:
            with zipfile.ZipFile(path) as archive:
                name = next(n for n in archive.namelist() if n.partition("/")[2] == "data.pkl")
                head = archive.open(name).read(2)
        else:
            with path.open("rb") as file:
                head = file.read(2)
    except archive_errors(StopIteration):
        return 0
    return head[1] if len(head) == 2 and head[0] == 0x80 else 0


def _foreign_globals(path: Path, zipped: bool, message: str) -> list[str]:
    """Names in the file that its reader refused; empty when it was refused for another reason."""
    names = re.findall(r"GLOBAL (\S+) ", message)
    if zipped:
        import torch

        try:
            names += torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except Exception:  # only asked for a fuller message; the file is refused either way
            return sorted(set(names) - set(IGNORED_GLOBALS))
    elif names and not _is_whole_pickle(path):
        return []  # a name cut in two looks foreign
    return sorted(set(names) - set(IGNORED_GLOBALS))


def _is_whole_pickle(path: Path) -> bool:
    """Whether the four pickles that a legacy file starts with are all there; nothing is executed."""
    import pickletools

    try:
        with path.open("rb") as file:
            for _ in range(4):
                for _opcode in pickletools.genops(file):
                    pass
    except pickle_errors():
        return False
    return True


def _first_line(error: Exception) -> str:
    text = re.sub(r"\x1b\[\d+m", "", str(error)).strip() or "it ends too early"
    found = re.search(r"WeightsUnpickler error: (.*)", text)
    line = found[1].strip() if found else text.splitlines()[0]
    if not line:
        return "its bytes make no sense"
    if line.startswith("Unsupported global"):  # a name cut in two
        return "it ends too early"
    if line.startswith("Weights only load failed"):
        return "its bytes make no sense"
    return printable(line, 200)


def _find_state(path: Path, content: Any) -> Mapping[str, Tensor]:
    import torch

    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise IntegrityError(f"{path} holds a {kind}, not a dict of weights", hint=_AGAIN)
    key = next((k for k in _KEYS if isinstance(content.get(k), Mapping)), None)
    if key is None:  # by another name, if no other entry could be meant
        dicts = [k for k, v in content.items() if isinstance(v, Mapping) and _holds_tensors(v)]
        key = dicts[0] if len(dicts) == 1 else None
    state = content[key] if key else content
    wrong = [k for k, v in state.items() if not (isinstance(k, str) and isinstance(v, torch.Tensor))]
    if wrong or not state:
        found = f"entries that are not tensors: {_names(wrong)}" if wrong else "no entries"
        raise IntegrityError(f"{path} is not a checkpoint: {found}", hint=_AGAIN)
    unnamed = [k for k in state if not is_text(k)]
    if unnamed:
        raise IntegrityError(
            f"{path} is not a checkpoint: names that are not text: {_names(unnamed)}", hint=_AGAIN
        )
    odd = [k for k, v in state.items() if _is_odd(v)]
    if odd:
        raise IntegrityError(
            f"{path} holds tensors without plain numbers (sparse, quantised, complex or of the meta device): "
            f"{_names(odd)}",
            hint="save the network's own state dict",
        )
    return state


def _holds_tensors(state: Mapping[Any, Any]) -> bool:
    import torch

    return bool(state) and all(isinstance(v, torch.Tensor) for v in state.values())


def _is_odd(tensor: Tensor) -> bool:
    import torch

    return tensor.is_meta or tensor.is_quantized or tensor.is_complex() or tensor.layout != torch.strided


def _stripped(path: Path, state: Mapping[str, Tensor]) -> Checkpoint:
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        short = name.replace(_COMPILED, "").removeprefix(_PREFIX)
        if short in plain:
            raise IntegrityError(
                f"{path} holds '{printable(short, 60)}' twice, with and without '{_PREFIX}' or '{_COMPILED}'",
                hint=_AGAIN,
            )
        plain[short] = tensor.detach()
    return Checkpoint(plain, (_COMPILED,) if any(_COMPILED in name for name in state) else ())
