import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bddzoo.engines import build_network, load_model, load_weights
from bddzoo.engines.recipe import recipe_state
from bddzoo.engines.weights import from_vis4d, to_vis4d
from bddzoo.errors import IntegrityError, MissingError, UsageError
from tests.engines.models import narrow_segmentor, narrow_vis4d, registry


@pytest.fixture(scope="module")
def state():
    return recipe_state(build_network(narrow_segmentor()), 1.0)


def snapshot(module):
    return {n: t.clone() for n, t in module.state_dict().items()}


def test_every_entry_is_set(state, tmp_path):
    torch.save({"meta": {}, "state_dict": state}, tmp_path / "w.pth")
    module = build_network(narrow_segmentor())
    report = load_weights(module, tmp_path / "w.pth", narrow_segmentor())
    assert report.entries == len(state)
    assert report.params == sum(p.numel() for p in module.parameters())
    assert report.form == "zip, under 'state_dict'"
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("backbone.stem.0.weight"), "1 missing: backbone.stem.0.weight"),
        (lambda s: s.update(extra=torch.ones(1)), "1 unexpected: extra"),
        (
            lambda s: s.update({"decode_head.conv_seg.weight": torch.ones(21, 16, 1, 1)}),
            "1 mis-shaped: decode_head.conv_seg.weight is 21x16x1x1, expected 19x16x1x1",
        ),
        (
            lambda s: s.update({"decode_head.conv_seg.bias": torch.ones(19, dtype=torch.long)}),
            "1 mis-typed: decode_head.conv_seg.bias is int64, expected float32",
        ),
    ],
    ids=["missing", "unexpected", "shape", "type"],
)
def test_misfits_are_named_and_nothing_changes(state, change, words):
    module = build_network(narrow_segmentor())
    before = snapshot(module)
    other = dict(state)
    change(other)
    with pytest.raises(IntegrityError, match=re.escape(words)):
        load_weights(module, other, narrow_segmentor())
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_many_misfits_stay_one_line(state):
    other = {f"x.{n}": t for n, t in state.items()}
    with pytest.raises(IntegrityError) as caught:
        load_weights(build_network(narrow_segmentor()), other, narrow_segmentor())
    assert f"{len(state)} missing" in str(caught.value)
    assert f"{len(state)} unexpected" in str(caught.value)
    assert len(str(caught.value)) < 600


def test_half_precision_weights_are_loaded_and_reported(state):
    half = {n: t.half() if t.is_floating_point() else t for n, t in state.items()}
    report = load_weights(build_network(narrow_segmentor()), half, narrow_segmentor())
    assert len(report.cast) == sum(t.is_floating_point() for t in state.values())


@pytest.mark.parametrize("form", ["zip", "module"])
def test_vis4d_files(state, tmp_path, form):
    theirs = {to_vis4d(n): t for n, t in state.items() if not n.endswith("num_batches_tracked")}
    if form == "module":
        theirs = {f"module.{n}": t for n, t in theirs.items()}
    torch.save({"state_dict": theirs}, tmp_path / "w.pt")
    module = build_network(narrow_vis4d())
    report = load_weights(module, tmp_path / "w.pt", narrow_vis4d())
    assert report.renamed == len(theirs)
    assert all(n.endswith("num_batches_tracked") for n in report.defaulted)
    for name, tensor in module.state_dict().items():
        if name not in report.defaulted:
            assert torch.equal(tensor, state[name]), name


def test_vis4d_names_do_not_fit_other_zoos(state):
    theirs = {to_vis4d(n): t for n, t in state.items()}
    with pytest.raises(IntegrityError, match="unexpected"):
        load_weights(build_network(narrow_segmentor()), theirs, narrow_segmentor())


def test_vis4d_map_is_invertible():
    model = registry().find("semantic_fpn_r50_40k_bdd100k")
    names = list(build_network(model).state_dict())
    assert len({to_vis4d(n) for n in names}) == len(names) == 390
    assert [from_vis4d(to_vis4d(n)) for n in names] == names
    # Before torchvision 0.13 the pyramid's blocks had one index less.
    assert from_vis4d("fpn.inner_blocks.2.weight") == "neck.lateral_convs.2.conv.weight"


@given(st.text(alphabet="abc.123_", max_size=30))
def test_other_names_stay(name):
    assert from_vis4d(name) == name


def test_devices():
    with pytest.raises(UsageError, match="gpu7"):
        load_model(narrow_segmentor(), "none.pth", "gpu7")
    with pytest.raises(MissingError, match="does not exist"):
        load_model(narrow_segmentor(), "none.pth", "cuda:99")
    with pytest.raises(MissingError, match=r"none\.pth"):
        load_model(narrow_segmentor(), "none.pth", "auto")
