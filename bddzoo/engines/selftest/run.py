"""Run the checks: keys, weights, outputs and operators, model by model."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from bddzoo.engines.load import build_network, full_float32, make_runner
from bddzoo.engines.part_modules import import_models
from bddzoo.engines.recipe import Variant
from bddzoo.engines.registry_config import expand, is_buildable
from bddzoo.engines.selftest.arithmetic import Judge, fill, judge
from bddzoo.engines.selftest.folder import Golden, GoldenFolder, read_arrays
from bddzoo.engines.selftest.measures import CheckResult, Measure, check_keys, judged, renamed
from bddzoo.engines.selftest.semantic import Case, Prepare
from bddzoo.errors import MissingError, UsageError
from bddzoo.registry.model import Model

if TYPE_CHECKING:
    import torch
    from torch import nn


class Selftest:
    """Checks of models against one folder of goldens.

    Args:
        folder: The goldens.
        registry: All models that there are; a model without a golden of its own is checked with
            that of one whose network is the same.
        device: Where to run.
        prepare: The preprocessing, from an image and a protocol to a network's input.
        tune: What is done to a network, in place, before it predicts on a CPU. Networks are checked as
            they were built; on the two crops also as they run.
        judge: What is made of a check, see `bddzoo.engines.selftest.arithmetic.judge`.
    """

    def __init__(
        self,
        folder: GoldenFolder,
        registry: Sequence[Model],
        device: torch.device,
        prepare: Prepare,
        tune: Callable[[nn.Module], None] | None = None,
        judge: Judge = judge,
    ) -> None:
        self.folder = folder
        self.device = device
        self.prepare = prepare
        self.tune = tune if device.type == "cpu" else None
        self.judge = judge
        self._registry = registry
        self._twins: dict[str, list[Model]] = {}
        for model in registry:
            if is_buildable(model):
                self._twins.setdefault(_graph(model), []).append(model)
        self._done: dict[str, list[CheckResult]] = {}

    def known(self) -> list[Model]:
        """The models that the folder holds something of, in the registry's order."""
        return [model for model in self._registry if is_buildable(model) and self._sources(model)]

    def strays(self) -> Iterator[CheckResult]:
        """Files of the folder that no model of the registry answers for."""
        used = {(m.task, name) for m in self._registry for name in self.folder.applies_to(m.task, m.id)}
        for task, name in self.folder.files():
            if (task, name) not in used:
                yield CheckResult(
                    name, "golden", "unknown", note=f"no {task} model of the registry has this golden"
                )

    def operators(self) -> Iterator[CheckResult]:
        """Check every operator golden of the folder."""
        import_models("mmdet")
        from bddzoo.engines.selftest.operators import check_operator

        for name, path in self.folder.operators().items():
            finding = CheckResult("ops", name, "unknown")
            with judged(finding, path), full_float32():
                measures = check_operator(name, read_arrays(path), self.device, self.prepare)
                if measures is None:
                    raise MissingError("no check is known for this file")
                finding.measures = measures
            yield finding

    def model(self, model: Model) -> list[CheckResult]:
        """Check one model: its keys, and its outputs with every golden that applies."""
        sources = self._sources(model)
        source = model if model in sources or not sources else sources[0]
        key = json.dumps([_graph(model), sorted(self.folder.applies_to(source.task, source.id))])
        if key in self._done:
            return [renamed(f, model.id) for f in self._done[key]]
        try:
            module = build_network(model)
        except UsageError as error:
            return [CheckResult(model.id, "keys", "differs", note=str(error))]
        network = model.network
        assert network is not None
        keys = CheckResult(model.id, "keys", "no golden", golden=source.id if source is not model else "")
        manifest = partial(self.folder.manifest, source.task, source.id)
        findings = [check_keys(keys, module, manifest, network.entries, network.params)]
        filled: dict[tuple[float, Variant], str] = {}
        for golden in self.folder.goldens(source.task, source.id):
            if golden.gain is None:
                note = (
                    f"{self.folder.root} does not say with which gain it was made; copy its index files too"
                )
                findings.append(CheckResult(model.id, golden.kind.name, "unknown", golden.name, note=note))
                continue
            weights = (float(golden.gain), golden.kind.variant)
            if weights not in filled:
                filled.clear()  # one set of weights at a time
                filled[weights] = fill(module, *weights, self.device)
            findings.append(self._outputs(model, module, golden, filled[weights]))
        self._done[key] = findings
        return findings

    def _sources(self, model: Model) -> list[Model]:
        """The model itself, or others with the same network, that the folder knows."""
        own = self.folder.applies_to(model.task, model.id)
        if own:
            return [model]
        return [m for m in self._twins.get(_graph(model), []) if self.folder.applies_to(m.task, m.id)]

    def _outputs(self, model: Model, module: nn.Module, golden: Golden, sha256: str) -> CheckResult:
        finding = CheckResult(
            model.id, golden.kind.name, "differs", golden.name if golden.name != model.id else ""
        )
        if golden.weights_sha256:
            finding.measures.append(Measure("weights", float(sha256 != golden.weights_sha256), 0, "count"))
        place, name = _CHECKS[make_runner(module, model).gives]
        name = name or ("check_small" if golden.kind.small else "check_full")
        compare = getattr(import_module(f"bddzoo.engines.selftest.{place}"), name)
        with judged(finding, golden.path), full_float32():
            if not golden.kind.small and self.folder.image(golden.kind.variant) is None:
                raise MissingError(f"{self.folder.root} lacks the image it was made from")
            case = Case(self.folder, golden, read_arrays(golden.path), self.prepare)

            def check(module: nn.Module) -> list[Measure]:
                return list(compare(make_runner(module, model), case))

            self.judge(finding, module, check, "")
            if self.tune is not None and golden.kind.small:
                tuned = copy.deepcopy(module)  # the plain one is needed again
                self.tune(tuned)
                self.judge(finding, tuned, check, "tuned ")
        return finding


# Module that checks the networks of a runner, by what it gives; its function, where all goldens have one.
_CHECKS = {
    "class map": ("semantic", ""),
    "detections": ("instance", ""),
    "panoptic map": ("panoptic", ""),
    "tags": ("semantic", "check_tags"),
}


def _graph(model: Model) -> str:
    """Equal for models that compute the same from the same input and weights."""
    protocol = model.protocol
    front = (
        [
            *(protocol.scale, protocol.float_resize, protocol.channel_order, protocol.mean, protocol.std),
            *(protocol.pad_divisor, protocol.center_crop),
        ]
        if protocol
        else []
    )
    return json.dumps([model.task, expand(model), front], sort_keys=True, default=str)
