"""How PyTorch, its libraries and NumPy say that there is too little memory."""

from __future__ import annotations

_TOO_LITTLE = (
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "bad_alloc",
    "could not create a memory object",
    "could not create a primitive",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    # What cuDNN's way of choosing a kernel says when none gets its work space.
    "unable to find an engine",
    "valid cuDNN algorithm",
)


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether an error of PyTorch or oneDNN says that memory does not suffice, on a GPU or on the CPU."""
    import torch

    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in said for words in _TOO_LITTLE
    )
