"""What checkpoints hold beside weights, and what becomes of it: nothing is built from it."""

from __future__ import annotations


class Discarded:
    """What becomes of a harmless object that is not weights.

    Training states carry learning-curve buffers and NumPy scalars. Nothing here reads them, so
    rather than letting a file build them, each of `DISCARDED` builds one of these, which keeps nothing.
    """

    def __new__(cls, *_: object) -> Discarded:
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


# mmengine's history buffers pickle their methods through getattr; the stand-in looks nothing up.
DISCARDED = (
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
