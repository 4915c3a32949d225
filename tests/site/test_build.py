"""What is built: sizes, links, sameness, and what happens to input that is not good."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from bddzoo.registry import load_registry
from bddzoo.reports.site.model import page_names
from tests.cli.command import ROOT
from tests.cli.inprocess import Done

REGISTRY = load_registry()
RECORDS = ROOT / "benchmarks" / "results"
MEASURED = "demo_semfpn_r18n_sem_seg"
# What the site may weigh, pictures not counted, and for how many models.
LIMIT, MODELS = 400_000, 218


class NoAliases(yaml.SafeDumper):
    """YAML as the registry has it: what comes twice is written twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def write_registry(path: Path, document: object) -> Path:
    path.write_text(yaml.dump(document, Dumper=NoAliases, sort_keys=False))
    return path


class Links(HTMLParser):
    """Links, ids and sources of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value is not None:
                self.links.append(value)
            elif name == "id" and value is not None:
                self.ids.add(value)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A copy of the checkout's records that a test may spoil."""
    return Path(shutil.copytree(RECORDS, tmp_path / "records"))


def record_of(records: Path, model: str = MEASURED) -> Path:
    return next(records.glob(f"*/*/{model}/*.json"))


def test_the_whole_site_is_small(site: Path) -> None:
    files = contents(site)
    pages = [len(data) for name, data in files.items() if name.startswith("models/")]
    assert len(pages) == len(REGISTRY.models)
    # A registry that grows may take more, but no more for each model; a record brings a table of classes.
    measured = len({path.parent for path in RECORDS.glob("*/*/*/*.json")})
    allowed = LIMIT * max(1, len(pages) / MODELS) + 2_500 * max(0, measured - 2)
    assert sum(map(len, files.values())) < allowed
    assert len(files["site.css"]) + len(files["site.js"]) + len(files["page.js"]) < 50_000


def test_same_input_same_bytes(bddzoo: Callable[..., Done], site: Path, tmp_path: Path) -> None:
    """In another process, whose hashes of strings differ, and over another site."""
    again = tmp_path / "again"
    assert bddzoo("site", "build", "-o", again, "--results", "none", "--title", "Another").code == 0
    assert contents(again) != contents(site)
    command = [sys.executable, "-m", "bddzoo", "-q", "site", "build", "-o", again, "--results", RECORDS]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    assert contents(again) == contents(site)


def test_every_link_inside_leads_somewhere(site: Path) -> None:
    pages = {path: Links(path.read_text("utf-8")) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            if link.startswith(("https://", "http://", "data:")):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / unquote(name)).resolve() if name else path
            assert target.is_file(), (path.name, link)
            if anchor and "=" not in anchor:
                assert anchor in pages[target].ids, (path.name, link)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """Links may lead away; what a page loads by itself may not."""
    for path in site.rglob("*.html"):
        text = path.read_text("utf-8")
        for tag in ("<script", "<img", "<link", "<iframe"):
            for part in text.split(tag)[1:]:
                assert "http" not in part.partition(">")[0], (path.name, part[:80])
    for name in ("site.css", "site.js", "page.js"):
        text = (site / name).read_text("utf-8")
        assert "url(" not in text
        assert "@import" not in text
        assert text.replace("http://www.w3.org/2000/svg", "").find("http") < 0


def test_the_front_page_has_every_model_and_number(site: Path) -> None:
    text = (site / "index.html").read_text("utf-8")
    names = page_names(REGISTRY.models)
    rows = {row.partition("</a>")[0].rpartition(">")[2]: row for row in text.split("<tr>")}
    for model in REGISTRY.models:
        row = rows[model.id]
        assert f"models/{names[model.id].replace('+', '%2B')}" in row
        for entry in model.reported:
            if entry.value is not None:
                assert f"<td>{entry.value}" in row, (model.id, entry)


def test_a_measured_model_says_how(site: Path) -> None:
    record = json.loads(record_of(RECORDS).read_text())
    text = (site / "models" / f"{MEASURED}.html").read_text("utf-8")
    assert 'class="v reproduced"' in text
    assert record["weights"]["sha256"] in text
    assert f"{record['per_class']['IoU']['traffic light']:.2f}" in text
    # The interval of the mean holds the mean.
    row = text.partition("<tr><th>mIoU val")[2].partition("\n")[0]
    low, high = (float(x) for x in row.split("<td>")[3].split(" to "))
    assert low < record["summary"]["mIoU"] < high


def test_what_nobody_measured_is_missing(bddzoo: Callable[..., Done], tmp_path: Path) -> None:
    done = bddzoo("site", "build", "-o", tmp_path / "site", "--results", tmp_path / "none")
    assert done.code == 0
    assert "every verdict is 'missing'" in done.err
    text = (tmp_path / "site" / "index.html").read_text("utf-8")
    table = text[text.index("<tbody>") : text.rindex("</table>")]
    assert table.count("<td class=missing>") == len(REGISTRY.models)
    assert "reproduced" not in table


