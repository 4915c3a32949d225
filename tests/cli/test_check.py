"""The chain of evidence, all four links, with real networks, real files and real HTTP."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from tests.cli.command import assert_one_line, plain
from tests.cli.conftest import Run, TinyZoo
from tests.cli.inprocess import command
from tests.support.server import Server
from tests.support.tiny import INS_SEG, SEM_SEG

MODELS = {"sem_seg": SEM_SEG, "ins_seg": INS_SEG}


@pytest.fixture(scope="module")
def publication(tiny: TinyZoo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo's files as it would publish them: registry, document, scores and predictions, all of one run."""
    folder = tmp_path_factory.mktemp("publication")
    numbers: dict[str, dict[str, str]] = {}
    for task, model in MODELS.items():
        done = command(
            *("eval", model, "--registry", tiny.registry, "--data", tiny.data),
            *("--weights", tiny.weights[task], "--out", folder / task, "--format", "json"),
            *("--results", tmp_path_factory.mktemp("theirs")),
        )
        scores = done.data["scores"]
        (folder / f"{task}-scores.json").write_text(json.dumps(scores))
        metrics = ("mIoU",) if task == "sem_seg" else ("AP", "box_AP")
        numbers[task] = {metric: f"{scores['summary'][metric]:.2f}" for metric in metrics}
    registry = tiny.report(folder / "registry.yaml", numbers)
    for task in MODELS:
        options = ("--like", "upstream", "--zoo", "tiny", "--task", task, "--registry", registry)
        document = command("tables", *options)
        assert document.code == 0, document.err
        (folder / f"{task}.md").write_text(document.out)
    return folder


