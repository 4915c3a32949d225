"""CPU time of reading the registry and of the commands that need nothing else.

    python benchmarks/speed/registry.py [--repeat N] [--out FILE]

Prints, in milliseconds of CPU time (best of N): load and check of the full registry, the same with ten
times as many rows (both from the parsed copy in the cache folder, as from the second start on), parsing
without that copy, PyYAML's C loader alone on the same file, and commands beyond an empty Python start.
Exits 1 where a promise is broken: 60 ms for the registry, at most ten times that for ten times the rows,
150 ms for the commands, 500 ms for a list of 2,000 models (five times as many).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bddzoo.registry import default_path, load_text
from bddzoo.registry.reader import parse

LIMITS_MS = {
    "load": 60.0,
    "load, 10 x the rows": 600.0,
    "bddzoo list": 150.0,
    "bddzoo list, 5 x the rows": 500.0,
    "bddzoo --help": 150.0,
}


def best_ms(call: Callable[[], object], repeat: int) -> float:
    """Least CPU time of a call in this process."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times) * 1000


def process_ms(arguments: list[str], repeat: int) -> float:
    """Least CPU time of a process, user and system."""
    times = []
    for _ in range(repeat):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times) * 1000


def multiply(text: str, times: int) -> str:
    """The registry with its zoos several times over, ids and all made different."""
    head, mark, zoos = text.partition("\nzoos:\n")
    copies = [zoos]
    for number in range(1, times):
        # The zoo's or model's id is all that has to differ.
        copy = [
            line.replace("id: ", f"id: x{number}_", 1)
            if line.lstrip().startswith(("- id: ", "- {id: "))
            else line
            for line in zoos.split("\n")
            if not line.lstrip().startswith(("row_tails", "former_ids"))
        ]
        copies.append("\n".join(copy))
    return head + mark + "\n".join(copies)


def main() -> int:
    """Measure, print, and compare with the promises."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON")
    options = parser.parse_args()
    repeat: int = options.repeat

    import yaml

    text = default_path().read_text(encoding="utf-8")
    large = multiply(text, 10)
    assert len(load_text(large, "x").models) == 10 * len(load_text(text, "x").models)
    empty = process_ms(["-c", "pass"], repeat)
    folder = tempfile.TemporaryDirectory()
    many = Path(folder.name) / "registry.yaml"
    many.write_text(multiply(text, 5), encoding="utf-8")
    found = {
        "load": best_ms(lambda: load_text(text, "registry.yaml"), repeat),
        "load, 10 x the rows": best_ms(lambda: load_text(large, "registry.yaml"), repeat),
        "parsing, without a copy": best_ms(lambda: parse(text, "registry.yaml"), repeat),
        "PyYAML C loader alone": best_ms(lambda: yaml.load(text, Loader=yaml.CSafeLoader), repeat),
        "bddzoo list": process_ms(["-m", "bddzoo", "list"], repeat) - empty,
        "bddzoo list, 5 x the rows": process_ms(["-m", "bddzoo", "--registry", str(many), "list"], repeat)
        - empty,
        "bddzoo --help": process_ms(["-m", "bddzoo", "--help"], repeat) - empty,
    }
    code = 0
    for name, value in found.items():
        limit = LIMITS_MS.get(name)
        late = limit is not None and value > limit
        code |= late
        print(f"{name:28}{value:9.1f} ms" + (f"  (at most {limit:.0f})" if limit else "") + (" LATE" * late))
    ratio = found["load, 10 x the rows"] / found["load"]
    print(f"{'ten times the rows':28}{ratio:9.1f} times the time  (at most 10)" + (" LATE" * (ratio > 10)))
    if options.out is not None:
        result = {
            "python": platform.python_version(),
            "system": platform.platform(),
            "processors": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 2),
            "repeat": repeat,
            "cpu_ms": {name: round(value, 1) for name, value in found.items()},
            "limits_ms": LIMITS_MS,
            "times_for_ten_times_the_rows": round(ratio, 2),
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(code or ratio > 10)


if __name__ == "__main__":
    sys.exit(main())
