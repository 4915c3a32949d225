"""Throw everything at every command and print counts: `python -m tests.attacks [KIND]...`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import islice
from pathlib import Path

from tests.attacks import KINDS
from tests.attacks.harness import prepared, run_all


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def main() -> int:
    """Run the kinds that are named, or all; the exit status is 3 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--every", type=int, default=1, metavar="N", help="Only each Nth attack.")
    parser.add_argument("--name", default="", metavar="TEXT", help="Only attacks with this in their name.")
    given = parser.parse_args()
    worst = 0
    for kind in given.kinds or KINDS:
        with tempfile.TemporaryDirectory() as name:
            folder = prepared(Path(name) / "attack")
            chosen = (attack for attack in KINDS[kind](folder) if given.name in str(attack))
            tally = run_all(islice(chosen, 0, None, given.every), folder, say)
        say(f"{kind}: {tally}")
        worst = worst or 3 * bool(tally.faults)
    return worst


if __name__ == "__main__":
    sys.exit(main())
