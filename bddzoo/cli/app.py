"""What every command shares: global options, output, and access to the registry."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
from click.core import ParameterSource

from bddzoo.errors import ExitCode, MissingError, UsageError
from bddzoo.text import (
    LONGEST_MESSAGE,
    as_text,
    number_of,
    printable,
    printable_json,
    printable_lines,
    shortened,
)

if TYPE_CHECKING:
    from rich.console import Console

    from bddzoo.artifacts import Cache
    from bddzoo.registry import Registry


class Named(click.Path):
    """A file or folder. An empty name, as of a variable that is not set, would be the current folder."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name is empty; the current folder is '.'", param, ctx)
        return super().convert(value, param, ctx)


class Folder(Named):
    """A folder."""

    def __init__(self) -> None:
        super().__init__(file_okay=False)


FORMATS = ("table", "json")
# What any command knows; before a command's name, where it is not known yet which one follows.
EVERY_FORMAT = (*FORMATS, "csv", "md", "junit", "github")


@dataclass
class App:
    """Global options and the output of one run.

    Data goes to stdout, everything else to stderr. `format` is None until a command line sets it,
    so that a command can have its own default. `typed` names those of the fields that the user typed, which
    beat the environment.
    """

    registry_path: Path | None = None
    cache_dir: Path | None = None
    format: str | None = None
    verbosity: int = 0
    color: bool = True
    typed: set[str] = field(default_factory=set)
    _registry: Registry | None = field(default=None, repr=False)

    @property
    def registry(self) -> Registry:
        """The registry, loaded on first use."""
        if self._registry is None:
            from bddzoo.registry import load_registry

            self._registry = load_registry(self.registry_path)
        return self._registry

    @property
    def cache(self) -> Cache:
        """The folder of downloaded files."""
        from bddzoo.artifacts import Cache

        return Cache(self.cache_dir)

    @property
    def json(self) -> bool:
        """Whether data is asked for as JSON."""
        return self.format == "json"

    @property
    def quiet(self) -> bool:
        """Whether only errors and data are wanted."""
        return self.verbosity < 0

    def console(self) -> Console:
        """A rich console on stderr, for progress; imported late because rich is slow to import."""
        from rich.console import Console

        return Console(stderr=True, no_color=not self.color, highlight=False, soft_wrap=True)

    def data(self, text: str, *, safe: bool = False) -> None:
        """Print data to stdout; what a terminal or a CI service would obey is escaped.

        A reader that went away (`bddzoo list | head -1`) ends the output, not the command: its exit
        status is still what it did.

        Args:
            text: Lines.
            safe: Strings from files are escaped in it already; colours and annotations are meant.
        """
        _echo(text if safe else printable_lines(text))

    def data_json(self, value: object) -> None:
        """Print data as JSON to stdout; NaN becomes null."""
        _echo(json_text(value))

    def data_of_models(self, rows: Sequence[object]) -> None:
        """Print data of models as JSON to stdout: a list; of one model alone no list."""
        self.data_json(rows[0] if len(rows) == 1 else rows)

    def table(
        self,
        headers: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        total: bool = False,
        optional: Sequence[str] = (),
        stacked: bool = False,
    ) -> None:
        """Print a table to stdout that fits the terminal; see `bddzoo.cli.output.table`.

        Args:
            headers: A head for each column.
            rows: Cells.
            total: Draw a rule above the last row.
            optional: Columns left out where there is no room, first ones first; it is said which.
            stacked: Columns that do not fit come below the others, in tables that all begin with the first.
        """
        from bddzoo.cli.output import fitting, table, wrapped

        if not rows:
            return
        if stacked:
            room = max(len(fitting(headers, rows, headers[:1:-1])) - 1, 1)
            tables = -(-(len(headers) - 1) // room)
            size = -(-(len(headers) - 1) // tables)
            for at in range(1, len(headers), size):
                part = slice(at, at + size)
                own = [[row[0], *row[part]] for row in rows]
                self.table([headers[0], *headers[part]], own, total=total)
            return
        keep = fitting(headers, rows, optional)
        shown = [[row[i] for i in keep] for row in rows]
        columns = [headers[i] for i in keep]
        self.data(table(columns, shown, total=total, colour=self.colours(sys.stdout)), safe=True)
        left_out = [name for i, name in enumerate(headers) if i not in keep]
        if left_out:
            self.say(wrapped(f"columns that do not fit: {', '.join(left_out)}; --format json has all"))

    def prose(self, text: str, indent: str = "") -> None:
        """Print sentences to stdout, in lines that fit the terminal."""
        from bddzoo.cli.output import wrapped

        self.data(wrapped(text, indent))

    def say(self, text: str) -> None:
        """Print a message to stderr, unless quiet."""
        if not self.quiet:
            shown = self._event("message", text=text) if self.json else _fitting(printable_lines(text))
            _echo(shown, err=True)

    def event(self, name: str, /, **fields: object) -> None:
        """Report progress to a program that asked for JSON: one line on stderr, unless quiet."""
        if not self.quiet:
            _echo(self._event(name, **fields), err=True)

    def detail(self, text: str) -> None:
        """Print a message to stderr with `-v` only."""
        if self.verbosity > 0:
            self.say(text)

    def warn(self, text: str) -> None:
        """Print a warning to stderr, even when quiet."""
        text = shortened(text)
        shown = self._event("warning", text=text) if self.json else self._marked("warning:", "yellow", text)
        _echo(shown, err=True)

    def warn_of(self, error: Exception) -> None:
        """Print an error as a warning: of one thing among many, which go on."""
        self.warn(str(error))

    def warn_unverified(self, files: Sequence[tuple[str, str]]) -> None:
        """Say which files no whole digest proves."""
        reasons = {
            "prefix": "only the first digits of a digest are known; they fit",
            "observed": "no digest is known to compare with; observed ones were recorded",
        }
        for state, reason in reasons.items():
            models = [model for model, of in files if of == state]
            if models:
                names = models[0] if len(models) == 1 else number_of(len(models), "file")
                self.warn(f"{names}: {reason}")

    def confirm(self, what: str, *, yes: bool) -> None:
        """Ask before something is deleted.

        Args:
            what: What would be done.
            yes: Do not ask.

        Raises:
            UsageError: There is nobody to ask.
            Abort: The answer was no.
        """
        if yes:
            return
        if not sys.stdin.isatty() or self.json:
            raise UsageError(f"this would {what}", hint="look with --dry-run, do it with --yes")
        click.confirm(f"{what}?", abort=True, err=True)

    def error(self, text: str, *, hint: str | None = None, code: int | None = None) -> None:
        """Print an error as one line to stderr; as a JSON object where data is JSON.

        Args:
            text: What went wrong and where.
            hint: What to do next.
            code: Exit status, where the command ends with this error.
        """
        # What is quoted from a file may be as long as the file; the advice behind it is to be seen.
        text, advice = shortened(" ".join(text.split())), " ".join(hint.split()) if hint else None
        if self.json:
            status = {} if code is None else {"exit_code": code, "error": ExitCode(code).name.lower()}
            _echo(self._event("error", text=text, hint=advice, **status), err=True)
        else:
            line = f"{text}; {advice}" if advice else text
            _echo(self._marked("error:", "red", line), err=True)

    def colours(self, stream: TextIO) -> bool:
        """Whether text on a standard stream may be coloured."""
        return self.color and stream.isatty() and os.environ.get("TERM") != "dumb"

    def _event(self, name: str, /, **fields: object) -> str:
        return _compact({"event": name, **fields})

    def _marked(self, word: str, colour: str, text: str) -> str:
        line = _fitting(f"{word} {printable(text, 2 * LONGEST_MESSAGE)}")
        return click.style(word, fg=colour) + line[len(word) :] if self.colours(sys.stderr) else line


def _fitting(text: str) -> str:
    """Words for stderr in lines that fit the terminal; elsewhere a message is one line."""
    from bddzoo.cli.output import wrapped

    return wrapped(text, whole_words=True) if sys.stderr.isatty() else text


def _echo(text: str, *, err: bool = False) -> None:
    try:
        click.echo(text, err=err)
    except BrokenPipeError:
        silence(sys.stderr if err else sys.stdout)
    except OSError as error:
        if not err:
            silence(sys.stdout)
            reason = error.strerror or str(error)
            raise MissingError(f"cannot write to the standard output: {reason}") from error


def silence(stream: TextIO) -> None:
    """Send everything that is still to come on a standard stream to nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def json_text(value: object) -> str:
    """A value as indented JSON: NaN becomes null, paths and others text; printed zeros stay (`59.80`)."""
    import msgspec

    text = _compact(value)
    try:
        return msgspec.json.format(text, indent=2)
    except msgspec.DecodeError:  # a path that is not UTF-8: msgspec takes its escapes for damage
        return text


def _compact(value: object) -> str:
    import msgspec

    return printable_json(msgspec.json.Encoder(decimal_format="number").encode(_plain(value)).decode())


def _plain(value: object) -> Any:
    """The value in types that JSON has: NaN and infinities as null."""
    from decimal import Decimal

    import msgspec

    if isinstance(value, float | Decimal):
        plain = value if isinstance(value, Decimal) else float(value)  # not a class of NumPy's
        return plain if isfinite(plain) else None
    if isinstance(value, Mapping):
        return {as_text(str(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, str):  # also an enumeration's
        text = str(value)
        # Bytes of a path that are not UTF-8: as JSON's escapes, which give the path back.
        return text if as_text(text) == text else msgspec.Raw(json.dumps(text).encode())
    if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < 1 << 63):
        return value
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, Iterable):
        return [_plain(v) for v in value]
    return as_text(str(value))


class GlobalOption(click.Option):
    """An option that stands before or after a command's name, with one effect.

    Only the outermost command reads the option's environment variable. If a command below it did so again,
    the variable would replace what the user typed before that command's name.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, expose_value=False, **kwargs)

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Value of the variable; None below the outermost command."""
        found = super().resolve_envvar_value(ctx) if ctx.parent is None else None
        # NO_COLOR means the same whatever it is set to: no-color.org.
        return "1" if found and self.is_flag else found


def _store(name: str, convert: Callable[[Any], Any] = lambda v: v) -> Callable[..., None]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        # Given before or after the command's name alike; one that was not given changes nothing.
        if value is not None and value is not False and value != 0:
            app = ctx.ensure_object(App)
            setattr(app, name, convert(value))
            if param.name and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
                app.typed.add(name)

    return callback


def global_options(formats: Sequence[str] = FORMATS) -> list[click.Option]:
    """Fresh copies of the options that every command takes."""
    path = click.Path(dir_okay=False, path_type=Path)
    folder = Folder()
    return [
        GlobalOption(
            ["--registry", "_registry"],
            type=path,
            metavar="FILE",
            envvar="BDDZOO_REGISTRY",
            callback=_store("registry_path"),
            help="Registry file to use instead of the one that ships with bddzoo.",
        ),
        GlobalOption(
            ["--cache", "_cache"],
            type=folder,
            metavar="DIR",
            envvar="BDDZOO_CACHE",
            callback=_store("cache_dir"),
            help="Folder of downloaded files.",
        ),
        GlobalOption(
            ["--format", "_format"],
            type=click.Choice(list(formats)),
            callback=_store("format"),
            help="How data is printed.",
        ),
        GlobalOption(
            ["-v", "--verbose", "_verbose"],
            count=True,
            callback=_store("verbosity"),
            help="Say more; twice for a lot.",
        ),
        GlobalOption(
            ["-q", "--quiet", "_quiet"],
            is_flag=True,
            callback=_store("verbosity", lambda _: -1),
            help="Print only data and errors.",
        ),
        GlobalOption(
            ["--no-color", "_no_color"],
            is_flag=True,
            envvar="NO_COLOR",
            callback=_store("color", lambda _: False),
            help="No colours.",
        ),
    ]


class ZooCommand(click.Command):
    """A command that also takes the global options.

    Args:
        formats: Values of `--format` that this command knows; the first is its default.
    """

    def __init__(self, *args: Any, formats: Sequence[str] = FORMATS, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **kwargs)
        self.formats = EVERY_FORMAT if isinstance(self, click.Group) else tuple(formats)
        self.params.extend(global_options(self.formats))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, unless a format was given before its name that it does not know."""
        given = ctx.ensure_object(App).format
        if given is not None and given not in self.formats:
            known = ", ".join(f"'{name}'" for name in self.formats)
            ctx.fail(f"Invalid value for '--format': '{given}' is not one of {known}.")
        return super().invoke(ctx)


class CommandGroup(ZooCommand, click.Group):
    """A group with the global options, which says what its commands do in whole sentences."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        rows = [
            (name, command.get_short_help_str(limit=200)) for name, command in sorted(self.commands.items())
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
