import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "code",
    [
        "from bddzoo.evaluation import disk, oracle, slices, statistics, submission",
        "from bddzoo.datasets.formats import convert",
        "from bddzoo.reports.plots import charts",
        "from bddzoo.cli.main import run; assert run(['score', '--help']) == 0",
    ],
)
def test_scoring_needs_no_torch(code):
    check = "import sys; assert not {'torch', 'matplotlib', 'PIL', 'pandas', 'bdd100k'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_help_needs_no_numpy():
    code = "import sys; from bddzoo.cli.main import run; run(['score', '--help'])"
    code += "; assert 'numpy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0


def test_json_is_scored_without_what_is_not_needed(compiled, tmp_path):
    """Importing NumPy, or what downloads, takes longer than reading and matching a few hundred frames."""
    box = {"category": "car", "box2d": {"x1": 3, "y1": 4, "x2": 50, "y2": 60}, "score": 0.5}
    mask = {"category": "car", "rle": {"counts": "525", "size": [3, 4]}, "score": 0.5}
    for task, label in (("det", box), ("ins_seg", mask)):
        path = tmp_path / f"{task}.json"
        path.write_text(json.dumps([{"name": "a.jpg", "labels": [label]}]))
        argv = ["score", "-t", task, "-g", str(path), "-r", str(path), "--format", "json"]
        code = (
            "import sys\nfrom pathlib import Path\nfrom bddzoo.datasets import native\n"
            f"native._state['loaded'] = native.Native(Path({str(compiled.library)!r}))\n"
            f"from bddzoo.cli.main import run\nassert run({argv!r}) == 0\n"
            "assert not {'numpy', 'requests', 'rich.progress', 'bddzoo.artifacts'} & set(sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["bddzoo"]["frames"] == 1
