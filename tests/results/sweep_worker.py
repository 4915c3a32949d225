"""A worker of a sweep that writes a real record at once: for tests of the sweep, not of networks.

python -m tests.results.sweep_worker MODEL --sleep 0.1 [--log FILE] [--crash MODEL] [--hang MODEL] ...
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from bddzoo.errors import BddzooError
from bddzoo.results import write_record
from tests.results.factory import make_model, make_record


def main() -> int:
    """Write a record of the model, or fail as told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--sleep", type=float, default=0.0)
    for fault in ("crash", "crash-once", "hang", "missing", "orphan"):
        parser.add_argument(f"--{fault}", default="")
    options = parser.parse_args()
    before = options.log.read_text().split() if options.log.exists() else []
    with options.log.open("a") as log:
        log.write(f"{options.model}\n")
    if options.model == options.orphan:
        orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (options.log.parent / "orphan").write_text(str(orphan.pid))
    if options.model == options.crash or (
        options.model == options.crash_once and options.model not in before
    ):
        os.abort()
    if options.model == options.hang:
        time.sleep(600)
    if options.model == options.missing:
        print("error: no source could be reached", file=sys.stderr)
        return 5
    time.sleep(options.sleep)
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    run = {"started": started, "sweep": os.environ["BDDZOO_SWEEP"], "duration_s": time.monotonic()}
    try:
        write_record(make_record(make_model(id=options.model), run=run), Path(os.environ["BDDZOO_RESULTS"]))
    except BddzooError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return int(error.exit_code)
    return 3


if __name__ == "__main__":
    sys.exit(main())
