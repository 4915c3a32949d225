"""How long work shows itself on stderr: bars on a terminal, lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bddzoo.cli.app import App
from bddzoo.files import format_size
from bddzoo.text import printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

EVENT_EVERY_S = 1.0
DRAW_EVERY_S = 0.1


class Reporter:
    """Base of the three: a context manager around a run of `count` files; drops the events of downloads."""

    def __init__(self, app: App, count: int) -> None:
        self.app = app
        self.count = count

    def begin(self, key: str, name: str) -> None: ...

    def update(self, key: str, done: int, total: int | None, source: str) -> None: ...

    def end(self, key: str, outcome: str) -> None: ...

    def note(self, key: str, text: str) -> None: ...

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""


class FileLines(Reporter):
    """A line per file on stderr when it is there, and one per trouble."""

    def __init__(self, app: App, count: int) -> None:
        super().__init__(app, count)
        self._names: dict[str, str] = {}
        self._seen: dict[str, tuple[float, int, int]] = {}
        self._done = 0
        self._lock = threading.Lock()

    def begin(self, key: str, name: str) -> None:
        """Remember the name."""
        self._names[key] = name

    def update(self, key: str, done: int, total: int | None, source: str) -> None:
        """Remember how far it is."""
        since, first, _ = self._seen.get(key, (time.monotonic(), done, done))
        self._seen[key] = (since, first, done)

    def end(self, key: str, outcome: str) -> None:
        """One line; nothing for a failure, which the command itself reports."""
        with self._lock:
            self._done += 1
        if outcome not in ("done", "cached"):
            return
        count = f"[{self._done}/{self.count}] " if self.count > 1 else ""
        if outcome == "cached":
            self.app.say(f"{count}{self._names[key]}: in the cache")
            return
        since, first, done = self._seen.get(key, (time.monotonic(), 0, 0))
        took = max(time.monotonic() - since, 1e-3)
        rate = f" in {took:.1f} s, {format_size(int((done - first) / took))}/s" if took > 0.2 else ""
        self.app.say(f"{count}{self._names[key]}: {format_size(done)}{rate}")

    def note(self, key: str, text: str) -> None:
        self.app.say(f"{self._names.get(key, key)}: {text}")


class Bars(FileLines):
    """Bars on a terminal: bytes, speed, time left; one per running file and one for all."""

    def __init__(self, app: App, count: int) -> None:
        super().__init__(app, count)
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bars: RichProgress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=app.console(),
            expand=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._sizes: dict[str, tuple[int, int | None]] = {}
        self._drawn: dict[str, float] = {}
        self._all: TaskID | None = None

    def __enter__(self) -> Reporter:
        self._bars.start()
        if self.count > 1:
            self._all = self._bars.add_task(f"0/{self.count} files", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing; finished bars stay visible."""
        self._bars.stop()

    def update(self, key: str, done: int, total: int | None, source: str) -> None:
        """Move the bars."""
        super().update(key, done, total, source)
        now = time.monotonic()
        if now - self._drawn.get(key, 0.0) < DRAW_EVERY_S and done != total:
            return  # nobody sees more, and drawing takes time from the download
        self._drawn[key] = now
        with self._lock:
            if key not in self._tasks:
                self._tasks[key] = self._bars.add_task(_short(self._names[key]), total=total)
            self._sizes[key] = (done, total)
        self._bars.update(self._tasks[key], completed=done, total=total)
        self._move_all()

    def end(self, key: str, outcome: str) -> None:
        """Keep the bar of a finished file when there are few, hide it among many."""
        task = self._tasks.get(key)
        if task is not None:
            self._bars.update(task, visible=self.count <= 8 or outcome == "failed")
            self._bars.stop_task(task)
        if outcome == "cached" and self.count <= 8:
            self._bars.console.print(f"{printable(self._names[key])}: in the cache", markup=False)
        with self._lock:
            self._done += 1
            if key not in self._sizes or outcome == "failed":
                self._sizes[key] = (0, 0)  # nothing more to wait for
        self._move_all()

    def note(self, key: str, text: str) -> None:
        """A line above the bars."""
        if not self.app.quiet:
            self._bars.console.print(printable(f"{self._names.get(key, key)}: {text}"), markup=False)

    def _move_all(self) -> None:
        if self._all is None:
            return
        with self._lock:
            done = sum(d for d, _ in self._sizes.values())
            known = [t for _, t in self._sizes.values() if t is not None]
            whole = len(known) == self.count
        self._bars.update(
            self._all,
            completed=done,
            total=sum(known) if whole else None,
            description=f"{self._done}/{self.count} files",
        )


