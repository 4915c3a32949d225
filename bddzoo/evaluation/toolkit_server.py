"""Runs the official toolkit, one evaluation for each line of standard input.

A script of its own because the toolkit needs `pydantic.v1` in the place of `pydantic`, which no other
library in the same process should see; it imports nothing of bddzoo, so that any Python that has
`bdd100k` can run it. Each input line is a JSON list of arguments for `bdd100k.eval.run`; each output
line is `{"status": "ok", "result": ...}` or `{"status": "error", "exception": ..., "message": ...}`.
One process: with more, the toolkit crashes or hangs on RLE labels.
"""

import json
import os
import sys
import tempfile
import warnings
from importlib import import_module
from typing import Any


def prepare() -> None:
    """Put pydantic 1's interface where the toolkit looks for it, and what py-motmetrics misses in NumPy 2."""
    if not import_module("pydantic").VERSION.startswith("1."):
        sys.modules["pydantic"] = import_module("pydantic.v1")
    numpy: Any = import_module("numpy")
    if not hasattr(numpy, "asfarray"):
        numpy.asfarray = lambda values: numpy.asarray(values, float)


def evaluate(arguments: list[str]) -> dict[str, object]:
    """Result or error of one evaluation."""
    from bdd100k.eval import run

    handle, out = tempfile.mkstemp(suffix=".json")
    os.close(handle)
    try:
        sys.argv = ["run", *arguments, "--nproc", "1", "--quiet", "--out-file", out]
        run.run()
        with open(out, encoding="utf-8") as file:  # noqa: PTH123
            return {"status": "ok", "result": json.load(file)}
    except (Exception, SystemExit) as error:
        return {"status": "error", "exception": type(error).__name__, "message": str(error)[:500]}
    finally:
        os.unlink(out)  # noqa: PTH108


def main() -> None:
    """Answer line by line."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Whatever the toolkit prints goes to standard error, not between the answers.
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")
    prepare()
    from importlib.metadata import version

    answers.write(json.dumps({"bdd100k": version("bdd100k"), "scalabel": version("scalabel")}) + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(evaluate(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
