"""Checks across rows: what the schema cannot see, with stable codes and acknowledgements."""

from __future__ import annotations

from bddzoo.registry.lint.findings import Finding, Subject
from bddzoo.registry.lint.run import RULES, lint

__all__ = ["RULES", "Finding", "Subject", "lint"]
