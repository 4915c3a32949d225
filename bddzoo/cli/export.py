"""`bddzoo export` and `convert`: networks and weights as files for other programs, proven to be the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App
from bddzoo.cli.bench import Size
from bddzoo.cli.output import check_target
from bddzoo.cli.select import Obtain, Selection, kind_of, recipe_or_weights, weights_from
from bddzoo.errors import ExitCode, UsageError
from bddzoo.files import explain, format_size
from bddzoo.text import number_of, picked
from bddzoo.version import __version__

if TYPE_CHECKING:
    from bddzoo.engines.export import Exported, Session
    from bddzoo.engines.load import Runner
    from bddzoo.registry.model import Model


# Deviation in standard deviations of the logits; what the self-test allows is of the same size.
LIMIT = 1e-4


@opt.command(
    epilog="""\b
The file takes normalised images, (N, 3, H, W) float32, and gives logits. That
of a detector takes one image and gives boxes, scores, labels and masks; where
an operator is in the way, and for more images, its dense part is written.
What belongs around it is in its metadata: channel order, mean, std, windows.
\b
Exit status: 3 where the file computes something else, 4 where nothing is
detected in the test images, so that nothing can be compared.
\b
Examples:
  bddzoo export demo_semfpn_r18n_sem_seg --to onnx
  bddzoo export fcn_hr48_512x1024_40k_sem_seg_bdd100k --to openvino --argmax
  bddzoo export demo_semfpn_r18n_sem_seg --to onnx \\
      --size 512x512 --batch-size dynamic
