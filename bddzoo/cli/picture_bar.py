"""A progress bar over pictures, on stderr."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from bddzoo.cli.app import App

EVERY_S = 30.0


class PictureBar:
    """Shows how many pictures are done.

    On a terminal it is a bar; elsewhere a line now and then, so that a log shows that work goes on.
    Use as a context manager.

    Args:
        app: Decides about quiet and colour.
        label: What is being done.
    """

    def __init__(self, app: App, label: str) -> None:
        self._app = app
        self._label = label
        self._progress: Any = None
        self._task: Any = None
        self._said = time.monotonic()

    def __enter__(self) -> PictureBar:
        if not self._app.quiet:
            console = self._app.console()
            if console.is_terminal:
                from rich.progress import (
                    BarColumn,
                    MofNCompleteColumn,
                    Progress,
                    TextColumn,
                    TimeRemainingColumn,
                )

                self._progress = Progress(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TimeRemainingColumn(),
                    console=console,
                    transient=True,
                )
                self._progress.start()
                self._task = self._progress.add_task(self._label, total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def step(self, text: str) -> None:
        """Say what is being done now."""
        self._label = text
        if self._progress is not None:
            self._progress.update(self._task, description=text)
        else:
            self._app.detail(text)

    def warn(self, text: str) -> None:
        """Print a warning above the bar, as one line whatever a file is called."""
        text = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
        if self._progress is None:
            self._app.warn(text)
        else:
            self._progress.console.print(f"warning: {text}", markup=False, highlight=False)

    def update(self, done: int, total: int) -> None:
        """So many pictures of so many are done."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total)
        elif time.monotonic() - self._said > EVERY_S:
            self._said = time.monotonic()
            self._app.say(f"{self._label}: {done} of {total}")
