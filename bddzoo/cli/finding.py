"""One finding of `bddzoo doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from bddzoo.errors import ExitCode

OK, NOTE, MISSING, BROKEN = "ok", "note", "missing", "broken"


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        state: `ok`, `note` (works, but), `missing` or `broken`.
        found: What was found.
        advice: What to do about it; empty where nothing is to be done.
        exit_code: Not 0 where `list` and `fetch`, or what was explicitly asked about, cannot work.
    """

    name: str
    state: str
    found: str
    advice: str = ""
    exit_code: ExitCode = ExitCode.OK
