import subprocess
import sys

import pytest

CODE = """
import resource, sys, torch
from bddzoo.inference.cpu import keep_freed_memory
kept = sys.argv[1] == "keep" and keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    for _ in range(20):
        torch.zeros(8 << 20).add_(1)
work()
before = faults()
work()
print(int(kept), faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="settings of GNU's C library")
def test_freed_memory_is_used_again():
    """Twenty tensors of 32 MB, one after the other: their pages are mapped once, not twenty times."""
    faults = {}
    for mode in ("keep", "plain"):
        command = [sys.executable, "-c", CODE, mode]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        kept, count = map(int, done.stdout.split())
        faults[mode] = count
        if mode == "keep" and not kept:
            pytest.skip("this C library has no such settings")
    assert faults["keep"] < 1000
    assert faults["plain"] > 20 * faults["keep"]
