"""Which modules register the parts that networks are made of.

Only a shortcut: a network with a part that is not listed here is built after importing everything.

Import single modules of mmengine, mmcv, mmsegmentation and mmdet without all of their siblings.

The packages' `__init__` files import everything beside them: hundreds of modules, and through them
scipy, torchvision and torch's distributed training, to build one network. While `lean_imports` is
active, a package whose `__init__` does nothing but import gets a stand-in that looks a name up when
it is asked for. Afterwards the stand-ins are taken out of `sys.modules`, so that a later ordinary
import finds nothing changed: it runs the real `__init__`, which meets the modules that are already there.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

# Built into torch, or registered by what every network imports; no module of its own.
_EVERYWHERE = frozenset(
    {"BN", "GN", "LN", "GELU", "LeakyReLU", "ReLU", "RoIAlign", "nms", "BaseDataPreprocessor"}
)

_COMMON = {
    "ContextBlock": "mmcv.cnn.bricks.context_block",
    "DCN": "mmcv.ops.deform_conv",
    "DCNv2": "mmcv.ops.modulated_deform_conv",
    "mmpretrain.ConvNeXt": "mmpretrain.models.backbones.convnext",
}

_MMSEG = {
    "segmentors": {
        "EncoderDecoder": "encoder_decoder",
        "CascadeEncoderDecoder": "cascade_encoder_decoder",
    },
    "backbones": {
        "HRNet": "hrnet",
        "ResNet": "resnet",
        "ResNetV1c": "resnet",
        "ResNetV1d": "resnet",
        "SwinTransformer": "swin",
        "VisionTransformer": "vit",
    },
    "necks": {"FPN": "fpn", "MultiLevelNeck": "multilevel_neck"},
    "decode_heads": {
        "APCHead": "apc_head",
        "ASPPHead": "aspp_head",
        "CCHead": "cc_head",
        "DMHead": "dm_head",
        "DNLHead": "dnl_head",
        "DPTHead": "dpt_head",
        "DepthwiseSeparableASPPHead": "sep_aspp_head",
        "EMAHead": "ema_head",
        "FCNHead": "fcn_head",
        "FPNHead": "fpn_head",
        "GCHead": "gc_head",
        "ISAHead": "isa_head",
        "NLHead": "nl_head",
        "OCRHead": "ocr_head",
        "PSAHead": "psa_head",
        "PSPHead": "psp_head",
        "PointHead": "point_head",
        "UPerHead": "uper_head",
    },
    "losses": {"CrossEntropyLoss": "cross_entropy_loss"},
}

_MMDET = {
    "detectors": {"CascadeRCNN": "cascade_rcnn", "MaskRCNN": "mask_rcnn"},
    "backbones": {"HRNet": "hrnet", "ResNet": "resnet"},
    "necks": {"FPN": "fpn", "HRFPN": "hrfpn"},
    "dense_heads": {"RPNHead": "rpn_head"},
    "roi_heads": {
        "CascadeRoIHead": "cascade_roi_head",
        "StandardRoIHead": "standard_roi_head",
        "FCNMaskHead": "mask_heads.fcn_mask_head",
        "Shared2FCBBoxHead": "bbox_heads.convfc_bbox_head",
        "SingleRoIExtractor": "roi_extractors.single_level_roi_extractor",
    },
    "task_modules": {
        "AnchorGenerator": "prior_generators.anchor_generator",
        "DeltaXYWHBBoxCoder": "coders.delta_xywh_bbox_coder",
    },
    "losses": {
        "CrossEntropyLoss": "cross_entropy_loss",
        "L1Loss": "smooth_l1_loss",
        "SmoothL1Loss": "smooth_l1_loss",
    },
}

# Registers the plain linear layer that box heads ask for by name.
_ALSO = {"Shared2FCBBoxHead": "mmdet.models.layers.normed_predictor"}

_SCOPES = {"mmseg": _MMSEG, "mmdet": _MMDET}


def modules_of(scope: str, config: dict[str, Any]) -> list[str] | None:
    """The modules that a configuration's parts are in, or None if one is not known.

    Args:
        scope: `mmseg` or `mmdet`.
        config: A network's configuration.
    """
    homes = dict(_COMMON)
    for package, members in _SCOPES[scope].items():
        homes.update({name: f"{scope}.models.{package}.{module}" for name, module in members.items()})
    modules: dict[str, None] = {}
    for name in types_of(config):
        if name in homes:
            modules[homes[name]] = None
            if name in _ALSO:
                modules[_ALSO[name]] = None
        elif name not in _EVERYWHERE:
            return None
    return list(modules)


def types_of(value: Any) -> Iterator[str]:
    """Every `type` in a configuration."""
    if isinstance(value, dict):
        if "type" in value:
            yield str(value["type"])
        for item in value.values():
            yield from types_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from types_of(item)


ROOTS = ("mmengine", "mmcv", "mmseg", "mmdet", "mmpretrain")
# These do more than import, but nothing that a network needs: they look at torch's version to decide
# whether to import its sharded training, which takes longer than everything else together.
_BY_FORCE = ("mmengine.model", "mmengine.model.wrappers")
# Registrations that replace each other, so that their order matters; the packages import them so.
FIRST = ("mmcv.cnn.bricks.conv", "mmcv.cnn.bricks.wrappers")


class Names(NamedTuple):
    """What an `__init__` file imports from its submodules.

    Attributes:
        single: Name in the package to (submodule, name there).
        whole: Submodules of which everything is imported.
    """

    single: dict[str, tuple[str, str]]
    whole: tuple[str, ...]


class LeanPackage(ModuleType):
    """A package that imports a submodule when one of its names is asked for."""

    def __init__(self, name: str, names: Names) -> None:
        super().__init__(name)
        self.__dict__["_names"] = names

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        found = self._find(name)
        if found is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{self.__name__}.{found[0]}"), found[1])
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing a submodule sets it on its package. A real `__init__` then puts the function of the same
        # name in its place (`from .accuracy import accuracy`); here the submodule must not come first.
        if not (isinstance(value, ModuleType) and name in self.__dict__["_names"].single):
            super().__setattr__(name, value)

    def _find(self, name: str) -> tuple[str, str] | None:
        names: Names = self.__dict__["_names"]
        if name in names.single:
            return names.single[name]
        for submodule in names.whole:
            module = import_module(f"{self.__name__}.{submodule}")
            if module._find(name) if isinstance(module, LeanPackage) else hasattr(module, name):
                return submodule, name
        return None


class _Finder(MetaPathFinder, Loader):
    """Gives out `LeanPackage` for packages that only import."""

    def __init__(self) -> None:
        self.made: dict[str, LeanPackage] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in ROOTS:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not spec.submodule_search_locations or not spec.origin:
            return spec
        names = read_names(Path(spec.origin), force=fullname in _BY_FORCE)
        if names is None:
            return spec
        lean = ModuleSpec(fullname, self, origin=spec.origin, is_package=True)
        lean.submodule_search_locations = list(spec.submodule_search_locations)
        lean.loader_state = names
        return lean

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        package = LeanPackage(spec.name, spec.loader_state)
        self.made[spec.name] = package
        return package

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: that is the point."""


