"""The official toolkit as an oracle, and the compiled loops."""

from __future__ import annotations

from pathlib import Path

import pytest

from bddzoo.datasets import native
from bddzoo.evaluation.oracle import Toolkit, toolkit_python
from hatch_build import compile_loops


@pytest.fixture(scope="session")
def toolkit():
    if toolkit_python() is None:
        pytest.skip("the official toolkit (bdd100k, the 'oracle' extra) is not installed")
    with Toolkit() as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def plain_python():
    """Tests take the way without compiled loops, whatever this machine has compiled before."""
    native._state["loaded"] = None
    yield
    native._state.clear()


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """The compiled loops of this source; skips where there is no C compiler."""
    made = compile_loops(Path(__file__).parents[2], tmp_path_factory.mktemp("native"))
    if made is None:
        pytest.skip("there is no C compiler")
    return native.Native(made)


@pytest.fixture(params=["plain", "compiled"])
def either_way(request, monkeypatch):
    """The same test without and with compiled loops."""
    if request.param == "compiled":
        monkeypatch.setitem(native._state, "loaded", request.getfixturevalue("compiled"))
