"""Entry point: a lazy command group, and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import TextIO

import click

from bddzoo.cli.app import App, ZooCommand, silence
from bddzoo.errors import BddzooError, BddzooWarning, ExitCode
from bddzoo.version import __version__


@contextmanager
def keep_interrupts() -> Iterator[None]:
    """After Ctrl-C, let no other exception out of the block than KeyboardInterrupt.

    Libraries turn it into errors of their own: an import that is cut short leaves half a module behind,
    or comes out as RuntimeError (`__set_name__`), or as ImportError. Those are neither bugs nor bad input.
    """
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    # Left alone where Ctrl-C is ignored (nohup) or somebody else's, and outside the main thread.
    mine = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if mine:
        signal.signal(signal.SIGINT, press)
    try:
        yield
    except click.exceptions.Exit:  # a command that has dealt with it
        raise
    except Exception as error:
        if pressed:
            raise KeyboardInterrupt from error
        raise
    finally:
        if mine:
            signal.signal(signal.SIGINT, before)


# Group -> name -> (module, one line of help). A command's module is imported only when it runs. It is called
# `command` there, unless a name follows the module's.
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Start here": {
        "demo": ("bddzoo.cli.demo", "See the main job happen, without a GPU, weights or data."),
        "doctor": ("bddzoo.cli.doctor", "Report what this machine has, and what to do about the rest."),
        "config": ("bddzoo.cli.doctor:config", "Show every setting, its value, and where it is from."),
    },
    "Choose and fetch": {
        "list": ("bddzoo.cli.models:list_", "List models: filter, sort, export."),
        "info": ("bddzoo.cli.models:info", "Show everything that is known about models."),
        "fetch": ("bddzoo.cli.fetch", "Download and verify the files of models."),
        "adopt": ("bddzoo.cli.fetch:adopt", "Take files that are on this machine already into the cache."),
        "bundle": ("bddzoo.cli.cache:bundle", "Write models into one file for machines without a network."),
        "cache": ("bddzoo.cli.cache", "List, verify and clean the cache; move it."),
        "convert": ("bddzoo.cli.export:convert", "Write weights as safetensors files."),
        "export": ("bddzoo.cli.export", "Write networks as ONNX or OpenVINO files, and prove them."),
    },
    "Run": {
        "eval": ("bddzoo.cli.eval", "Run models on their data sets, score them, judge the numbers."),
        "predict": ("bddzoo.cli.eval:predict", "Run models on your own images."),
        "bench": ("bddzoo.cli.bench", "Measure how fast models are on this device."),
        "sweep": ("bddzoo.cli.sweep", "Measure many models, one process each; resumable."),
        "selftest": ("bddzoo.cli.selftest", "Check that networks compute what upstream's software computed."),
    },
    "Judge": {
        "score": ("bddzoo.cli.score", "Score predictions on disk, as the official toolkit does."),
        "check": ("bddzoo.cli.check", "Test what stands behind reported numbers, link by link."),
        "results": ("bddzoo.cli.results", "Look at and compare the records of measurements."),
        "pack": ("bddzoo.cli.score:pack", "Check and pack a test-set submission."),
    },
    "Show": {
        "tables": ("bddzoo.cli.tables", "Render result tables, or check them for drift."),
        "plot": ("bddzoo.cli.plot", "Plot accuracy against size and speed, splits, classes, slices."),
        "vis": ("bddzoo.cli.vis", "Draw labels and predictions: colour maps, overlays, comparisons."),
        "site": ("bddzoo.cli.site", "Build the leaderboard: static pages."),
    },
    "Maintain": {
        "registry": ("bddzoo.cli.registry", "Check, edit, import and probe the registry."),
        "data": ("bddzoo.cli.data", "Make the synthetic mini data set; check a data set."),
        "convert-labels": ("bddzoo.cli.data:convert_labels", "Convert labels from one format to another."),
    },
}
COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}

CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


class LazyGroup(click.Group):
    """A group that imports a command's module only when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), name or "command")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, suggesting near names for an unknown one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"no such command '{args[0]}'{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command list without importing a single one."""
        size = max(map(len, COMMANDS))
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(size), text) for name, (_, text) in group.items()])


class ZooGroup(ZooCommand, LazyGroup):
    """The top group: lazy, and with the global options."""


