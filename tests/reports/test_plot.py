import json
import re
import shutil
import struct
from datetime import datetime, timezone
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bddzoo.registry import load_registry
from bddzoo.reports.plots.points import by_latency, select
from bddzoo.results.record import decode_record, encode_record
from bddzoo.results.speed import Device, Timing, scan_speed, write_speed
from bddzoo.results.store import record_path
from tests.cli.command import ROOT, assert_one_line, run_here
from tests.results.factory import fail
from tests.results.test_speed import record as speed_record

RESULTS = ROOT / "benchmarks" / "results"
SEM, INS = "demo_semfpn_r18n_sem_seg", "demo_mask_rcnn_r18n_ins_seg"
ATTRIBUTES = "names.json"
# The version of matplotlib that drew the images in docs/images.
DRAWN_WITH = "3.11.2"

# Newer than the records of the checkout; records of the future would count as the oldest.
LATER = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

pytest.importorskip("matplotlib")


@pytest.fixture
def plot(capsys):
    return lambda *arguments: run_here(capsys, "plot", *arguments)


@pytest.fixture
def results(tmp_path):
    """The demo's records, and a function that adds a changed copy of one of them."""
    root = tmp_path / "results"
    shutil.copytree(RESULTS / "demo", root / "demo")
    (source,) = (root / "demo/sem_seg" / SEM).glob("*.json")
    for_copies = source.read_bytes()

    def add(**changes):
        content = json.loads(for_copies)
        for key, value in changes.items():
            *path, last = key.split("__")
            place = content
            for part in path:
                place = place[part]
            place[last] = value
        record = decode_record(json.dumps(content).encode(), "copy")
        path = record_path(record, root)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_record(record))
        return path.stem

    add.root = root
    return add


@pytest.fixture
def attributes(tmp_path):
    """Weather of the frames of the demo's records."""
    from bddzoo.evaluation import statistics
    from bddzoo.results.store import find_record, read_statistics

    stored = find_record(RESULTS, SEM, fail)
    names = statistics.load(read_statistics(stored, "masks")).names
    kinds = ("clear", "rainy", "foggy")
    frames = [
        {
            "name": n,
            "labels": [],
            "attributes": {"weather": kinds[i % 3], "timeofday": ("day", "night")[i % 2]},
        }
        for i, n in enumerate(names)
    ]
    path = tmp_path / ATTRIBUTES
    path.write_text(json.dumps(frames))
    return path


