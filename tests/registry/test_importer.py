"""Documents into facts and back."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bddzoo.errors import BddzooError, ExitCode, UsageError
from bddzoo.registry import load_registry, load_text
from bddzoo.registry.entries import entries_yaml, load_entries
from bddzoo.registry.markdown.importer import import_markdown, metric_of
from bddzoo.registry.model import Section
from bddzoo.reports.upstream import render_document
from tests.registry.facts import PUBLISHED, document_of, tables
from tests.shared import shared

REGISTRY = load_registry()
SECTIONS = [s for s in REGISTRY.sections if s.zoo.id in PUBLISHED]
SEEDS = {
    ("bdd100k-models", "sem_seg"): "000_bf8a5ea25f12dee6.txt",
    ("bdd100k-models", "ins_seg"): "001_2d7d7b49cd585610.txt",
    ("vis4d", "sem_seg"): "003_8b9b497c0ab36065.txt",
    ("openseg.pytorch", "sem_seg"): "004_8ba6bf33ce88de27.txt",
}

SEEDED = [s for s in SECTIONS if (s.zoo.id, s.task) in SEEDS]


def name(section: Section) -> str:
    return f"{section.zoo.id}-{section.task}"


@pytest.mark.parametrize("section", SECTIONS, ids=name)
def test_import_of_what_we_render_is_the_registry(section: Section) -> None:
    document = import_markdown(render_document(section), "rendered")
    assert document == document_of(section)
    assert sum(len(h.rows) for h in document.headings) == len(section.models)
    text = entries_yaml(document, section.zoo.id, section.zoo.title, section.task, section.page)
    assert document_of(load_text(text, "import").section(section.zoo.id, section.task)) == document


@pytest.mark.parametrize("section", SEEDED, ids=name)
def test_import_of_the_zoos_own_document(section: Section) -> None:
    path = shared(f"seeds/{SEEDS[section.zoo.id, section.task]}")
    document = import_markdown(path.read_text(encoding="utf-8"), path.name)
    if section.zoo.id == "vis4d":  # the document spells one name wrong, and the registry right
        (warning,) = document.warnings
        assert 'reads like a mis-encoded "Piotr Dollár"' in warning
        document = import_markdown(path.read_text(encoding="utf-8").replace("Doll√°r", "Dollár"), path.name)
    assert document.warnings == ()
    assert document == document_of(section)


@pytest.mark.parametrize("section", SECTIONS, ids=name)
def test_import_of_tables_alone(section: Section) -> None:
    """Rows come out the same where nothing but tables is there."""
    for block, method in zip(tables(section.zoo.id, section.task), section.methods, strict=True):
        document = import_markdown("\n".join(block), "table")
        models = section.models_of(method)
        (heading,) = document.headings
        assert [r.backbone for r in heading.rows] == [m.backbone for m in models]
        assert [dict(r.settings) for r in heading.rows] == [dict(m.settings) for m in models]
        assert [list(r.numbers.values()) for r in heading.rows] == [
            [x.value for x in m.reported] for m in models
        ]


TABLE = """\
### FCN

