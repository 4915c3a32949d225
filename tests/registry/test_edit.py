"""Changes in place: the asked-for lines change, all others stay."""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bddzoo.errors import MissingError, UsageError
from bddzoo.registry import default_path, load_registry, load_text
from bddzoo.registry.edit import Editor, emit, emit_items, pinned
from bddzoo.registry.reader import parse
from tests.cli.inprocess import command as run
from tests.conftest import ALL
from tests.registry.facts import rows
from tests.support.server import Fault, Server

TEXT = default_path().read_text(encoding="utf-8")
LINES = TEXT.split("\n")
REGISTRY = load_text(TEXT, "r")
IDS = [row[3] for row in rows()]
LIKE = "fpn_r50_512x1024_40k_sem_seg_bdd100k"


def changes(old: str, new: str) -> tuple[list[str], list[str]]:
    """Lines that are gone and that have come; what is equal at both ends need not be compared."""
    sides = [old.split("\n"), new.split("\n")]
    for _ in range(2):
        pairs = enumerate(zip(*sides, strict=False))
        equal = next((at for at, (one, other) in pairs if one != other), min(map(len, sides)))
        sides = [side[equal:][::-1] for side in sides]
    lines = list(difflib.ndiff(*sides))
    return [x[2:] for x in lines if x[0] == "-"], [x[2:] for x in lines if x[0] == "+"]


def test_a_new_key_takes_its_place() -> None:
    editor = Editor(TEXT, "r")
    editor.set_model_key("fcn_r50-d8_512x1024_40k_sem_seg_bdd100k", "artifacts", {"visuals": False})
    gone, come = changes(TEXT, editor.text)
    assert (gone, come) == ([], ["          artifacts: {visuals: false}"])
    assert (
        load_text(editor.text, "r").find("fcn_r50-d8_512x1024_40k_sem_seg_bdd100k").artifact("visuals")
        is None
    )


def test_a_key_is_replaced_and_taken_away() -> None:
    editor = Editor(TEXT, "r")
    name = "ccnet_r101-d8_512x1024_80k_sem_seg_bdd100k"
    editor.set_model_key(name, "notes", ["one", "two: three"])
    editor.set_model_key(name, "elsewhere", None)
    model = load_text(editor.text, "r").find(name)
    assert model.notes == ("one", "two: three")
    assert model.elsewhere == ()
    editor.set_model_key(name, "notes", None)
    assert load_text(editor.text, "r").find(name).notes == ()


@settings(max_examples=5 if ALL else 3, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True), st.sampled_from([["n"], None]))
def test_many_at_once_are_one_after_the_other(ids: list[str], value: list[str] | None) -> None:
    together, single = Editor(TEXT, "r"), Editor(TEXT, "r")
    together.set_in_models("notes", dict.fromkeys(ids, value))
    for model_id in ids:
        single.set_model_key(model_id, "notes", value)
    assert together.text == single.text


