"""How many images per second reach a network that costs nothing, and come back as scores.

    python benchmarks/speed/feed.py [--images N] [--rounds N] [--out FILE]

That is what a GPU has to be fed with: a network faster than this waits for the rest. Ours is the pipeline
of `bddzoo eval`; the peer is upstream's loop, `inference_model` of mmsegmentation image by image. Both
read the same JPEG files, prepare them for the same network (1280x720 into 1281x721, in float32), and score
class maps of the images' size; the network itself is left out of both. In turns in one process, the best
of each.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from inference import Peer, find, frames_of, predict_and_score, weights_for

MODEL = "fpn_r50_512x1024_40k_sem_seg_bdd100k"


class Nothing:
    """A network without work: one channel of zeros."""

    gives = "class map"

    def logits(self, x: Any, out_size: tuple[int, int]) -> Any:
        """(N, 1, *out_size)."""
        return x.new_zeros((len(x), 1, *out_size))


def timed(function: Any, *arguments: Any) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    function(*arguments)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4, help="images per forward pass of ours")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to keep the numbers, as JSON")
    arguments = parser.parse_args()

    import msgspec

    from bddzoo.datasets.mini import make_mini
    from bddzoo.inference.cpu import keep_freed_memory
    from bddzoo.results.environment import collect_environment
    from bddzoo.runs.scorers import make_scorer

    keep_freed_memory()  # for both
    model = find(MODEL)
    best: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        make_mini(Path(name) / "data", val=arguments.images)
        frames = frames_of(model, Path(name) / "data")
        peer = Peer(model, weights_for(MODEL, Path(name)), "cpu")
        peer.net.out_channels = peer.net.decode_head.out_channels = 1
        peer.net.decode_head.threshold = 0.5
        peer.net.encode_decode = lambda x, _: x.new_zeros((len(x), 1, *x.shape[2:]))
        for _ in range(arguments.rounds):
            for side, got in (
                (
                    "ours",
                    timed(
                        predict_and_score,
                        Nothing(),
                        model,
                        frames,
                        make_scorer(model),
                        "cpu",
                        arguments.batch,
                    ),
                ),
                ("peer", timed(peer.run, frames, make_scorer(model))),
            ):
                best[side] = min(best.get(side, got), got)
    row: dict[str, Any] = {"model": MODEL, "images": arguments.images, "batch": arguments.batch}
    for side, (wall, cpu) in best.items():
        row[f"{side}_images_per_s"] = round(arguments.images / wall, 2)
        row[f"{side}_cpu_ms"] = round(1000 * cpu / arguments.images, 2)
    row["ratio"] = round(best["peer"][0] / best["ours"][0], 3)
    print(
        f"ours {row['ours_images_per_s']:.1f} images/s ({row['ours_cpu_ms']:.1f} ms of CPU each), "
        f"upstream's loop {row['peer_images_per_s']:.1f} ({row['peer_cpu_ms']:.1f} ms): {row['ratio']:.2f}x"
    )
    if arguments.out:
        content = {"versions": msgspec.to_builtins(collect_environment()), "rows": [row]}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
