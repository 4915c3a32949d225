"""Recognise what servers give in place of a file, and files that were cut short."""

from __future__ import annotations

import html
import re
from pathlib import Path

HEAD_BYTES = 2048
_TEXT_SUFFIXES = (".html", ".htm", ".xhtml", ".svg", ".xml")
_LFS = b"version https://git-lfs.github.com/spec/"


def name_impostor(head: bytes, file_name: str, content_type: str | None = None) -> str | None:
    """Say what the bytes are if they cannot be the file that was asked for.

    Args:
        head: The first bytes, up to `HEAD_BYTES`; empty for an empty file.
        file_name: Name of the file that was asked for.
        content_type: The server's `Content-Type`, if any.

    Returns:
        A few words such as `an HTML page titled "Login"`, or None if nothing speaks against it.
    """
    if not head:
        return "an empty file"
    if head.startswith(_LFS):
        size = re.search(rb"^size (\d+)", head, re.MULTILINE)
        of = f" for a file of {int(size[1])} bytes" if size else ""
        return f"a Git LFS pointer{of}, not the file itself"
    if file_name.lower().endswith(_TEXT_SUFFIXES):
        return None
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    declared = (content_type or "").split(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or (
        start.startswith(b"<") and (declared or b"<html" in start)
    ):
        title = re.search(rb"<title[^>]*>(.*?)</title>", head, re.IGNORECASE | re.DOTALL)
        words = html.unescape(" ".join(title[1].decode("utf-8", "replace").split())) if title else ""
        return "an HTML page" + (f' titled "{words[:80]}"' if words else "") + " (error page or login page?)"
    if start.startswith(b"<?xml") and b"<error" in start:
        code = re.search(rb"<code>([^<]*)</code>", head, re.IGNORECASE)
        return "an XML error message" + (f" ({code[1].decode('utf-8', 'replace')})" if code else "")
    return None


def name_cut(path: Path, file_name: str) -> str | None:
    """Say what is missing at the end of a file, where its format shows the end.

    Zip archives (which `.pth` files are, unless they are older than PyTorch 1.6) end in a directory,
    JSON in a bracket. Files of other formats are not judged.

    Returns:
        A few words, or None if nothing speaks against the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(4)
        # The end record is 22 bytes plus a comment of at most 65535 bytes.
        file.seek(max(0, size - (1 << 16) - 22))
        end = file.read()
    if start == b"PK\x03\x04" and b"PK\x05\x06" not in end:
        return "a zip archive cut short (its directory is missing)"
    if file_name.lower().endswith(".json"):
        stripped = end.rstrip()
        if start.lstrip()[:1] in (b"{", b"[") and stripped[-1:] not in (b"}", b"]"):
            return "a JSON file cut short (its last bracket is missing)"
    return None
