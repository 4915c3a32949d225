"""Tables of text from strangers: a cell stays a cell on a terminal, in Markdown and in a spreadsheet."""

import csv
import io
import json
import re
from decimal import Decimal
from html.parser import HTMLParser

import markdown
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bddzoo.cli.app import json_text
from bddzoo.cli.output import table
from bddzoo.text import csv_table, markdown_table, printable_lines, width

HOSTILE = [
    "<script>alert(1)</script>",
    "a|b",
    "a\\|b",
    "ends in \\",
    "two\nlines",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202eturned",
    "&lt;",
    "::error::x",
    "<img src=x onerror=alert(1)>",
]
CELLS = st.text(max_size=20) | st.sampled_from(HOSTILE)


class Cells(HTMLParser):
    """Rows of a page's table, and every tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[int] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += 1


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=4))
def test_no_cell_becomes_another_column_or_a_tag(rows):
    text = markdown_table(("a", "b"), rows, [False, True])
    page = Cells(markdown.markdown(text, extensions=["tables"]))
    assert page.rows == [2] * (len(rows) + 1)
    assert not page.tags & {"script", "img", "iframe", "svg", "style", "object"}
    assert all(ord(c) >= 0x20 or c == "\n" for c in text)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=4))
def test_a_terminal_gets_one_line_a_row_and_nothing_to_obey(rows):
    text = table(("a", "b"), rows, room=10_000)
    assert len(text.split("\n")) == len(rows) + 2
    assert all(c == "\n" or (ord(c) >= 0x20 and not 0x7F <= ord(c) <= 0x9F) for c in text)


@pytest.mark.parametrize("cell", ["=1+1", "@x", "+cmd|' /C calc'!A0", "-1+1", "\t=1"])
def test_formulas_are_text_in_a_spreadsheet(cell):
    assert next(csv.reader(io.StringIO(csv_table((cell,), [(cell,)]).split("\n", 1)[1])))[0] == f"'{cell}"


@pytest.mark.parametrize("cell", ["-", "-3.25", "+0.10", "59.80", "fcn_r50", ""])
def test_numbers_and_names_stay_as_they_are(cell):
    assert csv_table(("a", "b"), [(cell, "x")]).split("\n")[1] == f"{cell},x"


def test_decomposed_letters_are_padded_by_what_is_seen():
    lines = table(("a", "b"), [("e\u0301t\u00e9", "x"), ("ete", "y")]).split("\n")
    assert [width(line) for line in lines[2:]] == [6, 6]
    assert lines[2].endswith("\u00e9  x")


LINES = st.lists(st.text(max_size=30) | st.sampled_from(HOSTILE), max_size=4).map("\n".join)


@given(LINES)
def test_lines_hold_nothing_to_obey(text):
    safe = printable_lines(text)
    assert safe.count("\n") == text.count("\n")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e\u2066-\u2069]", safe)
    assert not re.search(r"^\s*::[A-Za-z]|##\[", safe, re.MULTILINE)


@given(st.text(max_size=40))
def test_json_says_the_same_without_control_characters(text):
    out = json_text({text: [text, Decimal("59.80")]})
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e]", out)
    assert "59.80" in out
    assert json.loads(out) == {text: [text, 59.8]}
