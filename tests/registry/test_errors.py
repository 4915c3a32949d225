"""Problems of a registry file: located, several at once, and never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bddzoo.errors import BddzooError, ExitCode, MissingError, UsageError
from bddzoo.registry import default_path, load_registry, load_text
from bddzoo.registry.problems import RegistryError
from bddzoo.registry.reader import MAX_BYTES, parse

GOOD = """\
schema: 1
protocols:
  whole: {dataset: bdd100k, scale: [1280, 720]}
parts:
  backbones:
    r10: {type: ResNetV1c, depth: 10}
    r11: {base: r10, depth: 11}
  heads:
    fcn: {type: FCNHead, channels: 8}
papers:
  fcn: {title: Fully Convolutional Networks, url: 'https://arxiv.org/abs/1411.4038', authors: [A <https://a.org>]}
zoos:
- id: z
  title: Zoo
  commit: abc
  tasks:
    sem_seg:
      engine: mmseg
      arch: EncoderDecoder
      num_classes: 19
      protocol: whole
      artifacts:
        weights: {name: '{id}.pth', url: 'https://example.org/{commit}/{name}'}
      columns:
        Backbone: {backbone: true}
        mIoU-val: {metric: [val, mIoU]}
      tables:
        default: {columns: [Backbone, Iters, mIoU-val]}
      methods:
      - name: FCN
        paper: fcn
        models:
        - id: one
          backbone: R-10
          settings: {Iters: 40K}
          reported: {val: {mIoU: 59.80}}
          network: {backbone: r11, decode_head: fcn}
        - id: two
          backbone: R-10
          reported: {val: {mIoU: 60}}
"""


TWO = "        - id: two"


def problems(*changes: tuple[str, str]) -> list[str]:
    text = GOOD
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    with pytest.raises(RegistryError) as caught:
        load_text(text, "r.yaml")
    assert caught.value.exit_code == ExitCode.USAGE
    return list(caught.value.lines)


def line(part: str, text: str = GOOD) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_the_good_one_loads() -> None:
    registry = load_text(GOOD, "r.yaml")
    one, two = registry.models
    assert one.network is not None
    assert one.network.parts["backbone"] == {"type": "ResNetV1c", "depth": 11}
    assert one.artifacts[0].sources == ("https://example.org/abc/one.pth",)
    assert two.settings == {"Iters": ""}
    assert str(two.reported[0].value) == "60"


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        ("59.80", "59.8o", "59.80",
         'one: reported.val.mIoU: expected a number between 0 and 100, got "59.8o"'),
        *(("59.80", text, "59.80",
           f'one: reported.val.mIoU: expected a number between 0 and 100, got "{text}"')
          for text in ("nan", "010", "059.80", "00")),
        ("59.80", "100.1", "59.80", "one: reported.val.mIoU: expected a number between 0 and 100, got 100.1"),
        ("59.80", "-1", "59.80", "one: reported.val.mIoU: expected a number between 0 and 100, got -1"),
        ("59.80", "true", "59.80", "one: reported.val.mIoU: expected a number between 0 and 100, got true"),
        ("reported: {val", "reported: {vall", "59.80", "one: reported.vall: unknown key"),
        ("reported: {val", "reportd: {val", "59.80", 'one: reportd: unknown key; did you mean "reported"?'),
        ("{mIoU: 60}", "{AP: 60}", "{mIoU: 60}",
         "two: reported.val.AP: the table has no column for AP on val"),
        ("Iters: 40K", "Itres: 40K", "Iters: 40K",
         'one: settings.Itres: the table has no column "Itres"; did'),
        ("decode_head: fcn", "decode_head: fnc", "decode_head",
         'one: network.decode_head: unknown part "fnc"; did'),
        ("backbone: r11, d", "d", "decode_head", "one: network: needs a backbone"),
        ("id: two", "id: one", "- id: two", "one: id: another model has the same id"),
        ("id: two", "id: ../two", "- id: two", "../two: id: expected letters, digits"),
        ("paper: fcn", "paper: fcm", "paper: fcn", 'paper: unknown paper "fcm"; did you mean "fcn"?'),
        ("protocol: whole", "protocol: hole", "protocol: whole",
         'protocol: unknown protocol "hole"; did you'),
        ("{base: r10", "{base: r11", "decode_head", "one: network.backbone: its bases go round in circles"),
        ("engine: mmseg", "engine: mmsegg", "engine",
         'engine: expected one of mmseg, mmdet, mmpretrain, mmpose, vis4d, openseg, got'),
        ("schema: 1", "schema: 7", "schema", "schema: expected one of 1, got 7"),
        ("'{id}.pth'", "'{idd}.pth'", "weights",
         "artifacts.weights.name: expected {id}, {name}, {commit} or {attribute}"),
        ("'{id}.pth'", "'../{id}.pth'", "- id: one", 'expected a plain file name, got "../one.pth"'),
        ("'{id}.pth'", "/etc/passwd", "- id: one", 'expected a plain file name, got "/etc/passwd"'),
        ("'https://example.org", "'file:///x", "weights",
         "expected an https://, http://, s3://, gs://, hf:// or package: URL"),
        ("'https://arxiv.org", "'s3://bucket", "fcn: {title",
         "expected an https://, http:// or package: URL"),
        ("'https://arxiv.org", "'javascript:x", "fcn: {title",
         "expected an https://, http:// or package: URL"),
        ("A <https://a.org>", "A <https://a.org", "fcn: {title", 'expected "Name" or "Name <URL>"'),
        ("metric: [val, mIoU]", "metric: [val]", "mIoU-val: {", None),
        ("scale: [1280, 720]", "scale: [0, 720]", "whole:", None),
        (TWO, "          artifacts: {weights: {size: 12 bytes}}\n" + TWO, "- id: two",
         "one: artifacts.weights.size: expected BYTES or BYTES ORIGIN"),
        (TWO, "          artifacts: {weights: {digests: [md5:12 seen]}}\n" + TWO,
         "- id: two", "one: artifacts.weights.digests[0]: expected ALGORITHM:HEX ORIGIN [DATE]"),
        (TWO, "          artifacts: {weights: {digests: ['md5:0123456789 observed']}}\n" + TWO,
         "- id: two", "one: artifacts.weights.digests[0]: a md5 has 32 hex digits, got 10"),
        (TWO, "          artifacts: {weights: {digests: ["
         f"'md5:{'0' * 32} published', 'md5:{'1' * 32} observed']}}}}\n" + TWO,
         "- id: two", "one: artifacts.weights.digests[1]: no file has this md5 and md5:000"),
        (TWO, "          artifacts: {masks: true}\n" + TWO, "- id: two",
         "one: artifacts.masks: the task has no template for this kind of file"),
        (TWO, "          artifacts: {weights: {name: a/b.pth}}\n" + TWO, "- id: two",
         'one: artifacts.weights.name: expected a plain file name, got "a/b.pth"'),
        (TWO, "          artifacts: {weights: {sources: ['package:../x']}}\n" + TWO,
         "- id: two", "one: artifacts.weights.sources[0]: expected a path inside the package"),
        ("title: Zoo", "title: [a]", "title: Zoo", None),
    ],
)  # fmt: skip
def test_located(old: str, new: str, place: str, said: str | None) -> None:
    found = problems((old, new))
    # Where a broken name has a family, its users may be named as well; the first line is the place.
    assert found[0].startswith(f"r.yaml:{line(place)}: ") or said is None
    if said is not None:
        assert any(said in text for text in found), found


def test_several_at_once_in_order() -> None:
    found = problems(("59.80", "x"), ("mIoU: 60", "mIoU: 600"), ("engine: mmseg", "engin: mmseg"))
    assert len(found) == 3
    assert [int(text.split(":")[1]) for text in found] == sorted(int(text.split(":")[1]) for text in found)
    assert 'engin: unknown key; did you mean "engine"?' in found[0]


def test_all_references_at_once() -> None:
    found = problems(
        ("decode_head: fcn", "decode_head: a"), ("paper: fcn", "paper: b"), ("Iters: 40K", "X: 1")
    )
    assert len(found) == 3


def test_many_problems_are_cut_short() -> None:
    rows = "".join(f"        - id: m{i}\n          backbone: 3\n" for i in range(100))
    with pytest.raises(RegistryError) as caught:
        load_text(GOOD + rows, "r.yaml")
    assert caught.value.lines[-1] == "r.yaml: and 80 more problems"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema: 1\n\tzoos: []\n", "r.yaml:2: "),
        ("schema: 1\nzoos: [1, 2\n", "r.yaml:2: YAML syntax"),
        ("schema: 1\nschema: 1\n", 'r.yaml:2: key "schema" is there twice'),
        ("a: &x 1\nb: 2\n", "r.yaml:1: anchor &x is not allowed here"),
        ("a: &x [1]\n", "r.yaml:1: anchor &x is not allowed here"),
        ("a: 1\nb: *x\n", "r.yaml:2: alias *x is not allowed here"),
        ("a: !!python/object/apply:os.system [ls]\n", "r.yaml:1: tag"),
        ("a: 1\n---\nb: 1\n", "r.yaml:2: a second document"),
        ("{[1]: 2}\n", "r.yaml:1: a key must be text"),
        ("[" * 100_000, "r.yaml:1: nested deeper than"),
        ("- " * 100_000 + "1", "r.yaml:1: nested deeper than"),
        ("a: \x00\n", "r.yaml:1: "),
    ],
)
def test_yaml_that_we_do_not_read(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_text(text, "r.yaml")
    assert caught.value.message.startswith(said)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    ["https://", "https://h/../x", "https://user:pw@h/x", "https://[::1/x", "https://h:99999999/x",
     "https://h/a|b", "https://h/<x>", "https://h/{idd}", "https://h/x\\n", "https://h/a b"],
)  # fmt: skip
def test_urls_that_nothing_can_follow(url: str) -> None:
    found = problems((TWO, f'          artifacts: {{weights: {{sources: ["{url}"]}}}}\n{TWO}'))
    assert len(found) == 1
    assert found[0].startswith(f"r.yaml:{line(TWO)}: one: artifacts.weights.sources[0]: expected a")


@pytest.mark.parametrize("name", ["-rf", "x\\n.pth", "{idd}.pth", "C:x", "a*", "a\\u007fb", "CON?"])
def test_names_that_no_file_should_have(name: str) -> None:
    found = problems((TWO, f'          artifacts: {{weights: {{name: "{name}"}}}}\n{TWO}'))
    assert len(found) == 1
    assert "one: artifacts.weights.name: expected a plain file name" in found[0]


def test_a_bad_id_is_one_mistake() -> None:
    assert len(problems(("id: one", "id: ../one"))) == 1
    assert len(problems(("id: one", 'id: "one\\n"'))) == 1


def test_an_md5_lies_beside_the_templates_file_only() -> None:
    text = GOOD.replace(
        "url: 'https://example.org/{commit}/{name}'",
        "url: 'https://example.org/{commit}/{name}', md5: 'https://example.org/{commit}/{id}.md5'",
    ).replace(TWO, "          artifacts: {weights: {sources: ['https://b.org/one.pth']}}\n" + TWO)
    one, two = load_text(text, "r.yaml").models
    assert one.artifacts[0].digest_url is None
    assert two.artifacts[0].digest_url == "https://example.org/abc/two.md5"


def test_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = 'a: &a ["x", "x"]\n' + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    with pytest.raises(UsageError, match=r"r\.yaml:1: anchor"):
        load_text(bomb, "r.yaml")


def test_large_file_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(MissingError, match="more than 16 MiB"):
        load_registry(path)


def test_a_device_without_an_end_is_refused() -> None:
    with pytest.raises(MissingError, match="without an end"):
        load_registry(Path("/dev/zero"))


def test_missing_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="cannot read the registry"):
        load_registry(tmp_path / "none.yaml")
    with pytest.raises(MissingError):
        load_registry(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"schema: 1\na: \xe9\n")
    with pytest.raises(UsageError, match=r"latin\.yaml:2: not UTF-8"):
        load_registry(tmp_path / "latin.yaml")


def test_lines_match_the_nodes() -> None:
    lines: dict = {}
    data = parse(GOOD, "r.yaml", lines)
    assert data == parse(GOOD, "r.yaml")
    model = ("zoos", 0, "tasks", "sem_seg", "methods", 0, "models", 1)
    assert lines[model] == line("- id: two")
    assert lines[(*model, "reported", "val", "mIoU")] == line("mIoU: 60")


def test_reading_agrees_with_pyyaml() -> None:
    """Our reader of the real file gives what PyYAML gives, numbers apart."""
    import yaml

    def plain(value: object) -> object:
        from decimal import Decimal

        if isinstance(value, dict):
            return {str(k): plain(v) for k, v in value.items()}
        if isinstance(value, list):
            return [plain(v) for v in value]
        if isinstance(value, Decimal):
            return float(value)
        try:
            return float(value) if isinstance(value, str) and "e-" in value else value
        except ValueError:
            return value

    text = default_path().read_text(encoding="utf-8")
    assert plain(parse(text, "r")) == plain(yaml.safe_load(text))


def load_or_refuse_politely(text: str) -> None:
    """A registry is loaded, or each problem has its place; anything but a `BddzooError` is a failure."""
    error = None
    try:
        load_text(text, "r.yaml")
    except BddzooError as caught:
        error = caught
    assert error is None or error.exit_code == ExitCode.USAGE
    assert error is None or all(row.startswith("r.yaml:") for row in error.message.split("\n"))


PIECES = st.sampled_from(
    ["schema", "1", ": ", "\n", "  ", "- ", "{", "}", "[", "]", ",", "zoos", "id", "&a", "*a", "!!str", "'",
     '"', "\t", "#", "59.80", "null", "...", "---", "é", "\x85", "|", ">", "?", "%"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=200))
def test_any_text_loads_or_is_refused_politely(text: str) -> None:
    load_or_refuse_politely(text)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["fcn", "r10", "whole"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_value_in_any_place_loads_or_is_refused_politely(data: st.DataObject) -> None:
    """Replace one node of a good registry by anything."""
    import json

    lines: dict = {}
    document = parse(GOOD, "r.yaml", lines)
    path = data.draw(st.sampled_from(sorted(lines, key=str)))
    value = data.draw(VALUES)
    if path:
        holder = document
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = value
    else:
        document = value
    # JSON is YAML; what JSON has no word for is written as text.
    load_or_refuse_politely(json.dumps(document, default=str, ensure_ascii=False))
