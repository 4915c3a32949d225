"""Imported by the server of `tests.support.forked`: what commands import, what networks are built from."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import tests.cli.command  # noqa: F401
from bddzoo.cli.main import COMMANDS
from bddzoo.registry import load_registry

for module, _ in COMMANDS.values():
    import_module(module.partition(":")[0])

with suppress(ImportError), tempfile.TemporaryDirectory() as folder:
    for module in ("runs.measure", "inference.load", "inference.pipeline"):
        import_module(f"bddzoo.{module}")
    from bddzoo.engines.flops import count_flops
    from bddzoo.engines.load import build_network
    from tests.support.tiny import write_registry

    for model in load_registry(write_registry(Path(folder, "registry.yaml"))).models:
        count_flops(build_network(model), model, (64, 64))

# What takes the longest of exporting, and of scoring tracks.
for module in ("torch.onnx._internal.exporter._core", "onnxscript", "scipy.optimize"):
    with suppress(ImportError):
        import_module(module)
