"""What an interrupted `predict` leaves behind, so that another one can go on from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bddzoo.errors import UsageError
from bddzoo.files import cannot_write, write_bytes

NOTE = "unfinished.json"


@dataclass(frozen=True)
class Unfinished:
    """The note that lies in the folder of a prediction set that is not whole.

    Attributes:
        made_with: What the predictions depend on: model, weights, precision, options.
        done: Pictures whose predictions are in the set, name to file.
        total: Pictures that were asked for.
    """

    made_with: Mapping[str, Any]
    done: Mapping[str, str]
    total: int

    def write(self, folder: Path) -> None:
        """Leave the note in a folder.

        Raises:
            MissingError: It cannot be written.
        """
        content = {"made_with": self.made_with, "total": self.total, "done": self.done}
        write_bytes(folder / NOTE, (json.dumps(content, indent=1) + "\n").encode())

    def rest(
        self, folder: Path, made_with: Mapping[str, Any], pictures: Mapping[str, Path]
    ) -> dict[str, Path]:
        """The pictures that are still to be done.

        Args:
            folder: Folder of the prediction set, for messages.
            made_with: What the further predictions would depend on.
            pictures: Name to file of all pictures.

        Raises:
            UsageError: They would not belong into one set: another model, other weights, or another
                picture of the same name.
        """
        again = "choose another folder, or begin again with --overwrite"
        for key in {**self.made_with, **made_with}:
            before, now = self.made_with.get(key), made_with.get(key)
            if before != now:
                text = f"its {key} was {str(before)[:64]}, not {str(now)[:64]}"
                raise UsageError(f"{folder} cannot be resumed: {text}", hint=again)
        for name, path in pictures.items():
            if name in self.done and self.done[name] != str(path.resolve()):
                raise UsageError(
                    f"{folder} cannot be resumed: its {name} is {self.done[name]}, not {path}", hint=again
                )
        return {name: path for name, path in pictures.items() if name not in self.done}


def read_unfinished(folder: Path) -> Unfinished | None:
    """The note in a folder, or None.

    Raises:
        UsageError: There is one that cannot be read.
    """
    path = folder / NOTE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
        made_with, done, total = content["made_with"], content["done"], content["total"]
        good = isinstance(made_with, dict) and isinstance(done, dict) and isinstance(total, int)
    except (OSError, ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise UsageError(f"{path} is not the note of an interrupted run", hint="begin again with --overwrite")
    return Unfinished(made_with, done, total)


def remove_note(folder: Path) -> None:
    """The set is whole now.

    Raises:
        MissingError: The note cannot be removed.
    """
    try:
        (folder / NOTE).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder / NOTE, error) from error
