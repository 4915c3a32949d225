"""mmcv's compiled functions on torchvision's operators and torch primitives.

Each function has the name, the arguments and the effect of the function of mmcv's compiled module
`mmcv._ext` that it stands in for: where mmcv fills an output tensor in place, so does it. CPU and
CUDA tensors alike. Only what the zoo's networks need, and what a golden vector proves, is here.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

# Below this many RoIs starting threads takes as long as the work.
FEW = 32


def roi_align(
    features: Tensor, rois: Tensor, size: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    """Average of sample points in each bin of each RoI (He et al., ICCV 2017), on all of the CPU's cores.

    torchvision's CPU kernel runs in one thread, which takes a sixth of a detector's time with a thousand
    proposals on the finest level of a pyramid. RoIs do not depend on each other, so parts of them run in
    threads; each result is bit by bit what one call gives.

    Args:
        features: (N, C, H, W).
        rois: (K, 5): image index, then xyxy in input pixels.
        size: Bins in y and x.
        scale: Feature-map pixels per input pixel.
        sampling_ratio: Samples per bin and axis; 0 for one per feature-map pixel.
        aligned: Shift by half a pixel.

    Returns:
        (K, C, *size).
    """
    features, rois = features.contiguous(), rois.contiguous()
    threads = min(torch.get_num_threads(), len(rois) // FEW)
    if features.device.type != "cpu" or threads < 2 or torch.is_grad_enabled():
        return _one_call(features, rois, size, scale, sampling_ratio, aligned)

    def part(own: Tensor) -> Tensor:
        with torch.no_grad():
            return _one_call(features, own, size, scale, sampling_ratio, aligned)

    with ThreadPoolExecutor(threads) as pool:
        return torch.cat(list(pool.map(part, rois.chunk(threads))))


def _one_call(
    features: Tensor, rois: Tensor, size: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    pooled: Tensor = torch.ops.torchvision.roi_align(
        features, rois, scale, size[0], size[1], sampling_ratio, bool(aligned)
    )
    return pooled


def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4) float, xyxy.
        scores: (N,) float.
        iou_threshold: A box is dropped when its IoU with a better one is above this.
        offset: 0, or 1 for the convention in which a box of equal corners has an area of one pixel.

    Returns:
        (K,) int64 indices of the kept boxes, best first. The order of tied scores is torchvision's
        (the first in the input wins); mmcv's own order of ties is that of an unstable sort.
    """
    if boxes.numel() == 0:
        return boxes.new_zeros((0,), dtype=torch.long)
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    kept: Tensor = torch.ops.torchvision.nms(boxes, scores, iou_threshold)
    return kept


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    *,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft non-maximum suppression (Bodla et al., ICCV 2017), on the CPU as in mmcv.

    Args:
        boxes: (N, 4) float32, xyxy.
        scores: (N,) float32.
        dets: (N, 5) float32, filled with boxes and rescored scores of the first K rows.
        iou_threshold: Overlap from which methods 0 and 1 act.
        sigma: Width of the Gaussian of method 2.
        min_score: Boxes whose rescored score falls below this are dropped.
        method: 0 hard, 1 linear, 2 Gaussian.
        offset: As in `nms`.

    Returns:
        (K,) int64 indices of the kept boxes in the order in which they were picked.
    """
    rest = torch.arange(boxes.size(0))
    score = scores.clone()
    corner = boxes[:, 2:] + offset
    area = (corner - boxes[:, :2]).prod(dim=1)
    kept: list[int] = []
    while rest.numel():
        best = int(rest[int(score[rest].argmax())])
        dets[len(kept), :4] = boxes[best]
        dets[len(kept), 4] = score[best]
        kept.append(best)
        rest = rest[rest != best]
        low = torch.maximum(boxes[rest, :2], boxes[best, :2])
        high = torch.minimum(corner[rest], corner[best])
        overlap = (high - low).clamp(min=0).prod(dim=1)
        iou = overlap / (area[best] + area[rest] - overlap)
        if method == 2:
            weight = torch.exp(-(iou * iou) / sigma)
        else:
            less = torch.zeros_like(iou) if method == 0 else 1 - iou
            weight = torch.where(iou >= iou_threshold, less, torch.ones_like(iou))
        score[rest] *= weight
        rest = rest[score[rest] >= min_score]
    return torch.tensor(kept, dtype=torch.long)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign (He et al., ICCV 2017) into `output`.

    Args:
        input: (N, C, H, W) feature map.
        rois: (K, 5): batch index, then xyxy in input-image pixels.
        output: (K, C, aligned_height, aligned_width), overwritten.
        argmax_y: Left as it is: only the backward pass of maximum pooling would read it.
        argmax_x: As `argmax_y`.
        aligned_height: Bins in y.
        aligned_width: Bins in x.
        spatial_scale: Feature-map pixels per input-image pixel.
        sampling_ratio: Samples per bin and axis; 0 for one per feature-map pixel.
        pool_mode: 0 maximum, 1 average over the samples of a bin.
        aligned: Shift by half a pixel, so that pixel centres are at half-integers.
    """
    size = (aligned_height, aligned_width)
    rois = rois.to(input.dtype)
    if pool_mode == 1:
        output.copy_(roi_align(input, rois, size, spatial_scale, sampling_ratio, aligned))
    else:
        output.copy_(_roi_maximum(input, rois, size, spatial_scale, sampling_ratio, aligned))


