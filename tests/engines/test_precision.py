import pytest
import torch

from bddzoo.engines.load import full_float32, use_full_float32

SWITCHES = [
    "cuda.matmul.allow_tf32",
    "cudnn.allow_tf32",
    *(f"{b}.{op}.fp32_precision" for b in ("cudnn", "mkldnn") for op in ("conv", "rnn")),
    "cuda.matmul.fp32_precision",
    "mkldnn.matmul.fp32_precision",
]
NEWER = hasattr(torch.backends.cudnn, "conv")
needs_newer = pytest.mark.skipif(not NEWER, reason="this torch has the older switches only")


def read(switch):
    value = torch.backends
    for word in switch.split("."):
        value = getattr(value, word)
    return value


def state():
    """What can be read of the switches."""
    found = {}
    for switch in SWITCHES:
        try:
            found[switch] = read(switch)
        except (AttributeError, RuntimeError):
            continue
    return found


@pytest.fixture(autouse=True)
def as_before():
    everywhere = getattr(torch.backends, "fp32_precision", None)
    undo = use_full_float32()
    undo()
    yield
    if everywhere is not None:
        torch.backends.fp32_precision = everywhere
    undo()


def ask_with_the_older():
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True


def ask_with_the_newer():
    torch.backends.fp32_precision = "tf32"


@pytest.mark.parametrize(
    "ask", [lambda: None, ask_with_the_older, pytest.param(ask_with_the_newer, marks=needs_newer)]
)
def test_nothing_rounds_whoever_asked_for_it(ask):
    ask()
    before = state()
    with full_float32():
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
        assert {v for k, v in state().items() if k.endswith("fp32_precision")} <= {"ieee"}
    assert state() == before
