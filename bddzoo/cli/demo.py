"""`bddzoo demo`: the main job, step by step, with ordinary commands.

The demo has no code of its own for listing, fetching, evaluating or rendering: it serves the demo zoo's files
over HTTP on this machine, runs the commands that a user would type, and prints each as it runs.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, Folder
from bddzoo.errors import ExitCode, MissingError, UsageError

if TYPE_CHECKING:
    from bddzoo.registry.model import Model

DEMO_ZOO = "demo"
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
    files = package_files(models)
    require_engines()
    prepare(folder, keep=resume)
    start = time.monotonic()
    cache = app.cache_dir if app.cache_dir is not None and "cache_dir" in app.typed else folder / "cache"
    environment = {"BDDZOO_CACHE": str(cache), "BDDZOO_RESULTS": str(folder / "results")}
    with serve(files) as server:
        shell = Shell(app, environment)
        app.data("$ export " + " ".join(f"{name}={shlex.quote(v)}" for name, v in environment.items()))
        for title, arguments in plan(models, folder, server.url):
            app.data((f"\n# {title}\n" if title else "") + f"$ {as_typed(arguments)}")
            code = shell.run(arguments)
            if code != ExitCode.OK:
                app.error(
                    f"the step '{as_typed(arguments)}' ended with status {code}", hint="its message is above"
                )
                return code
    app.data(f"\nDone in {time.monotonic() - start:.0f} s. Everything is in {folder}/:")
    app.data(farewell(folder))
    return int(ExitCode.OK)


def package_files(models: list[Model]) -> dict[str, Path]:
    """The files of the demo models that ship inside the package, by name.

    Raises:
        MissingError: A file is not where the registry says; the installation is not complete.
    """
    package = Path(__file__).parents[1]
    files = {}
    for model in models:
        for artifact in model.artifacts:
            inside = [s.partition(":")[2] for s in artifact.sources if s.startswith("package:")]
            for relative in inside[:1]:
                path = package / relative
                if not path.is_file():
                    raise MissingError(f"{path} of {model.id} is missing", hint="install bddzoo anew")
                files[artifact.name] = path
    return files


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


class Shell:
    """Runs `bddzoo` commands in processes of their own."""

    def __init__(self, app: App, environment: Mapping[str, str]) -> None:
        self.environment = {**os.environ, **environment}
        if app.registry_path is not None:
            self.environment["BDDZOO_REGISTRY"] = str(app.registry_path)
        if not app.color:
            self.environment["NO_COLOR"] = "1"

    def run(self, arguments: list[str]) -> int:
        """Run one command to its end; returns its exit status.

        Ctrl-C reaches the command too: it is given time to clean up before it is stopped.
        """
        sys.stdout.flush()
        process = subprocess.Popen([sys.executable, "-m", "bddzoo", *arguments], env=self.environment)
        try:
            code = process.wait()
        except KeyboardInterrupt:
            self._stop(process)
            if process.returncode == ExitCode.INTERRUPTED:  # it has said so; once is enough
                raise click.exceptions.Exit(int(ExitCode.INTERRUPTED)) from None
            raise
        return code if code >= 0 else 128 - code

    @staticmethod
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


class FileHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the files of its server, single byte ranges included (RFC 9110, 14)."""

    protocol_version = "HTTP/1.1"
    server: FileServer

    def do_GET(self) -> None:
        """Send a file or a part of it."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Send the headers only."""
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the demo prints what the commands print."""

    def _answer(self, *, body: bool) -> None:
        path = self.server.files.get(unquote(urlsplit(self.path).path).lstrip("/"))
        if path is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        size = path.stat().st_size
        start, stop = 0, size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted:
            start, stop = int(wanted[1]), min(size, int(wanted[2] or size - 1) + 1)
            if start >= stop:
                self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(HTTPStatus.PARTIAL_CONTENT)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        else:
            self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if not body:
            return
        with path.open("rb") as file:
            file.seek(start)
            if stop == size:
                shutil.copyfileobj(file, self.wfile)
            else:
                self.wfile.write(file.read(stop - start))


class FileServer(ThreadingHTTPServer):
    """Serves files by name.

    Args:
        files: Path of the URL without the leading slash -> file.
    """

    daemon_threads = True

    def __init__(self, files: Mapping[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), FileHandler)
        self.files = dict(files)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is its own business."""

    def serve_until_closed(self) -> None:
        """Serve; a second Ctrl-C closes the socket without waiting for this thread, which then just ends."""
        try:
            self.serve_forever(poll_interval=0.05)
        except (OSError, ValueError):
            if self.fileno() != -1:
                raise

    @property
    def url(self) -> str:
        """Base URL, with a slash at the end."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


@contextmanager
def serve(files: Mapping[str, Path]) -> Iterator[FileServer]:
    """Serve files on a free port of the loopback interface until the block ends."""
    with FileServer(files) as server:
        thread = Thread(target=server.serve_until_closed, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
