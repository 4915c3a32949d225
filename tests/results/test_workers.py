"""How frames are dealt out to processes, and what their results become."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bddzoo.datasets.classes import SEM_SEG
from bddzoo.datasets.images import Sample
from bddzoo.errors import IntegrityError, MissingError, UsageError
from bddzoo.runs.scorers import SemSegScorer
from bddzoo.runs.workers import Shared, deal, merge, process_devices


def frames(count: int) -> list[Sample]:
    return [Sample(f"{i:05d}.jpg", Path(f"{i}.jpg"), None, {}) for i in range(count)]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 8))
def test_every_frame_is_dealt_once_in_order_and_in_whole_batches(count: int, many: int, batch: int) -> None:
    given_out = frames(count)
    parts = deal(given_out, many, batch)
    assert [frame for part in parts for frame in part] == given_out
    assert all(parts)
    assert len(parts) <= many
    assert all(len(part) % batch == 0 for part in parts[:-1])
    batches = [-(-len(part) // batch) for part in parts]
    assert max(batches) - min(batches) <= 1


def scorer(name: str, value: int) -> SemSegScorer:
    made = SemSegScorer(SEM_SEG)
    truth = np.full((4, 4), value, np.uint8)
    made._counts.update(truth, np.zeros((4, 4), np.uint8), name)
    return made


def test_merging_adds_up_and_keeps_the_extremes() -> None:
    a = Shared(scorer("a", 0), ["a"], [], None, 2, 5, None)
    b = Shared(scorer("b", 1), ["b"], [("c", "bad")], 2, 2, 7, None)
    both = merge([a, b])
    whole = scorer("a", 0)
    whole.merge(scorer("b", 1))
    assert both.consumer.statistics() == whole.statistics()
    assert (both.done, both.failures) == (["a", "b"], [("c", "bad")])
    assert (both.batch_size, both.peak_memory, both.peak_device) == (2, 7, None)


def test_a_frame_that_two_processes_counted_is_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        merge([Shared(scorer("a", 0), ["a"], []), Shared(scorer("a", 0), ["a"], [])])


def test_an_error_is_the_same_in_another_process() -> None:
    error = pickle.loads(pickle.dumps(IntegrityError("w.pth is damaged", hint="fetch it again")))
    assert (type(error), error.message, error.hint) == (IntegrityError, "w.pth is damaged", "fetch it again")


def test_devices_of_processes() -> None:
    assert process_devices("cpu", 3) == ["cpu"] * 3
    with pytest.raises(UsageError, match="one GPU"):
        process_devices("cuda:1", 2)
    with pytest.raises(MissingError, match="this machine has"):
        process_devices("cuda", 999)
