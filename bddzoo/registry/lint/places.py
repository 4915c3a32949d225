"""Findings with their lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bddzoo.registry.catalog import Registry
from bddzoo.registry.lint.findings import Finding
from bddzoo.registry.problems import PathLike, line_of
from bddzoo.registry.reader import parse, read_text


@dataclass(frozen=True)
class Located:
    """A finding and the 1-based line of its subject."""

    finding: Finding
    line: int

    def as_text(self, name: str) -> str:
        """One line, in the form of a compiler's message."""
        found = self.finding
        reason = f" (acknowledged: {found.reason})" if found.reason is not None else ""
        return f"{name}:{self.line}: {found.code} {found.subject.name}: {found.message}{reason}"

    def as_data(self) -> dict[str, object]:
        """The finding as plain data."""
        found = self.finding
        return {
            "code": found.code,
            "subject": found.subject.name,
            "line": self.line,
            "message": found.message,
            "acknowledged": found.reason,
        }


def located(registry: Registry, findings: Iterable[Finding]) -> list[Located]:
    """Findings in the order of the file's lines."""
    lines: dict[PathLike, int] = {}
    if registry.path is not None:
        parse(read_text(registry.path), str(registry.path), lines)
    rows = [Located(f, line_of(f.subject.path, lines)) for f in findings]
    return sorted(rows, key=lambda r: (r.line, r.finding.code))
