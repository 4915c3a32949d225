"""What a site is built of when what it is built from is not good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from tests.cli.command import ROOT
from tests.cli.inprocess import Done
from tests.site.conftest import DETECTORS
from tests.site.front import MEASURED, REGISTRY
from tests.site.inputs import RECORDS, Links, record_of, write_registry

DEMO = REGISTRY.select(zoo="demo")


def test_a_broken_image_is_left_out(bddzoo: Callable[..., Done], tmp_path: Path) -> None:
    images = tmp_path / "pictures"
    images.mkdir()
    (images / f"{MEASURED}.png").write_bytes(b"not an image")
    (images / "demo_mask_rcnn_r18n_ins_seg.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    done = bddzoo("site", "build", "-o", tmp_path / "site", "--results", "none", "--overlays", images)
    assert done.code == 6
    assert f"{MEASURED}.png is not the image that its name says" in done.err
    assert [p.name for p in (tmp_path / "site" / "pictures").iterdir()] == ["demo_mask_rcnn_r18n_ins_seg.jpg"]


def test_a_damaged_record_is_reported_and_the_rest_built(
    bddzoo: Callable[..., Done], tmp_path: Path, records: Path
) -> None:
    record_of(records).write_text("{")
    done = bddzoo("site", "build", "-o", tmp_path / "site", "--results", records)
    assert done.code == 6
    assert done.err.count("warning:") == 1
    assert "not a record" in done.err
    there = [model for model in DEMO if model.task not in DETECTORS]
    assert f" {len(there) - 1} measured" in done.err


def test_lost_statistics_cost_the_interval_only(
    bddzoo: Callable[..., Done], tmp_path: Path, records: Path
) -> None:
    for file in record_of(records).parent.glob("*.npz"):
        file.unlink()
    done = bddzoo("site", "build", "-o", tmp_path / "site", "--results", records)
    assert done.code == 5
    page = (tmp_path / "site" / "models" / f"{MEASURED}.html").read_text("utf-8")
    assert "<td>66.42<td>66.42<td>–<td>0.00" in page


def test_a_record_of_a_model_that_has_gone(bddzoo: Callable[..., Done], tmp_path: Path) -> None:
    document = yaml.safe_load((ROOT / "registry.yaml").read_text())
    document["zoos"] = [z for z in document["zoos"] if z["id"] != "demo"]
    path = write_registry(tmp_path / "registry.yaml", document)
    done = bddzoo("site", "build", "-o", tmp_path / "site", "--registry", path, "--results", RECORDS)
    assert done.code == 0
    assert done.err.count("which the registry does not have") == len(DEMO)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--history", "none.json"], 5, "no file none.json"),
        (["--checks", "none"], 5, "no folder none"),
        (["--overlays", "none"], 5, "cannot read the images in none"),
        (["--registry", "none.yaml"], 5, "none.yaml"),
    ],
)
def test_what_is_not_there_is_one_line(
    bddzoo: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = bddzoo("site", "build", "-o", "site", *options)
    assert done.code == code
    assert len(done.errors) == 1
    assert words in done.errors[0]
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_an_empty_registry_has_nothing_to_show(bddzoo: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "registry.yaml").write_text("schema: 1\nzoos: []\n")
    done = bddzoo("site", "build", "-o", tmp_path / "site", "--registry", tmp_path / "registry.yaml")
    assert done.code == 5
    assert len(done.errors) == 1
    assert not (tmp_path / "site").exists()


def test_names_that_files_must_not_have(bddzoo: Callable[..., Done], tmp_path: Path) -> None:
    """Ids that hold markup, dots or capitals only: every model has a page of its own that is linked."""
    document = yaml.safe_load((ROOT / "registry.yaml").read_text())
    zoo = next(z for z in document["zoos"] if z["id"] == "demo")
    zoo["tasks"] = {"sem_seg": zoo["tasks"]["sem_seg"]}
    (model,) = zoo["tasks"]["sem_seg"]["methods"][0]["models"]
    zoo["title"] = "A & <B>"
    for name in ("Net+", "net+", "a.b"):
        zoo["tasks"]["sem_seg"]["methods"][0]["models"].append({**model, "id": name, "backbone": "<i>R</i>&"})
    document["zoos"] = [zoo]
    path = write_registry(tmp_path / "registry.yaml", document)
    assert bddzoo("registry", "check", "--registry", path).code == 0
    assert bddzoo("site", "build", "-o", tmp_path / "site", "--registry", path).code == 0
    pages = {p.name: p.read_text("utf-8") for p in (tmp_path / "site" / "models").iterdir()}
    assert len({name.casefold() for name in pages}) == 4
    front = (tmp_path / "site" / "index.html").read_text("utf-8")
    assert "<i>R" not in front
    assert "&lt;i&gt;R&lt;/i&gt;&amp;" in front
    for link in Links(front).links:
        if link.startswith("models/"):
            assert unquote(link.removeprefix("models/")) in pages
