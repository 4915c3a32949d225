"""Build a network or a part of mmsegmentation or mmdet, and import only the modules that it is made of.

`import mmseg.models` runs the `__init__` files of mmseg, mmdet, mmcv and mmengine, which import hundreds of
modules, and through them scipy, torchvision and torch's distributed training. That takes longer than
everything else up to a first prediction: 3.6 s with it, 1.4 s without. So:

- the `__init__` files of the libraries' packages say which module has which part;
- while these modules are imported, a package whose `__init__` does nothing but import is replaced by a
  `LazyPackage`, which looks a name up when it is asked for. Afterwards the replacements leave `sys.modules`:
  a later ordinary import runs the real `__init__`, which meets the modules that are already there.

None of this is needed for a correct network. Where anything is not as expected (a part that is not found, a
package that has moved, an `__init__` in a new form, any error), what the attempt left behind is taken back,
and the network is built after the ordinary import. Both lines of OpenMMLab's libraries are served.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from bddzoo.engines.openmmlab import ONEDL, install_engines_hint
from bddzoo.engines.ops import ensure_ops
from bddzoo.errors import BddzooError, MissingError, UsageError

if TYPE_CHECKING:
    from torch import nn

# Built into torch, or registered by what every network imports; no module of its own.
_EVERYWHERE = frozenset(
    {"BN", "GN", "LN", "GELU", "LeakyReLU", "ReLU", "RoIAlign", "nms", "BaseDataPreprocessor"}
)

# Registered under names that no class has.
_RENAMED = {
    "ContextBlock": "mmcv.cnn.bricks.context_block",
    "DCN": "mmcv.ops.deform_conv",
    "DCNv2": "mmcv.ops.modulated_deform_conv",
}

# Where the libraries have their parts: the `__init__` files of these packages say which module has which.
_PACKAGES = {
    "mmseg": ("segmentors", "backbones", "necks", "decode_heads", "losses"),
    "mmdet": (
        *("detectors", "backbones", "necks", "dense_heads", "roi_heads", "seg_heads", "losses", "layers"),
        *("task_modules.coders", "task_modules.prior_generators"),
    ),
    "mmpretrain": ("classifiers", "backbones", "necks", "heads", "losses", "utils"),
}

# What parts ask for without being told to: the plain linear layer of box heads, an activation, a coder of
# boxes, and the losses that heads have by default.
_ALSO = {
    "DIIHead": "mmdet.models.layers.normed_predictor",
    "DyHead": "mmcv.cnn.bricks.hsigmoid",
    "FCOSHead": "mmdet.models.task_modules.coders.distance_point_bbox_coder",
    "Shared2FCBBoxHead": "mmdet.models.layers.normed_predictor",
}
_LOSSES = tuple(f"mmdet.models.losses.{name}_loss" for name in ("cross_entropy", "focal", "iou", "smooth_l1"))


def build_part(subject: str, scope: str, config: dict[str, Any], *, whole: bool = False) -> nn.Module:
    """Build a network, a backbone or a head.

    Args:
        subject: What it is for, in errors.
        scope: `mmseg`, `mmdet` or `mmpretrain`.
        config: Its constructor arguments, `type` included.
        whole: For training: import all of the library, as upstream does, since any part of it may be asked
            for, and draw weights. Without it they are zeros and ones.

    Raises:
        UsageError: These arguments make no part.
        MissingError: The library or what it needs is not installed, or does not work.
    """
    ensure_ops()
    try:
        with warnings.catch_warnings(), nullcontext() if whole else nothing_drawn():
            warnings.simplefilter("ignore")
            module = None if whole else _build_from_modules(scope, config)
            return module if module is not None else _build_from_library(scope, config)
    except BddzooError:
        raise
    except ImportError as error:
        text = f"cannot import what {subject} needs: {error}"
        raise MissingError(text, hint=install_engines_hint()) from error
    except (TypeError, LookupError, ValueError, AssertionError, AttributeError) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        text = f"{subject}: its network cannot be built: {text}"
        raise UsageError(text, hint="fix the registry") from error


def nothing_drawn() -> AbstractContextManager[object]:
    """Zeros in place of random numbers: to draw weights takes up to a second, and others are loaded next."""
    from torch.overrides import TorchFunctionMode

    class NothingDrawn(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func.__name__ in ("normal_", "uniform_", "kaiming_uniform_"):
                tensor = args[0] if args else kwargs["tensor"]
                return tensor.detach().zero_()
            return func(*args, **(kwargs or {}))

    return NothingDrawn()


def _build_from_modules(scope: str, config: dict[str, Any]) -> nn.Module | None:
    """Build from the parts' own modules; None where that cannot be done."""
    if f"{scope}.models" in sys.modules:
        return None
    try:
        with undone_on_error(), lazy_packages():
            import_parts(scope, config)
            with registries_import_nothing(_libraries(scope, config)):
                return _from_registry(scope, config)
    except Exception:  # whatever it is, the ordinary import either works or says it better
        return None


