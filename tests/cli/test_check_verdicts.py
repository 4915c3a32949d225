"""Every verdict through `check --all`, in every form, and the exit status of the worst."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bddzoo.registry import load_registry
from bddzoo.results import WeightsUsed, write_record
from tests.cli.conftest import COUNT, Run, TinyZoo
from tests.results.factory import make_record
from tests.support.tiny import DATASET, INS_SEG, SEM_SEG

SET = {"dataset": DATASET.format(count=COUNT), "images": COUNT, "split_images": COUNT}
# What a record has to be for each verdict, and the status that stands for it; worst first.
CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "drifted": (3, {"value": 0.5}),
    "better-than-reported": (3, {"value": 2.0}),
    "unverified": (6, {"weights": WeightsUsed(name="w.pth", state="observed")}),
    "missing": (5, {"value": float("nan")}),
    "incomparable": (4, {"protocol": {**SET, "images": 2, "limit": 2}}),
    "reproduced": (0, {}),
}


def put_record(tiny: TinyZoo, root: Path, name: str, verdict: str) -> None:
    fields = {"value": 1.0, "protocol": SET, **CASES[verdict][1]}
    value = fields.pop("value")
    model = load_registry(tiny.registry).find(name)
    metrics = ("AP", "box_AP") if name == INS_SEG else ("mIoU",)
    spread = {metric: {"car": 1.0} for metric in metrics}
    record = make_record(model, summary=dict.fromkeys(metrics, value), per_class=spread, **fields)
    write_record(record, root)


@pytest.mark.parametrize("verdict", list(CASES))
def test_each_verdict_is_reached_and_said_in_every_form(
    run: Run, tiny: TinyZoo, tmp_path: Path, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = CASES[verdict][0]
    put_record(tiny, tmp_path / "results", SEM_SEG, verdict)
    command = ("check", "--all", "--task", "sem_seg", "--link", "weights", "--registry", tiny.registry)
    table = run(*command)
    assert table.returncode == status, table.stdout
    assert f"{SEM_SEG}: {verdict};" in table.stdout
    done = run(*command, "--format", "json")
    (check,) = json.loads(done.stdout)
    assert (done.returncode, check["verdict"]) == (status, verdict)
    assert bool(check["links"][0]["reasons"]) == (verdict != "reproduced"), "a reason for everything else"
    junit = run(*command, "--format", "junit")
    (case,) = ElementTree.fromstring(junit.stdout.encode()).findall(".//testcase")
    children = [(child.tag, child.get("type")) for child in case]
    kind = "failure" if status == 3 else "error"
    assert (junit.returncode, children) == (status, [(kind, verdict)] if status else [])
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    github = run(*command, "--format", "github")
    assert github.returncode == status
    assert github.stdout.startswith("::error title=" if status else "::notice title=")
    assert verdict in github.stdout
    assert verdict in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize(("worse", "better"), list(combinations(CASES, 2)))
def test_the_worst_of_all_models_is_the_exit_status(
    run: Run, tiny: TinyZoo, tmp_path: Path, worse: str, better: str
) -> None:
    put_record(tiny, tmp_path / "results", SEM_SEG, better)
    put_record(tiny, tmp_path / "results", INS_SEG, worse)
    done = run("check", "--all", "--link", "weights", "--registry", tiny.registry, "--format", "json")
    assert {row["model"]: row["verdict"] for row in json.loads(done.stdout)} == {
        SEM_SEG: better,
        INS_SEG: worse,
    }
    assert done.returncode == CASES[worse][0]


def test_without_any_record_nothing_is_reproduced(run: Run, tiny: TinyZoo) -> None:
    done = run("check", "--all", "--link", "weights", "--registry", tiny.registry)
    assert done.returncode == 5
    assert "0 of 2 reproduced" in done.stderr


def test_a_record_that_is_newer_than_the_table_closes_the_gate(
    run: Run, tiny: TinyZoo, tmp_path: Path
) -> None:
    root = tmp_path / "results"
    put_record(tiny, root, SEM_SEG, "reproduced")
    page = tmp_path / "LEDGER.md"
    block = f"zoo=tiny task=sem_seg style=measured results={root}"
    page.write_text(f"# Ledger\n<!-- bddzoo:tables {block} -->\n<!-- /bddzoo:tables -->\n")
    registry = ("--registry", tiny.registry)
    assert run("tables", "--check", "-o", page, *registry).returncode == 3, "not rendered yet"
    assert run("tables", "-o", page, *registry).returncode == 0
    assert "| reproduced (not compared: image list, ground truth) | 2026-01-02 |" in page.read_text()
    assert run("tables", "--check", "-o", page, *registry).returncode == 0
    model = load_registry(tiny.registry).find(SEM_SEG)
    newer = {"started": "2026-05-06T00:00:00Z"}
    write_record(make_record(model, 0.2, protocol=SET, run=newer), root)
    done = run("tables", "--check", "-o", page, *registry)
    assert done.returncode == 3
    assert "has drifted" in done.stderr
    assert run("tables", "-o", page, *registry).returncode == 0
    assert "| drifted | 2026-05-06 |" in page.read_text()
    assert run("tables", "--check", "-o", page, *registry).returncode == 0
