"""Importing only what a network is made of, and leaving no trace of it."""

import textwrap
from pathlib import Path

import pytest

from bddzoo.engines.part_modules import read_names
from tests.engines.test_ops import python
from tests.support.sampling import every, sampled

BUILD = """
    import sys
    from bddzoo.registry import load_registry
    from bddzoo.engines.load import build_network
    registry = load_registry(None)
    names = ["upernet_swin-t_512x1024_40k_sem_seg_bdd100k",
             "upernet_convnext-t_fp16_512x1024_40k_sem_seg_bdd100k",
             "cascade_mask_rcnn_r50_fpn_1x_ins_seg_bdd100k", "mask_rcnn_r50_fpn_dconv_1x_ins_seg_bdd100k"]
    networks = {name: build_network(registry.find(name)) for name in names}
"""


@pytest.fixture(scope="module")
def said_after_building():
    """What big modules there are, and then what is found of mmcv."""
    return python(
        BUILD
        + """
    big = ("mmseg.models", "mmdet.models", "mmpretrain.models", "mmengine.model", "mmengine.runner")
    print([name for name in (*big, "torchvision") if name in sys.modules])
    from mmcv.cnn.bricks.plugin import build_plugin_layer
    from mmengine.registry import MODELS
    print(build_plugin_layer({"type": "ContextBlock", "ratio": 0.25}, in_channels=16)[0])
    print(*(MODELS.get(name).__name__ for name in ("Swish", "SAC", "Conv", "BN")))
    """
    ).splitlines()


def test_siblings_are_not_imported(said_after_building):
    assert said_after_building[0] == "[]"


def test_parts_of_mmcv_that_no_network_needed_are_found_later(said_after_building):
    assert said_after_building[1:] == ["context_block", "Swish SAConv2d Conv2d BatchNorm2d"]


KINDS = (
    *("fcos_r50_fpn_1x", "sparse_rcnn_r50_fpn_1x", "atss_r50_fpn_dyhead_1x", "retinanet_pvtv2-b0_fpn_1x"),
    *("libra_faster_rcnn_r50_fpn_1x", "cascade_rcnn_swin-t_fpn_3x", "faster_rcnn_hrnetv2p_w18_1x"),
)


@pytest.mark.parametrize("kind", sampled(KINDS, every(4)))
def test_a_detector_is_built_from_its_own_modules(kind):
    """In a process of its own, since what one network imports another would find."""
    said = python(
        f"""
    import sys
    from bddzoo.registry import load_registry
    from bddzoo.engines.load import build_network
    build_network(load_registry(None).find("{kind}_det_bdd100k"))
    print("mmdet.models" in sys.modules)
    """
    )
    assert said == "False"


def test_a_later_import_is_whole():
    said = python(
        BUILD
        + """
    import mmcv, mmcv.cnn, mmcv.ops, mmengine.model, mmseg.apis, mmdet.apis
    import mmseg.models, mmdet.models, mmpretrain.models
    from mmseg.registry import MODELS as seg
    from mmdet.registry import MODELS as det
    swin, convnext, cascade, dcn = networks.values()
    print(
        isinstance(swin, mmseg.models.EncoderDecoder),
        isinstance(swin.backbone, mmseg.models.SwinTransformer),
        isinstance(convnext.backbone, mmpretrain.models.ConvNeXt),
        isinstance(cascade, mmdet.models.CascadeRCNN),
        isinstance(dcn.backbone.layer2[0].conv2, mmcv.ops.DeformConv2dPack),
        seg.get("SegformerHead") is mmseg.models.SegformerHead,
        det.get("FCOSHead") is mmdet.models.FCOSHead,
        mmcv.cnn.ConvModule is type(swin.decode_head.bottleneck),
        callable(mmcv.imread), mmcv.cnn.__file__.endswith("__init__.py"),
    )
    """
    )
    assert set(said.split()) == {"True"}


