import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.inference.pipeline import Sink, prefetch


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 30), workers=st.integers(1, 5), depth=st.integers(1, 7))
def test_results_come_in_order(count, workers, depth):
    def work(n: int) -> int:
        time.sleep((n * 7 % 5) / 5000)
        return n * n

    assert list(prefetch(work, range(count), workers=workers, depth=depth)) == [n * n for n in range(count)]


@settings(max_examples=30, deadline=None)
@given(workers=st.integers(1, 4), depth=st.integers(1, 6))
def test_no_more_than_so_many_are_ahead(workers, depth):
    taken = 0

    def items():
        nonlocal taken
        for n in range(40):
            taken += 1
            yield n

    for used, _ in enumerate(prefetch(lambda n: n, items(), workers=workers, depth=depth), start=1):
        assert taken - used < depth


def test_an_error_comes_out_in_its_place():
    def work(n: int) -> int:
        if n == 3:
            raise ValueError("three")
        return n

    results = prefetch(work, range(9), workers=2, depth=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_leaving_early_stops_the_threads():
    before = threading.active_count()
    results = prefetch(lambda n: n, iter(range(10**9)), workers=3, depth=5)
    assert next(results) == 0
    results.close()
    assert threading.active_count() == before


def test_sink_consumes_everything_in_order():
    seen = []
    with Sink(seen.append, depth=2) as sink:
        for n in range(50):
            sink.put(n)
    assert seen == list(range(50))


def test_sink_holds_no_more_than_its_depth():
    release = threading.Event()
    with Sink(lambda n: release.wait(5), depth=2) as sink:
        for n in range(3):
            sink.put(n)
        blocked = threading.Thread(target=sink.put, args=(3,))
        blocked.start()
        blocked.join(0.1)
        waiting = blocked.is_alive()
        release.set()
        blocked.join(5)
    assert waiting


def pour(consume, count, *, depth=2, pause_s=0.0, then=None, finish_on=()):
    with Sink(consume, depth=depth, finish_on=finish_on) as sink:
        for n in range(count):
            sink.put(n)
            time.sleep(pause_s)
        if then:
            raise then


def test_an_error_of_the_consumer_reaches_the_caller():
    def fail(n: int) -> None:
        raise KeyError(n)

    with pytest.raises(KeyError), Sink(fail) as sink:
        sink.put(1)
    with pytest.raises(KeyError):
        pour(fail, 1000, pause_s=0.001)


def test_an_error_of_the_caller_abandons_what_waits():
    seen = []

    def slow(n: int) -> None:
        time.sleep(0.02)
        seen.append(n)

    with pytest.raises(RuntimeError):
        pour(slow, 100, depth=100, then=RuntimeError())
    assert len(seen) < 100


def test_an_error_that_lets_it_finish():
    seen = []

    def slow(n: int) -> None:
        time.sleep(0.005)
        seen.append(n)

    with pytest.raises(KeyboardInterrupt):
        pour(slow, 20, depth=20, then=KeyboardInterrupt(), finish_on=(KeyboardInterrupt,))
    assert seen == list(range(20))
