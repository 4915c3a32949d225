"""Check the networks of openseg.pytorch against a folder of their goldens.

Layout: `index.json` (the networks with their facts and gains, and the runs of the whole test chain),
`manifests/NAME.json.gz`, `outputs/NAME.npz` and `outputs/NAME__n.npz` (two sets of weights, two crops),
`protocol/DATASET.npz`, `ops/abn.npz`, `ops/legacy_checkpoint_sample.pth`. Which networks there are is known
from the index alone. Next to it, or one folder up, is the image they were made from. Besides the networks,
openseg's norm, the form of its files and its whole test chain are checked.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from msgspec.structs import replace
from torch import nn

from bddzoo.engines.checkpoint import open_checkpoint
from bddzoo.engines.load import full_float32
from bddzoo.engines.openseg.heads import SLOPE
from bddzoo.engines.openseg.layout import Norm
from bddzoo.engines.openseg.network import FoldedState, OpensegNetwork, OpensegRunner
from bddzoo.engines.openseg.spec import Spec, is_spec, spec_of, why_not
from bddzoo.engines.openseg.training_facts import read_training_facts
from bddzoo.engines.selftest.arithmetic import Judge, fill, judge
from bddzoo.engines.selftest.folder import (
    CROPS,
    NOISE,
    Arrays,
    read_arrays,
    read_crop,
    read_image_above,
    read_json,
    read_manifest,
)
from bddzoo.engines.selftest.measures import CheckResult, Measure, Noise, Stages, check_keys, judged, renamed
from bddzoo.engines.selftest.semantic import Prepare, as_input, to_numpy, wrong_pixels
from bddzoo.errors import BddzooError, IntegrityError
from bddzoo.reading import json_errors, read_limited
from bddzoo.registry.model import Model

if TYPE_CHECKING:
    import numpy.typing as npt

    from bddzoo.engines.recipe import Variant

_AGAIN = "copy the folder again, whole"
VARIANTS: tuple[tuple[Variant, str], ...] = (("base", ""), ("n", "__n"))


def find_folder(root: Path) -> Path | None:
    """The folder of openseg goldens: `root`, or `openseg` in it; None if there is none."""
    for folder in (root, root / "openseg"):
        if (folder / "outputs").is_dir() and (folder / "index.json").is_file():
            return folder
    return None


class OpensegTest:
    """Checks of networks against one folder.

    Args:
        root: The folder.
        registry: All models that there are; the protocols of the whole test chain are looked up there.
        device: Where to run.
        prepare: The preprocessing, from an image and a protocol to a network's input.
        tune: What is done to a network, in place, before it predicts on a CPU.
        score: Scores of a class map, from the data set's id and the label file's pixels: mIoU and pixel
            accuracy as fractions, by name; without it the scores of the test chains are not looked at.
        judge: What is made of a check, see `bddzoo.engines.selftest.arithmetic.judge`.
    """

    def __init__(
        self,
        root: Path,
        registry: Sequence[Model],
        device: torch.device,
        prepare: Prepare,
        tune: Callable[[nn.Module], None] | None = None,
        score: Score | None = None,
        judge: Judge = judge,
    ) -> None:
        self.root = root
        self.score = score
        self.registry = registry
        self.device = device
        self.prepare = prepare
        self.tune = tune if device.type == "cpu" else None
        self.judge = judge
        self.networks, self.runs = _read_index(root / "index.json")
        noise = read_json(root / NOISE)
        self.noise: dict[str, Noise] = noise if isinstance(noise, dict) else {}
        self._done: dict[str, list[CheckResult]] = {}

    def names(self, patterns: Sequence[str] = ()) -> list[str]:
        """Ids of the networks in the folder, or of those that match a pattern."""
        if not patterns:
            return list(self.networks)
        return [name for name in self.networks if any(fnmatchcase(name, p) for p in patterns)]

    def smallest(self) -> list[str]:
        """The network with the fewest parameters."""
        return sorted(self.networks, key=lambda n: int(self.networks[n].get("num_params", 0)))[:1]

    def operators(self) -> Iterator[CheckResult]:
        """The activated norm, and a file in the zoo's own form."""
        for name, check in (("abn.npz", check_abn), ("legacy_checkpoint_sample.pth", check_checkpoint)):
            path = self.root / "ops" / name
            if path.is_file():
                finding = CheckResult("ops", f"openseg {path.stem}", "unknown")
                with judged(finding, path):
                    finding.measures = check(path)
                yield finding

    def name_of(self, model: Model) -> str | None:
        """The network of the folder that a model of the registry is; None if there is none."""
        if model.network is None or not is_spec(model.network):
            return None
        spec = spec_of(model)
        return next((name for name, facts in self.networks.items() if _is(facts, spec)), None)

    def model(self, model: Model) -> list[CheckResult]:
        """Check the network of a model that `name_of` knows."""
        name = self.name_of(model)
        assert name is not None
        return [renamed(finding, model.id) for finding in self.network(name)]

    def network(self, name: str) -> list[CheckResult]:
        """Check one network: its entries, its outputs with both sets of weights, its test chains; once."""
        if name not in self._done:
            self._done[name] = self._network(name)
        return self._done[name]

    def _network(self, name: str) -> list[CheckResult]:
        facts = self.networks[name]
        subject = f"openseg/{name}"
        try:
            spec = _spec(facts)
            module = OpensegNetwork(spec)
        except (KeyError, TypeError, ValueError, BddzooError) as error:
            return [CheckResult(subject, "keys", "differs", note=f"cannot be built: {error}")]
        path = self.root / "manifests" / f"{name}.json.gz"
        findings = [
            check_keys(
                CheckResult(subject, "keys", "no golden"),
                module,
                lambda: read_manifest(path) if path.is_file() else None,
                facts.get("num_entries"),
                facts.get("num_params"),
            )
        ]
        sha: dict[str, str] = facts.get("weights_sha256", {})
        if not isinstance(facts.get("gain"), int | float):
            note = f"{self.root / 'index.json'} does not say with which gain its goldens were made"
            return [*findings, CheckResult(subject, "outputs", "unknown", note=note)]
        for variant, suffix in VARIANTS:
            golden = self.root / "outputs" / f"{name}{suffix}.npz"
            runs = [run for run in self.runs.values() if run.get("network") == name and variant == "base"]
            if not golden.is_file() and not runs:
                continue
            digest = fill(module, float(facts["gain"]), variant, self.device)
            tuned = module
            if self.tune is not None:
                tuned = copy.deepcopy(module)  # other weights may have to go into the plain one
                self.tune(tuned)
            if golden.is_file():
                finding = CheckResult(subject, variant, "differs")
                with judged(finding, golden):
                    if variant in sha:
                        finding.measures.append(Measure("weights", float(digest != sha[variant]), 0, "count"))
                    self._outputs(finding, tuned, facts, read_arrays(golden))
                findings.append(finding)
            findings += [self._run(subject, tuned, spec, run) for run in runs]
        return findings

    def _outputs(
        self, finding: CheckResult, module: OpensegNetwork, facts: dict[str, Any], arrays: Arrays
    ) -> None:
        noise = self.noise.get(f"{finding.check}/{facts['id']}")

        def check(module: nn.Module) -> list[Measure]:
            return self.outputs(module, facts, arrays, noise)

        with full_float32():
            self.judge(finding, module, check, "" if self.tune is None else "tuned ")

    def outputs(
        self, module: nn.Module, facts: dict[str, Any], arrays: Arrays, noise: Noise | None = None
    ) -> list[Measure]:
        """Compare logits and class maps on the two crops.

        Args:
            module: A network with the golden's weights.
            facts: Its entry of the index.
            arrays: The golden.
            noise: How far arithmetic moves its measures, if that is known.

        Raises:
            NothingKnown: Nothing in it could be compared.
        """
        stages, wrong = Stages(noise), 0
        for crop in CROPS:
            with torch.no_grad():
                aux, main = module(as_input(_normalise(read_crop(self.root, crop), facts), module))
            for name, scores in (("aux", aux), ("main", main)):
                if f"{crop}_{name}" in arrays:
                    _compare(stages, f"{crop}_{name}", None if scores is None else scores[0], arrays)
            labels = arrays.get(f"{crop}_class")
            if labels is not None:
                tolerance = stages.limit("main") * float(arrays[f"{crop}_main_stats"][1])
                wrong += wrong_pixels(main[0, :, ::2, ::2], labels, tolerance)
        return [*stages.measures(), Measure("class map", wrong, 0, "px")]

    def _run(self, subject: str, module: OpensegNetwork, spec: Spec, run: dict[str, Any]) -> CheckResult:
        dataset = str(run.get("dataset"))
        finding = CheckResult(subject, f"protocol {dataset}", "unknown")
        path = self.root / "protocol" / f"{dataset}.npz"
        model = self._model_of(spec, dataset)
        if model is None:
            finding.note = f"no model of the registry tests this network on {dataset}"
        elif path.is_file():
            with judged(finding, path):
                finding.measures = check_run(
                    module, model, run, read_arrays(path), self.root, self.prepare, self.score
                )
        else:
            finding.note = f"{path} is not there"
        return finding

    def _model_of(self, spec: Spec, dataset: str) -> Model | None:
        """A model of the registry with that network and a single-scale protocol on that data set."""
        for model in self.registry:
            network, protocol = model.network, model.protocol
            if network is None or protocol is None or not is_spec(network):
                continue
            if protocol.dataset == dataset and not protocol.scales and spec_of(model) == spec:
                return model
        return None