def _build_from_library(scope: str, config: dict[str, Any]) -> nn.Module:
    for library in _libraries(scope, config):
        import_models(library)
    return _from_registry(scope, config)


def _libraries(scope: str, config: dict[str, Any]) -> tuple[str, ...]:
    """The library, and mmpretrain where parts are named to be of it."""
    named = any(name.startswith("mmpretrain.") for name in types_of(config))
    return (scope, "mmpretrain") if named else (scope,)


def import_models(library: str) -> None:
    """Import all models of mmseg, mmdet or mmpretrain, as upstream does.

    Raises:
        MissingError: The import fails.
    """
    ensure_ops()
    try:
        import_module(f"{library}.models")
    except Exception as error:  # they meet releases that they were not written for, which may raise anything
        text = " ".join(str(error).split()) or type(error).__name__
        raise MissingError(f"cannot import {library}: {text}", hint=install_engines_hint()) from error


def _from_registry(scope: str, config: dict[str, Any]) -> nn.Module:
    from mmengine.config import ConfigDict

    # With an explicit scope, another library's default scope in the same process does not matter.
    models = import_module(f"{scope}.registry").MODELS
    module: nn.Module = models.build(ConfigDict({**config, "_scope_": scope}))
    return module


def import_parts(scope: str, config: dict[str, Any]) -> None:
    """Import the modules that a configuration's parts are in.

    Raises:
        LookupError: A part is not where parts are.
    """
    modules = [*IMPORTED_FIRST, *(_LOSSES if scope == "mmdet" else ())]
    for name in dict.fromkeys(types_of(config)):
        modules += [found[name] for found in (_RENAMED, _ALSO) if name in found]
    for module in modules:
        import_module(module)
    for name in dict.fromkeys(types_of(config)):
        if name not in _EVERYWHERE and name not in _RENAMED:
            library, _, part = name.rpartition(".")
            packages = (import_module(f"{library or scope}.models.{p}") for p in _PACKAGES[library or scope])
            if not any(hasattr(package, part) for package in packages):
                raise LookupError(name)


def types_of(value: Any) -> Iterator[str]:
    """Every `type` in a configuration that a library has; a class is its own."""
    if isinstance(value, dict):
        if isinstance(value.get("type"), str):
            yield value["type"]
        for item in value.values():
            yield from types_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from types_of(item)


# These do more than import, but nothing that a network needs: they look at torch's version to decide
# whether to import its sharded training, which takes longer than everything else together.
_IMPORTS_ONLY_TAKEN = ("mmengine.model", "mmengine.model.wrappers")
# Registrations that replace each other, so that their order matters; the packages import them so.
IMPORTED_FIRST = ("mmcv.cnn.bricks.conv", "mmcv.cnn.bricks.wrappers")


class PackageNames(NamedTuple):
    """What an `__init__` file imports from its submodules.

    Attributes:
        single: Name in the package to (submodule, name there).
        whole: Submodules of which everything is imported.
    """

    single: dict[str, tuple[str, str]]
    whole: tuple[str, ...]


class LazyPackage(ModuleType):
    """A package that imports a submodule when one of its names is asked for."""

    def __init__(self, name: str, names: PackageNames) -> None:
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
        names: PackageNames = self.__dict__["_names"]
        if name in names.single:
            return names.single[name]
        for submodule in names.whole:
            module = import_module(f"{self.__name__}.{submodule}")
            if module._find(name) if isinstance(module, LazyPackage) else hasattr(module, name):
                return submodule, name
        return None


