"""The official toolkit as an oracle, and the recorded cases."""

from __future__ import annotations

import pytest

from bddzoo.evaluation.oracle import Toolkit, toolkit_python


@pytest.fixture(scope="session")
def toolkit():
    if toolkit_python() is None:
        pytest.skip("the official toolkit (bdd100k, the 'oracle' extra) is not installed")
    with Toolkit() as running:
        yield running
