"""The command lines that do something with one model, ready to be pasted into a shell."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from bddzoo.registry.model import Model

# The synthetic set, which anybody can make.
MINI = "bddzoo-mini"


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        title: What it does, as a verb.
        command: The command line, quoted for a POSIX shell.
    """

    title: str
    command: str


def steps(model: Model) -> list[Step]:
    """Fetch, verify, evaluate, test the chain and cite; steps that cannot work are left out.

    Without a source for the weights there is nothing to fetch; without a network nothing to run. Files and
    folders that only the user knows are written in capitals or below `/data`.
    """
    name = shlex.quote(model.id)
    weights = model.artifact("weights")
    todo = []
    if found := weights is not None and bool(weights.sources):
        todo.append(Step("Fetch", f"bddzoo fetch {name}"))
        todo.append(Step("Verify", f"bddzoo fetch {name} --verify"))
    if model.network is not None:
        data = f"/data/{model.protocol.dataset}" if model.protocol else "/data/bdd100k"
        if model.protocol is not None and model.protocol.dataset == MINI:
            data = "mini"
            todo.append(Step("Make the data", f"bddzoo data mini --out {data}"))
        file = "" if found else " --weights FILE"
        todo.append(Step("Evaluate", f"bddzoo eval {name} --data {shlex.quote(data)}{file}"))
        if found:
            todo.append(Step("Test the chain", f"bddzoo check {name} --data {shlex.quote(data)}"))
    todo.append(Step("Cite", f"bddzoo info {name} --bibtex"))
    return todo