def test_a_function_named_like_its_module_is_the_function():
    said = python(
        """
    from importlib import import_module
    from bddzoo.engines.part_modules import lazy_packages
    from bddzoo.engines.ops import ensure_ops
    ensure_ops()
    with lazy_packages():
        import_module("mmdet.models.losses.cross_entropy_loss")  # imports its neighbour, the module accuracy
        head = import_module("mmdet.models.roi_heads.bbox_heads.bbox_head")
    print(callable(head.accuracy))
    """
    )
    assert said == "True"


def test_another_library_in_the_same_process_does_not_matter():
    said = python(
        """
    from bddzoo.engines.ops import ensure_ops
    ensure_ops()
    import mmdet.models, mmseg.models
    from mmengine.registry import DefaultScope
    DefaultScope.get_instance("somebody", scope_name="mmdet")
    """
        + BUILD
        + """
    print(*(len(n.state_dict()) == registry.find(k).network.entries for k, n in networks.items()))
    print(DefaultScope.get_current_instance().scope_name)
    """
    )
    assert said.split() == ["True"] * 4 + ["mmdet"]


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ('"""Doc."""\nfrom .a import (B, C as D)\nfrom .e import *\n__all__ = ["B"]\n', True),
        ("import os\n", False),
        ("from .a import B\nB.setup()\n", False),
        ("from os import path\n", False),
    ],
)
def test_only_packages_that_import_and_nothing_else(tmp_path: Path, text, known):
    path = tmp_path / "__init__.py"
    path.write_text(text)
    names = read_names(path)
    assert (names is not None) == known
    if names is not None:
        assert names.single == {"B": ("a", "B"), "D": ("a", "C")}
        assert names.whole == ("e",)


FAULTS = {
    "a package has moved": "part_modules._PACKAGES['mmseg'] = ('heads_of_tomorrow',)",
    "a part has moved": "part_modules._PACKAGES['mmseg'] = ('segmentors', 'backbones')",
    "a module fails after it has registered its part": """
        from importlib.machinery import PathFinder, SourceFileLoader

        class FailsAtItsEnd(SourceFileLoader):
            def exec_module(self, module):
                super().exec_module(module)
                raise RuntimeError("not as expected")

        class Finder(PathFinder):
            @classmethod
            def find_spec(cls, name, path=None, target=None):
                spec = PathFinder.find_spec(name, path, target)
                if name == "mmseg.models.decode_heads.fpn_head":
                    spec.loader = FailsAtItsEnd(name, spec.origin)
                return spec

        part_modules.PathFinder = Finder
    """,
    "an `__init__` cannot be read": """
        def read_names(path, *, imports_only=False):
            raise SyntaxError(str(path))
        part_modules.read_names = read_names
    """,
    "registries keep their state elsewhere": """
        def registries_import_nothing(packages):
            raise AttributeError("_imported")
        part_modules.registries_import_nothing = registries_import_nothing
    """,
}


@pytest.mark.parametrize("fault", sampled(FAULTS, every(4)))
def test_the_ordinary_import_happens_where_anything_is_unexpected(fault):
    """After a network that was built from its modules alone, and before others."""
    said = python(
        """
    import sys
    from bddzoo.engines.load import build_network
    from bddzoo.engines import part_modules
    from bddzoo.registry import load_registry
    registry = load_registry(None)
    def build(name):
        model = registry.find(name)
        return len(build_network(model).state_dict()) == model.network.entries
    print(build("upernet_swin-t_512x1024_40k_sem_seg_bdd100k"), "mmseg.models" not in sys.modules)
"""
        + textwrap.indent(textwrap.dedent(FAULTS[fault]), "    ")
        + """
    print(build("fpn_r50_512x1024_40k_sem_seg_bdd100k"), "mmseg.models" in sys.modules)
    print(build("fcn_r50-d8_512x1024_40k_sem_seg_bdd100k"))
    print(build("mask_rcnn_r50_fpn_1x_ins_seg_bdd100k"))
    """
    )
    assert said.split() == ["True"] * 6
