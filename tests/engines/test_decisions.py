"""Decisions of suppression and their margins, against suppression itself under small changes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import batched_nms

from bddzoo.engines.load import build_network, make_runner
from bddzoo.engines.recipe import recipe_state
from bddzoo.engines.selftest.decisions import (
    DOUBTFUL,
    DROPPED,
    KEPT,
    PX,
    SCORE,
    RankedList,
    detections,
    proposals,
    suppress,
    unexplained,
)
from tests.engines.models import narrow_detector

LIMITS = (0.02, 3e-5)


def crowd(seed, count=60):
    """Boxes in heaps, many about as near to each other as the threshold says; scores with near-ties."""
    random = np.random.default_rng(seed)
    corner = random.choice(random.uniform(0, 100, (5, 2)), count) + random.normal(0, 2, (count, 2))
    size = random.uniform(5, 20, (count, 2))
    score = np.round(random.uniform(0, 1, count), 3) + random.uniform(0, 2 * SCORE, count)
    boxes = np.concatenate([corner, corner + size, score[:, None]], axis=1)
    return boxes, random.integers(0, 2, count)


def moved(boxes, seed):
    """What other arithmetic makes of them: sides move by half of `PX`, scores by half of `SCORE` at most."""
    shift = np.random.default_rng(seed + 1).uniform(-0.5, 0.5, boxes.shape)
    return boxes + shift * np.array([PX] * 4 + [SCORE])


def kept(boxes, labels, threshold, most):
    """Rows that suppression keeps, best first."""
    corners, scores = torch.from_numpy(boxes[:, :4]), torch.from_numpy(boxes[:, 4])
    return batched_nms(corners, scores, torch.from_numpy(labels), threshold)[:most].numpy()


def listing(boxes, labels, rows, shown=20):
    return RankedList(boxes[rows][:shown], labels[rows][:shown], len(rows), boxes[rows, 4])


@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.5, 0.7]), st.sampled_from([5, 1000]))
def test_no_change_within_the_margins_contradicts_a_fate(seed, threshold, most):
    boxes, labels = crowd(seed)
    found = suppress(boxes, labels, threshold, most, np.zeros(len(boxes), bool))
    order = np.argsort(-boxes[:, 4], kind="stable")
    fates = dict(zip(order.tolist(), found.fates.tolist(), strict=True))
    others = moved(boxes, seed)
    rows = kept(others, labels, threshold, most)
    assert all(fates[row] != DROPPED for row in rows)
    assert {row for row, fate in fates.items() if fate == KEPT} <= set(rows.tolist())
    assert unexplained(found, listing(others, labels, rows), LIMITS) == 0


@given(st.integers(0, 10**6))
def test_most_fates_are_certain(seed):
    boxes, labels = crowd(seed)
    found = suppress(boxes, labels, 0.5, 1000, np.zeros(len(boxes), bool))
    assert (found.fates == DOUBTFUL).sum() <= 6


def heap(second_height):
    """Two boxes as flat as one whose fate hung on 1e-5 of overlap, and one that the second suppresses."""
    first = [10.4, 561.2, 1280.0, 566.4, 0.99]
    second = [10.4, 561.2, 1280.0, 561.2 + second_height, 0.98]
    third = [10.4, 560.7, 1280.0, 564.6, 0.97]
    return np.array([first, second, third])


@pytest.mark.parametrize(
    ("height", "fate"),
    [(5.2 * 0.70001, DOUBTFUL), (5.2 * 0.69999, DOUBTFUL), (5.2 * 0.71, DROPPED), (5.2 * 0.69, KEPT)],
)
def test_a_near_tie_and_what_follows_from_it(height, fate):
    boxes, labels = heap(height), np.zeros(3, int)
    found = suppress(boxes, labels, 0.7, 1000, np.zeros(3, bool))
    assert found.fates[1] == fate
    assert found.fates[2] == {DOUBTFUL: DOUBTFUL, DROPPED: KEPT, KEPT: DROPPED}[fate]
    with_second, with_third = (listing(boxes, labels, np.array(rows)) for rows in ([0, 1], [0, 2]))
    assert (unexplained(found, with_second, LIMITS) == 0) == (fate != DROPPED)
    assert (unexplained(found, with_third, LIMITS) == 0) == (fate != KEPT)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda boxes, labels: kept(boxes, labels, 0.55, 1000),
        lambda boxes, labels: kept(boxes, labels * 0, 0.5, 1000),
        lambda boxes, labels: kept(boxes, labels, 0.5, 1000)[1:],
        lambda boxes, labels: kept(boxes, labels, 0.5, 1000)[:-1],
        lambda boxes, labels: kept(boxes + np.array([1, 1, 1, 1, 0]), labels, 0.5, 12),
        lambda boxes, labels: np.argsort(-boxes[:, 4])[:20],
    ],
)
def test_another_rule_is_not_explained(wrong):
    boxes, labels = crowd(7)
    found = suppress(boxes, labels, 0.5, 1000, np.zeros(len(boxes), bool))
    assert unexplained(found, listing(boxes, labels, wrong(boxes, labels)), LIMITS) > 0


def test_the_end_of_the_list_is_in_doubt_where_its_last_ranks_tie():
    boxes = np.array(
        [[40 * n, 0, 40 * n + 30, 30, s] for n, s in enumerate([0.9, 0.8, 0.5, 0.5 - 1e-7, 0.1])]
    )
    found = suppress(boxes, np.zeros(5, int), 0.5, 3, np.zeros(5, bool))
    assert found.fates.tolist() == [KEPT, KEPT, DOUBTFUL, DOUBTFUL, DROPPED]


@pytest.fixture(scope="module")
def detector():
    """A small detector with its pyramid of a noisy image, and what describes that image."""
    model = narrow_detector()
    module = build_network(model)
    module.load_state_dict(recipe_state(module, 0.6, "b"))
    runner = make_runner(module, model)
    x = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        features = module.extract_feat(x)
    return runner, features, runner.sample((96, 128), (96, 128), (96, 128), (1.0, 1.0))


def proposed(runner, features, sample):
    with torch.no_grad():
        found = runner.module.rpn_head.predict(features, [sample], rescale=False)[0]
    boxes = torch.cat([found.bboxes, found.scores[:, None]], dim=1).numpy()
    return found, RankedList(boxes[:50], None, len(boxes), boxes[:, 4])


def detected(runner, features, sample):
    found, _ = proposed(runner, features, sample)
    with torch.no_grad():
        found = runner.module.roi_head.predict(features, [found], [sample], rescale=True)[0]
    boxes = torch.cat([found.bboxes, found.scores[:, None]], dim=1).numpy()
    return RankedList(boxes[:20], found.labels.numpy()[:20], len(boxes), boxes[:, 4])


@pytest.mark.parametrize("kind", ["proposals", "detections"])
def test_a_network_is_explained_by_its_own_candidates_only(detector, kind):
    module = detector[0].module
    settings = module.rpn_head.test_cfg if kind == "proposals" else module.roi_head.test_cfg
    candidates = proposals if kind == "proposals" else detections

    def listed():
        return proposed(*detector)[1] if kind == "proposals" else detected(*detector)

    found = candidates(*detector)
    assert (found.fates == KEPT).sum() > 20
    assert (found.fates == DOUBTFUL).sum() < 0.1 * (found.fates != DROPPED).sum()
    assert unexplained(found, listed(), LIMITS) == 0
    threshold = settings.nms.iou_threshold
    try:
        settings.nms.iou_threshold = threshold + 1e-6  # as last bits move overlaps
        assert unexplained(found, listed(), LIMITS) == 0
        settings.nms.iou_threshold = threshold - 0.1
        assert unexplained(found, listed(), LIMITS) > 0
    finally:
        settings.nms.iou_threshold = threshold
