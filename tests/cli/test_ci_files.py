"""The workflow and hook files: valid, pinned, with least rights, and calling commands that exist."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bddzoo.registry import load_registry
from tests.artifacts.registry import weights, write_registry
from tests.cli.command import ROOT, assert_one_line, bddzoo

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}|\./\.github/workflows/[\w-]+\.yml")


def steps(path: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    return [step for job in jobs for step in job.get("steps", [])]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_a_workflow_is_valid(path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_a_workflow_takes_no_more_than_it_needs(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        rights = job.get("permissions", {})
        written = {name for name, right in rights.items() if right == "write"}
        # Deploying to Pages and publishing take a token to prove who asks; such a job runs no code of ours.
        publishes = ({"pages", "id-token"}, {"attestations", "id-token"}, {"contents"})
        assert written <= {"issues", "pull-requests"} or written in publishes
        if written in publishes:
            assert all("uses" in step or step["run"].startswith("gh ") for step in job["steps"])
        if "uses" in job:
            assert PINNED.fullmatch(job["uses"])
        else:
            assert job["timeout-minutes"] <= 240
    for step in steps(path):
        if "uses" in step:
            assert PINNED.fullmatch(step["uses"]), "actions are pinned by SHA"
        else:
            # What others chose (titles, inputs) reaches a shell as a variable, never as its text.
            assert "${{" not in step["run"]
            checked = subprocess.run(["bash", "-n"], input=step["run"], text=True, check=False)
            assert checked.returncode == 0


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_a_workflow_passes_the_security_linter(path: Path) -> None:
    zizmor = Path(sys.executable).with_name("zizmor")
    if not zizmor.exists():
        pytest.skip("zizmor is not installed")
    command = [zizmor, "--offline", "--quiet", "--min-severity", "medium", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def run_step(path: Path, name: str, folder: Path, *, status: int = 0, **environment: str) -> dict[str, str]:
    """Run a step as GitHub does, with `bash -e`; returns the outputs that it set."""
    (step,) = (step for step in steps(path) if step.get("name") == name)
    output = folder / "output"
    output.write_text("")
    tools = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    files = {f"GITHUB_{name}": str(folder / name.lower()) for name in ("OUTPUT", "ENV", "STEP_SUMMARY")}
    given = {
        "PATH": tools,
        "GITHUB_RUN_ID": "1",
        "GITHUB_SERVER_URL": "u",
        "GITHUB_REPOSITORY": "o/r",
        **files,
    }
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=folder,
        env={**os.environ, **given, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return dict(line.split("=", 1) for line in output.read_text().splitlines())


TITLE = "Links that have died"
OWN = '[{"number": 7, "title": "Links that have died"}]'


@pytest.mark.parametrize(
    ("before", "status", "known", "asked"),
    [
        ("alive", "7", "[]", f"issue create --title {TITLE} --body-file body.md"),
        ("alive", "7", OWN, "issue edit 7 --body-file body.md"),
        ("gone", "0", OWN, "issue edit 7 --body-file body.md"),
        (None, "0", OWN, "issue close 7 --comment Every link that was alive once is alive."),
        (None, "0", "[]", ""),
    ],
)
def test_dead_links_open_update_or_close_an_issue(
    tmp_path: Path, before: str | None, status: str, known: str, asked: str
) -> None:
    """What died stays in the issue, and what was never alive is nothing new."""
    if shutil.which("jq") is None:
        pytest.skip("needs jq, which GitHub's machines have")
    workflow = ROOT / ".github" / "workflows" / "links.yml"
    gh = tmp_path / "gh"  # writes down what it is asked
    gh.write_text(f'#!/bin/sh\n[ "$2" = list ] && echo \'{known}\' || echo "$@" >> {tmp_path}/asked\n')
    gh.chmod(0o755)
    url = "http://127.0.0.1:9/fcn.pth"
    registry = write_registry(tmp_path / "registry.yaml", {"fcn": weights("fcn.pth", url)})
    seen = {url: {"state": before, "last_seen": "2026-01-02"}} if before else {}
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "health.json").write_text(json.dumps({"schema": 1, "files": seen}))
    outputs = run_step(workflow, "Probe every link", tmp_path, BDDZOO_REGISTRY=str(registry))
    assert outputs == {"status": status, "dead": str(len(seen))}
    assert (f"- {url} (last alive 2026-01-02)" in (tmp_path / "health.md").read_text()) == bool(seen)
    name = "Open, update or close the issue"
    run_step(workflow, name, tmp_path, STATUS=status, DEAD=outputs["dead"], TITLE=TITLE)
    written = tmp_path / "asked"
    assert (written.read_text().strip() if written.exists() else "") == asked


@pytest.mark.parametrize(
    ("name", "step"), [("links.yml", "What was alive last time"), ("pages.yml", "What is known of the links")]
)
def test_artifacts_are_taken_from_runs_of_the_default_branch_only(
    tmp_path: Path, name: str, step: str
) -> None:
    """A pull request can bring a workflow of the same name, on a branch of the same name."""
    if shutil.which("jq") is None:
        pytest.skip("needs jq, which GitHub's machines have")
    runs = [
        {"databaseId": 3, "event": "pull_request"},
        {"databaseId": 2, "event": "workflow_dispatch"},
        {"databaseId": 1, "event": "schedule"},
    ]
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    (tmp_path / "benchmarks").mkdir()
    gh = tmp_path / "gh"  # lists the runs as the real one does, and has an artifact of each
    gh.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/asked\n'
        "for query; do :; done\n"  # the last argument
        f'if [ "$2" = list ]; then jq -r "$query" {tmp_path}/runs.json; exit; fi\n'
        "mkdir -p previous/benchmarks && echo $3 > previous/benchmarks/health.json\n"
    )
    gh.chmod(0o755)
    run_step(ROOT / ".github" / "workflows" / name, step, tmp_path, BRANCH="trunk")
    assert (tmp_path / "benchmarks" / "health.json").read_text() == "2\n"
    listed, downloaded = (tmp_path / "asked").read_text().splitlines()
    assert "--branch trunk" in listed
    assert downloaded.startswith("run download 2 ")


def test_a_zoo_is_checked_job_by_job_and_reported(tmp_path: Path) -> None:
    """The steps of the reusable workflow, on the demo zoo: a job that left nothing is not passed over."""
    if shutil.which("jq") is None:
        pytest.skip("needs jq, which GitHub's machines have")
    workflow = ROOT / ".github" / "workflows" / "check-zoo.yml"
    chosen = {"BDDZOO_REGISTRY": str(ROOT / "registry.yaml"), "MODELS": "demo_*_seg"}
    matrix = run_step(workflow, "One job for each model", tmp_path, **chosen)["matrix"]
    models = [row["model"] for row in json.loads(matrix)["include"]]
    assert len(models) == 2
    (venv := tmp_path / "venv" / "bin").mkdir(parents=True)
    (venv / "bddzoo").symlink_to(Path(sys.executable).with_name("bddzoo"))
    place = {"RUNNER_TEMP": str(tmp_path), "DATA": "none", "LINKS": "registry", "MODEL": models[0]}
    run_step(workflow, "Check", tmp_path, **chosen, **place, status=5)
    gh = tmp_path / "gh"  # brings what the first job kept
    gh.write_text(
        f"#!/bin/sh\nmkdir -p artifacts/check-0 && cp -r {tmp_path}/out/checks artifacts/check-0/\n"
    )
    gh.chmod(0o755)
    run_step(workflow, "Put the checks together", tmp_path, EXPECTED=matrix)
    report = (tmp_path / "report.md").read_text()
    assert "**1 of 2 models gave no result at all.**" in report
    assert f"`{models[0]}`" in report
    assert "BROKEN=1" in (tmp_path / "env").read_text()


def test_hooks_call_commands_that_exist(tmp_path: Path) -> None:
    hooks = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    assert set(hooks) == {"bddzoo-lint", "bddzoo-tables"}
    for hook in hooks.values():
        assert re.search(hook["files"], "registry.yaml")
        assert hook["entry"].split()[0] == "bddzoo"
    lint = hooks["bddzoo-lint"]["entry"].split()[1:]
    assert bddzoo(*lint, ROOT / "registry.yaml").returncode == 0
    broken = tmp_path / "registry.yaml"
    broken.write_text("zoos: 1\n")
    assert bddzoo(*lint, broken).returncode == 2
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bddzoo:tables zoo=demo -->\n<!-- /bddzoo:tables -->\n")
    tables = hooks["bddzoo-tables"]
    done = bddzoo(*tables["entry"].split()[1:], *tables["args"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "demo_semfpn_r18n_sem_seg" in readme.read_text()


def test_the_matrix_holds_what_can_be_checked() -> None:
    done = bddzoo("check", "--matrix", "bdd100k-models", "demo", "--task", "sem_seg")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, "one line, as a step's output takes it"
    rows = json.loads(done.stdout)["include"]
    zoos = ("bdd100k-models", "demo")
    expected = [m for m in load_registry(None).models if m.zoo.id in zoos and m.task == "sem_seg"]
    assert {row["model"] for row in rows} == {m.id for m in expected}
    assert len(rows) <= 256


def test_checks_of_many_jobs_are_put_together(tmp_path: Path) -> None:
    """What each job printed gives one report, and the exit status of the worst."""
    folder = tmp_path / "checks"
    (folder / "a").mkdir(parents=True)
    ids = ("demo_semfpn_r18n_sem_seg", "demo_mask_rcnn_r18n_ins_seg")
    for number, model in enumerate(ids):
        document = ("--document", ROOT / "docs" / "demo.md") if number == 0 else ()
        done = bddzoo("check", model, "--link", "registry", *document, "--format", "json")
        assert done.returncode == (5 if number else 0)
        (folder / "a" / f"{number}.json").write_text(done.stdout)
    merged = bddzoo("check", "--merge", folder, "--format", "md")
    assert merged.returncode == 5
    assert merged.stdout.startswith("1 of 2 models")
    assert f"`{ids[1]}`" in merged.stdout
    assert f"`{ids[0]}`" not in merged.stdout
    first, second = (json.loads((folder / "a" / f"{n}.json").read_text())[0] for n in (0, 1))
    again = json.loads(bddzoo("check", "--merge", folder, "--format", "json").stdout)
    assert {row["model"]: row["verdict"] for row in again} == {
        first["model"]: "reproduced",
        second["model"]: "missing",
    }
    (folder / "a" / "1.json").unlink()
    assert bddzoo("check", "--merge", folder, "--format", "github").returncode == 0


def test_bad_files_to_put_together(tmp_path: Path) -> None:
    assert_one_line(bddzoo("check", "--merge", tmp_path), 5, "no JSON files")
    (tmp_path / "a.json").write_text('[{"model": "m"}]')
    assert_one_line(bddzoo("check", "--merge", tmp_path), 2, "a.json is not what")
    (tmp_path / "a.json").write_text("{")
    assert_one_line(bddzoo("check", "--merge", tmp_path), 5, "cannot be read")
    assert_one_line(bddzoo("check", "demo", "--merge", tmp_path), 2, "--merge takes the models")


@pytest.mark.parametrize("arguments", [("check", "--matrix", "demo"), ("check", "--merge", "FOLDER")])
def test_what_runs_without_networks_imports_none(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """The jobs that only list and report install bddzoo without its heavy packages."""
    (tmp_path / "a.json").write_text("[]")
    given = [str(tmp_path) if a == "FOLDER" else a for a in arguments]
    code = (
        "import sys; from bddzoo.cli.main import run; run(sys.argv[1:]); "
        "sys.exit(bool({'torch', 'numpy', 'cv2', 'pycocotools'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *given], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