@pytest.fixture
def published(publication: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    return Path(shutil.copytree(publication, tmp_path / "published"))


def check(
    run: Run, tiny: TinyZoo, published: Path, task: str, *more: object
) -> subprocess.CompletedProcess[str]:
    return run("check", MODELS[task], "--registry", published / "registry.yaml", "--from", tiny.folder, *more)


def predictions(published: Path, task: str) -> Path:
    return published / task / ("masks" if task == "sem_seg" else "bitmasks")


def verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {link["link"]: link["verdict"] for link in json.loads(done.stdout)[0]["links"]}


def test_all_four_links_of_a_semantic_model_hold(run: Run, tiny: TinyZoo, published: Path) -> None:
    links = ("--link", "registry", "--link", "scores", "--link", "predictions", "--link", "weights")
    files = (
        *("--document", published / "sem_seg.md", "--from-scores", published / "sem_seg-scores.json"),
        *("--predictions", predictions(published, "sem_seg"), "--run", "--data", tiny.data),
    )
    done = check(run, tiny, published, "sem_seg", *links, *files, "--format", "json")
    assert verdicts(done) == dict.fromkeys(("registry", "scores", "predictions", "weights"), "reproduced")
    assert done.returncode == 0
    assert json.loads(done.stdout)[0]["first_broken"] is None


def test_links_of_an_instance_model(run: Run, tiny: TinyZoo, published: Path) -> None:
    files = (
        *("--data", tiny.data, "--run"),
        *("--from-scores", published / "ins_seg-scores.json"),
        *("--predictions", predictions(published, "ins_seg")),
    )
    done = check(run, tiny, published, "ins_seg", *files, "--format", "json")
    assert verdicts(done) == dict.fromkeys(("scores", "predictions", "weights"), "reproduced"), done.stdout
    assert done.returncode == 0
    # Masks alone are what the official format holds: the boxes' number then has nothing to be compared with.
    (published / "ins_seg" / "det.json").unlink()
    done = check(run, tiny, published, "ins_seg", *files[:2], *files[-2:], "--format", "json")
    metrics = {m["metric"]: m["verdict"] for m in json.loads(done.stdout)[0]["links"][0]["metrics"]}
    assert metrics == {"AP": "reproduced", "box_AP": "missing"}
    assert done.returncode == 5


def test_semantic_predictions_as_zoos_publish_them(run: Run, tiny: TinyZoo, published: Path) -> None:
    """RLE JSON against the data set's PNG files."""
    file = published / "sem_seg" / "sem_seg.json"
    done = check(run, tiny, published, "sem_seg", "--predictions", file, "--data", tiny.data)
    assert done.returncode == 0, done.stdout
    content = json.loads(file.read_text())
    content["frames"].pop()
    file.write_text(json.dumps(content))
    done = check(run, tiny, published, "sem_seg", "--predictions", file, "--data", tiny.data)
    assert done.returncode == 5
    assert "no prediction for 1 of" in done.stdout


def test_what_cannot_be_looked_at_is_missing_and_never_a_pass(
    run: Run, tiny: TinyZoo, published: Path
) -> None:
    done = check(run, tiny, published, "sem_seg", "--format", "json")
    assert verdicts(done) == {"weights": "missing"}
    assert done.returncode == 5
    names = ("registry", "scores", "predictions", "weights")
    done = check(
        run, tiny, published, "sem_seg", "--format", "json", *(x for n in names for x in ("--link", n))
    )
    assert verdicts(done) == dict.fromkeys(names, "missing")
    assert done.returncode == 5
    assert json.loads(done.stdout)[0]["first_broken"] == "registry"


def with_document(tiny: TinyZoo, published: Path, task: str, url: str) -> None:
    """Let the registry name the zoo's document and its digest."""
    registry = published / "registry.yaml"
    zoo = yaml.safe_load(registry.read_text())
    digest = hashlib.sha256((published / f"{task}.md").read_bytes()).hexdigest()
    document = {"name": f"{task}.md", "sources": [url], "digests": [f"sha256:{digest} computed"]}
    zoo["zoos"][0]["tasks"][task]["document"] = document
    registry.write_text(yaml.safe_dump(zoo, sort_keys=False))


def test_a_model_and_a_data_set_are_enough_to_pass(run: Run, tiny: TinyZoo, published: Path) -> None:
    """The document is fetched as any file; links that the zoo gives nothing for are not tested."""
    with Server() as server:
        url = server.put("/zoo/README.md", (published / "sem_seg.md").read_bytes())
        with_document(tiny, published, "sem_seg", url)
        done = check(run, tiny, published, "sem_seg", "--data", tiny.data)
        assert done.returncode == 0, done.stdout
        assert "the tested links hold; not tested: scores, predictions" in " ".join(done.stdout.split())
        assert check(run, tiny, published, "sem_seg", "--link", "registry").returncode == 0
        assert [r.path for r in server.requests if r.method == "GET"] == ["/zoo/README.md"]
    # Asked for by name, a link that nothing is published for is missing all the same.
    done = check(run, tiny, published, "sem_seg", "--link", "registry", "--link", "scores")
    assert done.returncode == 5


def test_a_document_is_served_by_a_source_and_is_the_one_that_is_meant(
    run: Run, tiny: TinyZoo, published: Path
) -> None:
    with_document(tiny, published, "sem_seg", "http://127.0.0.1:9/zoo/README.md")
    options = ("--link", "registry", "--offline", "--from", published)
    assert check(run, tiny, published, "sem_seg", *options).returncode == 0
    document = published / "sem_seg.md"
    document.write_text(document.read_text() + "\n")
    done = check(run, tiny, published, "sem_seg", *options, "--cache", published / "other")
    assert done.returncode == 6
    assert "sha256" in done.stdout


def test_what_breaks_is_named_before_what_nobody_could_look_at(
    run: Run, tiny: TinyZoo, published: Path
) -> None:
    file = published / "sem_seg-scores.json"
    scores = json.loads(file.read_text())
    scores["summary"]["mIoU"] += 1
    file.write_text(json.dumps(scores))
    links = ("--link", "registry", "--link", "scores", "--from-scores", file)
    done = check(run, tiny, published, "sem_seg", *links)
    assert "the first link that breaks is 'scores'" in " ".join(done.stdout.split())


def test_a_record_that_is_there_is_used_instead_of_running(run: Run, tiny: TinyZoo, published: Path) -> None:
    first = check(run, tiny, published, "sem_seg", "--link", "weights", "--data", tiny.data)
    assert first.returncode == 0
    again = check(run, tiny, published, "sem_seg", "--link", "weights", "--format", "json")
    assert again.returncode == 0
    assert json.loads(again.stdout)[0]["links"][0]["source"].startswith("record of")


def test_a_record_that_cannot_be_compared_does_not_stand_in_the_way(
    run: Run, tiny: TinyZoo, published: Path
) -> None:
    """As of somebody's own set of one image: with a data root the network is run."""
    where = ("--registry", published / "registry.yaml", "--from", tiny.folder, "--data", tiny.data)
    part = run("eval", MODELS["sem_seg"], *where, "--limit", "1", "--device", "cpu")
    assert part.returncode == 4, part.stderr
    links = ("--link", "weights")
    assert check(run, tiny, published, "sem_seg", *links).returncode == 4
    assert check(run, tiny, published, "sem_seg", *links, "--data", tiny.data).returncode == 0
    assert check(run, tiny, published, "sem_seg", *links).returncode == 0


def test_a_document_that_says_something_else(run: Run, tiny: TinyZoo, published: Path) -> None:
    document = published / "sem_seg.md"
    text = document.read_text()
    number = json.loads((published / "sem_seg-scores.json").read_text())["summary"]["mIoU"]
    document.write_text(text.replace(f"{number:.2f}", "99.90"))
    done = check(run, tiny, published, "sem_seg", "--link", "registry", "--document", document)
    assert done.returncode == 3
    assert "the document 99.90" in done.stdout
    assert "the first link that breaks is 'registry'" in done.stdout


def test_scores_that_differ_in_the_last_printed_digit(run: Run, tiny: TinyZoo, published: Path) -> None:
    file = published / "sem_seg-scores.json"
    value = json.loads(file.read_text())["summary"]["mIoU"]
    for shift, code in ((0.011, 3), (-0.011, 3)):
        file.write_text(json.dumps({"IoU": [{"road": 1.0}, {"AVERAGE": round(value, 2) + shift}]}))
        assert check(run, tiny, published, "sem_seg", "--from-scores", file).returncode == code
    file.write_text(json.dumps({"IoU": [{"road": 1.0, "car": "NaN"}, {"AVERAGE": value}]}))
    assert check(run, tiny, published, "sem_seg", "--from-scores", file).returncode == 4
    file.write_text(json.dumps({"IoU": [{"road": 1.0}, {"AVERAGE": "NaN"}]}))
    assert check(run, tiny, published, "sem_seg", "--from-scores", file).returncode == 5
    file.write_text("[]")
    assert check(run, tiny, published, "sem_seg", "--from-scores", file).returncode == 5


def test_scores_of_a_part_of_the_set_are_no_pass(
    run: Run, tiny: TinyZoo, published: Path, tmp_path: Path
) -> None:
    """A scores file that says of itself that images were left out, or classes are absent, is believed."""
    whole = json.loads((published / "sem_seg-scores.json").read_text())
    for change, word in (
        ({"partial": True}, "partial data set"),
        ({"left_out": ["a"]}, "1 images were skipped: a"),
        ({"absent_classes": ["train"]}, "classes without a value: train"),
    ):
        file = tmp_path / "scores.json"
        file.write_text(json.dumps({**whole, **change}))
        done = check(run, tiny, published, "sem_seg", "--from-scores", file)
        assert done.returncode == 4, done.stdout
        assert word in done.stdout
    # The same through our own command, in the official toolkit's shape.
    part = tmp_path / "part"
    shutil.copytree(predictions(published, "sem_seg"), part)
    next(iter(sorted(part.iterdir()))).unlink()
    labels = tiny.data / "labels" / "sem_seg" / "masks" / "val"
    out = tmp_path / "part.json"
    scored = run("score", "-t", "sem_seg", "-g", labels, "-r", part, "--allow-partial", "--out-file", out)
    assert scored.returncode == 0, scored.stderr
    done = check(run, tiny, published, "sem_seg", "--from-scores", out, "--format", "json")
    (metric,) = json.loads(done.stdout)[0]["links"][0]["metrics"]
    assert (done.returncode, metric["verdict"]) == (4, "incomparable")


def test_a_missing_prediction_is_no_pass(run: Run, tiny: TinyZoo, published: Path) -> None:
    masks = predictions(published, "sem_seg")
    min(masks.glob("*.png")).unlink()
    done = check(run, tiny, published, "sem_seg", "--predictions", masks, "--data", tiny.data)
    assert done.returncode == 5, done.stdout


def test_other_predictions_drift(run: Run, tiny: TinyZoo, published: Path) -> None:
    masks = predictions(published, "sem_seg")
    one, two = sorted(masks.glob("*.png"))[:2]
    one.write_bytes(two.read_bytes())
    done = check(run, tiny, published, "sem_seg", "--predictions", masks, "--data", tiny.data)
    assert done.returncode == 3, done.stdout


def test_weights_without_a_digest_are_unverified(run: Run, tiny: TinyZoo, published: Path) -> None:
    registry = published / "registry.yaml"
    lines = registry.read_text().splitlines()
    kept = [line for line in lines if "md5:" not in line and "digests:" not in line]
    registry.write_text("\n".join(kept) + "\n")
    done = check(run, tiny, published, "sem_seg", "--run", "--data", tiny.data)
    assert done.returncode == 6, done.stdout + done.stderr
    assert "not verified" in done.stdout


def test_a_measurement_that_cannot_be_recorded_is_judged_all_the_same(
    run: Run, tiny: TinyZoo, published: Path, tmp_path: Path
) -> None:
    """It may have taken hours; the folder was looked at before, and has filled up since."""
    (tmp_path / "results" / "tiny").mkdir(parents=True)
    (tmp_path / "results" / "tiny" / "sem_seg").write_text("in the way")
    done = check(run, tiny, published, "sem_seg", "--run", "--data", tiny.data, "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert verdicts(done) == {"weights": "reproduced"}
    assert "warning: cannot write a record" in plain(done.stderr)


def test_a_place_where_nothing_can_be_recorded_is_said_before_the_network_runs(
    run: Run, tiny: TinyZoo, published: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    options = ("--data", tiny.data, "--results", tmp_path / "file" / "results", "--format", "json")
    done = check(run, tiny, published, "sem_seg", "--run", *options)
    assert (done.returncode, verdicts(done)) == (5, {"weights": "missing"})
    assert "cannot write a record" in done.stdout
    assert not (tmp_path / "cache").exists(), "nothing was fetched"


def test_reports_for_machines(
    run: Run, tiny: TinyZoo, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("check", "--all", "--registry", published / "registry.yaml", "--link", "scores")
    junit = run(*common, "--format", "junit")
    assert junit.returncode == 5
    root = ElementTree.fromstring(junit.stdout.encode())
    assert [s.get("errors") for s in root] == ["1", "1"]
    assert root.findall(".//skipped") == []
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    github = run(*common, "--format", "github")
    assert github.stdout.count("::error title=") == 2
    assert "| Model |" in (tmp_path / "summary.md").read_text()


def test_scores_come_over_http(run: Run, tiny: TinyZoo, published: Path) -> None:
    registry = published / "registry.yaml"
    with Server() as server:
        url = server.put("scores.json", (published / "sem_seg-scores.json").read_bytes())
        text = registry.read_text()
        entry = f"artifacts:\n            scores-val: {{name: s.json, sources: ['{url}']}}\n"
        assert text.count("artifacts:\n") == 2
        registry.write_text(text.replace("artifacts:\n", entry, 1))
        done = check(run, tiny, published, "sem_seg", "--link", "scores")
    assert done.returncode == 0, done.stdout + done.stderr


def test_bad_arguments(run: Run, tiny: TinyZoo) -> None:
    registry = ("--registry", tiny.registry)
    assert_one_line(run("check", *registry), 2, "no model given")
    assert_one_line(run("check", "no-such", *registry), 5, "no-such")
    assert_one_line(run("check", "--all", "--from-scores", "x.json", *registry), 2, "one model")