def words(path: Path) -> list[str]:
    """Everything that is written in an SVG."""
    return ["".join(e.itertext()) for e in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def size(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    return struct.unpack(">II", content[16:24])


def test_both_files_from_one_name(plot, tmp_path):
    done = plot("params", "--zoo", "bdd100k-models", "--task", "sem_seg", "-o", tmp_path / "a b+c")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == [str(tmp_path / "a b+c.svg"), str(tmp_path / "a b+c.png")]
    assert min(size(tmp_path / "a b+c.png")) > 600
    text = words(tmp_path / "a b+c.svg")
    methods = {m.method.name for m in load_registry(None).select(zoo="bdd100k-models", task="sem_seg")}
    assert methods <= set(text)
    assert "parameters, million" in text


def test_every_model_is_a_point(plot, tmp_path):
    """The legend has one marker for each method, the plot one for each model."""
    plot("params", "--zoo", "bdd100k-models", "--task", "ins_seg", "-o", tmp_path / "x.svg")
    models = load_registry(None).select(zoo="bdd100k-models", task="ins_seg")
    methods = {m.method.name for m in models}
    svg = (tmp_path / "x.svg").read_text()
    points = sum(
        block.count("<use ") for block in re.findall(r'<g id="PathCollection_\d+">.*?</g>\s*</g>', svg, re.S)
    )
    assert points in (len(models), len(models) + len(methods))


def test_the_same_numbers_give_the_same_bytes(plot, tmp_path):
    for name in ("a", "b"):
        assert (
            plot("splits", "--zoo", "bdd100k-models", "--task", "sem_seg", "-o", tmp_path / name).returncode
            == 0
        )
    for suffix in (".svg", ".png"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert not re.search(r"20\d\d-\d\d-\d\d", (tmp_path / "a.svg").read_text())


def test_check_finds_drift(plot, tmp_path):
    arguments = ("splits", "--zoo", "bdd100k-models", "--task", "ins_seg", "-o", tmp_path / "x.svg")
    assert_one_line(plot(*arguments, "--check"), 5, "without --check")
    assert plot(*arguments).returncode == 0
    assert plot(*arguments, "--check").returncode == 0
    before = (tmp_path / "x.svg").read_bytes()
    (tmp_path / "x.svg").write_bytes(before.replace(b"Mask R-CNN", b"Mask RCNN"))
    assert_one_line(plot(*arguments, "--check"), 3, "not what its numbers give")
    assert b"Mask RCNN" in (tmp_path / "x.svg").read_bytes()


def test_speed_names_every_device(plot, results, tmp_path):
    results(protocol__device="cuda", environment__gpu=["NVIDIA H200"], run__images_per_s=312.5)
    results(
        protocol__device="cuda", environment__gpu=[], run__images_per_s=50.0, protocol__precision="amp-fp16"
    )
    done = plot(
        "speed", "--zoo", "demo", "--task", "sem_seg", "--results", results.root, "-o", tmp_path / "x.svg"
    )
    assert done.returncode == 0, done.stderr
    text = words(tmp_path / "x.svg")
    for device in ("NVIDIA H200", "AMD EPYC, 2 cores", "GPU (unnamed), amp-fp16"):
        assert device in text
    assert "3 devices" in " ".join(text)


def add_speed(root, model, name, ms, started, **more):
    device = Device(name=name, type="cuda", threads=1)
    values = {"zoo": "demo", "started": started, "timings": (Timing(times_ms=(ms,)),), **more}
    write_speed(speed_record(model=model, device=device, **values), root)


@pytest.fixture
def speeds(tmp_path):
    root = tmp_path / "results"
    add_speed(root, SEM, "Fast GPU", 4.0, "2026-01-01T00:00:00Z")
    add_speed(root, SEM, "Fast GPU", 5.0, "2026-02-01T00:00:00Z")
    add_speed(root, SEM, "Slow GPU", 50.0, "2026-01-01T00:00:00Z", precision="amp-fp16")
    add_speed(root, INS, "Fast GPU", 9.0, "2026-01-01T00:00:00Z", task="ins_seg")
    return root


def test_latency_has_a_group_for_every_device_and_the_newest_record_of_each(plot, speeds, tmp_path):
    given = ("--zoo", "demo", "--task", "sem_seg", "--results", speeds)
    done = plot("latency", *given, "-o", tmp_path / "x.svg")
    assert done.returncode == 0, done.stderr
    text = words(tmp_path / "x.svg")
    assert {"Fast GPU, 1280x720", "Slow GPU, 1280x720, amp-fp16"} <= set(text)
    chosen = select(load_registry(None).select(zoo="demo"), "sem_seg", None, None)
    records = [item.record for item in scan_speed(speeds, pytest.fail)]
    assert sorted(point.x for point in by_latency(chosen, "val", records, None)) == [5.0, 50.0]
    only = plot("latency", *given, "--device", "slow*", "-o", tmp_path / "y.svg")
    assert only.returncode == 0
    assert "Fast GPU" not in " ".join(words(tmp_path / "y.svg"))
    assert_one_line(plot("latency", *given, "--device", "TPU", "-o", tmp_path / "z.svg"), 5, "bddzoo bench")


def test_tables_of_a_device(speeds, capsys):
    given = ("tables", "--zoo", "demo", "--results", str(speeds))
    done = run_here(capsys, *given, "--task", "sem_seg", "--device", "*")
    headers, _, row = (line.strip("| ").split(" | ") for line in done.stdout.splitlines())
    cells = dict(zip(headers, row, strict=True))
    assert cells["ms, Fast GPU, 1280x720"] == "5"
    assert cells["images/s, Slow GPU, 1280x720, amp-fp16"] == "20"
    found = json.loads(run_here(capsys, *given, "--device", "fast*", "--format", "json").stdout)
    speed = [
        m["speed"] for task in found for method in task["methods"] for m in method["models"] if m["speed"]
    ]
    assert speed == [{"Fast GPU, 1280x720": {"ms": ms, "images_per_s": 1000 / ms}} for ms in (5.0, 9.0)]
    assert_one_line(run_here(capsys, *given, "--device", "TPU"), 5, "measured: Fast GPU, 1280x720, Slow GPU")
    assert_one_line(run_here(capsys, *given, "--device", "*", "--style", "full"), 2, "style compact")


def test_reported_shows_every_verdict_and_value(plot, results, tmp_path):
    results(summary__mIoU=60.0, run__started=LATER)
    done = plot("reported", "--zoo", "demo", "--results", results.root, "-o", tmp_path / "x.svg")
    assert done.returncode == 0, done.stderr
    text = words(tmp_path / "x.svg")
    assert f"{SEM}, mIoU: 66.42 / 60.00" in text
    assert {"drifted", "reproduced", "tolerance"} <= set(text)


def test_classes_are_in_the_order_of_the_task(plot, results, tmp_path):
    other = results(run__started=LATER, per_class__IoU={"road": 50.0, "car": None})
    (first,) = (p.stem for p in (RESULTS / "demo/sem_seg" / SEM).glob("*.json"))
    done = plot("classes", first, other, "--results", results.root, "-o", tmp_path / "x.svg")
    assert done.returncode == 0, done.stderr
    text = words(tmp_path / "x.svg")
    assert text.index("road") < text.index("car") < text.index("bicycle")
    assert "no value" in text
    assert f"{SEM} ({first})" in text


def test_classes_of_scores_files(plot, tmp_path):
    ours = {"summary": {"mIoU": 50.0}, "per_class": {"IoU": {"road": 90.0, "sky": 10.0}}}
    official = {"IoU": [{"road": 80.0, "sky": 20.0}, {"AVERAGE": 50.0}], "fIoU": 1.0}
    for name, content in (("ours", ours), ("official", official)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    files = (tmp_path / "ours.json", tmp_path / "official.json")
    done = plot("classes", *files, "--results", tmp_path, "-o", tmp_path / "x.svg")
    assert done.returncode == 0, done.stderr
    assert {"ours", "official", "90.0", "80.0", "10.0", "20.0"} <= set(words(tmp_path / "x.svg"))


@pytest.mark.parametrize("model", [SEM, INS])
def test_slices_come_from_the_statistics_of_a_record(plot, results, attributes, tmp_path, model):
    from bddzoo.datasets.attributes import read_attribute_files
    from bddzoo.evaluation import statistics
    from bddzoo.evaluation.slices import slice_scores
    from bddzoo.results.store import find_record, read_statistics

    out = tmp_path / "x.svg"
    done = plot("slices", model, "--attributes", attributes, "--results", results.root, "-o", out)
    assert done.returncode == 0, done.stderr
    stored = find_record(results.root, model, fail)
    metric = "mIoU" if model == SEM else "AP"
    accumulator = statistics.load(read_statistics(stored, "masks"))
    parts = slice_scores(accumulator, read_attribute_files(attributes), ["weather"])["weather"]
    text = words(out)
    for value, scores in parts.items():
        assert f"{value} ({scores.frames})" in text
        assert f"{scores.summary[metric]:.1f}" in text


def test_a_record_whose_model_has_gone_and_a_damaged_one_are_told(plot, results, tmp_path):
    results(model="gone_model")
    (results.root / "demo/sem_seg" / SEM / "0123.json").write_text("{")
    done = plot("reported", "--results", results.root, "-o", tmp_path / "x.svg")
    assert done.returncode == 0
    told = [line for line in done.stderr.splitlines() if line.startswith("warning:")]
    assert len(told) == 2
    assert any("gone_model" in line for line in told)
    assert any("0123.json" in line for line in told)


NOWHERE = "/proc/nowhere/x.svg"


@pytest.mark.parametrize(
    ("arguments", "code", "words_"),
    [
        (["speed", "--task", "sem_seg", "-o", "x.svg"], 5, "no record of bdd100k has both"),
        (["reported", "-o", "x.svg"], 5, "no reported number on val has been measured"),
        (["params", "--task", "sem_seg", "--measured", "-o", "x.svg"], 5, "nothing to plot"),
        (["classes", SEM, "-o", "x.svg"], 5, "no record"),
        (["slices", SEM, "--data", ".", "-o", "x.svg"], 5, "no record"),
        (["slices", SEM, "-o", "x.svg"], 2, "--attributes"),
        (["params", "-o", "x.svg"], 2, "several tasks"),
        (["params", "nope*", "-o", "x.svg"], 5, "no model"),
        (["params", "--task", "sem_seg", "--dataset", "kitti", "-o", "x.svg"], 5, "kitti"),
        (["params", "--task", "sem_seg", "--metric", "PQ", "-o", "x.svg"], 5, "PQ on val"),
        (["params", "--task", "sem_seg", "-o", "x.pdf"], 2, "x.pdf"),
        (["params", "--task", "sem_seg", "-o", NOWHERE], 5, "cannot write"),
        (["classes", "a", "b", "c", "d", "e", "-o", "x.svg"], 2, "more than 4"),
    ],
)
def test_what_cannot_be_plotted_is_one_line(plot, tmp_path, monkeypatch, arguments, code, words_):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BDDZOO_RESULTS", str(tmp_path / "empty"))
    assert_one_line(plot(*arguments), code, words_)
    assert not list(tmp_path.iterdir())


def test_slices_that_cannot_be(plot, results, attributes, tmp_path):
    common = ("--results", results.root, "-o", tmp_path / "x.svg")
    assert_one_line(
        plot("slices", SEM, "--attributes", attributes, "--by", "wheather", *common), 2, "wheather"
    )
    assert_one_line(
        plot("slices", SEM, "--attributes", attributes, "--metric", "AP", *common), 5, "no metric 'AP'"
    )
    assert_one_line(plot("slices", SEM, "--data", tmp_path, *common), 5, "--attributes")
    bare = results(statistics={}, run__started=LATER)
    assert_one_line(plot("slices", bare, "--attributes", attributes, *common), 5, "kept no statistics")


def test_the_image_in_the_documents_is_what_the_registry_says(plot):
    """Other versions of matplotlib draw the same image in other bytes."""
    import matplotlib

    if matplotlib.__version__ != DRAWN_WITH:
        pytest.skip(f"it was drawn with matplotlib {DRAWN_WITH}")
    out = ROOT / "docs/images/params.svg"
    done = plot("params", "--zoo", "bdd100k-models", "--task", "sem_seg", "-o", out, "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["precision", "reliability"])
@pytest.mark.parametrize("metric", [(), ("--metric", "box_AP")])
def test_curves_of_a_record(plot, results, tmp_path, kind, metric):
    arguments = (kind, INS, *metric, "--results", results.root, "-o", tmp_path / "curve.svg")
    done = plot(*arguments)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "curve.svg").read_text()
    assert ("recall" if kind == "precision" else "ECE") in text
    assert plot(*arguments, "--check").returncode == 0


def test_curves_differ_by_threshold(plot, results, tmp_path):
    for iou in ("0.5", "0.75"):
        out = tmp_path / f"{iou}.png"
        assert plot("precision", INS, "--iou", iou, "--results", results.root, "-o", out).returncode == 0
    assert (tmp_path / "0.5.png").read_bytes() != (tmp_path / "0.75.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("precision", SEM), 2, "which has no detections"),
        (("reliability", SEM), 2, "which has no detections"),
        (("precision", INS, "--iou", "0.52"), 2, "no matches are kept at IoU 0.52"),
        (("precision", INS, "--iou", "2"), 2, "0.5<=x<=0.95"),
        (("reliability", INS, "--metric", "mIoU"), 5, "has no metric 'mIoU'"),
        (("reliability", "nothing"), 5, "nothing"),
    ],
)
def test_what_has_no_curves(plot, results, tmp_path, arguments, code, words):
    done = plot(*arguments, "--results", results.root, "-o", tmp_path / "x.svg")
    assert_one_line(done, code, words)
    assert not (tmp_path / "x.svg").exists()
