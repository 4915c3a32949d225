"""`bddzoo fetch --dry-run`: what would be fetched, from where, how large, and whether it fits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.cli.app import App
from bddzoo.errors import ExitCode

if TYPE_CHECKING:
    from bddzoo.artifacts import Fetcher
    from bddzoo.artifacts.pool import Job


def show_plan(app: App, fetcher: Fetcher, todo: Sequence[Job]) -> int:
    """Print the plan; opens connections only to ask for sizes, and none when offline.

    Returns:
        0, or 5 if the disk has no room or a file has no source.
    """
    from tabulate import tabulate

    from bddzoo.artifacts.disk import format_size, free_bytes
    from bddzoo.artifacts.partial import resumable_bytes

    rows: list[dict[str, Any]] = []
    for job in todo:
        artifact = job.model.artifact(job.kind)
        assert artifact is not None
        cached = None if fetcher.force else fetcher.cached(job.model, job.kind)
        row: dict[str, Any] = {"model": job.model.id, "kind": job.kind, "name": artifact.name}
        if cached is not None:
            row |= {
                "state": "cached",
                "source": str(cached.path),
                "size_bytes": cached.size_bytes,
                "to_fetch": 0,
            }
        else:
            size, source = fetcher.probe(job.model, artifact)
            size = size if size is not None else artifact.size_bytes
            kept = resumable_bytes(fetcher.cache.partial_folder(job.model, artifact))
            state = "missing" if source is None else ("resume" if kept else "fetch")
            left = None if size is None else max(0, size - kept)
            row |= {"state": state, "source": source, "size_bytes": size, "to_fetch": left}
        rows.append(row)
    need = sum(r["to_fetch"] or 0 for r in rows)
    unknown = sum(r["to_fetch"] is None for r in rows)
    free = free_bytes(Path(fetcher.cache.root))
    fits = free is None or need <= free
    if app.json:
        app.data_json(rows)
    else:
        table = [
            (r["state"], r["model"], r["kind"], format_size(r["size_bytes"]), r["source"] or "no source")
            for r in rows
        ]
        headers = ("state", "model", "kind", "size", "source")
        app.data(tabulate(table, headers=headers, tablefmt="plain", disable_numparse=True))
    more = f" and {unknown} files of unknown size" if unknown else ""
    room = f"{format_size(free)} free at {fetcher.cache.root}" if free is not None else "free room unknown"
    app.say(f"to fetch: {format_size(need)}{more}; {room}{'' if fits else ': NOT ENOUGH ROOM'}")
    missing = any(r["state"] == "missing" for r in rows)
    return int(ExitCode.OK if fits and not missing else ExitCode.MISSING)
