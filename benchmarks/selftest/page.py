"""Write docs/selftest.md from what `noise.py` and `mistakes.py` measured.

python benchmarks/selftest/page.py > docs/selftest.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from bddzoo.engines.registry_config import is_buildable
from bddzoo.engines.selftest.arithmetic import SLACK
from bddzoo.engines.selftest.folder import NOISE, GoldenFolder, packaged, read_json
from bddzoo.engines.selftest.measures import FACTOR, FLOORS, MASK_LIMIT_PX, USUAL_NOISE, limit_of
from bddzoo.engines.selftest.openseg import OpensegTest, find_folder
from bddzoo.inference.batches import prepare
from bddzoo.registry import load_registry

RESULTS = Path(__file__).parent / "results"
ORDER = (
    *("default", "AVX2", "SSE4.1", "AVX-512", "oneDNN off", "2 threads"),
    *("float64", "TF32", "bfloat16", "NVIDIA H200"),
)
DISCRETE = ("class map", "unpaired")
# Of a kind of its own, with limits of their own.
OTHER_UNITS = ("boxes", "scores", "mask areas", "panoptic map", "float32", "equal", "differs")


def main() -> int:
    """Print the page."""
    noise = json.loads((RESULTS / "noise.json").read_text())
    mistakes = json.loads((RESULTS / "mistakes.json").read_text())
    settings = [s for s in ORDER if s in noise]
    with packaged() as root:
        kept = {**read_json(root / NOISE), **read_json(root / "openseg" / NOISE)}
        verified, unverified = covered(root)
    goldens = sorted({key for setting in settings for key in noise[setting]})
    rows = [row(key, noise, kept, settings) for key in goldens]
    flips = sum(noise[s][k].get(d, 0) for s in settings for k in noise[s] for d in DISCRETE)
    print(
        TEXT.format(
            goldens=len(goldens),
            counts=", ".join(f"{s} {len(noise[s])}" for s in settings),
            flips=int(flips),
            verified=verified,
            unverified=unverified,
            factor=f"{FACTOR:g}",
            floor=f"{FLOORS['std']:g}",
            usual=f"{USUAL_NOISE['std']:g}",
            px=f"{FLOORS['px']:g}",
            score=f"{FLOORS['score']:g}",
            mask=MASK_LIMIT_PX,
            slack=SLACK,
        )
    )
    print(tabulate(rows, headers=("golden", "limit", *settings), tablefmt="github", disable_numparse=True))
    found = [mistake_row(name, facts) for name, facts in mistakes.items()]
    missed = sum(facts["status"] != "differs" for facts in mistakes.values())
    made = [facts["made"] for facts in mistakes.values()]
    print(MISTAKES.format(count=len(found), missed=missed, first=min(made), last=max(made)))
    print(tabulate(found, headers=("mistake", "worst", "off by", "limit"), tablefmt="github"))
    return 0


def covered(root: Path) -> tuple[int, int]:
    """How many models that can run have a golden of their network, and how many have none."""
    models = load_registry(None).models
    folder, home = GoldenFolder(root), find_folder(root)
    assert home is not None
    zoo = OpensegTest(home, models, torch.device("cpu"), prepare)
    able = [m for m in models if is_buildable(m)]
    known = sum(bool(folder.applies_to(m.task, m.id) or zoo.name_of(m)) for m in able)
    return known, len(able) - known


def row(
    key: str, noise: dict[str, Any], kept: dict[str, dict[str, float]], settings: list[str]
) -> tuple[str, ...]:
    """The largest deviation of a golden's values under each setting, in units of their deviation."""
    limits = [limit_of(name, "std", kept[key]) for name in kept.get(key, {}) if name not in OTHER_UNITS]
    cells = []
    for setting in settings:
        found = noise[setting].get(key, {})
        values = [v for n, v in found.items() if n.rpartition("tuned ")[2] not in (*DISCRETE, *OTHER_UNITS)]
        if "float32" in found:
            cells.append(f"{found['float32']:.1e} {'equal' if 'equal' in found else 'differs'}")
        else:
            cells.append(f"{max(values):.1e}" if values else "")
    return (key, f"{min(limits):.1e}" if limits else f"{limit_of('', 'std', None):.1e}", *cells)


def mistake_row(name: str, facts: dict[str, Any]) -> tuple[str, ...]:
    """Which measure a mistake moves furthest beyond its limit."""
    unit = facts["unit"]
    return (name, facts["name"], f"{facts['value']:.2g} {unit}", f"{facts['limit']:.2g}")


TEXT = """# Selftest: equal to upstream, on any processor

Each network is filled with deterministic weights and compared with what the zoo's own, unmodified code
computed on the software it was written for: the zoo's configurations with PyTorch 1.13.1, mmcv-full
1.7.2, mmsegmentation 0.30.0 and mmdet 2.28.2; openseg's own code at aefc755 with PyTorch 1.13.1. `bddzoo
selftest --all` does that with the goldens that ship, `bddzoo selftest` with the smallest network of each kind
(half a minute on one core), `bddzoo selftest --golden DIR` with those of a folder, and
`--format md` prints the values of a run. Of the models that can run, {verified} have a golden of their
network; {unverified} have none and stay unverified.

A network must be told from another processor, so every comparison knows how far arithmetic may move it:

* Values: their deviation, in units of the golden's standard deviation, may be {factor} times the noise
  that is kept next to the golden, at least {floor}. The noise is the largest deviation under the settings
  below.
* What is further away is compared again in float64. There no instruction set, library, thread count or
  reduced precision matters: a mistake in the network is as large as before, and what this machine's
  float32 did is gone. Where float64 is right, float32 may be {slack} times as far away as else, and
  further in the measure in which the device multiplies more coarsely than float32 (TF32: some hundred
  times). The result says so.
* Class maps: a pixel may differ where its margin is below twice the limit of its logits.
* Boxes: within {px} px and scores within {score}, or {factor} times the noise; areas of masks within
  {mask} px. A proposal or detection may be missing, or be one too many, if suppression can have decided
  otherwise: an overlap as near to the threshold as last bits move it, scores that tie, the last rank
  of a list, or one of these for a box that suppresses it. Nothing else may follow from that.

## Noise

Measured by `python benchmarks/selftest/noise.py` over {goldens} goldens
({counts}):
the largest deviation, of the network as it is and as `eval` and `predict` tune it for a CPU. AVX2, SSE4.1,
AVX-512: what oneDNN, PyTorch and, for SSE4.1, MKL may use. TF32 and bfloat16: the operands of all products
rounded; the verdict is that of float64. NVIDIA H200: `bddzoo selftest --golden bddzoo/engines/golden
--device cuda --format json` in float32, with PyTorch 2.11.0, CUDA 13.0 and torchvision 0.26.0; nothing had
to be compared again in float64, and the limits are those of CPUs. Decisions that differ without a
near-tie: {flips}. Goldens of a folder that were not measured so have the noise of their index, which was
measured on the software of that time; what it lacks counts as {usual}.
"""

MISTAKES = """
## Mistakes

Made by `python benchmarks/selftest/mistakes.py` in networks with a golden that ships, from {first} to
{last} UTC: {count}, of which {missed} pass as equal. The worst measure of each, in float32 or float64
(`std`: units of the golden's deviation).
"""

if __name__ == "__main__":
    sys.exit(main())
