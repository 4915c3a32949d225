"""Numbers of things in messages."""

from __future__ import annotations


def number_of(count: int, noun: str) -> str:
    """`1 file`, `2 files`: a number with its noun, which takes an s where it is not one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
