"""A sweep on a disk that is full, and again after room was made: FOLDER, in a mount namespace of its own.

Prints JSON: for both runs the states and reasons of the jobs, what was measured, and files left behind.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.results.factory import make_models, records_in
from tests.results.sweep_driver import local, settings


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


def main() -> None:
    """See above."""
    folder = Path(sys.argv[1])
    results = folder / "results"
    results.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(results)], check=True)
    told = []
    for full in (True, False):
        if full:
            fill(results / "fill")
        else:
            (results / "fill").unlink()
        jobs = local(make_models(3), settings(folder, retries=0)).run()
        measured = Counter(record.model for record in records_in(results))
        left = [p.name for p in results.rglob("*.tmp")]
        states = {job.model.id: [job.state, job.reason] for job in jobs}
        told.append({"states": states, "measured": measured, "left": left})
    print(json.dumps(told))


if __name__ == "__main__":
    main()
