"""Members of archives are read in parts as if they lay on disk."""

import random
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bddzoo.datasets import zip_member
from bddzoo.datasets.sources import open_source
from bddzoo.datasets.zip_member import MemberReader
from bddzoo.errors import MissingError

WHERE = Path("a.zip/m.json")


def archive(path, content, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as out:
        out.writestr("before.txt", "x" * 100)
        out.writestr("m.json", content)
        out.writestr("after.txt", "y" * 100)
    return path


def reader(path):
    with zipfile.ZipFile(path) as found:
        return MemberReader(path, found.getinfo("m.json"), WHERE)


def mixed(size, seed=0):
    """Bytes that pack a little."""
    rng = random.Random(seed)
    return bytes(rng.choice(b"abcdefgh0123") for _ in range(size))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_part_in_any_order(tmp_path, method, data):
    size = data.draw(st.integers(0, 5000))
    content = mixed(size, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zip_member, "BLOCK_BYTES", data.draw(st.integers(1, 700)))
        patch.setattr(zip_member, "READ_BYTES", data.draw(st.integers(1, 300)))
        patch.setattr(zip_member, "MIN_SPACING", data.draw(st.integers(1, 900)))
        found = reader(archive(tmp_path / "a.zip", content, method))
        if data.draw(st.booleans()):
            assert b"".join(found.chunks(data.draw(st.integers(1, 1000)))) == content
        for _ in range(12):
            start, length = data.draw(st.integers(0, size + 50)), data.draw(st.integers(0, 900))
            assert found.part(start, length) == content[start : start + length]
        assert b"".join(found.chunks(500)) == content


def test_memory_does_not_grow_with_the_member(tmp_path):
    peaks = []
    for million in (2, 40):
        line = mixed(1 << 16)
        path = archive(tmp_path / f"{million}.zip", line * (million * 16))
        found = reader(path)
        tracemalloc.start()
        for _ in found.chunks(1 << 20):
            pass
        for start in range(million - 1, 0, -2):
            assert found.part(start << 20, 100) == line[:100]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 8 << 20
    # The states of the decompressor are not Python's memory, but they are few.
    assert len(found._places) <= zip_member.PLACES


@pytest.mark.parametrize("change", ["flip", "cut", "header", "claim"])
def test_damage_is_told(tmp_path, change):
    content = mixed(200_000)
    path = archive(tmp_path / "a.zip", content)
    with zipfile.ZipFile(path) as found:
        info = found.getinfo("m.json")
    raw = bytearray(path.read_bytes())
    start = info.header_offset + 30 + len("m.json")
    if change == "flip":
        raw[start + info.compress_size // 2] ^= 0x55
    elif change == "cut":
        del raw[start + 1000 :]
    elif change == "header":
        raw[info.header_offset] = 0
    else:
        info.file_size //= 2
    path.write_bytes(raw)
    with pytest.raises(MissingError, match=r"m\.json is damaged"):
        list(MemberReader(path, info, WHERE).chunks(1 << 20))


def test_archives_go_by_other_ways_where_they_must(tmp_path, monkeypatch):
    """Other methods of packing are inflated as a whole."""
    content = mixed(3000)
    path = archive(tmp_path / "a.zip", content, zipfile.ZIP_LZMA)
    source = open_source(path)
    assert b"".join(source.chunks("m.json", 100)) == content
    with monkeypatch.context() as patch:
        inflated = []
        read = source.read
        patch.setattr(source, "read", lambda member: inflated.append(member) or read(member))
        for start in range(0, 3000, 100):
            assert source.read_part("m.json", start, 20) == content[start : start + 20]
        assert inflated == ["m.json"]


def test_a_bomb_is_refused_before_it_is_inflated(tmp_path):
    path = archive(tmp_path / "a.zip", b" " * (1 << 25))
    with pytest.raises(MissingError, match="claims 33554432 bytes"):
        list(open_source(path).chunks("m.json", 1 << 20))