class _LazyFinder(MetaPathFinder, Loader):
    """Finds a `LazyPackage` in place of a package that only imports."""

    def __init__(self) -> None:
        self.made: dict[str, LazyPackage] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in ONEDL.packages:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not spec.submodule_search_locations or not spec.origin:
            return spec
        names = read_names(Path(spec.origin), imports_only=fullname in _IMPORTS_ONLY_TAKEN)
        if names is None:
            return spec
        lazy = ModuleSpec(fullname, self, origin=spec.origin, is_package=True)
        lazy.submodule_search_locations = list(spec.submodule_search_locations)
        lazy.loader_state = names
        return lazy

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        package = LazyPackage(spec.name, spec.loader_state)
        self.made[spec.name] = package
        return package

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing."""


def read_names(path: Path, *, imports_only: bool = False) -> PackageNames | None:
    """The imports of an `__init__` file.

    Args:
        path: The file.
        imports_only: Take the imports, wherever they stand, and leave everything else out.

    Returns:
        Its imports; None if it does anything else, unless that is left out.
    """
    single: dict[str, tuple[str, str]] = {}
    whole: list[str] = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if imports_only else tree.body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            for alias in node.names:
                if alias.name == "*":
                    whole.append(node.module)
                else:
                    single[alias.asname or alias.name] = (node.module, alias.name)
        elif not (imports_only or _is_harmless(node)):
            return None
    return PackageNames(single, tuple(whole))


def _is_harmless(node: ast.AST) -> bool:
    # A docstring, or `__all__`.
    if isinstance(node, ast.Assign):
        return [getattr(t, "id", "") for t in node.targets] == ["__all__"]
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class _BindingLoader(SourceFileLoader):
    """Runs a real `__init__` later, with the submodules that are already imported as attributes.

    Python sets a submodule on its package when it imports it, and these were imported before.
    """

    def exec_module(self, module: ModuleType) -> None:
        start = f"{module.__name__}."
        for name, child in list(sys.modules.items()):
            if name.startswith(start) and "." not in name[len(start) :]:
                setattr(module, name[len(start) :], child)
        super().exec_module(module)


class _BindingFinder(MetaPathFinder):
    """Finds the packages whose replacement was taken away."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self.names else None
        if spec is not None and spec.origin:
            spec.loader = _BindingLoader(fullname, spec.origin)
        return spec


_BINDING = _BindingFinder()


@contextmanager
def lazy_packages() -> Iterator[None]:
    """Replace packages that only import by a `LazyPackage` while the context lasts."""
    finder = _LazyFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        if finder.made and _BINDING not in sys.meta_path:
            sys.meta_path.insert(0, _BINDING)
        _BINDING.names.update(finder.made)
        for name, package in finder.made.items():
            if sys.modules.get(name) is package:
                del sys.modules[name]
                parent, _, child = name.rpartition(".")
                # The real package, imported later, takes the replacement's place as an attribute, too.
                if getattr(sys.modules.get(parent), "__dict__", {}).get(child) is package:
                    delattr(sys.modules[parent], child)


@contextmanager
def registries_import_nothing(packages: Iterable[str]) -> Iterator[None]:
    """Keep the model registries of those packages from importing everything at the first look-up.

    A registry remembers whether it has imported its packages; what it remembers is put back afterwards.
    mmengine's names no package, since the ordinary import always runs those of mmcv; it is told them here, so
    that a part of mmcv that no network needed so far is found later.
    """
    found = [
        getattr(import_module(f"{package}.registry"), name, None)
        for package in {"mmengine", *packages} - {"mmcv"}
        for name in ("MODELS", "TASK_UTILS")
    ]
    registries = [registry for registry in found if registry is not None]
    root = import_module("mmengine.registry").MODELS
    if not root._locations:
        root._locations, root._imported = ["mmcv.cnn", "mmcv.ops"], False
    before = [registry._imported for registry in registries]
    try:
        for registry in registries:
            registry._imported = True
        yield
    finally:
        for registry, imported in zip(registries, before, strict=True):
            registry._imported = imported


@contextmanager
def undone_on_error() -> Iterator[None]:
    """Forget the modules that were imported in the context, and what they registered, if it ends in an error.

    A module that fails half-way may have registered a class, and a second registration is an error.
    """
    modules = set(sys.modules)
    registries = {registry: dict(registry._module_dict) for registry in _registries()}
    try:
        yield
    except Exception:
        for name in set(sys.modules) - modules:
            if name.partition(".")[0] in ONEDL.packages:
                del sys.modules[name]
        for registry, parts in registries.items():
            registry._module_dict.clear()
            registry._module_dict.update(parts)
        raise


def _registries() -> list[Any]:
    """All registries that there are: mmengine's, and their children in the other libraries."""
    root = sys.modules.get("mmengine.registry.root")
    found = [value for value in vars(root).values() if hasattr(value, "_module_dict")] if root else []
    for registry in found:
        found += registry.children.values()
    return found
