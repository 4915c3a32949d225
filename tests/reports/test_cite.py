"""BibTeX of models, and the commands that their pages show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

import click
import pytest
from msgspec.structs import replace

from bddzoo.cli.app import App
from bddzoo.cli.main import cli
from bddzoo.registry import load_registry
from bddzoo.registry.model import Model, Paper, Person
from bddzoo.reports.facts import steps
from bddzoo.reports.info import bibliography, entries
from tests.cli.inprocess import Done, command

REGISTRY = load_registry()
HEAD = re.compile(r"^@(inproceedings|article|misc)\{([a-z0-9-]+),$")
FIELD = re.compile(r"^  ([a-z]+) = \{(.+)\},?$")


@pytest.fixture
def bddzoo() -> Callable[..., Done]:
    return command


def parse(entry: str) -> tuple[str, str, dict[str, str]]:
    head, *lines, end = entry.split("\n")
    match = HEAD.match(head)
    assert match, entry
    assert end == "}", entry
    fields = [FIELD.match(line) for line in lines]
    assert all(fields), entry
    assert [line.endswith(",") for line in lines] == [True] * (len(lines) - 1) + [False]
    assert entry.count("{") == entry.count("}")
    return match[1], match[2], {f[1]: f[2] for f in fields if f}


def test_every_entry_is_well_formed_and_has_its_own_key() -> None:
    found = [parse(entry) for entry in dict.fromkeys(e for m in REGISTRY.models for e in entries(m))]
    keys = [key for _, key, _ in found]
    assert len(keys) == len(set(keys))
    for kind, _, fields in found:
        assert re.fullmatch(r"\{.+\}", fields["title"])
        assert ("year" in fields and "author" in fields) or kind == "misc"


def test_the_first_of_two_venues_counts() -> None:
    model = REGISTRY.find("fcn_r50-d8_769x769_40k_sem_seg_bdd100k")
    assert model.method.venue == "CVPR 2015 / TPAMI 2017"
    kind, key, fields = parse(entries(model)[0])
    assert (kind, key) == ("inproceedings", "long2015fully")
    assert fields["author"] == "Jonathan Long and Evan Shelhamer and Trevor Darrell"
    assert fields["booktitle"].endswith("(CVPR)")
    assert (fields["year"], fields["eprint"]) == ("2015", "1411.4038")


def made_up(title: str, venue: str | None, *people: str) -> Model:
    model = REGISTRY.models[0]
    authors = tuple(Person(name) for name in people)
    return replace(model, paper=Paper(title, "https://example.org/a", venue, authors))


@pytest.mark.parametrize(
    ("model", "kind", "key", "expected"),
    [
        (
            made_up("On A & B: 50%", "TPAMI 2020", "Ana Müller"),
            "article",
            "muller2020b",
            {"title": r"{On A \& B: 50\%}"},
        ),
        (
            made_up("The Net", "Some Workshop 2021", "A B"),
            "inproceedings",
            "b2021net",
            {"booktitle": "Some Workshop"},
        ),
        (made_up("Net", None), "misc", "fcnnet", {"url": "https://example.org/a"}),
    ],
)
def test_odd_papers(model: Model, kind: str, key: str, expected: dict[str, str]) -> None:
    found = parse(entries(model)[0])
    assert found[:2] == (kind, key)
    assert expected.items() <= found[2].items()


def test_a_zoo_without_papers_is_cited_itself() -> None:
    model = replace(REGISTRY.models[0], paper=None)
    (entry,) = entries(model)
    kind, _, fields = parse(entry)
    assert kind == "misc"
    assert fields["url"] == model.zoo.url
    assert fields["note"] == f"Commit {model.zoo.commit}"


def test_info_prints_each_entry_once(bddzoo: Callable[..., Done]) -> None:
    ids = [m.id for m in REGISTRY.models if m.method.name == "FCN"][:2]
    done = bddzoo("info", *ids, "--bibtex")
    assert done.code == 0
    assert (
        done.out.strip()
        == bibliography([REGISTRY.find(i) for i in ids])
        == bibliography([REGISTRY.find(ids[0])])
    )
    assert bddzoo("info", ids[0], "--bibtex", "--format", "json").code == 2


def parsed(line: str) -> click.Context:
    """The command line as click reads it; raises where a command or an option is unknown."""
    program, name, *words = shlex.split(line)
    assert program == "bddzoo"
    context = click.Context(cli, obj=App())
    command = cli.get_command(context, name)
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(context, name)
    assert command is not None, line
    return command.make_context(name, words, parent=context)


@pytest.mark.parametrize("zoo", [zoo.id for zoo in REGISTRY.zoos])
def test_every_command_is_one_that_exists(zoo: str) -> None:
    for model in REGISTRY.select(zoo=zoo):
        found = steps(model)
        assert found[-1].title == "Cite"
        for step in found:
            context = parsed(step.command)
            if "models" in context.params:
                assert context.params["models"] == (model.id,)
        weights = model.artifact("weights")
        assert ("Fetch" in {s.title for s in found}) == bool(weights and weights.sources)
        assert ("Evaluate" in {s.title for s in found}) == model.runnable


def test_names_are_quoted_for_a_shell() -> None:
    model = replace(REGISTRY.models[0], id="my net; rm -rf ~")
    assert {shlex.split(step.command)[2] for step in steps(model)} == {model.id}


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("ocr-3x3-resnet101-cityscapes", "Object-Contextual Representations"),
        ("isa-wide-resnet38-cityscapes", "Interlaced Sparse Self-Attention"),
        ("ocnet-hrnetv2-48-cityscapes", "OCNet: Object Context Network"),
    ],
)
def test_rows_under_a_data_set_are_cited_by_their_own_method(model, words):
    text = bibliography([load_registry().find(model)])
    assert words in text
    assert text.startswith("@misc{"), "arXiv is not a conference"
    assert "archiveprefix = {arXiv}" in text