def _roi_maximum(
    input: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> Tensor:
    """Maximum over the same sample points: one bin a sample, then the maximum over each group."""
    height, width = size
    extent = (rois[:, 3:] - rois[:, 1:3]) * scale
    if not aligned:
        extent = extent.clamp(min=1)
    bins = torch.tensor([width, height], dtype=extent.dtype, device=extent.device)
    grid = torch.ceil(extent / bins).long() if ratio <= 0 else torch.full_like(extent, ratio).long()
    # A RoI of no extent has no sample points; mmcv then leaves the start value of its maximum.
    output = input.new_full((rois.size(0), input.size(1), height, width), -10000.0)
    for per_x, per_y in {(int(x), int(y)) for x, y in grid.tolist() if x > 0 and y > 0}:
        chosen = ((grid[:, 0] == per_x) & (grid[:, 1] == per_y)).nonzero().flatten()
        fine = (height * per_y, width * per_x)
        samples = roi_align(input, rois[chosen], fine, scale, 1, aligned)
        samples = samples.view(len(chosen), input.size(1), height, per_y, width, per_x)
        output[chosen] = samples.amax(dim=(3, 5))
    return output


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of average `roi_align_forward` with respect to its input, into `grad_input` (N, C, H, W)."""
    if pool_mode != 1:
        raise RuntimeError("RoIAlign with maximum pooling cannot be trained without a compiled mmcv")
    batch, channels, height, width = grad_input.shape
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad_output.contiguous(),
            rois.to(grad_output.dtype).contiguous(),
            spatial_scale,
            aligned_height,
            aligned_width,
            batch,
            channels,
            height,
            width,
            sampling_ratio,
            bool(aligned),
        )
    )


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    group: int,
    deformable_group: int,
    im2col_step: int,
    **window: int,
) -> None:
    """Deformable convolution (Dai et al., ICCV 2017) into `output`.

    Args:
        input: (N, C, H, W).
        weight: (O, C / group, kH, kW).
        offset: (N, 2 * deformable_group * kH * kW, oH, oW), y before x.
        output: (N, O, oH, oW), overwritten.
        columns: mmcv's work space; unused.
        ones: mmcv's work space; unused.
        group: Groups of the convolution.
        deformable_group: Groups of channels that share offsets.
        im2col_step: Images at a time in mmcv; changes nothing in the result.
        window: `kW kH dW dH padW padH dilationW dilationH`, pixels.
    """
    mask = input.new_zeros((input.size(0), 1))
    bias = input.new_zeros((weight.size(0),))
    output.copy_(_deform(input, weight, offset, mask, bias, group, deformable_group, False, window))


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    *,
    group: int,
    deformable_group: int,
    with_bias: bool,
    **window: int,
) -> None:
    """Modulated deformable convolution, DCNv2 (Zhu et al., CVPR 2019), into `output`.

    Args:
        input: (N, C, H, W).
        weight: (O, C / group, kH, kW).
        bias: (O,), or anything when `with_bias` is false.
        ones: mmcv's work space; unused.
        offset: (N, 2 * deformable_group * kH * kW, oH, oW), y before x.
        mask: (N, deformable_group * kH * kW, oH, oW), in 0..1.
        output: (N, O, oH, oW), overwritten.
        columns: mmcv's work space; unused.
        group: Groups of the convolution.
        deformable_group: Groups of channels that share offsets.
        with_bias: Whether `bias` is added.
        window: `kernel_h kernel_w stride_h stride_w pad_h pad_w dilation_h dilation_w`, pixels.
    """
    if not with_bias:
        bias = input.new_zeros((weight.size(0),))
    height, width = output.shape[2:]
    offset, mask = (_as_mmcv_reads(values, int(height), int(width)) for values in (offset, mask))
    output.copy_(_deform(input, weight, offset, mask, bias, group, deformable_group, True, window))


def _as_mmcv_reads(values: Tensor, height: int, width: int) -> Tensor:
    """Offsets or masks of a larger map, as mmcv's kernel reads them: with the strides of its output.

    DyHead applies what it computed on one level to the next smaller one; mmcv does not check the sizes and
    takes the first numbers of each image, and trained weights depend on it.
    """
    count, channels = values.shape[:2]
    if values.shape[2:] == (height, width) or values[0].numel() < channels * height * width:
        return values
    return values.flatten(1)[:, : channels * height * width].reshape(count, channels, height, width)


def _deform(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    group: int,
    deformable_group: int,
    use_mask: bool,
    window: dict[str, int],
) -> Tensor:
    def pick(short: str, long: str) -> int:
        return int(window[short] if short in window else window[long])

    result: Tensor = torch.ops.torchvision.deform_conv2d(
        input.contiguous(),
        weight.contiguous(),
        offset.contiguous(),
        mask.contiguous(),
        bias.contiguous(),
        pick("dH", "stride_h"),
        pick("dW", "stride_w"),
        pick("padH", "pad_h"),
        pick("padW", "pad_w"),
        pick("dilationH", "dilation_h"),
        pick("dilationW", "dilation_w"),
        group,
        deformable_group,
        use_mask,
    )
    return result


def psamask_forward(
    input: Tensor,
    output: Tensor,
    *,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Spread the over-completed attention map of PSANet (Zhao et al., ECCV 2018) into `output`.

    Channel `(dy, dx)` of position `(y, x)` is the attention between `(y, x)` and the position at
    `(dy - half_h_mask, dx - half_w_mask)` from it; pairs outside the mask get 0.

    Args:
        input: (N, h_mask * w_mask, H, W).
        output: (N, H * W, H, W), overwritten. With `psa_type` 0 (collect) channels are the other
            position; with 1 (distribute) they are the own one.
        psa_type: 0 collect, 1 distribute.
        num_: N.
        h_feature: H.
        w_feature: W.
        h_mask: Mask height.
        w_mask: Mask width.
        half_h_mask: (h_mask - 1) // 2.
        half_w_mask: (w_mask - 1) // 2.
    """
    device = input.device
    rows = torch.arange(h_feature, device=device)
    cols = torch.arange(w_feature, device=device)
    # [other, own] -> row or column of the mask.
    dy = rows[:, None] - rows[None, :] + half_h_mask
    dx = cols[:, None] - cols[None, :] + half_w_mask
    channel = dy.clamp(0, h_mask - 1)[:, None, :, None] * w_mask + dx.clamp(0, w_mask - 1)[None, :, None, :]
    area = h_feature * w_feature
    channel = channel.reshape(1, area, h_feature, w_feature).expand(num_, -1, -1, -1)
    spread = input.gather(1, channel)
    # Known from the sizes: to look at the tensors would be to wait for the GPU.
    whole_y = h_feature <= min(half_h_mask + 1, h_mask - half_h_mask)
    whole_x = w_feature <= min(half_w_mask + 1, w_mask - half_w_mask)
    if not (whole_y and whole_x):
        inside_y = (dy >= 0) & (dy < h_mask)
        inside_x = (dx >= 0) & (dx < w_mask)
        inside = inside_y[:, None, :, None] & inside_x[None, :, None, :]
        spread = spread.masked_fill_(~inside.reshape(1, area, h_feature, w_feature), 0)
    if psa_type == 1:
        spread = spread.view(num_, area, area).transpose(1, 2).reshape(num_, area, h_feature, w_feature)
    output.copy_(spread)


NAMES = (
    "nms",
    "softnms",
    "roi_align_forward",
    "roi_align_backward",
    "deform_conv_forward",
    "modulated_deform_conv_forward",
    "psamask_forward",
)


def functions() -> dict[str, Any]:
    """The stand-ins by the name that mmcv knows them under."""
    return {name: globals()[name] for name in NAMES}
