"""Checkpoints from strangers: refused in one line, in seconds, with little memory, and nothing runs."""

import io
import os
import pickle
import pickletools
import re
import time
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.engines.checkpoint import open_checkpoint, read_checkpoint
from bddzoo.engines.pickle_scan import UnsafePickle, scan_pickle
from bddzoo.errors import BddzooError, IntegrityError
from bddzoo.text import printable
from tests.support.forked import run_forked

DATA = Path(__file__).parents[1] / "data/engines/hostile"
DOUBLINGS = 45  # hashing or printing this tuple takes 2**45 steps


def doubled(start: bytes) -> bytes:
    """A tuple of two tuples of two tuples ...: small to write down, endless to walk."""
    return start + b"".join(b"q\x00h\x00\x86" for _ in range(DOUBLINGS))


def archive(path: Path, data: bytes, **storages: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", data)
        for name, content in {"version": b"3\n", "byteorder": b"little", **storages}.items():
            file.writestr(f"a/{name}", content)
    return path


LAUGH = doubled(b"K\x01")
TRICKS = {
    "key": b"\x80\x02}" + LAUGH + b"K\x02s.",
    "keys": b"\x80\x02}(" + LAUGH + b"K\x02u.",
    "key of a dict in a list": b"\x80\x02]}" + LAUGH + b"K\x02sa.",
    "ordered dict of pairs": b"\x80\x02ccollections\nOrderedDict\n](" + LAUGH + b"K\x02\x86e\x85R.",
    "ordered dict of later pairs": b"\x80\x02ccollections\nOrderedDict\n]q\x01\x85q\x020h\x01"
    + LAUGH
    + b"K\x02\x86a0ccollections\nOrderedDict\nh\x02R.",
    "state of an ordered dict": b"\x80\x02ccollections\nOrderedDict\n)R](" + LAUGH + b"K\x02\x86eb.",
    "set": b"\x80\x02cbuiltins\nset\n](" + LAUGH + b"e\x85R.",
    "counter": b"\x80\x02ccollections\nCounter\n](" + LAUGH + b"e\x85R.",
    "called": b"\x80\x02" + LAUGH + b")R.",
    "made": b"\x80\x02" + LAUGH + b")\x81.",
    "storage": b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    + LAUGH
    + b"X\x03\x00\x00\x00cpuK\x01tQ.",
}


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_what_would_be_hashed_or_printed_without_end_is_refused(tmp_path, trick, zipped):
    if zipped:
        path = archive(tmp_path / "w.pth", TRICKS[trick])
    else:
        path = tmp_path / "w.pth"
        lead = [pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
        path.write_bytes(b"".join(lead) + TRICKS[trick])
    start = time.monotonic()
    with pytest.raises(IntegrityError) as error:
        read_checkpoint(path)
    assert time.monotonic() - start < 10
    assert len(str(error.value)) < 400


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("name", sorted(p.name for p in DATA.glob("*.pth")))
def test_committed_files_are_refused_in_little_memory(name):
    """In a process of its own, whose memory is looked at: `ru_maxrss` would begin with the parent's."""
    code = (
        "import sys; from bddzoo.engines.checkpoint import open_checkpoint\n"
        f"try: open_checkpoint({str(DATA / name)!r}); code = 0\n"
        "except Exception as error: code = int(error.exit_code); print(error, file=sys.stderr)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
        "sys.exit(code)"
    )
    done = run_forked(exec, code, {}, env=os.environ, timeout=60, imported="torch")
    assert done.returncode == 6, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert int(done.stdout) < 1200 << 10, f"{done.stdout} KiB"


def test_tensors_claim_no_more_than_the_file_holds(tmp_path):
    for size in (2, 1 << 28):
        torch.save({"a": torch.zeros(1).expand(size)}, tmp_path / "w.pth")
        with pytest.raises(IntegrityError, match="a is larger than what is stored of it"):
            read_checkpoint(tmp_path / "w.pth")
    shared = torch.zeros(3 << 18)
    torch.save({f"a{i}": shared for i in range(40)}, tmp_path / "w.pth")
    with pytest.raises(IntegrityError, match="claim"):
        read_checkpoint(tmp_path / "w.pth")
    torch.save({"a": shared, "tied": shared}, tmp_path / "w.pth")
    assert len(read_checkpoint(tmp_path / "w.pth")) == 2


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "complex"),
        ({"a": torch.zeros(2), 3: torch.zeros(2)}, "not tensors: 3"),
        ({"x" * 5000: 3}, "x…"),
        ({"a\x1b[2J\u202e": 3}, r"a\\x1b\[2J\\u202e"),
    ],
)
def test_names_and_types_that_are_not_weights(tmp_path, state, words):
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(IntegrityError, match=words) as error:
        read_checkpoint(tmp_path / "w.pth")
    assert len(str(error.value)) < 400


@settings(max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(inner, inner)
            | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        ),
        max_leaves=12,
    )
)
def test_what_training_saves_passes_the_scan(extra):
    """Any nesting of plain values is followed to its end, in every protocol that PyTorch reads."""
    content = OrderedDict(state_dict=OrderedDict(a=1), extra=extra, counts=Counter("ab"), kinds={1, "a"})
    content["by"] = defaultdict(list, {"a": [1]})
    for protocol in (2, 3):
        scan_pickle(io.BytesIO(pickle.dumps(content, protocol)))


def test_keys_that_are_tuples_are_refused_wherever_they_are():
    with pytest.raises(UnsafePickle):
        scan_pickle(io.BytesIO(pickle.dumps({"meta": [{(1, 2): 3}]}, 2)))


def test_the_scan_knows_every_opcode_of_the_reader():
    """One that the scan does not know ends it; PyTorch's reader must not go on there."""
    import torch._weights_only_unpickler as reader

    from bddzoo.engines import pickle_scan

    source = Path(reader.__file__).read_text()
    read = {o.name for o in pickletools.opcodes if re.search(rf"\b{o.name}\[0\]", source)}
    scanned = Path(pickle_scan.__file__).read_text()
    assert {"GLOBAL", "SETITEMS", "BINPERSID"} <= read
    assert [name for name in read if f'"{name}"' not in scanned] == []


@pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.9, 0.99])
def test_cut_files_are_one_line(tmp_path, share):
    torch.save({"a": torch.zeros(1000)}, tmp_path / "w.pth")
    data = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BddzooError) as error:
        open_checkpoint(tmp_path / "w.pth")
    assert "\n" not in str(error.value)


@given(st.text())
def test_printable_text_stays_on_its_line(text):
    shown = printable(text)
    shown.encode()
    assert all(ord(c) >= 0x20 and not 0x7F <= ord(c) <= 0x9F for c in shown)
    assert len(shown.splitlines()) <= 1
    assert len(printable(text, 20)) <= 20
