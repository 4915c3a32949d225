"""Settle a finding, whatever the golden data that it is made from look like."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bddzoo.engines.memory import is_out_of_memory
from bddzoo.engines.selftest.measures import Finding
from bddzoo.errors import IntegrityError, MissingError

_NO_FIT = (IndexError, TypeError, ValueError, AttributeError, AssertionError)


class NothingKnown(Exception):
    """Nothing of a golden was compared; raised so that it is not called equal."""


@contextmanager
def judged(finding: Finding, path: Path) -> Iterator[None]:
    """Settle a finding from what is measured in the block, and say of data that cannot be used why.

    A folder is checked to its end, so no file of it may end the run. What cannot be read, lacks an array
    or holds it in another form is `damaged`; what lacks something beside it, or the memory, is `unknown`; a
    network that fails for another reason `differs`.

    Args:
        finding: Its measures are taken in the block.
        path: The golden file.
    """
    start = time.perf_counter()
    try:
        yield
        finding.settle()
    except NothingKnown:
        finding.status, finding.note = "damaged", f"{path} holds no array that is known"
    except IntegrityError as error:
        finding.status, finding.note = "damaged", str(error)
    except MissingError as error:
        finding.status, finding.note = "unknown", str(error)
    except KeyError as error:
        finding.status, finding.note = "damaged", f"{path} has no array {error}"
    except _NO_FIT as error:
        finding.status, finding.note = "damaged", f"{path} holds something else: {_line(error)}"
    except RuntimeError as error:
        finding.status = "unknown" if is_out_of_memory(error) else "differs"
        finding.note = f"it fails: {_line(error)}"
    finding.seconds = time.perf_counter() - start


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
