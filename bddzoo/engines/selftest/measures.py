"""How far a result is from its golden, how far it may be, the verdict on a check, and tables of verdicts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bddzoo.engines.load import is_out_of_memory
from bddzoo.errors import IntegrityError, MissingError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Status = Literal["equal", "differs", "no golden", "unknown", "damaged"]
# Result of a model without a golden.
UNVERIFIED = "unverified"

# Deviations of logits and features, in units of the golden's standard deviation. Kernels and
# thread counts of upstream's own stack move results by up to 5e-6; the smallest of the deliberate
# mistakes that were tried, a wrong epsilon in LayerNorm, by 6e-5.
STD_LIMIT = 3e-5
# Sums are taken in another order on a GPU, and its convolutions are transformed ones.
STD_LIMIT_GPU = 1e-4
# Networks tuned for a CPU sum in another order in every layer; below the smallest deliberate mistake.
TUNED_LIMIT = 5e-5
# Resizing in float differs by one unit in the last place between OpenCV versions.
INPUT_LIMIT = 2e-6
SCORE_LIMIT = 3e-5
BOX_LIMIT_PX = 0.02
MASK_LIMIT_PX = 20
MASK_IOU_LIMIT = 0.95


@dataclass
class Measure:
    """One deviation and its limit; `value` is at most `limit` when the result is right.

    Attributes:
        name: What was compared.
        unit: `std` (of the golden), `px`, `score`, `count`, or `1 - IoU`.
        where: The worst place, e.g. the stage of the network.
    """

    name: str
    value: float
    limit: float
    unit: str
    where: str = ""

    @property
    def ok(self) -> bool:
        """Whether the limit holds; NaN never does."""
        return self.value <= self.limit


@dataclass
class CheckResult:
    """The outcome of one check.

    Attributes:
        subject: A model's id, or `ops`.
        check: `keys`, or the kind of golden.
        golden: Name of the golden file, if it is not the subject's own.
        status: `equal`, `differs`, `no golden` (only the counts of the registry were checked) or
            `unknown` (golden data of a model that the registry does not have, or without what is needed
            to use it) or `damaged` (golden data that cannot be read).
        measures: What was measured.
        note: What differs, or why nothing was compared; one line.
        seconds: Wall time.
    """

    subject: str
    check: str
    status: Status
    golden: str = ""
    measures: list[Measure] = field(default_factory=list)
    note: str = ""
    seconds: float = 0.0

    def settle(self) -> CheckResult:
        """Set the status from the measures and say which one fails."""
        failed = [m for m in self.measures if not m.ok]
        self.status = "differs" if failed else "equal"
        if failed and not self.note:
            self.note = "; ".join(
                f"{m.name} off by {m.value:.3g} {m.unit}, limit {m.limit:.3g}"
                + (f" at {m.where}" if m.where else "")
                for m in failed
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {
            "subject": self.subject,
            "check": self.check,
            "golden": self.golden or None,
            "status": self.status,
            "measures": {
                m.name: {"value": m.value, "limit": m.limit, "unit": m.unit, "where": m.where}
                for m in self.measures
            },
            "note": self.note,
            "seconds": round(self.seconds, 2),
        }


class Stages:
    """The largest deviation over many arrays, each in units of its own golden's standard deviation.

    Attributes:
        worst: That deviation.
        where: The array's name.
        compared: Arrays that were compared.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.worst = 0.0
        self.where = ""
        self.compared = 0

    def compare(
        self, name: str, mine: npt.NDArray[Any], golden: npt.NDArray[Any], std: float | None = None
    ) -> None:
        """Compare one array; one of another shape is infinitely far away."""
        import numpy as np

        self.compared += 1
        if mine.shape != golden.shape:
            value = float("inf")
        else:
            scale = float(std if std is not None else np.std(golden.astype(np.float64))) or 1.0
            gap = np.abs(mine.astype(np.float64) - golden.astype(np.float64))
            value = float(gap.max()) / scale if gap.size else 0.0
        # Written so that a NaN counts as worse than anything.
        if not value <= self.worst:
            self.worst, self.where = value, name

    def compare_sampled(self, name: str, mine: npt.NDArray[Any], arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Compare with `NAME_shape`, `NAME_sample` and `NAME_stats` of a golden file."""
        if tuple(mine.shape) != tuple(arrays[f"{name}_shape"].tolist()):
            self.compared += 1
            self.worst, self.where = float("inf"), name
            return
        sample = arrays[f"{name}_sample"]
        self.compare(name, strided(mine, sample.size), sample, float(arrays[f"{name}_stats"][1]))

    def measure(self, name: str) -> Measure:
        """The worst deviation as a measure."""
        return Measure(name, self.worst, self.limit, "std", self.where)


def strided(array: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """`count` evenly spaced values of an array in C order, as the goldens were sampled."""
    import numpy as np

    count = min(count, array.size)
    step = array.size // count
    picked: npt.NDArray[np.generic] = array.reshape(-1)[np.arange(count) * step + array.size // (2 * count)]
    return picked


_NO_FIT = (IndexError, TypeError, ValueError, AttributeError, AssertionError)


class NothingKnown(Exception):
    """Nothing of a golden was compared; raised so that it is not called equal."""


@contextmanager
def judged(finding: CheckResult, path: Path) -> Iterator[None]:
    """Settle a finding from what is measured in the block, and say of data that cannot be used why.

    A folder is checked to its end, so no file of it may end the run. What cannot be read, lacks an array
    or holds it in another form is `damaged`; what needs another file that is missing, or more memory, is
    `unknown`; a network that fails for another reason `differs`.

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


_STD = ("input", "stages", "logits", "values")
_COLUMNS = (
    ("values (std)", _STD),
    ("tuned (std)", ("tuned",)),
    ("class map (px)", ("class map",)),
    ("boxes (px)", ("boxes",)),
    ("scores", ("scores",)),
    ("mask areas (px)", ("mask areas",)),
)
HEADER = ("model", "golden", *(title for title, _ in _COLUMNS), "result")


def rows(findings: Iterable[CheckResult]) -> list[tuple[str, ...]]:
    """One row a subject: the goldens it was checked with, its worst deviations, and the result."""
    grouped: dict[str, list[CheckResult]] = {}
    for finding in findings:
        name = f"ops/{finding.check}" if finding.subject == "ops" else finding.subject
        grouped.setdefault(name, []).append(finding)
    return [_row(name, group) for name, group in grouped.items()]


def document(findings: Sequence[CheckResult], environment: Mapping[str, str]) -> str:
    """The whole run as a Markdown page: what was compared, with what, and the worst deviations."""
    from tabulate import tabulate

    versions = ", ".join(f"{name} {version}" for name, version in environment.items())
    table = [[cell.replace("|", "\\|") for cell in row] for row in rows(findings)]
    shown = tabulate(table, headers=HEADER, tablefmt="github", disable_numparse=True)
    return f"{_TEXT.format(summary=summary(findings), versions=versions)}\n{shown}"


_TEXT = f"""# Selftest: equal to upstream

Each network is filled with deterministic weights and compared with what the zoo's own, unmodified
configuration computed on the software it was written for. Made by
`bddzoo selftest --all --golden DIR --format md`, with DIR a folder of golden data.

Result: {{summary}}.

With: {{versions}}.

* golden: `small_b`, `small` are the plain network on two crops, with two sets of weights; `full`, `full_b`
  are the whole protocol on two pictures, from the picture to class map or masks; `ops` are operators
  against a compiled mmcv. A model without a golden is {UNVERIFIED}: only its state dict's
  entries and parameters were counted.
* values: the largest deviation of logits, or of features, proposals and heads, in units of the golden's
  standard deviation; the limit is {STD_LIMIT:g}, on a GPU {STD_LIMIT_GPU:g}.
* tuned: the same on the two crops for the network as `eval` and `predict` run it on a CPU, where sums are
  taken in another order; the limit is {TUNED_LIMIT:g}. (openseg's networks are checked so everywhere.)
* class map: pixels that differ although their margin is larger than the limit; none may.
* boxes, scores, mask areas: of the final detections; the limits are {BOX_LIMIT_PX:g} px, {SCORE_LIMIT:g} and
  {MASK_LIMIT_PX} px.
"""


def _row(name: str, group: Sequence[CheckResult]) -> tuple[str, ...]:
    measures = [m for f in group for m in f.measures]
    kinds = [f.check for f in group if f.check != "keys"] or ["-"]
    cells = [_worst([m for m in measures if m.name in names]) for _, names in _COLUMNS]
    return (name, ", ".join(kinds) if group[0].subject != "ops" else "ops", *cells, _result(group))


def _worst(measures: Sequence[Measure]) -> str:
    if not measures:
        return "-"
    value = max(m.value for m in measures)
    return (
        f"{value:.0f}"
        if measures[0].name in ("class map", "mask areas")
        else f"{value:.1e}"
        if value
        else "0"
    )


def _result(group: Sequence[CheckResult]) -> str:
    statuses = [f.status for f in group]
    for status in ("differs", "damaged", "unknown"):
        if status in statuses:
            return status
    return UNVERIFIED if all(status == "no golden" for status in statuses) else "equal"


def results(findings: Sequence[CheckResult]) -> set[str]:
    """The results of models and operators: `equal`, `differs`, `unverified`, `damaged` or `unknown`."""
    return {row[-1] for row in rows(findings)}


def summary(findings: Sequence[CheckResult]) -> str:
    """One sentence on the whole run."""
    table = rows(findings)
    counts = {
        s: sum(r[-1] == s for r in table) for s in ("equal", "differs", UNVERIFIED, "damaged", "unknown")
    }
    return ", ".join(f"{n} {s}" for s, n in counts.items() if n) or "nothing checked"