@click.group(
    cls=ZooGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  bddzoo demo
  bddzoo list --where 'mIoU > 62' --sort val --reverse
  bddzoo fetch 'deeplabv3*' --verify
  bddzoo eval mask_rcnn_r50_fpn_1x_ins_seg_bdd100k --data /data/bdd100k
\b
Variables: BDDZOO_REGISTRY, BDDZOO_CACHE, BDDZOO_RESULTS, BDDZOO_DATA,
BDDZOO_MIRRORS, NO_COLOR; 'bddzoo config' shows them and the config file.
""",
)
@click.version_option(__version__, prog_name="bddzoo")
def cli() -> None:
    """Checkpoint registry and benchmarking CLI for the BDD100K model zoos."""


def run(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status instead of leaving the process."""
    app = App()
    for name in ("stdout", "stderr"):  # None where the caller closed it (`bddzoo list >&-`)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            # A dash on a Latin-1 terminal, or a path that is not UTF-8, is no reason to lose a result.
            stream.reconfigure(errors="backslashreplace")
    try:
        with keep_interrupts(), _warnings_as_lines(app):
            result = cli.main(args=argv, prog_name="bddzoo", standalone_mode=False, obj=app)
        code = int(result) if isinstance(result, int) else int(ExitCode.OK)
        sys.stdout.flush()
        return code
    except click.exceptions.Exit as error:
        return int(error.exit_code)
    except click.ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2 and newer; before, help and status 0
            click.echo(error.format_message(), err=True)
            return int(ExitCode.USAGE)
        where = getattr(error, "ctx", None)
        command = f" ({where.command_path} --help)" if where is not None else ""
        if app.format is None and where is not None and _asks_for_json(argv, where.command):
            app.format = "json"  # the line could not be read as far as --format
        app.error(f"{error.format_message()}{command}", code=ExitCode.USAGE)
        return int(ExitCode.USAGE)
    except (KeyboardInterrupt, click.Abort):
        app.error("interrupted", code=ExitCode.INTERRUPTED)
        return int(ExitCode.INTERRUPTED)
    except BddzooError as error:
        *first, last = error.message.splitlines() or [""]
        for line in first:  # several problems of one file: one line each
            app.error(line)
        app.error(last, hint=error.hint, code=error.exit_code)
        return int(error.exit_code)
    except BrokenPipeError:
        # Nobody reads what a library prints by itself, such as --help; our own output never ends here.
        silence(sys.stdout)
        return int(ExitCode.OK)
    except Exception as error:
        if app.verbosity > 0:
            raise
        message, hint, exit_code = _explain(error)
        app.error(message, hint=hint, code=exit_code)
        return int(exit_code)


def _explain(error: Exception) -> tuple[str, str | None, ExitCode]:
    """What to say of an error that no command explains: message, hint and exit status.

    It is the machine's fault (a package, the disk, the home folder), or a bug of ours.
    """
    if isinstance(error, OSError):
        if error.errno in CANNOT_WRITE:
            silence(sys.stdout)
            return f"cannot write {error.filename or 'the output'}: {error.strerror}", None, ExitCode.MISSING
        if error.errno in (errno.EACCES, errno.EPERM) and error.filename:
            return f"cannot use {error.filename}: {error.strerror}", None, ExitCode.MISSING
        if not _exists(Path.cwd):
            return "the current folder does not exist any more", "change to another one", ExitCode.MISSING
    if isinstance(error, RuntimeError) and not _exists(Path.home):  # libraries ask for it, too
        hint = "set HOME to a folder that may be written to"
        return "this user has no home folder", hint, ExitCode.MISSING
    from bddzoo.engines.openmmlab import failed_import

    if found := failed_import(error):
        return found.message, found.hint, found.exit_code
    message = f"bug: {type(error).__name__}: {error}".replace("\n", " ")
    return message, "run again with -v for the traceback, and please report it", ExitCode.BUG


@contextmanager
def _warnings_as_lines(app: App) -> Iterator[None]:
    """Print our own warnings as lines of the command's output; those of libraries as Python does."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, BddzooWarning):
                app.warn(str(message))
            else:
                others(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


def _asks_for_json(argv: list[str] | None, command: click.Command) -> bool:
    words = sys.argv[1:] if argv is None else argv
    asked = "--format=json" in words or ("--format", "json") in pairwise(words)
    return asked and "json" in getattr(command, "formats", ())


def _exists(folder: Callable[[], Path]) -> bool:
    try:
        folder()
    except (OSError, RuntimeError):
        return False
    return True
