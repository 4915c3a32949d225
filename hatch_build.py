"""Build hook: compiles the loops of `bddzoo score` where there is a C compiler, and goes on without.

`python hatch_build.py` compiles them in a checkout, next to their source.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

SOURCE = Path("bddzoo/datasets/native.c")
NAME = "_native"
WITHOUT = "built without compiled loops: scoring takes longer, the numbers are the same"


def compile_loops(root: Path, target: Path | None = None) -> Path | None:
    """Compile `native.c` as an extension module of the stable ABI.

    Args:
        root: Folder of the project.
        target: Folder to put it into; next to the source by default.

    Returns:
        The module, or None where it cannot be compiled, after a line on standard error.
    """
    if os.environ.get("BDDZOO_NATIVE") == "0":
        return None
    place = target or (root / SOURCE).parent
    try:
        from setuptools import Distribution, Extension
        from setuptools.command.build_ext import build_ext

        flags = ["/O2"] if sys.platform == "win32" else ["-O3", "-std=c11"]
        extension = Extension(NAME, [str(root / SOURCE)], extra_compile_args=flags, py_limited_api=True)
        with tempfile.TemporaryDirectory() as scratch:
            command = build_ext(Distribution({"name": NAME, "ext_modules": [extension]}))
            command.build_lib, command.build_temp = scratch, scratch
            command.ensure_finalized()
            command.run()
            made = next(p for p in Path(scratch).glob(f"{NAME}*") if p.suffix in (".so", ".pyd"))
            shutil.copyfile(made, place / f"{made.name}.part")
            return (place / f"{made.name}.part").replace(place / made.name)
    except Exception as error:  # each compiler has failures of its own, and none of them is fatal
        print(f"{WITHOUT} ({type(error).__name__}: {error})", file=sys.stderr)
        return None


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # compiled by hand, without the build backend
    pass
else:

    class LoopsHook(BuildHookInterface):  # type: ignore[type-arg,misc]
        """Puts the module into the wheel, whose name then says which platform it is for."""

        PLUGIN_NAME = "custom"

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Called by hatchling before a wheel or an editable installation is built."""
            made = compile_loops(Path(self.root))
            if made is None:
                return
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"cp310-abi3-{platform}"
            if version != "editable":
                build_data["force_include"][str(made)] = str(SOURCE.parent / made.name)


if __name__ == "__main__":
    sys.exit(compile_loops(Path(__file__).parent) is None)
