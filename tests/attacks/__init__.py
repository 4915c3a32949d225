"""Files from strangers, thrown at every command that takes them: `python -m tests.attacks` runs all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tests.attacks import checkpoints, disks, labels, records, registries
from tests.attacks.harness import Attack

KINDS: dict[str, Callable[[Path], Iterator[Attack]]] = {
    "checkpoints": checkpoints.attacks,
    "labels": labels.attacks,
    "records": records.attacks,
    "registries": registries.attacks,
    "disks": disks.attacks,
}
