"""The commands that read labels, in this process."""

from __future__ import annotations

from tests.cli.inprocess import Done, command


def score(task, gt, pred, *more) -> Done:
    """Score predictions."""
    return command("score", "-t", task, "-g", gt, "-r", pred, *more)


def convert_labels(task, labels, to, out, *more) -> Done:
    """Write labels in another format."""
    return command("convert-labels", "-t", task, "-l", labels, "--to", to, "-o", out, *more)


def pack(task, pred, out, *more) -> Done:
    """Make a submission."""
    return command("pack", "-t", task, "-r", pred, "-o", out, *more)


def refused(done: Done, code: int = 5) -> str:
    """The one line that a command has to say that refuses what it is given."""
    assert (done.code, done.out) == (code, ""), done
    (line,) = done.err.splitlines()
    return line
