"""Words of messages and records: numbers of things, and names that are no text."""

from __future__ import annotations


def number_of(count: int, noun: str) -> str:
    """`1 file`, `2 files`: a number with its noun, which takes an s where it is not one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def as_text(words: str) -> str:
    """Words that can be written as UTF-8: names of files may hold bytes that are no text."""
    return words.encode("utf-8", "backslashreplace").decode()
