from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from bddzoo.errors import BddzooError, IntegrityError, MissingError
from bddzoo.files import path_part
from bddzoo.results import best_record, check_root, default_root, find_record, write_record
from bddzoo.results.manage import superseded
from bddzoo.results.record import decode_record, encode_record, recency
from bddzoo.results.store import read_file, record_path
from tests.results.factory import fail, make_model, make_record, records_in


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    record = make_record()
    path = write_record(record, tmp_path)
    assert path.relative_to(tmp_path).parts[:3] == ("bdd100k-models", "sem_seg", "fcn_r50")
    assert read_file(path, decode_record).record == record
    assert records_in(tmp_path) == [record]


def test_the_same_record_is_one_file_and_is_not_touched_again(tmp_path: Path) -> None:
    first = write_record(make_record(), tmp_path)
    before = first.stat()
    assert write_record(make_record(), tmp_path) == first
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    other = write_record(make_record(value=60.0), tmp_path)
    assert other != first
    assert sorted(p.name for p in first.parent.iterdir()) == sorted([first.name, other.name])


def test_a_damaged_file_under_the_same_name_is_never_overwritten(tmp_path: Path) -> None:
    path = write_record(make_record(), tmp_path)
    path.write_bytes(b"{}")
    with pytest.raises(IntegrityError, match="another content"):
        write_record(make_record(), tmp_path)
    assert path.read_bytes() == b"{}"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_nan_is_written_as_null(tmp_path: Path) -> None:
    record = make_record(summary={"mIoU": float("nan")}, per_class={"IoU": {"car": float("nan"), "sky": 1.0}})
    data = write_record(record, tmp_path).read_bytes()
    assert b"NaN" not in data
    assert msgspec.json.decode(data)["summary"] == {"mIoU": None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a record"),
        (b"{", "not a record"),
        (b"\xff\xfe", "not a record"),
        (b'{"schema": 1}', "missing required field"),
        (b'{"schema": 99}', "update bddzoo"),
        (b"[]", "not a record"),
        (b"[" * 100_000, "not a record"),
        (b'{"model": ' + b'{"a":' * 100_000, "not a record"),
    ],
)
def test_a_corrupted_record_among_good_ones_is_reported_and_skipped(
    tmp_path: Path, content: bytes, message: str
) -> None:
    good = [make_record(value=v) for v in (60.0, 61.0)]
    for record in good:
        write_record(record, tmp_path)
    bad = tmp_path / "bdd100k-models/sem_seg/fcn_r50/0123456789abcdef.json"
    bad.write_bytes(content)
    errors: list[IntegrityError] = []
    found = records_in(tmp_path, errors.append)
    assert {r.summary["mIoU"] for r in found} == {60.0, 61.0}
    assert len(errors) == 1
    assert bad.name in str(errors[0])
    assert message in str(errors[0])


def test_what_is_no_file_is_reported_and_not_waited_for(tmp_path: Path) -> None:
    good = write_record(make_record(), tmp_path)
    (good.parent / "folder.json").mkdir()
    (good.parent / "loop.json").symlink_to("loop.json")
    os.mkfifo(good.parent / "pipe.json")
    errors: list[IntegrityError] = []
    assert len(records_in(tmp_path, errors.append)) == 1
    assert [str(e).partition(": ")[0].rpartition("/")[2] for e in errors] == [
        "folder.json",
        "loop.json",
        "pipe.json",
    ]


def test_an_edited_record_is_reported(tmp_path: Path) -> None:
    path = write_record(make_record(), tmp_path)
    path.write_bytes(path.read_bytes().replace(b"61.592", b"99.999"))
    errors: list[IntegrityError] = []
    assert records_in(tmp_path, errors.append) == []
    assert "changed after it was written" in str(errors[0])


