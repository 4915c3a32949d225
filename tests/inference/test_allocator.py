import sys

import pytest

from tests.engines.test_ops import python

CODE = """
import resource, torch
from bddzoo.inference.cpu import keep_freed_memory
kept = {keep} and keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    for _ in range(6):
        torch.zeros(8 << 20).add_(1)
def faults_of_work():
    before = faults()
    work()
    return faults() - before
work()
print(int(kept), min(faults_of_work() for _ in range(3)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="settings of GNU's C library")
def test_freed_memory_is_used_again():
    """Six tensors of 32 MB, one after the other: their pages are mapped once, not six times.

    The least of three rounds counts: on a busy machine one mapping is sometimes made anew.
    """
    faults = {}
    for mode in ("keep", "plain"):
        kept, count = map(int, python(CODE.format(keep=mode == "keep")).split())
        faults[mode] = count
        if mode == "keep" and not kept:
            pytest.skip("this C library has no such settings")
    assert faults["keep"] < 1000
    assert faults["plain"] > 20 * faults["keep"]
