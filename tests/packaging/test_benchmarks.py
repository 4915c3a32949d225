import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sampling import sampled

FOLDER = Path(__file__).parents[2] / "benchmarks"
# At the smallest size that goes through all of it.
COMMANDS = {
    "speed/registry.py --repeat 1": "bddzoo list, 5 x the rows",
    "speed/feed.py --images 2 --rounds 1 --batch 2": "upstream's loop",
    "speed/evaluation.py --frames 2 --runs 1 --without-toolkit --tasks 'det boxes'": "| det boxes | 2 |",
    "speed/first_prediction.py --repeat 1": "modules",
    "speed/inference.py --model demo_semfpn_r18n_sem_seg --images 1 --rounds 1": "demo_semfpn_r18n_sem_seg",
    "speed/fetch.py --rounds 1 --single-mb 1 --files 2 --file-mb 1": "bddzoo",
}
# Ten seconds of CPU or more.
SLOW = ("feed", "first_prediction", "inference", "fetch")


@pytest.mark.parametrize("command", sampled(COMMANDS, lambda c: not any(name in c for name in SLOW)))
def test_a_benchmark_runs(command, tmp_path):
    """How fast it is, is not asked: scripts that nothing runs break when what they measure grows."""
    script, *arguments = shlex.split(command)
    if "fetch" in script and shutil.which("nginx") is None:
        pytest.skip("nginx, next to which fetching is measured, is not installed")
    done = subprocess.run(
        [sys.executable, FOLDER / script, *arguments, "--out", tmp_path / "out.json"],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert COMMANDS[command] in done.stdout
