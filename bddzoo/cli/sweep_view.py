"""How a running sweep is shown: a live table for people, a line for each change for logs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bddzoo.cli.app import App

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from bddzoo.results.sweep_plan import Job

ROWS = 20


class SweepView:
    """Shows the jobs of a sweep on stderr; a context manager.

    Args:
        app: Global options.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._seen: dict[str, str] = {}
        self._live: Live | None = None

    def __enter__(self) -> SweepView:
        if sys.stderr.isatty() and not self._app.quiet:
            from rich.live import Live

            self._live = Live(console=self._app.console(), refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, jobs: Sequence[Job]) -> None:
        """Show the jobs as they are now."""
        if self._live is not None:
            self._live.update(self._table(jobs))
            return
        for job in jobs:
            if self._seen.get(job.model.id, "waiting") != job.state:
                self._seen[job.model.id] = job.state
                note = f" on {job.place}" if job.place and job.state == "running" else ""
                note += f": {job.reason}" if job.reason else ""
                self._app.say(f"{job.state:9} {job.model.id}{note}  ({self.counts(jobs)})")

    def counts(self, jobs: Sequence[Job]) -> str:
        """`3 done, 1 running, 4 waiting, about 12 min left`."""
        from bddzoo.results.sweep_plan import remaining_s

        count = Counter(job.state for job in jobs)
        parts = [
            f"{count[state]} {state}"
            for state in ("done", "failed", "running", "queued", "elsewhere")
            if count[state]
        ]
        parts += [f"{count['waiting']} waiting"] if count["waiting"] else []
        left = remaining_s(jobs, count["running"])
        if left:
            parts.append(f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left")
        return ", ".join(parts)

    def _table(self, jobs: Sequence[Job]) -> Table:
        from rich.table import Table

        table = Table(title=self.counts(jobs), box=None, title_justify="left")
        for heading in ("model", "state", "where", "seconds", "try", ""):
            table.add_column(heading)
        order = ("running", "queued", "failed", "elsewhere", "done", "waiting")
        shown = sorted(jobs, key=lambda job: order.index(job.state))[:ROWS]
        for job in shown:
            seconds = f"{job.seconds:.0f}" if job.seconds else ""
            tries = str(job.tries) if job.tries > 1 else ""
            table.add_row(job.model.id, job.state, job.place, seconds, tries, job.reason)
        return table
