"""Several problems of one registry file, each with its place, as one error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from bddzoo.errors import UsageError
from bddzoo.registry.structs import IDENT, IDENT_WORDS, url_problem
from bddzoo.registry.tasks import COUNTS

MAX_SHOWN = 20
_IDENT = re.compile(IDENT)

PathLike = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """Something wrong at a place of the document.

    Attributes:
        path: Keys and indices from the document's root.
        message: What is wrong.
        model: Id of the model it belongs to, if any.
        field: The place within the model (or the document), as people write it.
    """

    path: PathLike
    message: str
    model: str | None = None
    field: str = ""


class Checker:
    """Collects what is wrong with the values of a document.

    Attributes:
        problems: Everything that was wrong.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def note(self, at: PathLike, message: str, model: str | None = None, depth: int = 0) -> None:
        """Remember a problem; `depth` is how much of the path leads to the model."""
        self.problems.append(Problem(at, message, model, dotted(at[depth:])))

    def ident(self, at: PathLike, text: str, model: str | None = None, depth: int = 0) -> None:
        """Note a name that is not plain."""
        if not _IDENT.fullmatch(text):
            self.note(at, f'expected {IDENT_WORDS}; got "{text}"', model, depth)

    def url(
        self, at: PathLike, url: str | None, model: str | None = None, depth: int = 0, *, source: bool = False
    ) -> None:
        """Note a URL that is not one we follow; `source`: a file is read from it."""
        problem = url_problem(url, source=source) if url is not None else None
        if problem:
            self.note(at, problem, model, depth)

    def number(self, at: PathLike, metric: str, value: int | Decimal | None, model: str, depth: int) -> None:
        """Note a reported number that is not what its metric is: a percentage, or a count."""
        if value is None:
            return
        if metric in COUNTS:
            if not (isinstance(value, int) and value >= 0):
                self.note(at, f"expected a whole number from 0, got {value}", model, depth)
        elif not (Decimal(value).is_finite() and 0 <= value <= 100):
            self.note(at, f"expected a number between 0 and 100, got {value}", model, depth)


class RegistryError(UsageError):
    """A registry that does not follow the schema.

    Attributes:
        lines: One message per problem, each with file, line, model and field.
        problems: The same as data.
    """

    def __init__(self, name: str, problems: Sequence[Problem], at: Mapping[PathLike, int]) -> None:
        ordered = sorted(problems, key=lambda p: (line_of(p.path, at), str(p.path)))
        self.problems = tuple(ordered)
        self.lines = tuple(_text(name, p, at) for p in ordered[:MAX_SHOWN])
        if len(ordered) > MAX_SHOWN:
            self.lines += (f"{name}: and {len(ordered) - MAX_SHOWN} more problems",)
        super().__init__("\n".join(self.lines))


def line_of(path: PathLike, at: Mapping[PathLike, int]) -> int:
    """The line of a path, or of the nearest thing around it that has one."""
    for end in range(len(path), -1, -1):
        if path[:end] in at:
            return at[path[:end]]
    return 1


def dotted(path: Iterable[str | int]) -> str:
    """A path as people write it: `reported.val.mIoU`, `methods[3].models[0]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`; did you mean "x"?`, or nothing where nothing is near."""
    from difflib import get_close_matches

    near = get_close_matches(word[:200], list(choices), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """`unknown paper "fcm"; did you mean "fcn"?`."""
    return f'unknown {what} "{name}"{did_you_mean(name, known)}'


def _text(name: str, problem: Problem, at: Mapping[PathLike, int]) -> str:
    parts = [f"{name}:{line_of(problem.path, at)}"]
    if problem.model:
        parts.append(problem.model)
    if problem.field:
        parts.append(problem.field)
    return " ".join((": ".join([*parts, problem.message])).split())
