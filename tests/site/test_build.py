"""What is built: sizes, links, sameness, and what the pages say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from bddzoo.datasets.classes import SEM_SEG
from bddzoo.reports.site.values import class_table, page_names
from tests.cli.command import ROOT
from tests.cli.inprocess import Done
from tests.results.factory import make_record
from tests.site.front import MEASURED, REGISTRY
from tests.site.inputs import RECORDS, Links, record_of

# What the site may weigh, images not counted, and for how many models.
LIMIT, MODELS = 400_000, 218


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


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
    command = [
        sys.executable,
        "-m",
        "bddzoo",
        "-q",
        "site",
        "build",
        "-o",
        again,
        "--force",
        "--results",
        RECORDS,
    ]
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
    table = text.partition("<table class=classes>")[2].partition("</table>")[0]
    at = [table.index(f"<th>{name}<") for name in SEM_SEG.names]
    assert at == sorted(at), "classes in the order of the task"
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


def test_checks_give_the_chain(bddzoo: Callable[..., Done], tmp_path: Path, records: Path) -> None:
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
    done = bddzoo("site", "build", "-o", out, "--results", records, "--checks", tmp_path / "checks")
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
    options = ("--results", "none", "--history", tmp_path / "health.json")
    assert bddzoo("site", "build", "-o", out, *options).code == 0
    page = (out / "models" / f"{model.id}.html").read_text("utf-8")
    assert "<td class=alive>alive 2026-11-01" in page
    assert "<td class=dead>not there 2026-11-02" in page
    assert "<td class=unknown>not probed" in page, "the config lies on another host"


def test_an_image_beside_a_record_or_in_a_folder(
    bddzoo: Callable[..., Done], tmp_path: Path, records: Path
) -> None:
    jpeg = (ROOT / "docs" / "images" / "demo.jpg").read_bytes()
    record_of(records).with_suffix(".jpg").write_bytes(jpeg)
    images = tmp_path / "pictures"
    images.mkdir()
    name = "deeplabv3+_r50-d8_769x769_40k_sem_seg_bdd100k"
    (images / f"{name}.jpg").write_bytes(jpeg)
    (images / "of nothing.jpg").write_bytes(jpeg)
    out = tmp_path / "site"
    done = bddzoo("site", "build", "-o", out, "--results", records, "--overlays", images, "--format", "json")
    assert done.code == 0
    assert json.loads(done.out)["images"] == 2
    assert {p.name for p in (out / "pictures").iterdir()} == {f"{MEASURED}.jpg", f"{name}.jpg"}
    page = (out / "models" / f"{name}.html").read_text("utf-8")
    assert "../pictures/deeplabv3%2B_r50" in page


def test_the_packages_that_are_not_needed_are_not_loaded(tmp_path: Path) -> None:
    """Nothing is computed without records, so no library for it is loaded; torch never is."""
    code = (
        "import sys; from bddzoo.cli.main import run; "
        f"code = run(['-q', 'site', 'build', '-o', {str(tmp_path / 'site')!r}, '--results', 'none']); "
        "print(code, sorted({'torch', 'numpy', 'cv2', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_every_column_of_the_classes_has_its_value_over_all() -> None:
    """Whatever the mean of a metric is called: F1 of tags had a dash where mF1 was known."""
    tables = {metric: {"clear": 50.0, "rainy": 70.0} for metric in ("Precision", "Recall", "F1")}
    totals = {"mPrecision": 60.0, "mRecall": 60.0, "mF1": 60.0, "accuracy": 61.0}
    table = class_table(make_record(per_class=tables, summary=totals))
    assert table is not None
    assert table.total == ("60.00",) * 3