def _read_index(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The networks by id, and the runs of the whole test chain by theirs."""
    try:
        index = json.loads(read_limited(path))
        networks = {str(n["id"]): dict(n) for n in index["networks"]}
        return networks, {k: dict(r) for k, r in index.get("protocol", {}).items()}
    except KeyError as error:
        reason = f"it has no {error}"
    except json_errors(OSError, TypeError, AttributeError) as error:
        reason = str(error)
    raise IntegrityError(f"{path} is not an index of goldens: {reason}", hint=_AGAIN)


def _is(facts: dict[str, Any], spec: Spec) -> bool:
    try:
        return _spec(facts) == spec
    except (KeyError, TypeError, ValueError):
        return False


def _spec(facts: dict[str, Any]) -> Spec:
    spec = Spec(
        str(facts["model_name"]),
        str(facts["backbone"]),
        int(facts["num_classes"]),
        str(facts.get("bn_type", "inplace_abn")),
    )
    code = why_not(spec.arch, spec.backbone, spec.bn_type)
    if code is not None:
        raise ValueError(code)
    return spec


def _normalise(image: npt.NDArray[np.uint8], facts: dict[str, Any]) -> npt.NDArray[np.float32]:
    """A BGR crop as (3, h, w) float32 input; each step is one operation in float32, as the zoo does it."""
    pixels = image[:, :, ::-1] if facts["input_mode"] == "RGB" else image
    numbers = facts["normalize"]
    mean, std = (np.array(numbers[key], np.float32) for key in ("mean", "std"))
    x = (pixels.astype(np.float32) / np.float32(numbers["div_value"]) - mean) / std
    return np.ascontiguousarray(x.transpose(2, 0, 1)).astype(np.float32)


def _compare(stages: Stages, name: str, scores: Any, arrays: Arrays) -> None:
    """Compare (K, H, W) logits with the golden's grid of them.

    The grid's distance is 8, 16 or 32 pixels, found from its size, and it begins half of that inside;
    `NAME_grid` says it where it is another: every so manyth class, first row and column, distance.
    """
    kind = name.replace("_", " ")
    if scores is None:
        stages.take(kind, float("inf"))
        return
    mine, golden = to_numpy(scores), arrays[name]
    if f"{name}_grid" in arrays:
        classes, first, step = (int(n) for n in arrays[f"{name}_grid"])
        grid = mine[::classes, first::step, first::step]
    else:
        grids = (mine[:, step // 2 :: step, step // 2 :: step] for step in (8, 16, 32))
        grid = next((g for g in grids if g.shape == golden.shape), mine)
    stages.compare(kind, grid, golden, float(arrays[f"{name}_stats"][1]))


Score = Callable[[str, "np.ndarray[Any, Any]", "np.ndarray[Any, Any]"], Mapping[str, float]]
# A pixel whose two best classes are equal up to the limit of the logits may go either way.
SCORED_LIMIT = 1e-4
_LEAVES = ("weight", "bias", "running_mean", "running_var")
# The part of the image that the runs of the whole chain were made with, (rows, columns).
_PART = (slice(100, 475), slice(200, 701))


def check_abn(path: Path) -> list[Measure]:
    """The activated norm, through the folding that every network's weights go through."""
    arrays = read_arrays(path)
    network = nn.Module()
    network.norm = nn.BatchNorm2d(len(arrays["weight"])).eval()
    folded = FoldedState(network, [Norm("norm", "norm", len(arrays["weight"]), False)], activated=True)
    folded.load({f"norm.{leaf}": torch.from_numpy(arrays[leaf]) for leaf in _LEAVES})
    stages = Stages(None)
    with torch.no_grad():
        found = network.norm(torch.from_numpy(arrays["x"]))
    stages.compare("none values", found.numpy(), arrays["y_none"])
    activated = nn.functional.leaky_relu(found, SLOPE)
    stages.compare("leaky_relu values", activated.numpy(), arrays["y_leaky_relu"])
    return stages.measures()


def check_checkpoint(path: Path) -> list[Measure]:
    """A file in the zoo's form is read without executing it: its names without prefix, and its own claim."""
    try:
        checkpoint = open_checkpoint(path)
        claim = read_training_facts(path)
    except BddzooError:
        return [Measure("entries", 1, 0, "count", "refused")]
    prefixed = [name for name in checkpoint.state if name.startswith("module.")]
    silent = claim is None or claim.best is None
    return [
        Measure("entries", len(prefixed), 0, "count", "prefix"),
        Measure("claim", float(silent), 0, "count"),
    ]


def check_run(
    module: OpensegNetwork,
    model: Model,
    run: dict[str, Any],
    arrays: Arrays,
    root: Path,
    prepare: Prepare,
    score: Score | None = None,
) -> list[Measure]:
    """The whole chain on one image: input, logits at the original size, class map, scales, scores."""
    protocol = model.protocol
    assert protocol is not None
    ready = prepare(read_image_above(root)[_PART], protocol)
    x = as_input(ready.pixels, module)
    stages = Stages(None)
    if tuple(x.shape) != tuple(int(n) for n in run["net_input"]):
        stages.take("input", float("inf"))
    else:
        stages.compare("input", ready.pixels[:, 3::40, 3::40], arrays["net_input_sample"], 1.0)
    with full_float32():
        logits = OpensegRunner(module, model).logits(x, ready.original_size, ready.image_size)[0]
        grid = to_numpy(logits)[:, 8::24, 8::24].transpose(1, 2, 0)
        stages.compare("logits", grid, arrays["trainer_logits_sample"])
        if "ms_logit_sum_sample" in arrays:
            scales = tuple(float(s) for s in run["ms_scales"])
            several = replace(protocol, scales=scales, flip=True, flip_swap=(), logits_resize="bilinear")
            total = OpensegRunner(module, replace(model, protocol=several)).logits(x)[0]
            golden = arrays["ms_logit_sum_sample"]
            stages.compare("scales", to_numpy(total)[:, 8::48, 8::48], golden)
    golden_map = arrays["trainer_class_sample"]
    tolerance = stages.limit("logits") * float(np.std(arrays["trainer_logits_sample"]))
    wrong = wrong_pixels(logits[:, ::4, ::4], golden_map, tolerance)
    measures = [*stages.measures(), Measure("class map", wrong, 0, "px")]
    theirs = run.get("trainer_val", {})
    if score is not None and "gt_label" in arrays:
        ours = score(str(run["dataset"]), arrays["gt_label"], logits.argmax(0).to(torch.uint8).cpu().numpy())
        measures += [
            Measure(name, abs(ours[name] - float(theirs[name])), SCORED_LIMIT, "score")
            for name in ("mIoU", "pixel_acc")
            if name in theirs
        ]
    return measures
