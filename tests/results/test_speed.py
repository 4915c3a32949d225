"""Records of speed: what their times come to, and their files."""

from __future__ import annotations

import math
import random
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bddzoo.errors import IntegrityError, MissingError
from bddzoo.results.environment import collect_environment
from bddzoo.results.record import encode_record
from bddzoo.results.speed import (
    Device,
    SpeedRecord,
    Timing,
    decode_speed,
    find_speed,
    median_interval,
    median_ratio,
    runtime_times,
    scan_speed,
    write_speed,
)
from tests.results.factory import records_in

TIMES = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=200)


def record(**changes: Any) -> SpeedRecord:
    values: dict[str, Any] = {
        "model": "m",
        "zoo": "z",
        "task": "sem_seg",
        "size": (720, 1280),
        "precision": "fp32",
        "runtime": "eager",
        "weights": "random",
        "device": Device(name="a processor", type="cpu", threads=2),
        "environment": collect_environment(),
        "started": "2026-01-02T03:04:05Z",
        "load_s": 0.5,
        "params": 10,
        "timings": (Timing(times_ms=(3.0, 1.0, 2.0)),),
    }
    return SpeedRecord(**{**values, **changes})


@given(TIMES)
def test_median_and_percentiles_are_numpys(times: list[float]) -> None:
    timing = Timing(times_ms=tuple(times))
    assert timing.median_ms == pytest.approx(float(np.median(times)))
    for share in (0.5, 0.9, 0.99):
        expected = np.percentile(times, share * 100, method="inverted_cdf")
        assert timing.percentile(share) == expected


@given(st.integers(1, 400))
def test_the_interval_of_a_median_is_the_narrowest_that_holds_it(count: int) -> None:
    """Ranks by scipy-free exact binomial sums: 95 % inside, and less with ranks one further in."""
    found = median_interval([float(i) for i in range(count)])

    def inside(rank: int) -> float:
        return 1 - 2 * sum(math.comb(count, k) for k in range(rank)) / 2**count

    if found is None:
        assert count < 6
        return
    low, high = map(int, found)
    assert low + high == count - 1
    assert inside(low + 1) >= 0.95 > inside(low + 2)


def test_intervals_hold_the_true_median_as_often_as_they_say() -> None:
    generator = random.Random(1)
    held = 0
    for _ in range(500):
        interval = median_interval([generator.lognormvariate(0, 1) for _ in range(15)])
        assert interval is not None
        held += interval[0] <= 1.0 <= interval[1]
    assert held >= 460


def test_ratios_and_what_turns_are_worth() -> None:
    """Of runs in turns, a drift that both share does not widen the interval."""
    drift = [1.0 + 0.05 * i for i in range(40)]
    a = [100 * d for d in drift]
    b = [150 * d for d in drift]
    ratio, low, high = median_ratio(a, b, paired=True)
    assert ratio == pytest.approx(1.5)
    assert low <= 1.5 <= high
    _, apart_low, apart_high = median_ratio(a, b, paired=False)
    assert high - low < (apart_high - apart_low) / 2


def test_a_record_is_written_read_and_found(tmp_path: Path) -> None:
    one = record()
    path = write_speed(one, tmp_path)
    assert path.parts[-5:-1] == ("z", "sem_seg", "m", "speed")
    assert decode_speed(path.read_bytes(), "here") == one
    assert write_speed(one, tmp_path) == path
    (stored,) = scan_speed(tmp_path, pytest.fail)
    for name in (stored.id, stored.id[:4], str(path)):
        assert find_speed(tmp_path, name) == stored
    assert find_speed(tmp_path, "m") is None
    # The records of numbers next to it are not disturbed.
    assert records_in(tmp_path) == []


def test_several_records_of_one_beginning(tmp_path: Path) -> None:
    for name in ("abcd0000", "abcd1111"):
        path = tmp_path / "z" / "t" / "m" / "speed" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_record(record()))
    with pytest.raises(MissingError, match="2 records start with 'abcd': abcd0000, abcd1111"):
        find_speed(tmp_path, "abcd")


BAD = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "binary": lambda data: b"\xff\x00" * 100,
    "deep": lambda data: b"[" * 100_000,
    "another schema": lambda data: data.replace(b'"schema": 1', b'"schema": 2'),
    "a negative time": lambda data: data.replace(b"3.0", b"-3.0"),
    "an unknown field": lambda data: data.replace(b'"model"', b'"modell"'),
}


@pytest.mark.parametrize("kind", BAD)
def test_damaged_records_are_refused_and_skipped(kind: str, tmp_path: Path) -> None:
    path = write_speed(record(), tmp_path)
    good = write_speed(record(started="2026-01-03T00:00:00Z"), tmp_path)
    path.write_bytes(BAD[kind](path.read_bytes()))
    errors: list[IntegrityError] = []
    assert [item.path for item in scan_speed(tmp_path, errors.append)] == [good]
    assert len(errors) == 1
    assert str(path) in errors[0].message
    with pytest.raises(IntegrityError):
        find_speed(tmp_path, str(path))


def test_a_record_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    """As those of numbers are: one that was edited, and one of a newer bddzoo, which is not to be removed."""
    path = write_speed(record(), tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"3.0", b"4.0"))
    with pytest.raises(IntegrityError, match="changed after it was written"):
        find_speed(tmp_path, path.stem)
    path.write_bytes(data.replace(b'"schema": 1', b'"schema": 2, "new": 3'))
    with pytest.raises(IntegrityError, match="record of schema 2, not 1") as caught:
        find_speed(tmp_path, str(path))
    assert caught.value.hint == "update bddzoo"


def test_a_command_that_is_not_text_does_not_cost_a_measurement(tmp_path: Path) -> None:
    path = write_speed(record(command=("bddzoo", "bench", "--results", "\udcff")), tmp_path)
    assert b"udcff" in path.read_bytes()
    assert [item.path for item in scan_speed(tmp_path, pytest.fail)] == [path]


@given(TIMES, st.integers(1, 64))
def test_round_trip(times: list[float], batch: int) -> None:
    one = record(timings=(Timing(times_ms=tuple(times), batch_size=batch),))
    assert decode_speed(encode_record(one), "") == one
    assert msgspec.json.decode(encode_record(one))["timings"][0]["batch_size"] == batch
    assert one.timings[0].images_per_s == pytest.approx(batch * 1000 / median(times))


def test_times_of_runtimes_are_of_one_setting_and_the_newest() -> None:
    def of(runtime: str, ms: float, day: int, **changes: Any) -> SpeedRecord:
        started = f"2026-01-{day:02}T00:00:00Z"
        return record(runtime=runtime, started=started, timings=(Timing(times_ms=(ms,)),), **changes)

    records = [
        *(of("eager", 9.0, 2), of("eager", 8.0, 3), of("eager", 7.0, 1), of("openvino", 5.0, 1)),
        of("onnxruntime", 0.1, 4, size=(96, 160)),
        of("onnxruntime", 0.1, 4, model="other"),
        of("onnxruntime", 0.1, 4, device=Device(name="another processor", type="cpu", threads=2)),
    ]
    assert runtime_times(records, "m", "a processor") == {"eager": 8.0, "openvino": 5.0}
    assert runtime_times(records, "m", "a third processor") == {}