def test_an_edited_record_under_another_name_is_reported(tmp_path: Path) -> None:
    path = write_record(make_record(), tmp_path)
    edited = path.with_name("mine.json")
    edited.write_bytes(path.read_bytes().replace(b"61.592", b"99.999"))
    errors: list[IntegrityError] = []
    assert [r.summary["mIoU"] for r in records_in(tmp_path, errors.append)] == [61.592]
    assert "or renamed" in str(errors[0])
    with pytest.raises(IntegrityError, match=r"mine.json: content does not match"):
        find_record(tmp_path, str(edited), fail)


def test_a_record_speaks_for_no_other_model(tmp_path: Path) -> None:
    path = write_record(make_record(make_model(id="good")), tmp_path)
    other = path.parent.with_name("bad")
    path.parent.rename(other)
    errors: list[IntegrityError] = []
    assert records_in(tmp_path, errors.append, model="bad") == []
    assert "'good' in another's folder" in str(errors[0])
    odd = make_record(make_model(id="a: b/c"))
    write_record(odd, tmp_path)
    assert records_in(tmp_path, model="a: b/c") == [odd], "a name that no folder can have is at home, too"


@pytest.mark.parametrize(
    "time", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00+05:30", "2026-01-01T00:00:00Z\n"]
)
def test_a_record_without_a_time_is_none(time: str) -> None:
    """Records are ordered by it, and `yesterday` sorts behind every year."""
    with pytest.raises(IntegrityError, match=r"run\.started"):
        decode_record(encode_record(make_record(run={"started": time})), "here")


def test_a_record_of_a_clock_that_was_wrong_pushes_nothing_aside(tmp_path: Path) -> None:
    future = make_record(value=1.0, run={"started": "2099-01-01T00:00:00Z"})
    old, new = (make_record(value=v, run={"started": f"202{v:.0f}-01-01T00:00:00Z"}) for v in (4.0, 5.0))
    for record in (future, old, new):
        write_record(record, tmp_path)
    model = make_model()
    assert sorted(records_in(tmp_path), key=recency) == [future, old, new]
    assert best_record(model, [future, old, new]) == new
    assert find_record(tmp_path, model.id, fail).record == new
    doomed = superseded(tmp_path, 1, lambda error: None)
    assert [stored.record for stored in doomed] != []
    assert new not in [stored.record for stored in doomed]


def test_a_model_whose_records_are_all_damaged_is_not_unmeasured(tmp_path: Path) -> None:
    path = write_record(make_record(), tmp_path)
    path.write_bytes(b"{")
    with pytest.raises(IntegrityError, match=path.name):
        find_record(tmp_path, "fcn_r50", fail)


def test_an_unknown_field_is_an_error_that_names_it() -> None:
    value = msgspec.json.decode(encode_record(make_record()))
    value["protocol"]["splitt"] = "val"
    with pytest.raises(IntegrityError, match="splitt"):
        decode_record(msgspec.json.encode(value), "here")


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(MissingError, match="cannot write a record"):
        write_record(make_record(), tmp_path / "results")


def test_a_write_that_is_cut_short_leaves_nothing_behind(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path;"
        "from bddzoo.results import write_record; from tests.results.factory import make_record;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));"
        "write_record(make_record(), Path(sys.argv[1]))"
    )
    command = [sys.executable, "-B", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode != 0
    assert "MissingError: cannot write a record" in done.stderr
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_selection_reads_only_what_was_asked_for(tmp_path: Path) -> None:
    write_record(make_record(make_model(id="a")), tmp_path)
    write_record(make_record(make_model(id="b")), tmp_path)
    assert [r.model for r in records_in(tmp_path, model="b")] == ["b"]
    assert records_in(tmp_path, zoo="elsewhere") == []
    assert records_in(tmp_path / "absent") == []
    assert len(records_in(tmp_path, task="sem_seg")) == 2


def test_leftovers_and_foreign_files_are_not_records(tmp_path: Path) -> None:
    path = write_record(make_record(), tmp_path)
    (path.parent / f".{path.name}.1-2.tmp").write_bytes(b"half")
    (path.parent / "notes.txt").write_text("x")
    (tmp_path / "README.md").write_text("x")
    errors: list[IntegrityError] = []
    assert len(records_in(tmp_path, errors.append)) == 1
    assert errors == []


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6))
def test_encoding_is_canonical_and_keeps_every_bit(value: float) -> None:
    record = make_record(value=value)
    data = encode_record(record)
    again = decode_record(data, "here")
    assert again == record
    assert encode_record(again) == data


