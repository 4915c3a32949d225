"""How far a result is from its golden, how far it may be, the verdict on a check, and tables of verdicts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bddzoo.engines.load import is_out_of_memory
from bddzoo.errors import IntegrityError, MissingError
from bddzoo.text import picked

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

Status = Literal["equal", "differs", "no golden", "unknown", "damaged"]
# Result of a model without a golden.
UNVERIFIED = "unverified"

# How far a value may be from its golden: `FACTOR` times the noise that is kept next to the golden, which is
# how far other instruction sets, libraries, thread counts and float64 moved it, and at least this, by unit.
# docs/selftest.md shows that noise, and what deliberate mistakes do.
FLOORS = {"std": 1.5e-5, "score": 1e-5, "px": 0.02}
FACTOR = 2.0
# The noise of a golden that nobody measured it for.
USUAL_NOISE = {"std": 1.5e-5, "score": 1.5e-5, "px": 0.01}
# Resizing in float differs by one unit in the last place between OpenCV versions.
INPUT_LIMIT = 2e-6
MASK_LIMIT_PX = 20
MASK_IOU_LIMIT = 0.95
Noise = Mapping[str, float]


def limit_of(name: str, unit: str, noise: Noise | None) -> float:
    """The limit of a measure.

    Args:
        name: The measure's name.
        unit: `std`, `score` or `px`.
        noise: Largest legitimate deviation by measure; None where it is not known.
    """
    if name == "input":
        return INPUT_LIMIT
    known = USUAL_NOISE[unit] if noise is None else noise.get(name, 0.0)
    return max(FLOORS[unit], FACTOR * known)


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
        if failed:
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
            "measures": {m.name: picked(m, "value limit unit where") for m in self.measures},
            "note": self.note,
            "seconds": round(self.seconds, 2),
        }


def renamed(finding: CheckResult, subject: str) -> CheckResult:
    """The finding of a model that is the same network as another one."""
    golden = finding.golden or finding.subject
    return replace(finding, subject=subject, golden=golden if golden != subject else "", seconds=0.0)


class Stages:
    """The largest deviation of each kind of array, in units of its own golden's standard deviation.

    Attributes:
        worst: That deviation and where it is, by kind: the array's name without image and number.
    """

    def __init__(self, noise: Noise | None) -> None:
        self.noise = noise
        self.worst: dict[str, tuple[float, str]] = {}

    def compare(
        self, name: str, mine: npt.NDArray[Any], golden: npt.NDArray[Any], std: float | None = None
    ) -> None:
        """Compare one array; one of another shape is infinitely far away."""
        import numpy as np

        if mine.shape != golden.shape:
            self.take(name, float("inf"))
            return
        scale = float(std if std is not None else np.std(golden.astype(np.float64))) or 1.0
        gap = np.abs(mine.astype(np.float64) - golden.astype(np.float64))
        self.take(name, float(gap.max()) / scale if gap.size else 0.0)

    def limit(self, kind: str) -> float:
        """How far an array of that kind may be from its golden."""
        return limit_of(kind, "std", self.noise)

    def take(self, name: str, value: float) -> None:
        """Keep a deviation if it is the largest of its kind."""
        kind = name.rpartition(" ")[2].rstrip("_0123456789")
        # Written so that a NaN counts as worse than anything.
        if not value <= self.worst.setdefault(kind, (0.0, name))[0]:
            self.worst[kind] = (value, name)

    def compare_sampled(self, name: str, mine: npt.NDArray[Any], arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Compare with `NAME_shape`, `NAME_sample` and `NAME_stats` of a golden; a crop may come first."""
        key = name.rpartition(" ")[2]
        sample = arrays[f"{key}_sample"]
        if tuple(mine.shape) != tuple(arrays[f"{key}_shape"].tolist()):
            self.take(name, float("inf"))
        else:
            self.compare(name, strided(mine, sample.size), sample, float(arrays[f"{key}_stats"][1]))

    def measures(self) -> list[Measure]:
        """One measure a kind.

        Raises:
            NothingKnown: Nothing was compared.
        """
        if not self.worst:
            raise NothingKnown
        return [
            Measure(kind, value, self.limit(kind), "std", where)
            for kind, (value, where) in self.worst.items()
        ]


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


def check_keys(
    finding: CheckResult,
    module: nn.Module,
    read: Callable[[], list[list[Any]] | None],
    entries: int | None,
    params: int | None,
) -> CheckResult:
    """Settle a finding on a network's entries: names, shapes, types and order.

    Args:
        finding: The finding.
        module: The network.
        read: Reads the manifest, None where there is none; then the numbers alone are compared.
        entries: The known number of entries.
        params: The known number of parameters.
    """
    parameters = dict(module.named_parameters())
    mine = [
        [n, list(t.shape), str(t.dtype).removeprefix("torch."), "param" if n in parameters else "buffer"]
        for n, t in module.state_dict().items()
    ]
    try:
        manifest = read()
    except IntegrityError as error:
        finding.status, finding.note = "damaged", str(error)
        return finding
    if manifest is not None:
        wrong = [a[0] for a, b in zip(manifest, mine, strict=False) if list(a) != b]
        count = len(wrong) + abs(len(manifest) - len(mine))
        finding.measures = [Measure("entries", count, 0, "count", wrong[0] if wrong else "")]
        return finding.settle()
    numbers = (
        ("entries", len(mine), entries),
        ("params", sum(p.numel() for p in parameters.values()), params),
    )
    finding.measures = [Measure(n, abs(a - b), 0, "count") for n, a, b in numbers if b is not None]
    if finding.settle().status == "equal":
        finding.status = "no golden"
        finding.note = "unverified: no golden is known; only entries and parameters were counted"
    return finding


_COLUMNS: tuple[tuple[str, Callable[[Measure], bool]], ...] = (
    ("values (std)", lambda m: m.unit == "std" and not m.name.startswith("tuned ") and m.name != "float32"),
    ("tuned (std)", lambda m: m.unit == "std" and m.name.startswith("tuned ") and "float32" not in m.name),
    ("class map (px)", lambda m: m.name == "class map"),
    ("boxes (px)", lambda m: m.name == "boxes"),
    ("scores", lambda m: m.name == "scores"),
    ("mask areas (px)", lambda m: m.name == "mask areas"),
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
  are the whole protocol on two images, from the image to class map or masks; `ops` are operators
  against a compiled mmcv. A model without a golden is {UNVERIFIED}: only its state dict's
  entries and parameters were counted.
* values: the largest deviation of logits, or of features, proposals and heads, in units of the golden's
  standard deviation. The limit is {FACTOR:g} times the noise that is kept next to each golden, and at least
  {FLOORS["std"]:g}. A network that is further away is compared again in float64: what is wrong in a network
  is wrong there, too, and what only this machine's float32 did is gone.
* tuned: the same on the two crops for the network as `eval` and `predict` run it on a CPU, where sums are
  taken in another order. (openseg's networks are checked so everywhere.)
* class map: pixels that differ although their margin is larger than the limit; none may.
* boxes, scores, mask areas: of proposals and final detections, paired with the golden ones; the limits are
  {FLOORS["px"]:g} px, {FLOORS["score"]:g} or {FACTOR:g} times the noise, and {MASK_LIMIT_PX} px. What has no
  partner must hang on a decision of suppression without margin.
"""


def _row(name: str, group: Sequence[CheckResult]) -> tuple[str, ...]:
    measures = [m for f in group for m in f.measures]
    kinds = [f.check for f in group if f.check != "keys"] or ["-"]
    cells = [_worst([m for m in measures if belongs(m)]) for _, belongs in _COLUMNS]
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
