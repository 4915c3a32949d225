"""`import bddzoo`: few names, typed and lazy, each in the guide; the guide's examples run in test_guides."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import bddzoo

ROOT = Path(__file__).parents[2]
NAMES = [name for name in bddzoo.__all__ if name != "__version__"]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_it_loads_nothing_else() -> None:
    code = "import sys, bddzoo; dir(bddzoo); print([m for m in sys.modules if m.startswith('bddzoo.')])"
    assert run(code) == "['bddzoo.version']\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_needs_no_torch_and_no_numpy(name: str) -> None:
    code = f"import sys, bddzoo; bddzoo.{name}; print({{'torch', 'numpy', 'cv2'}} & set(sys.modules))"
    assert run(code) == "set()\n"


def test_what_is_not_there_is_private() -> None:
    assert dir(bddzoo) == sorted(bddzoo.__all__)
    with pytest.raises(AttributeError, match="no attribute 'download'"):
        bddzoo.download  # noqa: B018


def test_type_checkers_are_told_the_same_names() -> None:
    """They read the imports that are never run; scripts read `__all__`."""
    tree = ast.parse((ROOT / "bddzoo/__init__.py").read_text())
    (told,) = [
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "bddzoo.api"
    ]
    assert sorted(alias.name for alias in told.names) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_typed_and_explained(name: str) -> None:
    value = getattr(bddzoo, name)
    assert value.__doc__
    assert f"`{name}`" in (ROOT / "docs/guides/python.md").read_text()
    if inspect.isfunction(value):
        for argument in inspect.signature(value).parameters.values():
            assert argument.annotation is not inspect.Parameter.empty
            assert f"{argument.name}:" in value.__doc__, argument.name