class JsonEvents(Reporter):
    """JSON lines on stderr, one per event, for programs that asked for JSON."""

    def __init__(self, app: App, count: int) -> None:
        super().__init__(app, count)
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def begin(self, key: str, name: str) -> None:
        """`begin`: work on a file starts."""
        self._emit("begin", key, name=name)

    def update(self, key: str, done: int, total: int | None, source: str) -> None:
        """`progress`: at most one a second per file."""
        now = time.monotonic()
        if now - self._last.get(key, 0.0) >= EVENT_EVERY_S:
            self._last[key] = now
            self._emit("progress", key, done_bytes=done, total_bytes=total, source=source)

    def end(self, key: str, outcome: str) -> None:
        """`end`: `done`, `cached`, `failed` or `stopped`."""
        self._emit("end", key, outcome=outcome)

    def note(self, key: str, text: str) -> None:
        """`note`: a source failed, a wait."""
        self._emit("note", key, text=text)

    def _emit(self, event: str, key: str, **fields: Any) -> None:
        model, _, kind = key.rpartition("/")
        with self._lock:
            self.app.event(event, model=model, kind=kind, **fields)


def make_reporter(app: App, count: int) -> Reporter:
    """The reporter that suits where stderr goes and what was asked for."""
    if app.json:
        return JsonEvents(app, count)
    if app.quiet or not sys.stderr.isatty():
        return FileLines(app, count)
    return Bars(app, count)


def _short(name: str, width: int = 40) -> str:
    """A name for a bar: the start and the end of a long one."""
    from rich.markup import escape

    name = printable(name)
    return escape(name if len(name) <= width else f"{name[: width // 2 - 1]}…{name[-width // 2 :]}")


EVERY_S = 30.0


class Bar:
    """Shows how much of something is done, where nothing but its size is known.

    On a terminal it is a bar, or a moving one as long as the size is unknown; elsewhere a line now and then,
    so that a log shows that work goes on; with `--format json` JSON lines. Use as a context manager.

    Args:
        app: Decides about quiet, colour and format.
        label: What is being done.
        size_bytes: Bytes to work through, where bytes are counted; otherwise things are.
    """

    def __init__(self, app: App, label: str, size_bytes: int | None = None) -> None:
        self._app = app
        self._label = label
        self._size = size_bytes
        self._done = 0
        self._progress: Any = None
        self._task: Any = None
        self._said = time.monotonic()

    def __enter__(self) -> Bar:
        # Where there is no terminal, rich would be imported only to say so.
        if not self._app.quiet and not self._app.json and sys.stderr.isatty():
            console = self._app.console()
            if console.is_terminal:
                from rich import progress

                counted: progress.ProgressColumn = progress.MofNCompleteColumn()
                if self._size is not None:
                    counted = progress.DownloadColumn(binary_units=True)
                left = progress.TimeRemainingColumn(elapsed_when_finished=True)
                columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), counted, left)
                self._progress = progress.Progress(*columns, console=console, transient=True)
                self._progress.start()
                self._task = self._progress.add_task(_short(self._label), total=self._size)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def step(self, text: str) -> None:
        """Say what is being done now."""
        if self._progress is not None:
            self._progress.update(self._task, description=_short(text))
        elif self._app.json:
            self._app.event("step", of=self._label, text=text)
        else:
            self._app.detail(text)

    def warn(self, text: str) -> None:
        """Print a warning above the bar."""
        if self._progress is None:
            self._app.warn(text)
        else:
            self._progress.console.print(f"warning: {printable(text)}", markup=False, highlight=False)

    def update(self, done: int, total: int | None) -> None:
        """So many of so many are done."""
        self._done = done
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total)
            return
        every = EVENT_EVERY_S if self._app.json else EVERY_S
        if time.monotonic() - self._said > every or (self._app.json and done == total):
            self._said = time.monotonic()
            if self._app.json:
                self._app.event("progress", of=self._label, done=done, total=total)
            else:
                self._app.say(f"{self._label}: {done} of {total}")

    def advance(self, count: int) -> None:
        """So many more are done; from any thread."""
        self.update(self._done + count, self._size)