"""
)
def command(
    app: App,
    *,
    selection: Selection = opt.SELECTION,
    form: str = opt.option(
        "--to", type=click.Choice(["onnx", "openvino"]), required=True, help="Format to write."
    ),
    out: Path | None = opt.out_file("File to write. Default: MODEL.onnx or MODEL.xml.", required=False),
    batch: str = opt.option(
        "--batch-size", default="1", metavar="N|dynamic", help="Images per forward pass."
    ),
    size: tuple[int, int] | None = opt.option(
        "--size",
        type=Size(),
        metavar="HxW",
        help="Size of the input. Default: the protocol's window, or a frame of BDD100K resized by it.",
    ),
    argmax: bool = opt.flag("--argmax", help="Classes in place of logits."),
    no_check: bool = opt.flag("--no-check", help="Do not run the file and compare."),
    weights: Path = opt.weights_or_recipe("zoo"),
    sources: tuple[str, ...] = opt.FROM,
    offline: bool = opt.OFFLINE,
    force: bool = opt.FORCE,
) -> int:
    """Write networks as ONNX or OpenVINO files, run them, and compare with PyTorch."""
    from bddzoo.engines.export import FORMATS, need_packages
    from bddzoo.engines.load import load_model

    models = selection.models(app)
    kind = kind_of(weights)
    if len(models) > 1 and (out is not None or kind == "file"):
        raise UsageError("--out and --weights FILE are those of one model", hint="name one model")
    if batch != "dynamic" and not (batch.isascii() and batch.isdigit() and 0 < int(batch) <= 1024):
        raise UsageError(f"--batch-size: '{batch}' is neither 'dynamic' nor a number from 1 to 1024")
    if out is not None and out.suffix != FORMATS[form]:
        raise UsageError(f"--out: a file of {form} is called NAME{FORMATS[form]}", hint="or leave it out")
    targets = [out or Path(f"{model.id}{FORMATS[form]}") for model in models]
    for target in targets:
        check_target(target, force)
    need_packages(form)
    if not no_check:
        need_packages(_runtime_of(targets[0]))
    obtain = recipe_or_weights(app, weights, sources, offline=offline)
    rows, codes = [], []
    for model, target in zip(models, targets, strict=True):
        runner = load_model(model, obtain(model))
        row, code = _write(
            app, runner, target, size, None if batch == "dynamic" else int(batch), argmax, kind, not no_check
        )
        rows.append(row)
        codes.append(code)
    if app.json:
        app.data_of_models(rows)
    return int(max(codes))


def _runtime_of(path: Path) -> str:
    return "openvino" if path.suffix == ".xml" else "onnxruntime"


def _write(
    app: App,
    runner: Runner,
    target: Path,
    size: tuple[int, int] | None,
    batch: int | None,
    argmax: bool,
    kind: str,
    check: bool,
) -> tuple[dict[str, Any], ExitCode]:
    from bddzoo.cli.progress import Bar
    from bddzoo.engines.export import export
    from bddzoo.engines.recipe import state_sha256

    model = runner.model
    with Bar(app, f"writing {target.name}") as bar:
        bar.step(f"{model.id}: converting")
        facts = {"weights": kind, "weights_sha256": state_sha256(runner.module.state_dict())}
        shape, image = input_sizes(model, size)
        try:
            done = export(runner, target, shape, batch=batch, argmax=argmax, image_size=image, facts=facts)
        except OSError as error:
            raise explain(error, f"writing {target}", "choose another -o FILE") from error
        row: dict[str, Any] = {
            "model": model.id,
            "path": target,
            "size_bytes": target.stat().st_size,
            "input": done.inputs,
            "outputs": done.outputs,
            "left_out": done.left_out or None,
        }
        if check:
            bar.step(f"{model.id}: running the file")
            row |= check_file(runner, done)
    if done.left_out:
        app.say(f"{model.id}: left out is the {done.left_out}")
    same = row["same"] if check else True
    if not app.json:
        app.data(f"{target}\n  {format_size(row['size_bytes'])}  input {'x'.join(map(str, done.inputs))}")
        if check:
            word = "unverified" if same is None else "same" if same else "differs"
            app.prose(f"{word}: {_comparison(row)}", "  ")
    if same is None:
        return row, ExitCode.INCOMPARABLE
    return row, ExitCode.OK if same else ExitCode.NOT_REPRODUCED


def _comparison(row: dict[str, Any]) -> str:
    """What `check_file` found, in words."""
    if "detections" not in row:
        text = f"deviation {row['deviation_std']:.1e} of the outputs' standard deviation"
        return f"{text}, {row['pixels_of_another_class']} pixels of another class"
    if not row["detections"]:
        return "nothing was detected in the test images"
    measures = dict(row["measures"])
    unpaired = measures.pop("unpaired")["value"]
    apart = ", ".join(f"{name} {m['value']:.1e} {m['unit']}" for name, m in measures.items())
    return f"{number_of(row['detections'], 'detection')}, {unpaired} unpaired; deviations: {apart}"


def input_sizes(model: Model, size: tuple[int, int] | None) -> tuple[tuple[int, int], tuple[int, int]]:
    """Heights and widths of a network's input, and of the image in it, where the rest is padding.

    Args:
        model: The model.
        size: The input's; None for the protocol's window, or for what a frame of BDD100K is resized to.
    """
    from bddzoo.inference.batches import frame_image_size, frame_input_size
    from bddzoo.inference.pipeline import protocol_of

    protocol = protocol_of(model)
    if protocol.mode == "slide" and protocol.crop is not None:
        return size or protocol.crop, size or protocol.crop
    usual = frame_input_size(protocol)
    return size or usual, frame_image_size(protocol) if size in (None, usual) else size


def check_file(runner: Runner, done: Exported) -> dict[str, Any]:
    """Run a written file, and compare with PyTorch: on random input, or a whole detector on `trial_inputs`.

    Returns:
        `deviation_std`: see `bddzoo.engines.export.compare_outputs`; `pixels_of_another_class`: those whose
        class is not a tie; `same`: neither is more than rounding explains. Of a whole detector: `detections`,
        how many there are; `measures`, as `selftest` has them; `same`, None where there are none.
    """
    import torch

    from bddzoo.engines.export import Session, compare_outputs, expected_outputs

    session = Session(done.path, _runtime_of(done.path), torch.get_num_threads())
    if done.image_size is not None:
        return _check_detector(runner, done, done.image_size, session)
    shape = [n if isinstance(n, int) else 2 for n in done.inputs]
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    found = session(x.numpy())
    pairs = list(zip(found, expected_outputs(runner, x), strict=True))
    if done.outputs == ("classes",):
        logits = pairs[0][1]
        best = logits.topk(2, dim=1).values
        clear = (best[:, 0] - best[:, 1] > LIMIT * logits.std()).numpy()
        wrong = int(((found[0] != logits.argmax(1).numpy()) & clear).sum())
        return {"deviation_std": 0.0, "pixels_of_another_class": wrong, "same": wrong == 0}
    compared = [compare_outputs(ours, theirs.numpy()) for ours, theirs in pairs]
    deviation = max(d for d, _ in compared)
    wrong = compared[0][1] if runner.gives == "class map" else 0
    return {
        "deviation_std": deviation,
        "pixels_of_another_class": wrong,
        "same": deviation <= LIMIT and wrong == 0,
    }


def _check_detector(
    runner: Any, done: Exported, image_size: tuple[int, int], session: Session
) -> dict[str, Any]:
    from bddzoo.engines.instance import read_outputs
    from bddzoo.engines.selftest.instance import compare_with_runner, trial_inputs

    height, width = (int(side) for side in done.inputs[2:])
    for x in trial_inputs(runner, (height, width), image_size):
        found = read_outputs(runner.module, session(x.numpy()), image_size, (1.0, 1.0))
        count, measures = compare_with_runner(runner, x, image_size, found)
        if count or len(found):
            break
    same = all(m.ok for m in measures)
    return {
        "detections": count,
        "measures": {m.name: picked(m, "value limit unit where") for m in measures},
        "same": same if count or not same else None,
    }


@opt.command(
    epilog="""\b
