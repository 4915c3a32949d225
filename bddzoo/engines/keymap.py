"""Names of Vis4D's Semantic FPN checkpoints in terms of mmsegmentation's.

The graph is the same, only the names differ; the map follows Vis4D's own table for loading
mmsegmentation weights (vis4d/model/seg/semantic_fpn.py), read backwards. The blocks of its
feature pyramid carry one more index when torchvision 0.13 or newer saved them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_RULES = (
    (r"^basemodel\.", "backbone."),
    (r"^fpn\.inner_blocks\.(\d+)\.(?:0\.)?(weight|bias)$", r"neck.lateral_convs.\1.conv.\2"),
    (r"^fpn\.layer_blocks\.(\d+)\.(?:0\.)?(weight|bias)$", r"neck.fpn_convs.\1.conv.\2"),
    (r"^seg_head\.(scale_heads\.\d+\.\d+)\.(weight|bias)$", r"decode_head.\1.conv.\2"),
    (r"^seg_head\.(scale_heads\.\d+\.\d+)\.norm\.", r"decode_head.\1.bn."),
    (r"^seg_head\.", "decode_head."),
)


def from_vis4d(name: str) -> str:
    """The mmsegmentation name of an entry of a Vis4D file; other names are returned as they are."""
    for pattern, replacement in _RULES:
        changed, count = re.subn(pattern, replacement, name)
        if count:
            return changed
    return name


def to_vis4d(name: str) -> str:
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


def is_vis4d(names: Iterable[str]) -> bool:
    """Whether entry names are Vis4D's rather than mmsegmentation's."""
    return any(name.startswith(("basemodel.", "seg_head.", "fpn.")) for name in names)