def test_default_root_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BDDZOO_RESULTS", str(tmp_path / "env"))
    assert default_root(tmp_path / "given") == tmp_path / "given"
    assert default_root() == tmp_path / "env"
    monkeypatch.delenv("BDDZOO_RESULTS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)
    assert default_root() == tmp_path / "xdg" / "bddzoo" / "results"
    (tmp_path / "co" / "bddzoo").mkdir(parents=True)
    (tmp_path / "co" / ".git").mkdir()
    (tmp_path / "co" / "registry.yaml").touch()
    (tmp_path / "co" / "bddzoo" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path / "co" / "bddzoo")
    assert default_root() == tmp_path / "co" / "benchmarks" / "results"


@pytest.mark.slow
def test_ten_thousand_records_are_all_read(tmp_path: Path) -> None:
    for model in range(100):
        for i in range(100):
            run = {"started": f"2026-01-01T00:{i // 60:02}:{i % 60:02}Z"}
            record = make_record(make_model(id=f"m{model}"), 1.0, run=run)
            path = record_path(record, tmp_path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_record(record))
    start = time.process_time()
    assert len(records_in(tmp_path)) == 10_000
    print(f"10,000 records in {time.process_time() - start:.2f} s of CPU time")


def test_a_folder_for_records_is_looked_at_before_the_run(tmp_path: Path) -> None:
    check_root(tmp_path / "not" / "made" / "yet")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MissingError, match="file is not a folder"):
        check_root(tmp_path / "file" / "results")


HOSTILE = ("/tmp/a", "../../../a", "..", ".", "", "a/b", "a\\b", "C:\\a", "\u202e", "a\nb", "~", "a" * 64,
           "a" * 5000, "." + "a" * 199, "\u00e9" * 300, "b" * 5000)  # fmt: skip
words = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40))


@given(words)
def test_a_word_of_a_file_is_one_name(word: str) -> None:
    part = path_part(word)
    assert Path("root", part).parent == Path("root")
    assert part not in ("", ".", "..")
    assert "\0" not in part
    assert not part.startswith(".")
    assert path_part(part) == part
    assert len(part.encode()) <= 200
    assert len({path_part("a" * 5000), path_part("a" * 5001)}) == 2


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(zoo=words, task=words, model=words, digest=words)
def test_words_of_records_never_lead_out_of_the_folder(
    tmp_path: Path, zoo: str, task: str, model: str, digest: str
) -> None:
    """Whatever a record says of itself: it lies in the results folder; what is no digest is not a record."""
    record = make_record(statistics={"masks": b"counts"})
    record = structs.replace(record, zoo=zoo, task=task, model=model)
    path = record_path(record, tmp_path)
    assert path.parents[3] == tmp_path
    assert ".." not in path.relative_to(tmp_path).parts
    named = structs.replace(record, statistics={"masks": digest})
    if re.fullmatch("[0-9a-f]{64}", digest):
        return
    with pytest.raises(IntegrityError, match="not a SHA-256"):
        decode_record(encode_record(named), "there")


def test_prune_deletes_nothing_outside(tmp_path: Path) -> None:
    """A record whose digest is a path is damaged: neither it nor what it names is touched."""
    root, victim = tmp_path / "results", tmp_path / "outside" / "a.npz"
    victim.parent.mkdir()
    victim.write_bytes(b"precious")
    for year, digest in (("2001", str(victim.with_suffix(""))), ("2020", "")):
        record = make_record(run={"started": f"{year}-01-01T00:00:00Z"})
        record = structs.replace(record, statistics={"masks": digest} if digest else {})
        path = record_path(record, root)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_record(record))
    errors: list[BddzooError] = []
    assert superseded(root, 1, errors.append) == []
    assert "not a SHA-256" in errors[0].message
    assert victim.read_bytes() == b"precious"
