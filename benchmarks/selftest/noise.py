"""How far legitimate arithmetic moves the self-test's goldens.

Every golden is compared under each setting: instruction sets, oneDNN on and off, one and two threads,
float64, and with the operands of products rounded as TF32 and bfloat16 are. The largest deviation of each
measure goes next to the goldens (`noise.json`), where the self-test takes its limits from; what each setting
gave goes to `results/noise.json`, which `page.py` shows. With --only or --settings, what is there of others
stays.

    python benchmarks/selftest/noise.py
    python benchmarks/selftest/noise.py --golden DIR --only 'full/deeplab*' --settings default float64
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bddzoo.engines.selftest.arithmetic import Check, float64, judge
from bddzoo.engines.selftest.folder import NOISE, GoldenFolder, packaged
from bddzoo.engines.selftest.measures import CheckResult, Measure
from bddzoo.engines.selftest.openseg import OpensegTest, find_folder
from bddzoo.engines.selftest.run import Selftest
from bddzoo.inference.batches import prepare
from bddzoo.inference.cpu import tune_for_cpu
from bddzoo.registry import load_registry

RESULTS = Path(__file__).parent / "results/noise.json"
# What a process is started with, because PyTorch and oneDNN read it once.
ENVIRONMENTS = {
    "SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "AVX-512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx512"},
}
_PRODUCTS = ("convolution", "mm", "bmm", "addmm", "baddbmm", "linear", "pointwise")
# Bits of the fraction that are left: TF32 and bfloat16.
ROUNDED = {"TF32": 10, "bfloat16": 7}
CONTINUOUS = ("std", "px", "score")
# Measures whose limits do not depend on noise.
FIXED = ("class map", "unpaired", "input", "mask areas", "panoptic map")


class Rounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The operands of float32 products have fewer bits, as tensor cores take them."""

    def __init__(self, bits: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.drop = 23 - bits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(word in func.__name__ for word in _PRODUCTS):
            args = [self._round(a) for a in args]
        return func(*args, **(kwargs or {}))

    def _round(self, x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or x.dtype != torch.float32:
            return x
        bits = x.contiguous().view(torch.int32)
        half = 1 << (self.drop - 1)
        return ((bits + half) & -(1 << self.drop)).view(torch.float32)


@contextmanager
def without_onednn() -> Iterator[None]:
    """PyTorch's own convolutions."""
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = True  # type: ignore[assignment]


@contextmanager
def two_threads() -> Iterator[None]:
    """Sums split in two."""
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(1)


CONTEXTS: dict[str, Callable[[torch.nn.Module], AbstractContextManager[None]]] = {
    "default": lambda _: nullcontext(),
    "oneDNN off": lambda _: without_onednn(),
    "2 threads": lambda _: two_threads(),
    "float64": float64,
}
SETTINGS = (*CONTEXTS, *ENVIRONMENTS, *ROUNDED)


class Recorder:
    """Takes the place of the self-test's judge, and prints what every setting gives."""

    def __init__(self, settings: list[str], only: list[str]) -> None:
        self.settings = settings
        self.only = only
        self.seen: set[tuple[str, str]] = set()

    def __call__(self, finding: CheckResult, module: torch.nn.Module, check: Check, prefix: str) -> None:
        key = f"{finding.check}/{finding.golden or finding.subject.removeprefix('openseg/')}"
        finding.measures.append(Measure("recorded", 0, 0, "count"))
        if not _matches(key, self.only) or (key, prefix) in self.seen:
            return
        self.seen.add((key, prefix))
        for name in self.settings:
            # A tuned network is oneDNN's own; in float64 it is the plain one, which openseg's is not run as.
            if prefix and (
                name in ("oneDNN off", *ROUNDED) or (name == "float64" and key.startswith("small"))
            ):
                continue
            if name in ROUNDED:
                found = _rounded(module, check, ROUNDED[name])
            else:
                with CONTEXTS.get(name, CONTEXTS["default"])(module):
                    measures = check(module)
                kept = [m for m in measures if m.unit in CONTINUOUS or m.name in ("class map", "unpaired")]
                found = {prefix + m.name: m.value for m in kept}
            print(json.dumps([name, key, found]), flush=True)


def _matches(key: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _rounded(module: torch.nn.Module, check: Check, bits: int) -> dict[str, float]:
    """How far rounding moves the values, and whether the self-test's judge calls them equal all the same."""
    judged = CheckResult("", "", "differs")
    with Rounded(bits):
        judge(judged, module, check)
    judged.settle()
    rounding = next((m.value for m in judged.measures if m.name == "float32"), 0.0)
    return {"float32": rounding, judged.status: 1.0}


def measure(settings: list[str], root: Path, only: list[str]) -> None:
    """All goldens under some settings of this process."""
    torch.set_num_threads(1)
    recorder = Recorder(settings, only)
    models, cpu = load_registry(None).models, torch.device("cpu")
    test = Selftest(GoldenFolder(root), models, cpu, prepare, tune_for_cpu, recorder)
    for model in test.known():
        goldens = [f"{g.kind.name}/{g.name}" for g in test.folder.goldens(model.task, model.id)]
        if any(_matches(golden, only) for golden in goldens):
            test.model(model)
    home = find_folder(root)
    if home is not None:
        zoo = OpensegTest(home, models, cpu, prepare, tune_for_cpu, judge=recorder)
        for name in zoo.names():
            if any(_matches(f"{v}/{name}", only) for v in ("n", "base")):
                zoo.network(name)


def noise_of(found: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """The largest deviation of each measure of each golden, rounded up to two digits."""
    noise: dict[str, dict[str, float]] = {}
    for setting, goldens in found.items():
        if setting in ROUNDED:
            continue
        for key, measures in goldens.items():
            own = noise.setdefault(key, {})
            for measure, value in measures.items():
                name = measure.removeprefix("tuned ")
                if name not in FIXED and value > own.get(name, 0.0):
                    own[name] = float(f"{value * 1.05:.1e}")
    return noise


def main() -> int:
    """Measure under the settings, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--golden", type=Path, metavar="DIR", help="default: the goldens of the package")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN", help="goldens: KIND/NAME")
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with packaged() as own:
        root = arguments.golden or own
        if arguments.worker:
            measure(arguments.settings, root, arguments.only)
            return 0
        alike = [s for s in arguments.settings if s not in ENVIRONMENTS]
        for settings in (*([s] for s in arguments.settings if s in ENVIRONMENTS), alike):
            if settings:
                run(settings, root, arguments.only)
        write(own)
    return 0


def write(root: Path) -> None:
    """Put the noise next to the goldens."""
    noise = noise_of(json.loads(RESULTS.read_text()))
    openseg = {k: v for k, v in noise.items() if k.startswith(("n/", "base/"))}
    rest = {k: v for k, v in noise.items() if k not in openseg}
    for folder, part in ((root, rest), (root / "openseg", openseg)):
        (folder / NOISE).write_text(json.dumps(part, indent=0, sort_keys=True) + "\n")


def run(settings: list[str], root: Path, only: list[str]) -> None:
    """Measure in a process of its own; what it finds is kept golden by golden."""
    command = [sys.executable, __file__, "--worker", "--golden", str(root), "--only", *only]
    environment = {**os.environ, **ENVIRONMENTS.get(settings[0], {}), "OMP_WAIT_POLICY": "PASSIVE"}
    worker = subprocess.Popen(
        [*command, "--settings", *settings], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    for line in worker.stdout:
        setting, key, found = json.loads(line)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # other settings may be measured at the same time
            file.seek(0)
            kept = json.loads(file.read() or "{}")
            kept.setdefault(setting, {}).setdefault(key, {}).update(found)
            file.truncate(0)
            file.write(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    if worker.wait():
        raise subprocess.CalledProcessError(worker.returncode, command)


if __name__ == "__main__":
    sys.exit(main())
