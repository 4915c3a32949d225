"""Exit codes and the errors that carry them.

Every mistake of a user ends as one line: what, where, and what to do next. Code raises a
`BddzooError`; only `bddzoo.cli.main` turns it into text and an exit status.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit status of every command."""

    OK = 0
    BUG = 1
    USAGE = 2
    NOT_REPRODUCED = 3
    INCOMPARABLE = 4
    MISSING = 5
    INTEGRITY = 6
    NETWORK = 7
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done; reproduced",
    ExitCode.BUG: "a bug of ours",
    ExitCode.USAGE: "usage, or a registry that makes no sense",
    ExitCode.NOT_REPRODUCED: "not reproduced; tables differ from the registry; lint found something",
    ExitCode.INCOMPARABLE: "incomparable",
    ExitCode.MISSING: "missing model, file or data",
    ExitCode.INTEGRITY: "integrity: a digest that does not match, or cannot be verified where that was asked",
    ExitCode.NETWORK: "network",
    ExitCode.INTERRUPTED: "interrupted",
}


# Whether PyPI has bddzoo: `tools/release.py` turns this over with the first release.
ON_PYPI = False


def install_hint(extra: str) -> str:
    """The command that installs an extra today: from PyPI, or before the first release in a clone."""
    return f"pip install 'bddzoo[{extra}]'" if ON_PYPI else f"in a clone of bddzoo: pip install '.[{extra}]'"


class BddzooWarning(UserWarning):
    """What a user should know although the work goes on; the command line prints it in one line."""


class BddzooError(Exception):
    """A failure that is explained to the user in one line.

    Args:
        message: What went wrong and where (file, model, field).
        hint: What to do next; printed after the message.
    """

    exit_code: ExitCode = ExitCode.BUG

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(BddzooError):
    """Arguments or a registry file that make no sense."""

    exit_code = ExitCode.USAGE


class MissingError(BddzooError):
    """A model, file or data set that is not there or cannot be read."""

    exit_code = ExitCode.MISSING


class IntegrityError(BddzooError):
    """Bytes that are not what they should be, or cannot be verified where verified was asked."""

    exit_code = ExitCode.INTEGRITY


class NetworkError(BddzooError):
    """No source could be reached."""

    exit_code = ExitCode.NETWORK


class NotReproducedError(BddzooError):
    """A measured number differs from the reported one."""

    exit_code = ExitCode.NOT_REPRODUCED


class IncomparableError(BddzooError):
    """Two numbers whose protocols differ."""

    exit_code = ExitCode.INCOMPARABLE
