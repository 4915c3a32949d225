"""Rendered blocks of hand-written documents."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bddzoo.errors import BddzooError, MissingError, UsageError
from bddzoo.reading import read_text
from bddzoo.reports.documents import MarkedBlock, diff, fill, find_blocks, write_document

KNOWN = {"tables": ("zoo", "task")}
TEXT = """\
# Title

<!-- bddzoo:tables zoo=a task=b -->
old
<!-- /bddzoo:tables -->

between

```markdown
<!-- bddzoo:tables -->
```

<!-- bddzoo:tables -->
<!-- /bddzoo:tables -->
"""


def test_blocks_are_found_and_filled() -> None:
    blocks = find_blocks(TEXT, "d.md", KNOWN)
    assert [(b.name, dict(b.options), b.start) for b in blocks] == [
        ("tables", {"zoo": "a", "task": "b"}, 2),
        ("tables", {}, 12),
    ]
    new = fill(TEXT, blocks, lambda b: f"rendered {b.start}")
    assert "old" not in new
    assert "\nrendered 2\n" in new
    assert "\nrendered 12\n" in new
    assert new.startswith("# Title\n\n<!-- bddzoo:tables zoo=a task=b -->\n\nrendered 2\n\n<!-- /bddzoo")
    # A second filling changes nothing.
    again = fill(new, find_blocks(new, "d.md", KNOWN), lambda b: "rendered 2" if b.options else "rendered 12")
    assert again == new


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- bddzoo:tables -->\n", "d.md:1: the block bddzoo:tables is not closed"),
        ("\n<!-- /bddzoo:tables -->\n", "d.md:2: <!-- /bddzoo:tables --> closes nothing"),
        ("<!-- bddzoo:tabels -->\n", "d.md:1: unknown block bddzoo:tabels"),
        ("<!-- bddzoo:tables zoo -->\n", "d.md:1: cannot read the option 'zoo'"),
        ("<!-- bddzoo:tables zo=a -->\n", "d.md:1: cannot read the option 'zo=a'"),
        ("<!-- bddzoo:tables zoo=a zoo=b -->\n", "d.md:1: cannot read the option 'zoo=b'"),
        ("<!-- bddzoo:tables -->\n<!-- bddzoo:tables -->\n", "d.md:2: a block inside of the one that line 1"),
        ("text <!-- bddzoo:tables -->\n", "d.md:1: a bddzoo marker must stand alone"),
    ],
)
def test_bad_markers(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_blocks(text, "d.md", KNOWN)
    assert caught.value.message.startswith(said)


@given(
    st.lists(
        st.sampled_from(
            [
                "<!-- bddzoo:tables -->",
                "<!-- /bddzoo:tables -->",
                "text",
                "",
                "```",
                "<!-- bddzoo:tables zoo=a -->",
            ]
        )
    )
)
def test_outside_of_blocks_nothing_changes(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        blocks = find_blocks(text, "d.md", KNOWN)
    except BddzooError:
        return
    new = fill(text, blocks, lambda b: "body")
    assert fill(new, find_blocks(new, "d.md", KNOWN), lambda b: "body") == new
    inside = {i for b in blocks for i in range(b.start + 1, b.end)}
    outside = [line for i, line in enumerate(lines or [""]) if i not in inside]
    again = new.split("\n")
    spans = {i for b in find_blocks(new, "d.md", KNOWN) for i in range(b.start + 1, b.end)}
    assert [line for i, line in enumerate(again) if i not in spans] == outside


def test_diff_names_both_sides() -> None:
    text = diff("a\nb", "a\nc", "d.md")
    assert text.startswith("--- d.md (as it is)\n+++ d.md (as the registry says)\n")
    assert "\n-b\n+c" in text


def test_documents_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "d.md"
    path.write_bytes(b"old\r\n")
    path.chmod(0o640)
    link = tmp_path / "link.md"
    link.symlink_to(path)
    assert read_text(link) == "old\r\n"
    write_document(link, "new é\n")
    assert path.read_bytes() == "new é\n".encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.md", "link.md"]


def test_unreadable_documents(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="cannot read"):
        read_text(tmp_path / "none.md")
    (tmp_path / "latin.md").write_bytes(b"\xe9")
    with pytest.raises(MissingError, match="not UTF-8"):
        read_text(tmp_path / "latin.md")


def test_unwritable_folder(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "file").write_text("")
        target = tmp_path / "file" / "d.md"  # root may write anywhere, but not below a file
    else:
        tmp_path.chmod(0o500)
        target = tmp_path / "d.md"
    with pytest.raises(MissingError, match="cannot write"):
        write_document(target, "x")


def test_block_is_a_value() -> None:
    assert MarkedBlock("tables", {}, 0, 1) == MarkedBlock("tables", {}, 0, 1)