Examples:
  bddzoo convert fcn_r50-d8_512x1024_40k_sem_seg_bdd100k --to safetensors
  bddzoo convert demo_semfpn_r18n_sem_seg --to safetensors -o fpn.safetensors
  bddzoo convert my_model --weights work_dirs/latest.pth --to safetensors
"""
)
def convert(
    app: App,
    *,
    selection: Selection = opt.SELECTION,
    form: str = opt.option(
        "--to", type=click.Choice(["safetensors"]), required=True, help="Format to write."
    ),
    out: Path | None = opt.out_file("File to write. Default: MODEL.safetensors.", required=False),
    weights: Path | None = opt.WEIGHTS,
    sources: tuple[str, ...] = opt.FROM,
    offline: bool = opt.OFFLINE,
    force: bool = opt.FORCE,
) -> None:
    """Write the weights of models as safetensors files, which can hold no code.

    The weights are read without executing anything, written, read back and compared. The digest of
    the tensors, which is printed and kept in the file, is the same for both containers.
    """
    models = selection.models(app)
    if len(models) > 1 and (out is not None or weights is not None):
        raise UsageError("--out and --weights are those of one model", hint="name one model")
    targets = [out or Path(f"{model.id}.{form}") for model in models]
    for target in targets:
        check_target(target, force)
    obtain = weights_from(app, weights, sources, offline=offline)
    rows = [_convert(app, model, target, obtain) for model, target in zip(models, targets, strict=True)]
    if app.json:
        app.data_of_models(rows)


def _convert(app: App, found: Model, target: Path, obtain: Obtain) -> dict[str, Any]:
    from bddzoo.artifacts.tensors import write_safetensors
    from bddzoo.cli.progress import Bar
    from bddzoo.engines.checkpoint import read_checkpoint
    from bddzoo.engines.weights import entries_not_finite, not_finite_warning

    path, used = obtain(found)
    facts = {
        "format": "pt",
        "model": found.id,
        "zoo": found.zoo.id,
        "task": found.task,
        "licence": found.zoo.weights_licence,
        "source": used.source,
        "source_md5": used.md5,
        "source_sha256": used.sha256,
        "source_state": used.state,
        "written_by": f"bddzoo {__version__}",
    }
    metadata = {name: fact or "unknown" for name, fact in facts.items()}
    try:
        with Bar(app, f"writing {target.name}"):
            state = read_checkpoint(path)
            tensors = write_safetensors(state, target, metadata)
    except OSError as error:
        raise explain(error, f"writing {target}", "choose another -o FILE") from error
    strange = entries_not_finite(state)
    if strange:
        app.warn(f"{path}: {not_finite_warning(strange)}")
    size = target.stat().st_size
    if not app.json:
        app.data(f"{target}\n  {format_size(size)}  {len(state)} entries\n  tensors:{tensors}")
    return {"model": found.id, "path": target, "size_bytes": size, "entries": len(state), "tensors": tensors}
