"""Ways to run a network faster that change its numbers a little: only where they are asked for.

Whoever measures with one of them writes it down as a protocol field: see `Speedups.precision` and
`Speedups.options`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bddzoo.errors import MissingError, UsageError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Speedups:
    """What is asked for.

    Attributes:
        precision: `fp32`, `amp-fp16` (needs a GPU) or `amp-bf16`, a protocol field. Half precision where
            PyTorch's autocast holds it safe: the whole network of semantic segmentation up to its logits,
            backbone and neck of instance segmentation and of PointRend.
        channels_last: Memory layout of the convolutions, on any device. (On a CPU networks that gain
            by it have it anyway; see `bddzoo.inference.cpu`.)
        compile: Backbone and neck through `torch.compile`.
        runtime: `eager` (PyTorch), or another of `bddzoo.inference.runtimes`; `auto` until one is chosen.
        amp: How the command's user asks for `amp-fp16`, for messages.
    """

    precision: str = "fp32"
    channels_last: bool = False
    compile: bool = False
    runtime: str = "eager"
    amp: str = field(default="--amp", compare=False)

    @property
    def options(self) -> dict[str, str]:
        """Further protocol fields; empty by default."""
        chosen = {}
        if self.channels_last:
            chosen["channels_last"] = "on"
        if self.compile:
            chosen["compile"] = "inductor"
        if self.runtime != "eager":
            from bddzoo.inference.runtimes import runtime_version

            chosen["runtime"] = runtime_version(self.runtime)
        return chosen

    def check(self, device: torch.device) -> None:
        """Refuse what the device cannot do.

        Raises:
            UsageError: Half precision on a CPU.
            MissingError: `torch.compile` does not work on this machine.
        """
        if self.precision == "amp-fp16" and device.type != "cuda":
            raise UsageError(
                f"{self.amp} needs a GPU: on a CPU half precision is slower", hint="leave it out"
            )
        if self.compile:
            _check_compiler(device)
        if self.runtime != "eager":
            from bddzoo.inference.runtimes import check_runtime

            if replace(self, runtime="eager") != Speedups():
                raise UsageError(f"--runtime {self.runtime} goes with no other speedup", hint="give one")
            check_runtime(self.runtime, device)

    def apply(self, runner: Any) -> None:
        """Change a runner of `bddzoo.engines` in place; once."""
        import torch

        if self.runtime != "eager":
            from bddzoo.inference.runtimes import use_runtime

            use_runtime(runner, self.runtime)
            return
        module = runner.module
        if self.channels_last:
            module.to(memory_format=torch.channels_last)
        if self.compile:
            for name in ("backbone", "neck"):
                if getattr(module, name, None) is not None:
                    getattr(module, name).compile()
        if self.precision != "fp32":
            # A cascade of heads writes refined scores into those of the head before, in one type only.
            cascade = isinstance(getattr(module, "decode_head", None), torch.nn.ModuleList)
            name = "encode_decode" if runner.gives == "class map" and not cascade else "extract_feat"
            kind = torch.float16 if self.precision == "amp-fp16" else torch.bfloat16
            setattr(module, name, _half(getattr(module, name), next(module.parameters()).device.type, kind))


def _half(function: Any, device: str, kind: torch.dtype) -> Any:
    """The function under autocast, its results in float32: what follows is as exact as ever."""
    import torch

    def run(*arguments: Any, **named: Any) -> Any:
        with torch.autocast(device, dtype=kind):
            found = function(*arguments, **named)
        return found.float() if isinstance(found, torch.Tensor) else type(found)(f.float() for f in found)

    return run


def _check_compiler(device: torch.device) -> None:
    # Better before the first image than after the decoding of some.
    import torch

    try:
        torch.compile(lambda x: (x * 2).sin())(torch.ones(8, device=device))
    except Exception as error:  # its causes are many: no compiler, no triton, an unsupported Python
        text = str(error).strip()
        reason = text.splitlines()[0][:150] if text else type(error).__name__
        raise MissingError(
            f"torch.compile does not work on this machine: {reason}",
            hint="it needs a C++ compiler, and triton for a GPU; or run without it",
        ) from error
