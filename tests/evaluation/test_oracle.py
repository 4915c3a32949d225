"""Random sets, scored by the official toolkit and by us in the same run."""

import json
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from bddzoo.datasets.classes import DRIVABLE, INS_SEG, PAN_SEG, SEM_SEG
from bddzoo.errors import MissingError
from bddzoo.evaluation.disk import evaluate
from bddzoo.evaluation.options import Options
from bddzoo.evaluation.oracle import Toolkit
from tests.conftest import ALL
from tests.evaluation import scenes
from tests.evaluation.cases import assert_same, write_sides
from tests.evaluation.commands import score
from tests.evaluation.scenes import seeds

OFFICIAL = Options(official=True)
# The toolkit takes long; more are worth a run now and then.
EXAMPLES = int(os.environ.get("BDDZOO_ORACLE_EXAMPLES", "60" if ALL else "20"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Where it takes a second for each.
few = settings(many, max_examples=EXAMPLES if EXAMPLES > 20 else 5)


def write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    swap = pixels[..., [2, 1, 0, 3]] if pixels.ndim == 3 else pixels
    assert cv2.imwrite(str(path), swap)


def compare(toolkit, task, gt, pred, score_file=None) -> bool:
    """Both evaluations of the same files; whether the toolkit gave numbers."""
    theirs = toolkit.evaluate(task, gt, pred, score_file)
    if theirs["status"] != "ok":
        with pytest.raises(MissingError):
            evaluate(task, gt, pred, score_file=score_file, options=OFFICIAL)
        return False
    ours = evaluate(task, gt, pred, score_file=score_file, options=OFFICIAL)
    assert_same(ours.scores.to_official(), theirs["result"])
    return True


@many
@given(seeds)
@pytest.mark.parametrize("task", ["sem_seg", "drivable"])
def test_class_maps(toolkit, task, seed):
    rng = np.random.default_rng(seed)
    classes = 19 if task == "sem_seg" else 2
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for i in range(int(rng.integers(1, 5))):
            inner = rng.choice(["", "a/", "b/c/"])
            truth = scenes.class_map(rng, classes=classes, odd=(classes, 255))
            write_png(root / f"gt/{inner}f{i}.png", truth)
            if rng.random() < 0.9:
                write_png(root / f"pred/f{i}.png", scenes.disturbed(rng, truth, classes))
        write_png(root / "pred/zz.png", truth)
        assert compare(toolkit, task, root / "gt", root / "pred")


@many
@given(seeds)
def test_bitmasks(toolkit, seed):
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        root, entries = Path(folder), []
        for i in range(int(rng.integers(1, 5))):
            gt, pred, scores = scenes.ins_frame(rng)
            write_png(root / f"gt/f{i}.png", gt)
            write_png(root / f"pred/f{i}.png", pred)
            suffix = rng.choice(["jpg", "png"])
            labels = scores if scores or rng.random() < 0.5 else None
            entries.append({"name": f"f{i}.{suffix}", "labels": labels})
        rng.shuffle(entries)
        (root / "score.json").write_text(json.dumps(entries))
        assert compare(toolkit, "ins_seg", root / "gt", root / "pred", root / "score.json")


@many
@given(seeds)
def test_panoptic_bitmasks(toolkit, seed):
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for i in range(int(rng.integers(1, 4))):
            truth = scenes.objects(rng, int(rng.integers(0, 12)), flags=(0, 0, 0, 1, 2, 4), classes=40)
            found = scenes.moved(rng, truth, classes=40) or scenes.objects(rng, 1, classes=40)
            found = [(*d[:2], int(rng.choice([0, 0, 0, 1])), *d[3:]) for d in found]
            write_png(root / f"gt/f{i}.png", scenes.paint(truth))
            if rng.random() < 0.85:
                write_png(root / f"pred/f{i}.png", scenes.paint(found))
        write_png(root / "pred/zz.png", scenes.paint(found))
        assert compare(toolkit, "pan_seg", root / "gt", root / "pred")


def label(number: int, category: str, mask: np.ndarray, **more) -> dict:
    return {"id": str(number), "category": category, "rle": scenes.rle(mask), **more}


def pan_labels(rng: np.random.Generator, *, shared: bool) -> list[dict]:
    """Segments of one frame; now and then two of them share pixels."""
    names = (*PAN_SEG.names[5:9], *PAN_SEG.names[30:33], "no such class")
    drawn = rng.choice(names, int(rng.integers(0, 9)))
    canvas = scenes.class_map(rng, (60, 80), classes=len(drawn) + 1, odd=(len(drawn),))
    out = []
    for k, name in enumerate(drawn.tolist()):
        mask = canvas == k
        if shared and rng.random() < 0.3:
            mask |= canvas == int(rng.integers(len(drawn)))
        attributes = {key: True for key in ("crowd", "ignored") if rng.random() < 0.1}
        out.append(label(k, name, mask, attributes=attributes or None))
    if rng.random() < 0.1:
        out.append({"id": "99", "category": PAN_SEG.names[3]})
    return out


@many
@given(seeds)
def test_panoptic_labels_as_rle(toolkit, seed):
    rng = np.random.default_rng(seed)
    gt, pred = [], []
    for i in range(int(rng.integers(1, 5))):
        truth = pan_labels(rng, shared=rng.random() < 0.2)
        gt.append({"name": f"f{i}.jpg", "labels": truth})
        chance = rng.random()
        if chance < 0.5:
            kept = [item for item in truth if rng.random() < 0.8]
            pred.append({"name": f"f{i}.jpg", "labels": kept or None})
        elif chance < 0.9:
            pred.append({"name": f"f{i}.jpg", "labels": pan_labels(rng, shared=rng.random() < 0.2)})
    with tempfile.TemporaryDirectory() as folder:
        compare(toolkit, "pan_seg", *write_sides(Path(folder), gt, {"frames": pred}))


@settings(many, max_examples=EXAMPLES // 2)
@given(seeds)
@pytest.mark.parametrize("task", ["sem_seg", "drivable"])
def test_class_maps_as_rle(toolkit, task, seed):
    rng = np.random.default_rng(seed)
    names = (SEM_SEG if task == "sem_seg" else DRIVABLE).names
    shape = (720, 1280)

    def frame(name, class_map):
        values = [v for v in np.unique(class_map).tolist() if v < len(names)]
        rng.shuffle(values)
        labels = [label(k, names[v], class_map == v) for k, v in enumerate(values)]
        if labels and rng.random() < 0.4:
            labels.append(label(99, str(rng.choice(names)), scenes.class_map(rng, shape, 2, (0,)) == 1))
        if rng.random() < 0.3:
            labels.append({"id": "100", "category": "unicorn", "rle": scenes.rle(class_map == 0)})
        if rng.random() < 0.3:
            labels.append({"id": "101", "category": names[0]})
        return {"name": name, "labels": labels if labels else None}

    with tempfile.TemporaryDirectory() as folder:
        root, gts, preds = Path(folder), [], []
        for i in range(2):
            truth = scenes.class_map(rng, shape, len(names))
            gts.append(frame(f"f{i}.jpg", truth))
            if rng.random() < 0.85:
                preds.append(frame(f"f{i}.jpg", scenes.disturbed(rng, truth, len(names))))
        assert compare(toolkit, task, *write_sides(root, gts, {"frames": preds, "groups": None}))


@many
@given(seeds)
def test_instances_as_rle(toolkit, seed):
    rng = np.random.default_rng(seed)
    names = [*INS_SEG.names, "bike", "person", "van"]

    def frame(name, items, *, scored):
        bitmask = scenes.paint(items)
        ids = bitmask[..., 2].astype(int) << 8 | bitmask[..., 3]
        labels = []
        for ident, category, flag, *_ in items:
            more = {"score": float(rng.integers(1, 9)) / 8} if scored else {}
            more["attributes"] = {"crowd": bool(flag & 2), "ignored": bool(flag & 1)}
            kind = names[category - 1] if rng.random() < 0.9 else str(rng.choice(names))
            labels.append(label(ident, kind, ids == ident, **more))
        if scored and labels and rng.random() < 0.2:
            labels.append(label(9999, "car", ids == items[0][0], score=0.5))
        if not scored and rng.random() < 0.2:
            labels.append(label(9998, "trailer", ids == 0))
        return {"name": name, "labels": labels}

    with tempfile.TemporaryDirectory() as folder:
        root, gts, preds = Path(folder), [], []
        for i in rng.permutation(int(rng.integers(1, 5))).tolist():
            truth = scenes.objects(rng, int(rng.integers(0, 8)), flags=(0, 0, 0, 1, 2, 3))
            gts.append(frame(f"f{i}.jpg", truth, scored=False))
            if rng.random() < 0.9:
                preds.append(frame(f"f{i}.jpg", scenes.moved(rng, truth), scored=True))
        assert compare(toolkit, "ins_seg", *write_sides(root, gts, preds))


def kinds_of_png(kind: str, pixels: np.ndarray) -> bytes:
    """One image in a format that Pillow opens in another way than a plain class map."""
    import io

    from PIL import Image

    image = {
        "16 bit": lambda: Image.fromarray(pixels.astype(np.uint16) + 256),
        "1 bit": lambda: Image.fromarray(pixels > 3).convert("1"),
        "RGB": lambda: Image.fromarray(np.stack([pixels] * 3, -1)),
        "grey alpha": lambda: Image.fromarray(np.stack([pixels, pixels], -1), "LA"),
        "palette": lambda: _palette(pixels),
        "4 bit palette": lambda: _palette(pixels % 16),
    }[kind]()
    out = io.BytesIO()
    image.save(out, "png", **({"bits": 4} if kind.startswith("4") else {}))
    return out.getvalue()


def _palette(pixels: np.ndarray):
    from PIL import Image

    image = Image.fromarray(pixels, "P")
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    return image


@pytest.mark.parametrize("kind", ["16 bit", "1 bit", "RGB", "grey alpha", "palette", "4 bit palette"])
@pytest.mark.parametrize("both", [False, True])
def test_odd_pngs(toolkit, tmp_path, kind, both):
    pytest.importorskip("PIL")
    rng = np.random.default_rng(1)
    truth = scenes.class_map(rng, classes=19, odd=(255,))
    content = kinds_of_png(kind, scenes.disturbed(rng, truth, odd=(2,)))
    write_png(tmp_path / "gt/f.png", truth)
    write_png(tmp_path / "pred/f.png", truth)
    (tmp_path / "pred/f.png").write_bytes(content)
    if both:
        (tmp_path / "gt/f.png").write_bytes(kinds_of_png(kind, np.minimum(truth, 18)))
    compare(toolkit, "sem_seg", tmp_path / "gt", tmp_path / "pred")


def test_transposed_and_empty_and_doubled(toolkit, tmp_path):
    rng = np.random.default_rng(2)
    truth = scenes.class_map(rng)
    for name in ("a/f.png", "b/f.png", "g.png"):
        write_png(tmp_path / "gt" / name, truth)
        write_png(tmp_path / "turned" / name, np.ascontiguousarray(truth.T))
        write_png(tmp_path / "doubled" / name, scenes.disturbed(rng, truth))
    (tmp_path / "empty").mkdir()
    for pred in ("turned", "doubled", "empty"):
        assert compare(toolkit, "sem_seg", tmp_path / "gt", tmp_path / pred)
        with pytest.raises(MissingError, match=pred if pred == "empty" else "f.png"):
            evaluate("sem_seg", tmp_path / "gt", tmp_path / pred)
    (tmp_path / "gt/b/f.png").unlink()
    (tmp_path / "turned/b/f.png").unlink()
    with pytest.raises(MissingError, match=r"f.png is 24x40.*transposed"):
        evaluate("sem_seg", tmp_path / "gt", tmp_path / "turned")


def test_the_toolkit_itself_can_be_asked(toolkit, tmp_path):
    truth = scenes.class_map(np.random.default_rng(3))
    write_png(tmp_path / "gt/f.png", truth)
    write_png(tmp_path / "pred/f.png", truth)

    def official(*more, pred="pred"):
        return score("sem_seg", tmp_path / "gt", tmp_path / pred, "--evaluator", "official", *more)

    done = official("--format", "json")
    assert done.code == 0
    result = done.data
    assert result["IoU"][1]["AVERAGE"] == 100
    more = result["bddzoo"]
    assert more["evaluator"] == "bdd100k 1.0.1 with scalabel 0.3.1"
    # What it does not say is not made up.
    assert (more["compat"], more["frames"], more["absent_classes"]) == ("official", None, None)
    assert official("--allow-partial").code == 2
    (tmp_path / "empty").mkdir()
    done = official(pred="empty")
    assert done.code == 0
    assert "the toolkit gives no number" in done.err
    (tmp_path / "pred/f.png").write_bytes(b"no")
    done = official()
    assert done.code == 5
    assert "official toolkit fails" in done.err


def test_without_the_toolkit_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr("bddzoo.evaluation.oracle.toolkit_python", lambda: None)
    with pytest.raises(MissingError, match="not installed"):
        Toolkit()
