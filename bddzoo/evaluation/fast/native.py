"""The few loops that are worth a C compiler, where there is one.

`native.c` is compiled once, into the user's cache, and loaded through ctypes: that takes a millisecond
and no memory worth mentioning, against half a second and 130 MB for numba. Without a compiler
everything works the same through the libraries, only slower. `BDDZOO_NATIVE=0` forbids it.

Memory that is used again for the next frame.

Fresh arrays of a picture's size come from the operating system page by page, which takes longer than the
work done in them.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bddzoo.errors import MissingError
from bddzoo.files import user_folder

_local = threading.local()


def buffer(shape: tuple[int, ...], slot: str) -> NDArray[np.uint8]:
    """An array of this thread, shape (...) uint8, with whatever it was used for before.

    Args:
        shape: Shape; a slot keeps one array for each number of dimensions, that of the last size.
        slot: Name; the array is the caller's until the next call with the same name. Without one it is new.
    """
    if not slot:
        return np.empty(shape, np.uint8)
    key = slot + str(len(shape))
    old: NDArray[np.uint8] | None = getattr(_local, key, None)
    if old is None or old.shape != shape:
        old = np.empty(shape, np.uint8)
        setattr(_local, key, old)
    return old


SOURCE = Path(__file__).with_name("native.c")
FLAGS = ("-O3", "-std=c99", "-shared", "-fPIC")
COMPILE_TIMEOUT_S = 60
# Compiling takes about as long as so many frames gain by it.
WORTH_COMPILING = 100

_pointer = ctypes.c_void_p
_int = ctypes.c_int64


class Native:
    """The compiled loops."""

    def __init__(self, library: Path) -> None:
        loaded = ctypes.CDLL(str(library))
        self._unfilter = loaded.bz_unfilter
        self._unfilter.argtypes = (_pointer, _pointer, _int, _int, _int)
        self._count_pairs = loaded.bz_count_pairs
        self._count_pairs.argtypes = (_pointer, _pointer, _int, _int, _pointer, _pointer)
        self._count_pairs.restype = None
        self._rle_runs = loaded.bz_rle_runs
        self._rle_runs.argtypes = (ctypes.c_char_p, _pointer, _int, _int, _pointer, _pointer, _pointer)
        self._rle_runs.restype = _int
        self._class_runs = loaded.bz_class_runs
        self._class_runs.argtypes = (
            *(ctypes.c_char_p, _pointer, _int, _int, _pointer),
            *(_pointer, _int, _pointer, _pointer),
        )
        self._class_runs.restype = _int
        self._merge_runs = loaded.bz_merge_runs
        self._merge_runs.argtypes = (
            *(_pointer, _pointer, _int, _pointer, _pointer, _int),
            *(_int, _int, _pointer),
        )
        self._merge_runs.restype = None

    def unfilter(self, raw: NDArray[np.uint8], out: NDArray[np.uint8], step: int) -> bool:
        """Undo PNG's row filters.

        Args:
            raw: (H, 1 + W) uint8, each row behind its filter type.
            out: (H, W) uint8, written.
            step: Bytes of a pixel.

        Returns:
            Whether all filter types exist.
        """
        rows, width = out.shape
        if raw.shape != (rows, width + 1):
            raise ValueError(f"{raw.shape} does not belong to {out.shape}")
        return int(self._unfilter(_bytes(raw), _bytes(out), rows, width, step)) == 0

    def count_pairs(
        self, gt: NDArray[np.uint8], pred: NDArray[np.uint8], classes: int, known: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], int]:
        """Confusion matrix and unknown pixels of two maps of the same size; see `confusion`."""
        if gt.size != pred.size:
            raise ValueError(f"{gt.size} and {pred.size} pixels")
        out = np.zeros((classes + 2, classes + 1), np.int64)
        gt, pred = np.ascontiguousarray(gt), np.ascontiguousarray(pred)
        flags = known.view(np.uint8)
        self._count_pairs(_bytes(gt), _bytes(pred), gt.size, classes, _bytes(flags), _ints(out))
        return out[:classes], int(out[-1].sum())

    def rle_runs(
        self, counts: Sequence[bytes], pixels: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | int:
        """Foreground runs of masks: first pixels, those behind the last, and masks; all (N,) int64.

        Args:
            counts: Compressed counts of masks of one size.
            pixels: Height times width.

        Returns:
            The runs, or the position of the first malformed mask.
        """
        joined = b"".join(counts)
        sizes = np.array([len(c) for c in counts], np.int64)
        starts, ends, masks = np.empty((3, len(joined) + 1), np.int64)
        found = int(
            self._rle_runs(
                *(joined, _ints(sizes), len(counts), pixels), *(_ints(starts), _ints(ends), _ints(masks))
            )
        )
        return -1 - found if found < 0 else (starts[:found], ends[:found], masks[:found])

    def class_runs(
        self, counts: Sequence[bytes], classes: NDArray[np.uint8], pixels: int
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]] | int:
        """Class map of masks as runs in ascending order: first pixels (N,) int64 and values (N,) uint8.

        Args:
            counts: Compressed counts of masks of one size.
            classes: (masks,) uint8, class of each.
            pixels: Height times width.

        Returns:
            The runs, the position of the first malformed mask, or the number of masks where they overlap.
        """
        joined = b"".join(counts)
        sizes = np.array([len(c) for c in counts], np.int64)
        if classes.size != sizes.size:
            raise ValueError(f"{sizes.size} masks and {classes.size} classes")
        # Room for so much, in powers of two so that it is used again.
        room = 1 << len(joined).bit_length()
        scratch = buffer((room * 8 * 7 + 16,), "runs")
        places = scratch[: room * 40].view(np.int64)
        starts = scratch[room * 40 : room * 56 + 8].view(np.int64)
        values = buffer((2 * room + 1,), "run values")
        found = int(
            self._class_runs(
                *(joined, _ints(sizes), len(counts), pixels, _bytes(classes)),
                *(_ints(places), room, _ints(starts), _bytes(values)),
            )
        )
        return -1 - found if found < 0 else (starts[:found].copy(), values[:found].copy())

    def merge_runs(
        self,
        gt_starts: NDArray[np.int64],
        gt: NDArray[np.uint8],
        pred_starts: NDArray[np.int64],
        pred: NDArray[np.uint8],
        pixels: int,
        classes: int,
    ) -> NDArray[np.int64]:
        """Confusion matrix (classes, classes + 1) int64 of two maps given as runs, each starting at 0."""
        out = np.zeros((classes + 2, classes + 1), np.int64)
        self._merge_runs(
            *(_ints(gt_starts), _bytes(gt), gt.size, _ints(pred_starts), _bytes(pred), pred.size),
            *(pixels, classes, _ints(out)),
        )
        return out[:classes]


def _bytes(array: NDArray[np.uint8]) -> int:
    if array.dtype != np.uint8 or not array.flags.c_contiguous:
        raise ValueError("expected contiguous uint8")
    return array.ctypes.data


def _ints(array: NDArray[np.int64]) -> int:
    if array.dtype != np.int64 or not array.flags.c_contiguous:
        raise ValueError("expected contiguous int64")
    return array.ctypes.data


_state: dict[str, Native | None] = {}


def native(frames: int = 0) -> Native | None:
    """The compiled loops, or None.

    Args:
        frames: Size of the set that is going to be scored: a small one is not worth compiling for.
            0 asks for what is loaded.
    """
    if "loaded" in _state or not frames:
        return _state.get("loaded")
    if os.environ.get("BDDZOO_NATIVE") == "0":
        return None
    try:
        library = library_path()
    except MissingError:  # no place to keep it: NumPy does
        return None
    if not _trusted(library) and (frames < WORTH_COMPILING or not build(library)):
        return None
    try:
        _state["loaded"] = Native(library)
    except (OSError, AttributeError):
        _state["loaded"] = None
    return _state["loaded"]


def library_path() -> Path:
    """Where the compiled loops of this source and machine lie."""
    what = SOURCE.read_bytes() + " ".join((*FLAGS, platform.system(), platform.machine())).encode()
    return user_folder("cache").parent / "bddzoo-native" / f"{hashlib.sha256(what).hexdigest()[:20]}.so"


def build(library: Path) -> bool:
    """Compile; returns whether it worked."""
    import shutil
    import subprocess
    import tempfile

    compiler = shutil.which(os.environ.get("CC") or "cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        return False
    try:
        library.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder) / library.name
            command = [compiler, *FLAGS, "-o", str(made), str(SOURCE)]
            done = subprocess.run(command, capture_output=True, timeout=COMPILE_TIMEOUT_S, check=False)
            if done.returncode:
                return False
            made.chmod(0o600)
            made.replace(library)
    except (OSError, subprocess.SubprocessError):
        return False
    return _trusted(library)


def _trusted(library: Path) -> bool:
    """Whether the file is there and nobody else could have written it."""
    try:
        status = library.stat()
    except OSError:
        return False
    owner = getattr(os, "getuid", lambda: status.st_uid)()
    return status.st_uid == owner and not status.st_mode & 0o022