def read_names(path: Path, *, force: bool = False) -> Names | None:
    """The imports of an `__init__` file; None if it does anything else, unless that is to be ignored."""
    single: dict[str, tuple[str, str]] = {}
    whole: list[str] = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if force else tree.body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            for alias in node.names:
                if alias.name == "*":
                    whole.append(node.module)
                else:
                    single[alias.asname or alias.name] = (node.module, alias.name)
        elif not (force or _is_harmless(node)):
            return None
    return Names(single, tuple(whole))


def _is_harmless(node: ast.AST) -> bool:
    """A docstring, or `__all__`."""
    if isinstance(node, ast.Assign):
        return [getattr(t, "id", "") for t in node.targets] == ["__all__"]
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class _BindingLoader(SourceFileLoader):
    """Runs a real `__init__` after all, with the submodules that are already there as attributes.

    Python sets a submodule on its package when it imports it, and these were imported before.
    """

    def exec_module(self, module: ModuleType) -> None:
        start = f"{module.__name__}."
        for name, child in list(sys.modules.items()):
            if name.startswith(start) and "." not in name[len(start) :]:
                setattr(module, name[len(start) :], child)
        super().exec_module(module)


class _Binder(MetaPathFinder):
    """Finds the packages whose stand-in was taken away."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self.names else None
        if spec is not None and spec.origin:
            spec.loader = _BindingLoader(fullname, spec.origin)
        return spec


_BINDER = _Binder()


@contextmanager
def lean_imports() -> Iterator[None]:
    """Serve packages that only import as `LeanPackage` while the context lasts."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        if finder.made and _BINDER not in sys.meta_path:
            sys.meta_path.insert(0, _BINDER)
        _BINDER.names.update(finder.made)
        for name, package in finder.made.items():
            if sys.modules.get(name) is package:
                del sys.modules[name]
                parent, _, child = name.rpartition(".")
                # The real package, imported later, takes the stand-in's place as an attribute, too.
                if getattr(sys.modules.get(parent), "__dict__", {}).get(child) is package:
                    delattr(sys.modules[parent], child)


@contextmanager
def registries_as_they_are(packages: Iterable[str]) -> Iterator[None]:
    """Keep the model registries of those packages from importing everything at the first look-up.

    A registry remembers that it has imported its packages; that memory is put back afterwards.
    """
    found = [
        getattr(import_module(f"{package}.registry"), name, None)
        for package in {"mmengine", *packages} - {"mmcv"}
        for name in ("MODELS", "TASK_UTILS")
    ]
    registries = [registry for registry in found if registry is not None]
    before = [registry._imported for registry in registries]
    try:
        for registry in registries:
            registry._imported = True
        yield
    finally:
        for registry, imported in zip(registries, before, strict=True):
            registry._imported = imported