def test_counting_writes_what_differs_and_checks_it(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    right = "counts: {params: 273539, entries: 146, gflops: "
    assert TEXT.count(right) == 1
    path.write_text(TEXT.replace(right, "counts: {params: 273538, entries: 146, gflops: "))
    name = "demo_semfpn_r18n_sem_seg"
    checked = run("registry", "count", name, "--check", "--registry", str(path))
    assert checked.code == 3
    assert "273538" in checked.out
    assert run("registry", "count", name, "--dry-run", "--registry", str(path)).code == 0
    assert "273538" in path.read_text()
    assert run("registry", "count", name, "--registry", str(path)).code == 0
    assert path.read_text() == TEXT
    assert run("registry", "count", name, "--check", "--registry", str(path)).code == 0


def test_an_entry_in_one_line_becomes_a_block() -> None:
    editor = Editor(TEXT, "r")
    editor.set_model_key("isa-wide-resnet38-lip", "notes", ["x"])
    gone, come = changes(TEXT, editor.text)
    assert len(gone) == 1
    assert [c.strip() for c in come] == [
        "- id: isa-wide-resnet38-lip",
        "backbone: Wide-ResNet38",
        "settings: {Methods: ISA, BS: 32, Iters: 10W}",
        "paper: isanet",
        "not_buildable: fixed-aux-width",
        "notes: [x]",
    ]


def test_a_model_is_added_after_its_siblings() -> None:
    editor = Editor(TEXT, "r")
    entry = {"id": "new_sem_seg", "backbone": "R-50-D8", "settings": {"Iters": "40K", "Input": "512 * 1024"}}
    editor.add_model(("zoos", 0, "tasks", "sem_seg"), "PSPNet", entry)
    gone, come = changes(TEXT, editor.text)
    assert gone == []
    assert len(come) == 3
    names = [
        m.id for m in load_text(editor.text, "r").models if m.method.name == "PSPNet" and m.task == "sem_seg"
    ]
    assert names[-2:] == ["pspnet_r101-d8_512x1024_80k_sem_seg_bdd100k", "new_sem_seg"]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda e: e.set_model_key("nothing", "notes", ["x"]), MissingError),
        (lambda e: e.set_model_key(IDS[0], "nots", ["x"]), UsageError),
        (lambda e: e.set_model_key(IDS[0], "protocol", "nothing"), UsageError),
        (lambda e: e.set_model_key(IDS[0], "backbone", None), UsageError),
        (lambda e: e.set_model_key(IDS[0], "id", IDS[1]), UsageError),
        (lambda e: e.add_model(("zoos", 0, "tasks", "sem_seg"), "None", {"id": "x"}), MissingError),
        (lambda e: e.add_model(("zoos", 0, "tasks", "sem_seg"), "FCN", {"id": "x"}), UsageError),
    ],
)
def test_a_change_that_breaks_the_registry_is_not_taken(call: Callable, error: type) -> None:
    editor = Editor(TEXT, "r")
    with pytest.raises(error):
        call(editor)
    assert editor.text == TEXT


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)


@settings(max_examples=15 if ALL else 6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(IDS), notes=st.lists(WORDS, min_size=1, max_size=3))
def test_comments_order_and_everything_else_survive(name: str, notes: list[str]) -> None:
    editor = Editor(TEXT, "r")
    editor.set_model_key(name, "notes", notes)
    assert load_text(editor.text, "r").find(name).notes == tuple(notes)
    gone, _ = changes(TEXT, editor.text)
    # Nothing is lost but the entry's own notes, or the one line of an entry in one line.
    start = next(i for i, line in enumerate(LINES) if f"id: {name}" in line)
    assert len(gone) <= len(REGISTRY.find(name).notes) + 1
    assert all(line in LINES[start : start + 40] for line in gone)
    assert editor.text.count("#") == TEXT.count("#") + sum(note.count("#") for note in notes)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(0, 100, places=2) | WORDS | st.just(""),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@example(key="... 0", value=None)  # the end of a document
@given(key=WORDS, value=VALUES)
def test_what_is_written_reads_the_same(key: str, value: object) -> None:
    lines: list[str] = []
    emit(lines, 0, key, value)
    assert parse("\n".join(lines), "r") == {key: value}
    items: list[str] = []
    emit_items(items, 2, [value])
    assert parse("x:\n" + "\n".join(items), "r") == {"x": [value]}


