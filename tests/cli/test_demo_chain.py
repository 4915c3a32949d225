"""The demo zoo through all four links of `bddzoo check`, over HTTP, with its real networks on the CPU."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path

import pytest

from bddzoo.cli.demo import DEMO_ZOO, FILES, QuietHandler, serve
from bddzoo.registry import load_registry
from tests.cli.command import ROOT, bddzoo
from tests.support.sampling import sampled

LINKS = ("registry", "scores", "predictions", "weights")
DOCUMENT = ROOT / "docs" / "demo.md"


@pytest.mark.slow
@pytest.mark.parametrize("task", sampled(("sem_seg", "ins_seg", "det", "drivable"), "ins_seg".__eq__))
def test_every_link_of_every_demo_model_holds(
    task: str, mini_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model,) = (m for m in load_registry(None).models if m.zoo.id == DEMO_ZOO and m.task == task)
    asked: list[str] = []
    answer = QuietHandler.do_GET

    def do_get(self: QuietHandler) -> None:
        asked.append(self.path.lstrip("/"))
        answer(self)

    monkeypatch.setattr(QuietHandler, "do_GET", do_get)
    with serve(FILES) as url:
        where = ("--document", DOCUMENT, "--data", mini_set, "--from", url, "--results", tmp_path / "results")
        done = bddzoo(
            "check", model.id, *where, "--format", "json", env={"BDDZOO_CACHE": str(tmp_path / "c")}
        )
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads(done.stdout)
    assert row["model"] == model.id
    assert {link["link"]: link["verdict"] for link in row["links"]} == dict.fromkeys(LINKS, "reproduced")
    expected = {"ins_seg": {"AP", "box_AP"}, "det": {"box_AP"}}.get(task, {"mIoU"})
    for link in row["links"]:
        assert {m["metric"] for m in link["metrics"]} == expected
    # Everything came over HTTP, nothing from the package's own folder.
    assert set(asked) == {path.name for path in FILES.glob(f"{model.id}.*")}
    records = [json.loads(p.read_text()) for p in (tmp_path / "results").rglob("*.json")]
    assert {r["weights"]["state"] for r in records} == {"verified"}
    assert all(r["weights"]["source"].startswith("http://127.0.0.1:") for r in records)


def test_a_published_file_that_was_changed_is_never_used(mini_set: Path, tmp_path: Path) -> None:
    """A digest that differs breaks the link, whatever the number in the file would say."""
    model = next(m for m in load_registry(None).models if m.zoo.id == DEMO_ZOO and m.task == "sem_seg")
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in FILES.glob(f"{model.id}.*"):
        shutil.copy(path, changed)
    scores = changed / f"{model.id}.json"
    told = json.loads(scores.read_text())
    told["IoU"][-1]["AVERAGE"] = 77.6
    scores.write_text(json.dumps(told))
    with serve(changed) as url:
        with urllib.request.urlopen(url + scores.name, timeout=10) as reply:
            assert b"77.6" in reply.read()
        where = ("--data", mini_set, "--from", url, "--link", "scores", "--format", "json")
        done = bddzoo("check", model.id, *where, env={"BDDZOO_CACHE": str(tmp_path / "c")})
    (link,) = json.loads(done.stdout)[0]["links"]
    assert "77.6" not in json.dumps(link["metrics"], default=str)
    # The package's own copy is the next source, and it is whole.
    assert (link["verdict"], done.returncode) == ("reproduced", 0), done.stdout + done.stderr
