"""A release: one version, a changelog that says it, and installation commands that work."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from bddzoo.engines.openmmlab import LINES
from bddzoo.errors import ON_PYPI, install_hint
from tests.cli.command import ROOT


def load(name: str) -> ModuleType:
    """A module that lies in no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = load("tools/release")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What a release touches, with a change to be released."""
    for name in ("bddzoo/version.py", "bddzoo/errors.py", "CHANGELOG.md", "CITATION.cff", "README.md"):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("images"))
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\nSomething new.\n")
    return tmp_path


def test_version_changelog_citation_and_hints_agree() -> None:
    assert release.problems(ROOT) == []


def test_every_hint_in_the_code_comes_from_one_function() -> None:
    """Nobody is told to install what is not there: no other module spells such a command."""
    extras = set(re.findall(r"^([\w-]+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    hinted = {line.extra for line in LINES}  # of the line that is installed
    for path in sorted((ROOT / "bddzoo").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and path.name != "errors.py":
                assert not re.search(r"pip install.*(bddzoo|\.\[)", node.value), f"{path}:{node.lineno}"
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "install_hint"
            ):
                hinted |= {a.value for a in node.args if isinstance(a, ast.Constant)}
    assert {"score", "plots"} <= hinted <= extras


def test_no_workflow_installs_what_is_not_there() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text()
        assert ON_PYPI or not re.search(r"pip\"? install\b.*bddzoo", text), path
        inputs = (yaml.safe_load(text)[True] or {}).get("workflow_call", {}).get("inputs", {})
        assert inputs.get("install", {}).get("default", "") == ""


def test_a_prepared_release_is_ready_and_turns_every_hint(copy: Path) -> None:
    assert release.problems(copy) == []
    release.prepare(copy, "1.2.0")
    assert release.problems(copy, "v1.2.0") == []
    assert release.released(copy) == {"1.2.0": "Something new."}
    said: dict[str, object] = {}
    exec((copy / "bddzoo" / "errors.py").read_text(), said)
    assert said["install_hint"]("run") == "pip install 'bddzoo[run]'"  # type: ignore[operator]
    assert "pip install 'bddzoo[run]'" in (copy / "README.md").read_text()
    assert not any(re.search(r"pip install ('\.\[|\. )", p.read_text()) for p in release.documents(copy))
    # The next changes gather under a heading of their own, and the version stands until they are released.
    changelog = copy / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("## Unreleased\n", "## Unreleased\n\nMore.\n"))
    assert release.problems(copy) == []
    assert any("still Unreleased" in problem for problem in release.problems(copy, "v1.2.0"))
    release.prepare(copy, "1.3.0")
    assert list(release.released(copy)) == ["1.3.0", "1.2.0"]
    assert release.problems(copy, "v1.3.0") == []


@pytest.mark.parametrize(
    ("name", "before", "after", "problem"),
    [
        ("CITATION.cff", "version: 1.2.0", "version: 1.1.0", "version 1.1.0, but"),
        ("bddzoo/version.py", '"1.2.0"', '"1.2.1"', "the newest release is 1.2.0"),
        ("bddzoo/version.py", '"1.2.0"', '"1.2"', "1.2 is not a version"),
        ("bddzoo/errors.py", "ON_PYPI = True", "ON_PYPI = False", "ON_PYPI is False"),
        ("CHANGELOG.md", "Something new.", "", "nothing is said about 1.2.0"),
        ("CHANGELOG.md", "## 1.2.0 - ", "## 1.2.0, ", "is not '## VERSION - YYYY-MM-DD'"),
        ("README.md", "pip install 'bddzoo[run]'", "pip install '.[run]'", "installs from a clone"),
    ],
)
def test_what_does_not_agree_is_named(copy: Path, name: str, before: str, after: str, problem: str) -> None:
    release.prepare(copy, "1.2.0")
    text = (copy / name).read_text()
    assert before in text
    (copy / name).write_text(text.replace(before, after))
    assert any(problem in found for found in release.problems(copy, "v1.2.0"))


def test_another_tag_is_refused(copy: Path) -> None:
    release.prepare(copy, "1.2.0")
    assert any("tag v1.3.0" in problem for problem in release.problems(copy, "v1.3.0"))


@pytest.mark.parametrize(("version", "reason"), [("1.2", "not a version"), ("1.2.0", "has 1.2.0 already")])
def test_what_cannot_be_prepared(copy: Path, version: str, reason: str) -> None:
    release.prepare(copy, "1.2.0")
    with pytest.raises(ValueError, match=reason):
        release.prepare(copy, version)
    with pytest.raises(ValueError, match="nothing under Unreleased"):
        release.prepare(copy, "1.3.0")


def test_a_hint_of_today_works_today() -> None:
    assert install_hint("score").endswith(
        "pip install 'bddzoo[score]'" if ON_PYPI else "pip install '.[score]'"
    )
