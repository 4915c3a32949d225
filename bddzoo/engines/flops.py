"""Count the floating-point operations of a network, without computing anything.

Tensors have shapes and no contents meanwhile (PyTorch's fake tensors), so that any network takes a second
and no memory. A multiplication and an addition are two operations, as in PyTorch's own counter; papers that
say "FLOPs" often mean multiply-accumulates, which are half as many.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

from bddzoo.registry.model import Model

if TYPE_CHECKING:
    from torch import nn

# What the second stage of a detector is given, whatever an image shows: upstream's limits.
PROPOSALS = 1000
DETECTIONS = 100


def count_flops(module: nn.Module, model: Model, size: tuple[int, int]) -> int:
    """Operations of one image in one forward pass, the first stage of a detector to its last head.

    Counted are convolutions (deformable ones by their products, without the sampling of their input),
    matrix products and attention; not counted are norms, activations, resizing, pooling and NMS, which
    are below a hundredth in every network of the zoos.

    Args:
        module: A network of `build_network(model)`, as built.
        model: Its registry entry.
        size: Height and width of the network's input in pixels.

    Returns:
        Number of operations. Detectors run their heads on 1,000 proposals, their mask heads on 100
        detections. Sliding windows are counted each.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    from bddzoo.engines.load import make_runner

    runner: Any = make_runner(module, model)
    deform_conv = _deform_conv()
    counter = FlopCounterMode(display=False, custom_mapping={deform_conv: _deform_conv_flops})
    with FakeTensorMode(allow_non_fake_inputs=True), counter, torch.no_grad():
        x = torch.zeros(1, 3, *size)
        if runner.gives == "tags":
            runner.run_module(x)
        elif runner.gives == "class map":
            runner.logits(x, size)
        else:
            _detector(module, x)
    return int(counter.get_total_flops())


def _detector(module: Any, x: Any) -> None:
    from bddzoo.engines.instance import dense_outputs, learnt_proposals, stage_parts

    features = module.extract_feat(x)
    dense_outputs(module, features)
    if getattr(module, "semantic_head", None) is not None:
        module.semantic_head(features)
    learnt = learnt_proposals(module)
    heads = getattr(module, "roi_head", None)
    if heads is None:
        return
    for name, count in (("bbox", learnt or PROPOSALS), ("mask", DETECTIONS)):
        if getattr(heads, f"{name}_head", None) is None:
            continue
        extractors, stages = (stage_parts(heads, f"{name}_{part}") for part in ("roi_extractor", "head"))
        for extractor, head in zip(extractors, stages, strict=True):
            side = extractor.roi_layers[0].output_size
            regions = x.new_zeros(count, extractor.out_channels, *side)
            more = (x.new_zeros(1, count, extractor.out_channels),) if learnt else ()
            head(regions, *more)


@cache
def _deform_conv() -> Any:
    """Torchvision's deformable convolution, told what shape it returns."""
    import torch
    import torchvision  # noqa: F401  (registers the operator)

    name = "torchvision::deform_conv2d"

    def shape(x: Any, weight: Any, offset: Any, *_: Any) -> Any:
        return x.new_empty(x.shape[0], weight.shape[0], *offset.shape[2:])

    if not torch._C._dispatch_has_kernel_for_dispatch_key(name, "Meta"):
        torch.library.register_fake(name, shape)
    return torch.ops.torchvision.deform_conv2d


def _deform_conv_flops(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Operations of the products: each output is a sum over a window and its group's channels."""
    assert out_shape is not None
    return int(2 * prod(out_shape) * prod(weight[1:]))
