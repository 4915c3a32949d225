"""Checks across rows: what the schema cannot see, with stable codes and acknowledgements."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from bddzoo.registry.catalog import Registry
from bddzoo.registry.lint import entries, numbers, rows
from bddzoo.registry.lint.findings import Finding, Rule, Subject, acknowledgements, world_of
from bddzoo.registry.problems import did_you_mean, line_of
from bddzoo.registry.reader import PathLike, parse, read_text
from bddzoo.text import printable

STALE = "ACK01"
_CHECKS: tuple[Rule, ...] = (*rows.RULES, *numbers.RULES, *entries.RULES)
RULES: dict[str, str] = {
    **{rule.code: rule.title for rule in _CHECKS},
    STALE: "an acknowledgement of something that is not found, or of no known code",
}


def lint(registry: Registry, codes: Collection[str] | None = None) -> list[Finding]:
    """All findings, rule by rule, acknowledged ones with their reason.

    Args:
        registry: A registry that was loaded from YAML.
        codes: Only these rules; all when None.
    """
    world = world_of(registry)
    found: list[Finding] = []
    for rule in _CHECKS:
        for subject, message in rule.check(world):
            found.append(Finding(rule.code, subject, message, subject.acknowledged.get(rule.code)))
    found += _stale(registry, found)
    return found if codes is None else [f for f in found if f.code in codes]


def _stale(registry: Registry, found: list[Finding]) -> Iterator[Finding]:
    """Acknowledgements that nothing under their place needs."""
    assert registry.document is not None
    for path, code in acknowledgements(registry.document):
        place = path[:-2]
        subject = Subject(f"lint_ok.{code}", path)
        if code not in RULES:
            yield Finding(STALE, subject, f"no rule has the code {code}{did_you_mean(code, RULES)}")
        elif not any(f.code == code and f.subject.path[: len(place)] == place for f in found):
            yield Finding(STALE, subject, f"{code} finds nothing here any more")


def open_findings(found: list[Finding]) -> list[Finding]:
    """Findings without an acknowledgement."""
    return [f for f in found if f.reason is None]


@dataclass(frozen=True)
class Located:
    """A finding and the 1-based line of its subject."""

    finding: Finding
    line: int

    def as_text(self, name: str) -> str:
        """One line, in the form of a compiler's message."""
        found = self.finding
        reason = f" (acknowledged: {found.reason})" if found.reason is not None else ""
        return printable(f"{name}:{self.line}: {found.code} {found.subject.name}: {found.message}{reason}")

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
