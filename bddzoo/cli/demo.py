"""`bddzoo demo`: the main job, step by step, with ordinary commands.

The demo has no code of its own for listing, fetching, evaluating or rendering: it serves the demo zoo's files
over HTTP on this machine, runs the commands that a user would type, and prints each as it runs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, Folder
from bddzoo.errors import ExitCode, MissingError, UsageError

if TYPE_CHECKING:
    from bddzoo.registry.model import Model

DEMO_ZOO = "demo"
FILES = Path(__file__).parents[1] / "demo"
MARKER = ".bddzoo-demo"
# What the demo makes in its folder; nothing else is ever removed. `--resume` leaves the first group.
PARTS = (("cache", "data", "results"), ("predictions",))
REAL_MODELS = ("deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k", "mask_rcnn_r50_fpn_1x_ins_seg_bdd100k")
IMAGES = 2
GRACE_S = 3.0


@opt.command(
    formats=("table",),
    epilog="""\b
Examples:
  bddzoo demo
  bddzoo demo -o /tmp/try --resume
""",
)
def command(
    app: App,
    *,
    folder: Path = opt.option(
        "-o",
        "--out",
        type=Folder(),
        default="bddzoo-demo",
        metavar="DIR",
        help="Folder for everything that the demo makes: made anew, or left by an earlier demo.",
    ),
    resume: bool = opt.RESUME,
) -> int:
    """See the main job happen, without a GPU, weights or data.

    Lists the zoo, makes a small synthetic data set, downloads four small networks from an HTTP server on this
    machine, verifies and runs them, and compares the measured numbers with the reported ones. Ends with the
    exit status of the first step that falls short. --resume keeps what an earlier demo left in its folder.
    """
    models = [model for model in app.registry.models if model.zoo.id == DEMO_ZOO]
    if not models:
        raise MissingError(
            f"{app.registry.path} has no models of zoo '{DEMO_ZOO}'", hint="run the demo without --registry"
        )
    require_engines()
    require_files(models)
    prepare(folder, keep=resume)
    start = time.monotonic()
    cache = app.cache_dir if app.cache_dir is not None and "cache_dir" in app.typed else folder / "cache"
    environment = {"BDDZOO_CACHE": str(cache), "BDDZOO_RESULTS": str(folder / "results")}
    own = {"BDDZOO_REGISTRY": str(app.registry_path)} if app.registry_path is not None else {}
    own |= {} if app.color else {"NO_COLOR": "1"}
    with serve(FILES) as url:
        app.data("$ export " + " ".join(f"{name}={shlex.quote(v)}" for name, v in environment.items()))
        for title, arguments in plan(models, folder, url):
            app.data((f"\n# {title}\n" if title else "") + f"$ {as_typed(arguments)}")
            code = run(arguments, {**environment, **own})
            if code != ExitCode.OK:
                app.error(
                    f"the step '{as_typed(arguments)}' ended with status {code}", hint="its message is above"
                )
                return code
    app.data(f"\nDone in {time.monotonic() - start:.0f} s. Everything is in {folder}/:")
    app.data(farewell(folder))
    return int(ExitCode.OK)


def require_engines() -> None:
    """Say at once what a later step would stumble over.

    Raises:
        MissingError: A package that runs the networks is not installed, or two lines of them are mixed.
    """
    from importlib.util import find_spec

    from bddzoo.engines.openmmlab import check_one_line, install_engines_hint

    check_one_line()

    absent = [name for name in ("numpy", "cv2", "torch", "mmseg", "mmdet") if find_spec(name) is None]
    if absent:
        raise MissingError(
            f"the demo runs networks, and {', '.join(absent)} is not installed", hint=install_engines_hint()
        )


def require_files(models: Sequence[Model]) -> None:
    """Refuse an installation that is not complete.

    Raises:
        MissingError: A file of a demo model is not in the package.
    """
    sources = [source for model in models for artifact in model.artifacts for source in artifact.sources]
    for source in sources:
        path = FILES.parent / source.removeprefix("package:")
        if source.startswith("package:") and not path.is_file():
            raise MissingError(f"{path} is missing", hint="install bddzoo anew")


def prepare(folder: Path, *, keep: bool) -> None:
    """Make the demo's folder, or clean one that an earlier demo made.

    Raises:
        UsageError: The folder holds something else.
        MissingError: It cannot be made or written to.
    """
    marker = folder / MARKER
    advice = "choose another with -o"
    try:
        if folder.is_dir() and any(folder.iterdir()) and not marker.exists():
            raise UsageError(f"{folder} is not empty and not from a demo", hint=advice)
        folder.mkdir(parents=True, exist_ok=True)
        marker.touch()
        for part in PARTS[1] if keep else (*PARTS[0], *PARTS[1]):
            if (folder / part).exists():
                shutil.rmtree(folder / part)
    except OSError as error:
        raise MissingError(f"cannot use {folder}: {error.strerror or error}", hint=advice) from error


def plan(models: list[Model], folder: Path, url: str) -> Iterator[tuple[str, list[str]]]:
    """The demo's steps: a title, empty to continue the last one, and the arguments of `bddzoo`.

    Made one at a time, because a later step may depend on the files that an earlier one makes.
    """
    data = folder / "data"
    yield "The zoo: what the registry holds, and the demo models in it", ["registry", "check"]
    yield "", ["list", "--zoo", DEMO_ZOO]
    if not sample_images(data):
        yield "A small synthetic data set in BDD100K's layout", ["data", "mini", "-o", str(data)]
    yield (
        "Download the weights over HTTP, verify them, put them into the cache",
        ["fetch", *(model.id for model in models), "--verify", "--from", url],
    )
    title = "Run each network, score it, compare with the reported number"
    for model in models:
        yield title, ["eval", model.id, "--data", str(data)]
        title = ""
    title = "Run them on images: class maps, instances, overlays"
    for model in models:
        images = [part for path in sample_images(data) for part in ("-i", str(path))]
        yield title, ["predict", model.id, *images, "-o", str(folder / "predictions" / model.task)]
        title = ""
    yield "Reported and measured, side by side", ["tables", "--zoo", DEMO_ZOO, "--measured"]


def sample_images(data: Path) -> list[Path]:
    """The first images of the mini set's val split; empty where it was not made yet."""
    folder = data / "images" / "10k" / "val"
    return sorted(folder.glob("*.jpg"))[:IMAGES]


