"""The compiled copy of a registry: equal to what was read, never stale, and nothing depends on it."""

from __future__ import annotations

import copy
import shutil
import time
from pathlib import Path

import pytest

from bddzoo.errors import UsageError
from bddzoo.registry import Registry, catalog, load_registry
from tests.cli.command import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where compiled copies go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bddzoo-registry"


def assert_equal(one: Registry, other: Registry) -> None:
    assert one.document == other.document
    assert one.zoos == other.zoos
    assert one.sections == other.sections
    assert one.protocols == other.protocols
    # Equal numbers may be printed differently, and then they are not what was reported.
    assert [str(m.reported) for m in one.models] == [str(m.reported) for m in other.models]


def refuse(*_: object) -> None:
    raise AssertionError("the file was read as YAML")


def test_a_copy_is_what_the_file_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_registry()
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(catalog, "parse", refuse)
    assert_equal(load_registry(), first)


@pytest.mark.parametrize("damage", [b"", b"x", None])
def test_a_damaged_copy_is_made_again(folder: Path, damage: bytes | None) -> None:
    first = load_registry()
    (kept,) = folder.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-100] + b"?" + whole[-99:] if damage is None else damage)
    assert_equal(load_registry(), first)
    assert kept.read_bytes() == whole


def test_another_text_or_other_code_is_another_copy(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "registry.yaml").read_text()
    path = tmp_path / "registry.yaml"
    path.write_text(text)
    load_registry(path)
    changed = text.replace("mIoU: 59.87", "mIoU: 59.86", 1)
    assert changed != text
    path.write_text(changed)
    before, after = load_registry(None), load_registry(path)
    assert [m.reported for m in before.models] != [m.reported for m in after.models]
    assert len(list(folder.iterdir())) == 2
    for source in ("catalog", "reader", "structs"):
        shutil.copy(Path(catalog.__file__).with_name(f"{source}.py"), tmp_path)
    monkeypatch.setattr(catalog, "__file__", str(tmp_path / "catalog.py"))
    with (tmp_path / "reader.py").open("a") as file:
        file.write("# another version\n")
    load_registry(path)
    assert len(list(folder.iterdir())) == 3


def test_old_copies_go(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    for number in range(catalog.COMPILED_KEPT + 3):
        path.write_text((ROOT / "registry.yaml").read_text() + f"# {number}\n")
        load_registry(path)
    assert len(list(folder.iterdir())) == catalog.COMPILED_KEPT


def test_without_a_place_the_file_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert len(load_registry().models) > 200
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert len(load_registry().models) > 200


def test_what_is_wrong_is_said_with_its_line_each_time(folder: Path, tmp_path: Path) -> None:
    """A document that follows the schema and makes no sense is kept as a copy, too."""
    path = tmp_path / "registry.yaml"
    text = (ROOT / "registry.yaml").read_text()
    line = next(n for n, row in enumerate(text.splitlines(), 1) if "protocol: " in row)
    lines = text.splitlines()
    lines[line - 1] = lines[line - 1].partition("protocol:")[0] + "protocol: nonsense"
    path.write_text("\n".join(lines) + "\n")
    said = []
    for _ in range(2):
        with pytest.raises(UsageError, match=f"registry.yaml:{line}: .*unknown protocol") as caught:
            load_registry(path)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert len(list(folder.iterdir())) == 1


def test_two_thousand_models_are_there_at_once(folder: Path, tmp_path: Path) -> None:
    """Five times the rows of today: half a second of processor time, start of Python included."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    data = yaml.load((ROOT / "registry.yaml").read_text(), Loader=loader)
    originals = list(data["zoos"])
    for number in range(4):
        copies = copy.deepcopy(originals)
        for zoo in copies:
            zoo["id"] += f"-{number}"
            for section in zoo["tasks"].values():
                for style in section.get("tables", {}).values():
                    style.pop("row_tails", None)
                for method in section["methods"]:
                    for model in method["models"]:
                        model["id"] += f"-{number}"
                        model.pop("former_ids", None)
        data["zoos"] += copies
    path = tmp_path / "registry.yaml"
    path.write_text(yaml.dump(data, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False))
    assert len(load_registry(path).models) > 1900
    start = time.process_time()
    load_registry(path)
    assert time.process_time() - start < 0.5
