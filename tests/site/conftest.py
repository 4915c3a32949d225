from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.cli.command import ROOT
from tests.cli.inprocess import Done, command
from tests.conftest import made_once
from tests.reports.vis_data import make
from tests.site.inputs import RECORDS, write_registry

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DETECTORS = ("det", "ins_seg")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture
def bddzoo() -> Callable[..., Done]:
    return command


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the registry and the records of this checkout; to be read only."""
    from bddzoo.cli.main import run

    def build(folder: Path) -> None:
        assert run(["-q", "site", "build", "-o", str(folder), "--results", str(RECORDS)]) == 0

    return made_once("site", build, tmp_path_factory)


@pytest.fixture(scope="session")
def small_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with one model of each method of the largest zoo only; to be read only."""
    from bddzoo.cli.main import run

    folder = tmp_path_factory.mktemp("small")
    document = yaml.safe_load((ROOT / "registry.yaml").read_text())
    largest = next(zoo for zoo in document["zoos"] if zoo["id"] == "bdd100k-models")
    for task in largest["tasks"].values():
        for method in task["methods"]:
            del method["models"][1:]
    options = [
        "--registry",
        str(write_registry(folder / "registry.yaml", document)),
        "--results",
        str(RECORDS),
    ]
    assert run(["-q", "site", "build", "-o", str(folder / "site"), *options]) == 0
    return folder / "site"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A copy of the checkout's records of class maps, whose intervals cost little, that a test may spoil."""
    return Path(shutil.copytree(RECORDS, tmp_path / "records", ignore=shutil.ignore_patterns(*DETECTORS)))


@pytest.fixture(scope="session")
def compare_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `vis compare --html` with two predictions; to be read only."""
    from bddzoo.cli.main import run

    root = make(tmp_path_factory.mktemp("vis"))
    sides = ["-g", root / "masks", "-r", root / "masks.json", "-r", root / "colours"]
    command = ["-q", "vis", "compare", "-i", root / "images", *sides, "-o", root / "out", "--html"]
    assert run([str(argument) for argument in command]) == 0
    return root / "out/index.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium. Closed after each module: its driver runs an event loop of its own."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("needs a browser: apt-get install -y chromium")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


@dataclass
class Opener:
    """Opens pages, and remembers what must not happen on them."""

    browser: Browser
    contexts: list[Any] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __call__(self, path: Path, address: str = "", **options: Any) -> Page:
        """Open a file; options are those of a browser context."""
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = self.browser.new_context(**options)
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda m: self.complaints.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self._request)
        page.on("requestfailed", lambda r: self.complaints.append(f"failed: {r.url}"))
        page.goto(path.as_uri() + address)
        return page

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.complaints.append(f"request to {request.url}")


@pytest.fixture
def visit(browser: Browser) -> Iterator[Opener]:
    """Opens pages; afterwards there must be no message on a console, and no request to anywhere."""
    opener = Opener(browser)
    yield opener
    for context in opener.contexts:
        context.close()
    assert opener.complaints == []