[FCN: a paper](https://arxiv.org/abs/1411.4038) [CVPR 2015]

Authors: Jonathan Long, [B\\*](http://b.org)

| Backbone | Iters | mIoU-val | Config |
| :-: | :-: | :-: | :-: |
| R-50 | 40K | 59.80 | [config](./a_40k.py) |
| R-50 | 80K |  | [config](./a_80k.py) |

[[Code](https://code.org/x)] [[Usage](#usage)]
"""


def test_a_small_document() -> None:
    (heading,) = import_markdown(TABLE, "t").headings
    assert (heading.name, heading.venue) == ("FCN", "CVPR 2015")
    assert heading.paper is not None
    assert heading.paper.title == "FCN: a paper"
    assert [(a.name, a.mark, a.url) for a in heading.authors] == [
        ("Jonathan Long", "", None), ("B", "*", "http://b.org"),
    ]  # fmt: skip
    assert heading.code is not None
    assert heading.code.url == "https://code.org/x"
    assert [r.id for r in heading.rows] == ["a_40k", "a_80k"]
    assert [str(v) for r in heading.rows for v in r.numbers.values()] == ["59.80", "None"]


def test_a_document_of_windows_is_read() -> None:
    for text in (TABLE.replace("\n", "\r\n"), "\ufeff" + TABLE):
        assert import_markdown(text, "t").headings == import_markdown(TABLE, "t").headings


def test_tables_in_code_fences_are_examples() -> None:
    with pytest.raises(UsageError, match="no table found"):
        import_markdown("```\n" + TABLE + "```\n", "t")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("59.80", "59.8o", 't:9: mIoU-val: expected a number between 0 and 100, got "59.8o"'),
        ("59.80", "159.80", "t:9: mIoU-val: expected a number"),
        ("59.80", "NaN", "t:9: mIoU-val: expected a number"),
        ("| R-50 | 80K |  |", "| R-50 | 80K |", "t:10: 3 cells under 4 columns"),
        ("| Iters |", "| Backbone |", "t:7: a table's columns need names"),
        ("./a_80k.py", "./a_40k.py", "t: several rows make the id a_40k"),
        (
            "| 40K | 59.80 | [config]",
            "| 40K | 59.80 | [conf]",
            't:9: Config: expected links named config, got "conf"',
        ),
        ("| R-50 | 80K |", "|  | 80K |", "t:10: the row names no backbone"),
        ("| 40K |", "|   40K |", None),
        ("| R-50 | 40K |", "|  R-50 | 40K |", None),
    ],
)
def test_bad_documents(old: str, new: str, said: str | None) -> None:
    text = TABLE.replace(old, new, 1)
    if said is None:  # one odd row that no setting tells apart is told by its own setting
        assert import_markdown(text, "t").headings[0].style.pad_unless
        return
    with pytest.raises(UsageError) as caught:
        import_markdown(text, "t")
    assert caught.value.message.startswith(said)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("./a_80k.py", "./a*80k.py", 't:10: a*80k: id: expected letters, digits'),
        ("https://arxiv.org", "ftp://arxiv.org", "t: papers.fcn.url: expected an https://"),
        ("https://code.org/x", "javascript:x", "t: zoos[0].tasks.sem_seg.methods[0].code: expected an https"),
    ],
)  # fmt: skip
def test_what_no_registry_can_hold_is_named_by_the_documents_line(old: str, new: str, said: str) -> None:
    document = import_markdown(TABLE.replace(old, new, 1), "t")
    with pytest.raises(UsageError) as caught:
        load_entries(entries_yaml(document, "z", "Z", "sem_seg", None), document, "t")
    assert caught.value.message.startswith(said)


def test_a_table_without_rows() -> None:
    text = "\n".join(line for line in TABLE.split("\n") if "R-50" not in line)
    document = import_markdown(text, "t")
    assert load_entries(entries_yaml(document, "z", "Z", "sem_seg", None), document, "t").models == ()


def test_spaces_without_a_rule_are_refused() -> None:
    text = TABLE.replace("| 40K |", "|  40K |").replace("| 80K |", "|   80K |")
    with pytest.raises(UsageError, match="follow no rule"):
        import_markdown(text, "t")


@pytest.mark.parametrize(
    ("title", "metric"),
    [
        ("mIoU-val", ("val", "mIoU")),
        ("Mask AP-test", ("test", "AP")),
        ("Box AP-val", ("val", "box_AP")),
        ("Train.  mIOU", ("train", "mIoU")),
        ("PixelACC", ("val", "PixelACC")),
        ("Iters", None),
        ("MS-train", None),
    ],
)
def test_metric_of(title: str, metric: tuple[str, str] | None) -> None:
    assert metric_of(title) == metric


def refusal(text: str) -> BddzooError | None:
    """What is wrong with a document, or None; anything but a `BddzooError` is a failure of the test."""
    try:
        entries_yaml(import_markdown(text, "t"), "z", "Z", "sem_seg", None)
    except BddzooError as error:
        return error
    return None


PIECES = st.sampled_from(
    ["| a | mIoU-val |\n", "| :-: | :-: |\n", "| x | 59.80 |\n", "|", "\n", "[config](./x.py)", "\\|",
     "### H\n", "- I (c)\n", "Authors: A, [B](u)\n", "[T](u) [V]\n", "```\n", " ", "é", "[[Code](http://c)]\n",
     "| - | - |\n"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=200))
def test_any_text_imports_or_is_refused_politely(text: str) -> None:
    error = refusal(text)
    if error is not None:
        assert error.exit_code == ExitCode.USAGE
        assert error.message.startswith("t:")
        assert "\n" not in error.message


@pytest.mark.parametrize(
    ("page", "url", "shown"),
    [
        ("https://github.com/o/r/tree/c0/s", "https://raw.githubusercontent.com/o/r/c0/s/x/m.py", True),
        ("https://github.com/o/r/blob/c0/s/a.md", "https://raw.githubusercontent.com/o/r/c0/s/x/m.py", True),
        ("https://example.org/zoo/README.md", "https://example.org/zoo/x/m.py", False),
    ],
)  # fmt: skip
def test_relative_links_lead_to_where_the_document_is_published(page, url, shown):
    text = "## M\n\n| Backbone | mIoU-val | Config |\n| - | - | - |\n| a | 59.80 | [config](./x/m.py) |\n"
    document = import_markdown(text, "x.md")
    (model,) = load_text(entries_yaml(document, "z", "Z", "sem_seg", page), "x").models
    config = model.artifact("config")
    assert config.sources == (url,)
    assert config.printed == "./x/m.py"
    assert (config.page is not None) == shown


def test_documents_are_read_in_time_that_grows_with_their_length():
    """A document twice as long as another takes twice as long, whatever stands in it; far from its square."""
    from tests.attacks.registries import LONG

    for name, text in LONG.items():
        start = time.process_time()
        with contextlib.suppress(UsageError):
            import_markdown(text, name)
        assert time.process_time() - start < 5, name


@given(st.from_regex(r"([0-9]{1,2}(\.[0-9]{0,4})?|\.[0-9]{1,4}|100(\.0{0,4})?|0[0-9]{1,2})", fullmatch=True))
@example("59.80")
@example("010")
@example("59.")
@example(".5")
def test_a_printed_number_is_kept_or_said_to_be_another(text: str) -> None:
    """As text of a setting whatever it is; as a metric where YAML and JSON have such a number."""
    head = "### FCN\n\n| Backbone | Batch | mIoU-val |\n| :-: | :-: | :-: |\n"
    document = import_markdown(f"{head}| R-50 | {text} | {text} |\n", "d.md")
    (model,) = load_text(entries_yaml(document, "z", "z", "sem_seg", None), "d.md").models
    assert str(model.settings["Batch"]) == text
    kept = f"{model.reported[0].value:f}"
    assert (kept == text) == (not document.warnings)
    assert all(f"'{text}' is kept as {kept}" in line for line in document.warnings)


@pytest.mark.parametrize("text", ["0", "7", "12", "010", "007", "00", "+5"])
def test_a_setting_is_kept_as_it_stands_in_the_registry(text: str) -> None:
    document = import_markdown(
        "### FCN\n\n| Backbone | Batch | mIoU-val |\n| :-: | :-: | :-: |\n| R-50 | BATCH | 50.10 |\n", "d.md"
    )
    yaml = entries_yaml(document, "z", "z", "sem_seg", None)
    (model,) = load_text(yaml.replace("BATCH", text), "d.yaml").models
    assert str(model.settings["Batch"]) == text