def run(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run one `bddzoo` command, in a process of its own, to its end; returns its exit status.

    Ctrl-C reaches the command too: it is given time to clean up before it is stopped.
    """
    sys.stdout.flush()
    process = subprocess.Popen(
        [sys.executable, "-m", "bddzoo", *arguments], env={**os.environ, **environment}
    )
    try:
        code = process.wait()
    except KeyboardInterrupt:
        _stop(process)
        if process.returncode == ExitCode.INTERRUPTED:  # it has said so; once is enough
            raise click.exceptions.Exit(int(ExitCode.INTERRUPTED)) from None
        raise
    return code if code >= 0 else 128 - code


def _stop(process: subprocess.Popen[bytes]) -> None:
    # A terminal sends SIGINT to both processes; `kill` only to this one, so pass it on if need be.
    for number in (None, signal.SIGINT, signal.SIGKILL):
        if number is not None:
            process.send_signal(number)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue
        return


def as_typed(arguments: list[str]) -> str:
    """The command as one would type it."""
    return shlex.join(["bddzoo", *arguments])


def farewell(folder: Path) -> str:
    """What lies where, and the commands that do the same with a real model and a real data set."""
    sem_seg, ins_seg = REAL_MODELS
    results = shlex.quote(f"{folder}/results")
    path = "" if shutil.which("bddzoo") else f'$ export PATH="{Path(sys.executable).parent}:$PATH"\n'
    return f"""\
  {folder}/results/      one record for each measurement: bddzoo results ls --results {results}
  {folder}/predictions/  class maps, instance masks, and overlays to look at
  {folder}/data/         the synthetic data set

The same with a real model and the real data set, the folder that holds images/ and labels/:
{path}$ bddzoo list --zoo bdd100k-models -t sem_seg --sort mIoU --reverse
$ bddzoo fetch {sem_seg} {ins_seg} --verify
$ bddzoo eval {sem_seg} --data /data/bdd100k
$ bddzoo eval {ins_seg} --data /data/bdd100k
$ bddzoo predict {ins_seg} -i your-images/ -o predictions/
$ bddzoo tables --measured

The host of the zoo's files has been reported dead; --from SOURCE names a mirror, a folder or a bundle."""


class QuietHandler(SimpleHTTPRequestHandler):
    """Says nothing: the demo prints what the commands print."""

    def log_message(self, format: str, *args: object) -> None: ...


class QuietServer(ThreadingHTTPServer):
    """A client that went away is its own business."""

    def handle_error(self, request: object, client_address: object) -> None: ...

    def serve_until_closed(self) -> None:
        """Serve; a second Ctrl-C closes the socket without waiting for this thread, which then just ends."""
        try:
            self.serve_forever(poll_interval=0.05)
        except (OSError, ValueError):
            if self.fileno() != -1:
                raise


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of the loopback interface until the block ends; gives its URL."""
    with QuietServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        thread = Thread(target=server.serve_until_closed, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
