import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "code",
    [
        "from bddzoo.evaluation import bootstrap, disk, oracle, statistics, submission",
        "from bddzoo.datasets.formats import convert",
        "from bddzoo.reports.plots import curves",
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