def test_checks_give_the_chain(bddzoo: Callable[..., Done], tmp_path: Path) -> None:
    rows = [
        {
            "model": MEASURED,
            "zoo": "demo",
            "links": [
                {"link": "registry", "verdict": "reproduced", "source": "docs/demo.md", "reasons": []},
                {"link": "scores", "verdict": "drifted", "source": "s.json", "reasons": ["off by 1 <b>"]},
            ],
        }
    ]
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "demo.json").write_text(json.dumps(rows))
    out = tmp_path / "site"
    done = bddzoo("site", "build", "-o", out, "--results", RECORDS, "--checks", tmp_path / "checks")
    assert done.code == 0
    chain = (out / "models" / f"{MEASURED}.html").read_text("utf-8").partition("<ol class=chain>")[2]
    links = [line for line in chain.partition("</ol>")[0].splitlines() if line.startswith("<li>")]
    assert [line.partition('class="v ')[2].partition('"')[0] for line in links] == [
        "reproduced",
        "drifted",
        "missing",
        "reproduced",
    ]
    assert "off by 1 &lt;b&gt;" in links[1]


def test_history_gives_health(bddzoo: Callable[..., Done], tmp_path: Path) -> None:
    model = REGISTRY.find("fcn_r50-d8_769x769_40k_sem_seg_bdd100k")
    weights = model.artifact("weights")
    assert weights is not None
    history = {
        "schema": 1,
        "hosts": {"dl.cv.ethz.ch": {"probed": "2026-11-02", "files": 500, "alive": 1}},
        "files": {weights.sources[0]: {"state": "alive", "last_seen": "2026-11-01"}},
    }
    (tmp_path / "health.json").write_text(json.dumps(history))
    out = tmp_path / "site"
    assert bddzoo("site", "build", "-o", out, "--history", tmp_path / "health.json").code == 0
    page = (out / "models" / f"{model.id}.html").read_text("utf-8")
    assert "<td class=alive>alive 2026-11-01" in page
    assert "<td class=dead>not there 2026-11-02" in page
    assert "<td class=unknown>not probed" in page, "the config lies on another host"


def test_a_picture_beside_a_record_or_in_a_folder(
    bddzoo: Callable[..., Done], tmp_path: Path, records: Path
) -> None:
    jpeg = (ROOT / "docs" / "images" / "demo.jpg").read_bytes()
    record_of(records).with_suffix(".jpg").write_bytes(jpeg)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    name = "deeplabv3+_r50-d8_769x769_40k_sem_seg_bdd100k"
    (pictures / f"{name}.jpg").write_bytes(jpeg)
    (pictures / "of nothing.jpg").write_bytes(jpeg)
    out = tmp_path / "site"
    done = bddzoo(
        "site", "build", "-o", out, "--results", records, "--pictures", pictures, "--format", "json"
    )
    assert done.code == 0
    assert json.loads(done.out)["pictures"] == 2
    assert {p.name for p in (out / "pictures").iterdir()} == {f"{MEASURED}.jpg", f"{name}.jpg"}
    page = (out / "models" / f"{name}.html").read_text("utf-8")
    assert "../pictures/deeplabv3%2B_r50" in page


def test_a_broken_picture_is_left_out(bddzoo: Callable[..., Done], tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / f"{MEASURED}.png").write_bytes(b"not a picture")
    (pictures / "demo_mask_rcnn_r18n_ins_seg.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    done = bddzoo("site", "build", "-o", tmp_path / "site", "--pictures", pictures)
    assert done.code == 6
    assert f"{MEASURED}.png is not the picture that its name says" in done.err
    assert [p.name for p in (tmp_path / "site" / "pictures").iterdir()] == ["demo_mask_rcnn_r18n_ins_seg.jpg"]


def test_a_damaged_record_is_reported_and_the_rest_built(
    bddzoo: Callable[..., Done], tmp_path: Path, records: Path
) -> None:
    record_of(records).write_text("{")
    done = bddzoo("site", "build", "-o", tmp_path / "site", "--results", records)
    assert done.code == 6
    assert done.err.count("warning:") == 1
    assert "not a record" in done.err
    assert "1 measured" in done.err


def test_lost_statistics_cost_the_interval_only(
    bddzoo: Callable[..., Done], tmp_path: Path, records: Path
) -> None:
    for file in record_of(records).parent.glob("*.npz"):
        file.unlink()
    done = bddzoo("site", "build", "-o", tmp_path / "site", "--results", records)
    assert done.code == 5
    page = (tmp_path / "site" / "models" / f"{MEASURED}.html").read_text("utf-8")
    assert "<td>66.62<td>66.62<td>–<td>0.00" in page


def test_a_record_of_a_model_that_has_gone(bddzoo: Callable[..., Done], tmp_path: Path) -> None:
    document = yaml.safe_load((ROOT / "registry.yaml").read_text())
    document["zoos"] = [z for z in document["zoos"] if z["id"] != "demo"]
    path = write_registry(tmp_path / "registry.yaml", document)
    done = bddzoo("site", "build", "-o", tmp_path / "site", "--registry", path, "--results", RECORDS)
    assert done.code == 0
    assert done.err.count("which the registry does not have") == 2


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--history", "none.json"], 5, "no file none.json"),
        (["--checks", "none"], 5, "no folder none"),
        (["--pictures", "none"], 5, "cannot read the pictures in none"),
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
    zoo["tasks"].pop("ins_seg")
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


def test_the_packages_that_are_not_needed_are_not_loaded(tmp_path: Path) -> None:
    """Nothing is computed without records, so no library for it is loaded; torch never is."""
    code = (
        "import sys; from bddzoo.cli.main import run; "
        f"code = run(['-q', 'site', 'build', '-o', {str(tmp_path / 'site')!r}, '--results', 'none']); "
        "print(code, sorted({'torch', 'numpy', 'cv2', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