def test_pins_keep_what_is_there() -> None:
    old = {"digests": ["md5:" + "a" * 32 + " published"], "size": 5}
    new = pinned(old, ["md5:" + "b" * 32 + " observed", "sha256:" + "c" * 64 + " observed"], 7)
    assert new == {
        "digests": ["md5:" + "a" * 32 + " published", "sha256:" + "c" * 64 + " observed"],
        "size": 5,
    }
    assert pinned(None, ["md5:x"], 7) == {"digests": ["md5:x"], "size": 7}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "registry.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def served(path: Path, server: Server) -> dict[str, bytes]:
    """Point the registry at a server of ours, and serve the weights of two models there."""
    path.write_text(TEXT.replace("https://dl.cv.ethz.ch", server.url), encoding="utf-8")
    data = {}
    for name in (LIKE, "fcn_r50-d8_512x1024_40k_sem_seg_bdd100k"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", name)
        data[name] = buffer.getvalue()
        server.put(f"bdd100k/sem_seg/models/{name}.pth", data[name])
    return data


def test_pin_from_the_cache(own: Path, tmp_path: Path) -> None:
    with Server() as server:
        data = served(own, server)
        common = ("--registry", own, "--cache", tmp_path / "cache")
        nothing = run("registry", "pin", *common)
        assert (nothing.code, len(nothing.errors)) == (5, 1)
        assert run("fetch", *data, *common, "-q").code == 0
        before = own.read_text(encoding="utf-8")
        dry = run("registry", "pin", "--dry-run", *common)
        assert dry.code == 0
        assert "+" in dry.out
        assert own.read_text(encoding="utf-8") == before
        assert run("registry", "pin", *common).code == 0
        registry = load_registry(own)
        for name, content in data.items():
            weights = registry.find(name).artifact("weights")
            assert weights is not None
            assert (weights.size_bytes, weights.size_origin) == (len(content), "observed")
            assert weights.size_date
            assert {d.hex for d in weights.digests} == {
                hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest(),
            }  # fmt: skip
            assert {d.origin for d in weights.digests} == {"observed"}
            assert all(d.date for d in weights.digests)
        gone, come = changes(before, own.read_text(encoding="utf-8"))
        assert gone == []
        assert len(come) <= 2 * 6
        again = own.read_text(encoding="utf-8")
        assert "0 of 2" in run("registry", "pin", *common).err
        assert own.read_text(encoding="utf-8") == again
        # What the registry has is not written over by a cache that holds something else.
        own.write_text(again.replace(hashlib.md5(data[LIKE]).hexdigest(), "0" * 32), encoding="utf-8")
        assert run("registry", "pin", *common).code == 6


def test_add_like_another(own: Path, tmp_path: Path) -> None:
    weights = tmp_path / "mine.pth"
    weights.write_bytes(b"weights")
    arguments = (
        "registry", "add", "mine_fpn_r50_512x1024_40k_sem_seg", "--like", LIKE, "--registry", own,
        "--reported", "mIoU=60.10", "--weights", weights, "--url", "https://example.org/mine.pth",
    )  # fmt: skip
    dry = run(*arguments, "--dry-run")
    assert own.read_text(encoding="utf-8") == TEXT
    assert "+        - id: mine_fpn_r50_512x1024_40k_sem_seg" in dry.out
    done = run(*arguments)
    model = load_registry(own).find("mine_fpn_r50_512x1024_40k_sem_seg")
    like = load_registry(own).find(LIKE)
    assert model.network is not None
    assert like.network is not None
    assert model.network.parts == like.network.parts
    assert str(model.reported_value("mIoU")) == "60.10"
    file = model.artifact("weights")
    assert file is not None
    assert (file.sources, file.size_bytes) == (("https://example.org/mine.pth",), 7)
    assert {d.algorithm for d in file.digests} == {"md5", "sha256"}
    assert "missing: scores on test" in done.out
    # Nobody has looked whether the other files are where the zoo's templates say.
    assert "preds: false in the entry: https://dl.cv.ethz.ch/bdd100k/sem_seg/preds/mine_fpn" in done.out
    assert file.digest_url is None
    assert "missing: usage" not in done.out
    # The file is named after another model than the row: lint says so, and the command ends with 3.
    assert "URL02 mine_fpn" in done.out
    assert done.code == 3
    gone, _ = changes(TEXT, own.read_text(encoding="utf-8"))
    assert gone == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([LIKE, "--like", LIKE], 2, "there is a model"),
        (["new", "--like", "nothing"], 5, "no model 'nothing'"),
        (["new"], 2, "which zoo?"),
        (
            ["new", "--zoo", "vis4d", "--task", "sem_seg", "--method", "X", "--backbone", "R"],
            5,
            "no heading 'X'",
        ),
        (["new", "--like", LIKE, "--reported", "mIoU=big"], 2, "expected a number between 0 and 100"),
        (["new", "--like", LIKE, "--reported", "mIoU=6e1"], 2, "expected a number between 0 and 100"),
        (["new", "--like", LIKE, "--reported", "mIoU=٦٠"], 2, "expected a number between 0 and 100"),
        (["new", "--like", LIKE, "--reported", "mIoU=100.01"], 2, "expected a number between 0 and 100"),
        (["new", "--like", LIKE, "--reported", "mIoU=010"], 2, "expected a number between 0 and 100"),
        (["new", "--like", LIKE, "--reported", "mIoU=1", "--reported", "mIoU-val=2"], 2, "given twice"),
        (["new", "--like", LIKE, "--setting", "Iters=1K", "--setting", "Iters=2K"], 2, "given twice"),
        (["new", "--like", LIKE, "--weights", "/dev/zero"], 5, "not a plain file"),
        (["new", "--like", LIKE, "--reported", "mIoU"], 2, "cannot read --reported 'mIoU'"),
        (["new", "--like", LIKE, "--reported", "mIuO=3"], 2, "mIuO"),
        (["new", "--like", LIKE, "--setting", "Itres=40K"], 2, "Itres"),
        (["a b", "--like", LIKE], 2, "expected letters, digits"),
        (["new", "--like", LIKE, "--weights", "/nonexistent.pth"], 5, "cannot read /nonexistent.pth"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_add_with_mistakes(
    own: Path, monkeypatch: pytest.MonkeyPatch, arguments: list, code: int, said: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # nobody to ask
    done = run("registry", "add", *arguments, "--registry", own)
    assert done.code == code, done.err
    assert said in done.errors[0]
    assert own.read_text(encoding="utf-8") == TEXT


def test_a_setting_in_other_digits_stays_text(own: Path) -> None:
    done = run("registry", "add", "new", "--like", LIKE, "--setting", "Iters=²", "--registry", own)
    assert done.code in (0, 3), done.err
    assert load_registry(own).find("new").settings["Iters"] == "²"


def test_what_somebody_else_wrote_meanwhile_is_not_lost(own: Path, tmp_path: Path) -> None:
    """The weights come slowly, and the file is edited before they are there."""
    edited = TEXT + "# mine\n"
    with Server() as server:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("w", b"weights")
        server.files["/w.pth"] = packed.getvalue()
        server.faults = [Fault("drip", delay=0.1, chunk=10)]

        def edit() -> None:
            end = time.monotonic() + 30
            while not server.requests and time.monotonic() < end:
                time.sleep(0.01)
            own.write_text(edited, encoding="utf-8")

        thread = threading.Thread(target=edit)
        thread.start()
        places = ("--registry", own, "--cache", tmp_path / "cache")
        done = run("registry", "add", "new", "--like", LIKE, *places, "--url", f"{server.url}/w.pth")
        thread.join()
    assert done.code == 2, done.err
    assert "was changed meanwhile" in done.errors[0]
    assert own.read_text(encoding="utf-8") == edited


def test_add_asks_for_the_row(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    weights = tmp_path / "w.pth"
    weights.write_bytes(b"weights")
    answers = ["bdd100k-models", "sem_seg", "FCN", "R-50-D8", "40K", "", "60.10", "", str(weights), ""]
    monkeypatch.setattr(sys, "stdin", Terminal("\n".join(answers) + "\n"))
    done = run("registry", "add", "fcn_r50-d8_512x512_40k_sem_seg_bdd100k", "--registry", own)
    assert done.code in (0, 3), done.err
    model = load_registry(own).find("fcn_r50-d8_512x512_40k_sem_seg_bdd100k")
    assert (model.backbone, model.settings["Iters"], model.settings["Input"]) == ("R-50-D8", "40K", "")
    assert str(model.reported_value("mIoU")) == "60.10"
    file = model.artifact("weights")
    assert file is not None
    assert file.size_bytes == 7
    assert "missing: scores on test" in done.out
    assert "missing: usage" in done.out


def test_health_remembers_and_notices_deaths(own: Path, tmp_path: Path) -> None:
    history = tmp_path / "health.json"
    command = ("registry", "health", "fcn_r50-d8_*sem_seg*", "fpn_r50_512x1024_40k_sem*", "--registry", own)
    command = (*command, "--history", history, "--timeout", "2")
    with Server() as server:
        data = served(own, server)
        text = own.read_text(encoding="utf-8").replace("https://raw.githubusercontent.com", server.url)
        own.write_text(text, encoding="utf-8")
        first = run(*command)
        assert first.code == 0, first.err
        assert f"2 of {3 * 8 - 2} files alive" in first.err
        stored = json.loads(history.read_text(encoding="utf-8"))
        assert len(stored["files"]) == 2
        url = f"{server.url}/bdd100k/sem_seg/models/{LIKE}.pth"
        assert stored["files"][url]["size_bytes"] == len(data[LIKE])
        assert stored["files"][url]["status"] == 200
        looks = [r.headers["Range"] for r in server.requests if r.method != "HEAD"]
        assert set(looks) == {"bytes=0-2047"}, "nothing is downloaded"
        assert len(looks) == 2, "only what seems to be there is looked at"
        # One file goes: exit 7, and it says which; asked once more, it is nothing new.
        del server.files[f"/bdd100k/sem_seg/models/{LIKE}.pth"]
        second = run(*command)
        assert second.code == 7
        assert [e for e in second.errors if LIKE in e and "404" in e]
        assert run(*command).code == 0
        document = tmp_path / "doc.md"
        document.write_text(
            "<!-- bddzoo:hosts history=health.json -->\n<!-- /bddzoo:hosts -->\n", encoding="utf-8"
        )
        assert run("tables", "--registry", own, "-o", document).code == 0
        assert "partly alive" in document.read_text(encoding="utf-8")
    third = run(*command)
    assert third.code == 7
    assert "dead, 0 of" in third.out
    assert stored["files"][url]["last_seen"] in history.read_text(encoding="utf-8")


def test_probe_of_servers_without_head(tmp_path: Path) -> None:
    from bddzoo.artifacts.probe import Prober
    from bddzoo.artifacts.streams import NetworkPolicy

    with Server() as server:
        url = server.put("file.bin", b"x" * 1000)
        gone = f"{server.url}/none"
        server.faults.append(Fault("500", pattern="failing"))
        failing = server.put("failing", b"x")
        prober = Prober(jobs=4, policy=NetworkPolicy(connect_s=2, read_s=2))
        found = {p.url: p for p in prober.probe_all([url, gone, failing, url])}
        assert (found[url].state, found[url].size_bytes) == ("alive", 1000)
        assert (found[gone].state, found[gone].status) == ("gone", 404)
        assert (found[failing].state, found[failing].status) == ("failing", 500)
        again = prober._ask(url, "GET", ranged=True)
        assert (again.state, again.size_bytes, again.status) == ("alive", 1000, 206)
    after = prober.probe(url)
    assert (after.state, after.status) == ("unreachable", None)
    assert after.note


def test_a_damaged_history_is_refused(own: Path, tmp_path: Path) -> None:
    history = tmp_path / "health.json"
    history.write_text("{", encoding="utf-8")
    done = run("registry", "health", "--registry", own, "--history", history)
    assert (done.code, len(done.errors)) == (2, 1)
    assert history.read_text(encoding="utf-8") == "{"


def test_a_machine_without_network_learns_nothing(own: Path, tmp_path: Path) -> None:
    """Names that nobody resolves: it could not look, so it says nothing about the hosts."""
    history = tmp_path / "health.json"
    text = TEXT
    for host in ("dl.cv.ethz.ch", "raw.githubusercontent.com", "github.com", "drive.google.com"):
        text = text.replace(f"https://{host}", "https://nothing.invalid")
    own.write_text(text, encoding="utf-8")
    done = run("registry", "health", "fcn_*", "--registry", own, "--history", history, "--timeout", "2")
    assert done.code == 7
    assert "no host could be reached" in done.errors[0]
    assert done.out == ""
    assert not history.exists()
