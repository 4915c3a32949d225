"""A GPU that is not there: tensors that torch takes for CUDA's, with values that the CPU computes.

`pretend_gpu()` makes torch see one CUDA device. Tensors put on it are another kind of tensor: their
`device` is `cuda:0`, every operator that meets them runs on their values in host memory, and what CUDA
refuses is refused: an operator over tensors of both places (but for single numbers and indices), and
reading one as an array without fetching it first. Code that has run so has everything where it belongs
and takes the branches that a GPU takes; what CUDA's own kernels give, and how fast, it cannot tell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda:0")
NAME = "a GPU that is not there"
_ATEN = torch.ops.aten
# Operators that take tensors from either place: copies, and indexing with indices in host memory.
_CROSSING = {
    _ATEN._to_copy.default,
    _ATEN.to.device,
    _ATEN.to.dtype,
    _ATEN.to.dtype_layout,
    _ATEN.to.other,
    _ATEN.copy_.default,
    _ATEN.index.Tensor,
    _ATEN.index_put.default,
    _ATEN.index_put_.default,
    _ATEN._index_put_impl_.default,
}
_WIDENING = {_ATEN._softmax.default, _ATEN._log_softmax.default}
# Bytes of the largest tensor that there is room for.
_largest: ContextVar[float] = ContextVar("largest", default=float("inf"))


class OnDevice(torch.Tensor):
    """A tensor on the device; `host` holds its values."""

    host: torch.Tensor

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> OnDevice:
        made: OnDevice = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=DEVICE,
        )
        made.host = host
        return made

    def __repr__(self, **_: Any) -> str:
        return f"OnDevice({tuple(self.shape)}, {self.dtype})"

    def tolist(self) -> Any:
        """Numbers, which CUDA gives out too."""
        return self.host.tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Sees the operators whose arguments are not tensors yet, or in host memory only."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    leaves = tree_leaves((args, kwargs))
    tensors = [x for x in leaves if isinstance(x, torch.Tensor)]
    there = [x for x in tensors if isinstance(x, OnDevice)]
    here = [tuple(x.shape) for x in tensors if not isinstance(x, OnDevice) and x.dim()]
    asked = [x for x in leaves if isinstance(x, torch.device)]
    if there and here and function not in _CROSSING:
        raise RuntimeError(f"Expected all tensors to be on the same device: {function} also got CPU's {here}")
    if asked:
        on_device = asked[0].type == "cuda"
    elif function is _ATEN.to.other:
        on_device = isinstance(args[1], OnDevice)
    elif function in _CROSSING:
        on_device = isinstance(args[0], OnDevice)
    else:
        on_device = bool(there)
    inner_args, inner_kwargs = tree_map(_unwrap, (args, kwargs))
    inner_kwargs.pop("pin_memory", None)
    if function in _WIDENING and inner_args[2]:  # half precision in, single out: the CPU has no such kernel
        inner_args = (inner_args[0].float(), inner_args[1], False)
    found = function(*inner_args, **inner_kwargs)
    if not on_device:
        return found
    for x in tree_leaves(found):
        if isinstance(x, torch.Tensor) and x.nbytes > _largest.get():
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {x.nbytes} bytes")
    # What was changed in place stays the same tensor, as seen from outside.
    owners = {id(x.host): x for x in there}
    return tree_map(lambda x: _wrap(x, owners), found)


def _wrap(x: Any, owners: dict[int, OnDevice]) -> Any:
    if not isinstance(x, torch.Tensor):
        return x
    return owners[id(x)] if id(x) in owners else OnDevice(x)


def _unwrap(x: Any) -> Any:
    if isinstance(x, torch.device):
        return torch.device("cpu")
    return x.host if isinstance(x, OnDevice) else x


class _Numbered(TorchFunctionMode):
    """Gives `cuda` its number: looking for the current device would ask the driver."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*tree_map(_number, args), **tree_map(_number, kwargs or {}))


def _number(x: Any) -> Any:
    return DEVICE if isinstance(x, str | torch.device) and str(x) == "cuda" else x


class _Event:
    """An event of a stream that is always done; remembers what was asked of it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.stream: Any = None

    def record(self, stream: Any = None) -> None:
        self.stream = stream or torch.cuda.current_stream()

    def synchronize(self) -> None:
        assert self.stream is not None, "waited for an event that nothing records"
        assert self.stream.device == DEVICE, f"waited for {self.stream.device}, which does nothing"


@contextlib.contextmanager
def pretend_gpu(largest_bytes: float = float("inf"), current: int = 0) -> Iterator[None]:
    """Make torch see one GPU while the block lasts.

    Args:
        largest_bytes: Tensors that are larger do not fit into its memory.
        current: The process's current device; another than 0 is one more GPU, that cannot be used.
    """

    def set_device(device: Any) -> None:
        nonlocal current
        current = torch.device(device).index

    def current_stream(device: Any = None) -> Any:
        return SimpleNamespace(device=torch.device("cuda", current) if device is None else device)

    properties = SimpleNamespace(name=NAME, total_memory=2**37, major=9, minor=0)
    said: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: max(1, current + 1),
        "current_device": lambda: current,
        "set_device": set_device,
        "current_stream": current_stream,
        "_lazy_init": lambda: None,
        "get_device_name": lambda *_: NAME,
        "get_device_properties": lambda *_: properties,
        "max_memory_allocated": lambda *_: 0,
        "empty_cache": lambda: None,
        "Event": _Event,
    }
    with contextlib.ExitStack() as stack:
        for name, value in said.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        torch._C._ensureCUDADeviceGuardSet()  # type: ignore[attr-defined]  # one that asks no driver
        torch._C._set_only_lift_cpu_tensors(True)  # type: ignore[attr-defined]
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)  # type: ignore[attr-defined]
        # cuDNN has operators of its own, which the CPU lacks.
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        # Or modules keep their parameters' objects, and only torch's own kind of tensor fits into those.
        before = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, before)
        stack.callback(_largest.reset, _largest.set(largest_bytes))
        stack.enter_context(_Numbered())
        stack.enter_context(_Mode())
        yield
