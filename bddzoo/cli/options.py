"""Options and arguments: each is declared once here, with one name and one meaning for every command.

A command's options are the defaults of its parameters: `worst: int | None = options.WORST`. Those that
belong together reach it as one object: `SELECTION` as a `Selection`, `RUN` as a `Run`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli.app import App, Folder, Named, ZooCommand
from bddzoo.cli.select import Selection
from bddzoo.errors import BddzooError
from bddzoo.inference.speedups import Speedups

if TYPE_CHECKING:
    from bddzoo.registry.model import Model
    from bddzoo.runs.loop import MeasureOptions

Function = Callable[..., Any]


class Amount(click.FloatRange):
    """A number in a range. For click `nan` and `inf` are in one without an end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return found


class DataSetName(click.Choice[str]):
    """Id of a data set that `bddzoo.datasets.openseg` knows, after some names of the option's own.

    The ids are looked up when they are needed: importing them takes longer than printing help.
    """

    def __init__(self, *first: str) -> None:
        self._first = first
        self.case_sensitive = True

    @property
    def choices(self) -> Sequence[str]:  # type: ignore[override]
        from bddzoo.datasets.openseg import DATA_SETS

        return (*self._first, *DATA_SETS)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "NAME"


class Names(click.ParamType[Any]):
    """Names separated by commas."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(name.strip() for name in value.split(",") if name.strip())


def option(*names: str, **settings: Any) -> Any:
    """An option, as the default of the parameter that gets its value; its own default is shown."""
    if settings.get("default") not in (None, ""):
        settings["show_default"] = True
    return lambda parameter, function: click.option(*names, parameter, **settings)(function)


def argument(**settings: Any) -> Any:
    """An argument, as the default of the parameter that gets its value."""
    return lambda parameter, function: click.argument(parameter, **settings)(function)


def gathered(kind: Callable[..., Any], **options: Any) -> Any:
    """Options whose values a command receives as one object, which `kind` makes of them by name."""

    def declare(parameter: str, function: Function) -> Function:
        @wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            values = {name: given.pop(name) for name in options}
            return function(*args, **given, **{parameter: kind(**values)})

        return _declared(options, call)

    return declare


def _declared(options: dict[str, Any], function: Function) -> Function:
    for name, declare in reversed(options.items()):
        function = declare(name, function)
    return function


def command(
    group: click.Group | None = None, name: str | None = None, **settings: Any
) -> Callable[[Function], click.Command]:
    """A command with the options that are the defaults of its parameters, in their order.

    Args:
        group: The group that it belongs to.
        name: Its name there; that of the function where None.
        settings: Of `ZooCommand`: `epilog`, `formats`.
    """

    def decorate(function: Function) -> click.Command:
        wanted = _declared(function.__kwdefaults__ or {}, click.pass_obj(function))
        called = name or function.__name__.rstrip("_")
        made = click.command(called, cls=ZooCommand, **settings)(wanted)
        if group is not None:
            group.add_command(made)
        return made

    return decorate


def flag(*names: str, **settings: Any) -> Any:
    """An option without a value."""
    return option(*names, is_flag=True, **settings)


def _path(*names: str, metavar: str = "PATH", help: str, **settings: Any) -> Any:
    # Whether it is there is asked by whoever opens it, who knows what was expected there.
    return option(*names, type=Named(), metavar=metavar, help=help, **settings)


def _count(*names: str, help: str, least: int = 1, most: int | None = None, **settings: Any) -> Any:
    return option(*names, type=click.IntRange(least, most), metavar="N", help=help, **settings)


# Completion.


def _completing(values: Callable[[Model], str]) -> Callable[..., list[str]]:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            models: Iterable[Model] = ctx.ensure_object(App).registry.models
        except BddzooError:  # a message in the middle of someone's typing helps nobody
            return []
        names = dict.fromkeys(values(model) for model in models)
        return [name for name in names if name.lower().startswith(incomplete.lower())]

    return complete


complete_models = _completing(lambda m: m.id)
_complete_tasks = _completing(lambda m: m.task)

# Which models.
PATTERNS = argument(metavar="[MODEL|ZOO|PATTERN]...", nargs=-1, shell_complete=complete_models)
ZOO = option(
    "--zoo",
    shell_complete=_completing(lambda m: m.zoo.id),
    metavar="ZOO",
    help="Only this zoo, or a pattern.",
)
TASK = option("-t", "--task", shell_complete=_complete_tasks, metavar="TASK", help="Only this task.")
WHERE = option(
    "--where",
    multiple=True,
    metavar="COND",
    help="Only where a column of 'bddzoo list' is so: 'mIoU > 62'; repeatable.",
)


def selection_or_all(help: str) -> Any:
    """Models, or everything in place of names."""
    everything = flag("--all", help=help)
    return gathered(Selection, patterns=PATTERNS, everything=everything, task=TASK, zoo=ZOO, where=WHERE)


SELECTION = gathered(Selection, patterns=PATTERNS, task=TASK, zoo=ZOO, where=WHERE)
SELECTION_OR_ALL = selection_or_all("All models.")
METHOD = option(
    "--method",
    shell_complete=_completing(lambda m: m.method.name),
    metavar="NAME",
    help="Method, or a pattern; case is ignored.",
)
BACKBONE = option(
    "--backbone",
    shell_complete=_completing(lambda m: m.backbone),
    metavar="NAME",
    help="Backbone, or a pattern; case is ignored.",
)


def task_of(*tasks: str, required: bool = True, help: str = "What the labels are.") -> Any:
    """The task of labels or predictions that belong to no model."""
    told = f"{help.removesuffix('.')}: {', '.join(tasks)}."
    kind = click.Choice(tasks)
    return option("-t", "--task", type=kind, required=required, metavar="TASK", help=told)


# Where to, and what happens to what is there.


def out_file(help: str, *more: str, required: bool = True, **settings: Any) -> Any:
    """The file to write."""
    kind = Named(dir_okay=False)
    return option("-o", "--out", *more, type=kind, required=required, metavar="FILE", help=help, **settings)


def out_folder(help: str, required: bool = True, **settings: Any) -> Any:
    """The folder to write."""
    return option("-o", "--out", type=Folder(), required=required, metavar="DIR", help=help, **settings)


def out_either(help: str) -> Any:
    """The file or folder to write."""
    return option("-o", "--out", type=Named(), required=True, metavar="PATH", help=help)


FORCE = flag("--force", help="Replace what is there.")
RESUME = flag("--resume", help="Go on where an interrupted run stopped.")
DRY_RUN = flag("--dry-run", help="Only say what would be done.")
YES = flag("--yes", help="Do not ask.")
CHECK = flag("--check", help="Write nothing; status 3 if it is not what the numbers give now.")

# How.


def jobs(help: str = "How many at once.", default: int | None = None, most: int = 256, *more: str) -> Any:
    """How many things are done at the same time."""
    return _count("--jobs", *more, most=most, default=default, help=help)


WHAT = option(
    "--what",
    type=Names(),
    default="weights",
    metavar="KINDS",
    help="Comma-separated: weights, scores, preds, masks, visuals, config, all.",
)
VERIFY = flag("--verify", help="Accept only what a digest proves; hash again what is there.")
ACCEPT_PREFIX = flag("--accept-prefix", help="Where only first digits of a digest are known, accept them.")
FROM = option(
    "--from", multiple=True, metavar="SOURCE", help="Folder, bundle or base URL to ask first; repeatable."
)
OFFLINE = flag("--offline", help="Open no connection.")
TIMEOUT = option("--timeout", type=Amount(min=0.1), metavar="S", help="Seconds without an answer or a byte.")
RETRIES = option("--retries", type=click.IntRange(0, 100), metavar="N", help="Tries after a failure.")
SEED = option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, metavar="N", help="Seed of what is random."
)
METRIC = option("--metric", metavar="NAME", help="Default: the one that stands first for the task.")
NAME = option("--name", multiple=True, metavar="NAME", help="What each is called, in order; repeatable.")
BY = option(
    "--by",
    type=Names(),
    multiple=True,
    metavar="NAMES",
    help="Attributes of frames: weather,scene,timeofday.",
)
ATTRIBUTES = _path("--attributes", help="Label JSON, or a folder of them, with the frames' attributes.")
WORST = _count("--worst", help="The N worst frames.")
ALPHA = option(
    "--alpha", type=Amount(0, 1), default=0.5, metavar="X", help="How much colour covers the image."
)
MIN_SCORE = option(
    "--min-score", type=Amount(0, 1), default=0.3, metavar="X", help="Detections below it are not drawn."
)

# What is read.
DATA = option(
    "--data",
    type=Named(),
    envvar="BDDZOO_DATA",
    metavar="ROOT",
    help="Folder of the data set; for BDD100K the one that holds images/ and labels/.",
)
RESULTS = option(
    "--results",
    type=Folder(),
    envvar="BDDZOO_RESULTS",
    metavar="DIR",
    help="Folder of records. Default: benchmarks/results of the checkout, else the user's data folder.",
)
WEIGHTS = _path("--weights", metavar="FILE", help="Weights to use instead of the zoo's.")


def weights_or_recipe(default: str) -> Any:
    """Weights for what needs no trained ones; see `bddzoo.cli.select.recipe_or_weights`."""
    return option(
        "--weights",
        type=Named(),
        default=default,
        metavar="random|zoo|FILE",
        help="By a deterministic recipe, the zoo's own, or a file.",
    )


IMAGES = _path("-i", "--images", help="Images: folder, zip or one file.")
IMAGES_NEEDED = _path("-i", "--images", help="Images: folder, zip or one file.", required=True)
IMAGES_MANY = _path("-i", "--images", help="Image or folder of images; repeatable.", multiple=True)
LABELS = _path(
    "-l", "--labels", help="Labels: folder, zip or JSON file; also what predict wrote.", required=True
)
PREDICTIONS_OF_CHECK = _path("-r", "--predictions", help="Predictions instead of the published ones.")


def predictions(*more: str) -> Any:
    """The predictions."""
    told = "Predictions: folder, zip or JSON file; also what predict wrote."
    return _path("-r", "--predictions", *more, help=told, required=True)


PREDICTIONS = predictions()
PREDICTIONS_MANY = _path(
    "-r", "--predictions", help="Predictions, alike; repeatable.", multiple=True, required=True
)
GT = _path("-g", "--gt", help="Ground truth: folder, zip or JSON file.", required=True)
SCORE_FILE = _path(
    "--score-file", metavar="FILE", help="Scores of bitmasks. Default: score.json in or next to them."
)
HISTORY = option(
    "--history",
    type=Named(dir_okay=False),
    metavar="FILE",
    help="JSON file of 'registry health': what was alive when.",
)
DATASET_OF_NUMBERS = option(
    "--dataset", metavar="NAME", help="Only this data set. Default: bdd100k where there are several."
)
DATASET = option("--dataset", type=DataSetName(), help="Another data set than BDD100K, by its id.")


# Running a network.
@dataclass(frozen=True)
class Run:
    """How a network is run; see the options."""

    split: str | None = None
    device: str = "auto"
    gpus: int | None = None
    batch_size: int | None = None
    protocol: str | None = None
    limit: int | None = None
    offline: bool = False

    def options(self, **more: Any) -> MeasureOptions:
        """The same for `bddzoo.runs`, with what else is known; split `val` where none is named."""
        from bddzoo.runs.loop import MeasureOptions

        return MeasureOptions(
            split=self.split or "val",
            device=self.device,
            batch_size=self.batch_size,
            limit=self.limit,
            processes=self.gpus or 1,
            **more,
        )


def split(default: str | None = "val", *choices: str) -> Any:
    """The split of a data set."""
    return option(
        "--split",
        type=click.Choice(choices or ("train", "val", "test")),
        default=default,
        help="Split of the data set.",
    )


SPLIT = split()
DEVICE = option("--device", default="auto", metavar="auto|cpu|cuda[:N]", help="Where to run.")
MEASURED_DEVICE = option(
    "--device", metavar="NAME", help="A device that 'bddzoo bench' measured, or a pattern: '*H100*'."
)
GPUS = _count(
    "--gpus",
    help="GPUs that share the images of one model; with --device cpu, so many processes. [default: 1]",
)
BATCH_SIZE = _count("--batch-size", help="Images per forward pass.")
PROTOCOL = option(
    "--protocol",
    metavar="NAME",
    help="Test by another protocol of the registry; judged by the number that was published for it.",
)
LIMIT = _count("--limit", help="Only the first N images.")


def _run(split: Any) -> Any:
    return gathered(
        Run,
        split=split,
        device=DEVICE,
        gpus=GPUS,
        batch_size=BATCH_SIZE,
        protocol=PROTOCOL,
        limit=LIMIT,
        offline=OFFLINE,
    )


RUN, RUN_OF_PREDICT = _run(SPLIT), _run(split(None))

SPEEDUPS = gathered(
    Speedups,
    precision=flag(
        "--amp",
        help="Half precision on a GPU; changes the numbers.",
        callback=lambda _ctx, _param, given: "amp-fp16" if given else "fp32",
    ),
    channels_last=flag("--channels-last", help="Channels-last layout for every network; changes last bits."),
    compile=flag("--compile", help="Through torch.compile; changes last bits."),
    runtime=option(
        "--runtime",
        type=click.Choice(["eager", "onnxruntime", "openvino", "auto"]),
        default="eager",
        help="What computes networks on a CPU; others change last bits. auto: what 'bench' measured as "
        "fastest.",
    ),
)
