import re
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bddzoo.engines.load import build_network, load_model
from bddzoo.engines.recipe import recipe_state
from bddzoo.engines.weights import from_vis4d, load_weights
from bddzoo.errors import BddzooWarning, IntegrityError, MissingError, UsageError
from tests.engines.models import narrow_segmentor, narrow_vis4d, registry


def to_vis4d(name):
    """The name that Vis4D gives to an entry of mmsegmentation's network."""
    for pattern, replacement in (
        (r"^backbone\.", "basemodel."),
        (r"^neck\.lateral_convs\.(\d+)\.conv\.", r"fpn.inner_blocks.\1.0."),
        (r"^neck\.fpn_convs\.(\d+)\.conv\.", r"fpn.layer_blocks.\1.0."),
        (r"^decode_head\.(scale_heads\.\d+\.\d+)\.conv\.", r"seg_head.\1."),
        (r"^decode_head\.(scale_heads\.\d+\.\d+)\.bn\.", r"seg_head.\1.norm."),
        (r"^decode_head\.", "seg_head."),
    ):
        changed, count = re.subn(pattern, replacement, name)
        if count:
            return changed
    return name


@pytest.fixture(scope="module")
def state():
    return recipe_state(build_network(narrow_segmentor()), 1.0)


def snapshot(module):
    return {n: t.clone() for n, t in module.state_dict().items()}


def test_every_entry_is_set(state, tmp_path):
    torch.save({"meta": {}, "state_dict": state}, tmp_path / "w.pth")
    module = build_network(narrow_segmentor())
    load_weights(module, tmp_path / "w.pth", narrow_segmentor())
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
    other = {f"x.{n}.y": t for n, t in state.items()}
    with pytest.raises(IntegrityError) as caught:
        load_weights(build_network(narrow_segmentor()), other, narrow_segmentor())
    assert f"{len(state)} missing" in str(caught.value)
    assert f"{len(state)} unexpected" in str(caught.value)
    assert len(str(caught.value)) < 600


def test_half_precision_weights_are_loaded(state):
    half = {n: t.half() if t.is_floating_point() else t for n, t in state.items()}
    module = build_network(narrow_segmentor())
    load_weights(module, half, narrow_segmentor())
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, half[name].to(tensor.dtype)), name


@pytest.mark.parametrize("form", ["zip", "module"])
def test_vis4d_files(state, tmp_path, form):
    theirs = {to_vis4d(n): t for n, t in state.items() if not n.endswith("num_batches_tracked")}
    if form == "module":
        theirs = {f"module.{n}": t for n, t in theirs.items()}
    torch.save({"state_dict": theirs}, tmp_path / "w.pt")
    module = build_network(narrow_vis4d())
    load_weights(module, tmp_path / "w.pt", narrow_vis4d())
    for name, tensor in module.state_dict().items():
        if not name.endswith("num_batches_tracked"):
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


AVERAGED = {"n_averaged": torch.tensor(3)}
COUNTED = {"total_ops": torch.zeros(1), "backbone.total_params": torch.zeros(1)}
LOSS = {"decode_head.loss_decode.class_weight": torch.ones(19)}
TRAINED = {"auxiliary_head.conv_seg.weight": torch.ones(19, 8, 1, 1), "data_preprocessor.mean": torch.ones(3)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s, ""),
        (lambda s: {f"module.{n}": t for n, t in s.items()}, ""),
        (lambda s: {f"_orig_mod.{n}": t for n, t in s.items()}, "taken off"),
        (lambda s: {f"module._orig_mod.{n}": t for n, t in s.items()}, "taken off"),
        (lambda s: {n.replace("backbone.", "backbone._orig_mod."): t for n, t in s.items()}, "taken off"),
        (lambda s: {f"model.{n}": t for n, t in s.items()}, "taken off the names of its entries: model."),
        (lambda s: {f"module.trainer.net.{n}": t for n, t in s.items()}, "taken off"),
        (lambda s: {n: t for n, t in s.items() if not n.endswith("num_batches_tracked")}, "batch counters"),
        (lambda s: {**s, **{f"ema_{n.replace('.', '_')}": t + 1 for n, t in s.items()}}, "moving averages"),
        (lambda s: {**AVERAGED, **{f"module.{n}": t for n, t in s.items()}}, "not loaded"),
        (lambda s: {**s, **COUNTED}, "not loaded, inference does not use them: total_ops"),
        (lambda s: {**s, **LOSS}, "not loaded"),
        (lambda s: {**s, **TRAINED}, "not loaded"),
    ],
    ids=[
        *("plain", "parallel", "compiled", "both", "part compiled", "trainer", "trainers", "no counters"),
        *("averages", "averaged", "profiled", "loss", "training"),
    ],
)
def test_forms_of_this_network(state, tmp_path, change, words):
    torch.save({"state_dict": change(state)}, tmp_path / "w.pth")
    module = build_network(narrow_segmentor())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        load_weights(module, tmp_path / "w.pth", narrow_segmentor())
    found = [str(w.message) for w in said if issubclass(w.category, BddzooWarning)]
    assert [words in line for line in found] == [True] * bool(words)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, state[name]) or name.endswith("num_batches_tracked"), name


def test_weights_that_are_not_finite_are_said(state):
    broken = {n: t.clone() for n, t in state.items()}
    broken["decode_head.conv_seg.weight"][0] = float("nan")
    with pytest.warns(BddzooWarning, match="NaN or infinity in the weights: decode_head.conv_seg.weight"):
        load_weights(build_network(narrow_segmentor()), broken, narrow_segmentor())


@pytest.mark.parametrize("key", ["state_dict", "model", "net", "weights"])
def test_weights_under_any_key(state, tmp_path, key):
    torch.save({key: state, "epoch": 3, "optimizer": {"state": {}}}, tmp_path / "w.pth")
    module = build_network(narrow_segmentor())
    load_weights(module, tmp_path / "w.pth", narrow_segmentor())
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())


def test_of_two_unknown_keys_none_is_chosen(state, tmp_path):
    torch.save({"net": state, "net_ema": state}, tmp_path / "w.pth")
    with pytest.raises(IntegrityError, match="not tensors: net, net_ema"):
        load_weights(build_network(narrow_segmentor()), tmp_path / "w.pth", narrow_segmentor())


def test_a_larger_network_is_called_so(state):
    """All is there, and more, which may not be left out: the number would be another."""
    for more in ("neck.conv.weight", "decode_head.extra.weight", "lossless.weight"):
        with pytest.raises(IntegrityError, match="a larger network's"):
            load_weights(
                build_network(narrow_segmentor()), {**state, more: torch.ones(1)}, narrow_segmentor()
            )
