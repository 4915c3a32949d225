"""How strictly files are scored, and what an evaluation hands back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from bddzoo.datasets.formats.labels import SIZE
from bddzoo.errors import MissingError

if TYPE_CHECKING:
    from bddzoo.evaluation.metrics.detection import BoxAccumulator, InsSegAccumulator, MatchAccumulator
    from bddzoo.evaluation.metrics.errors import ErrorAccumulator
    from bddzoo.evaluation.metrics.panseg import PanSegAccumulator
    from bddzoo.evaluation.metrics.scores import Scores
    from bddzoo.evaluation.metrics.semseg import SemSegAccumulator
    from bddzoo.evaluation.metrics.tracking import TrackAccumulator

# Tasks that come as JSON alone.
JSON_TASKS = ("det", "box_track", "pose")
# Tasks whose predictions are single objects with scores.
DETECTED = ("ins_seg", "det")
MASK_HEIGHT, MASK_WIDTH = SIZE
# The official toolkit crashes on frames with more ground-truth instances, or more panoptic segments.
TOOLKIT_LIMIT = 100
LENIENT_HINT = "the official toolkit crashes on it; --lenient scores it and says so"
OFFICIAL_HINT = "the official toolkit crashes on it; --compat strict --lenient scores it"

Accumulator: TypeAlias = (
    "SemSegAccumulator | InsSegAccumulator | BoxAccumulator | MatchAccumulator | PanSegAccumulator"
    "| TrackAccumulator"
)


@dataclass(frozen=True)
class Options:
    """How files are scored.

    Attributes:
        official: The official toolkit's numbers wherever it gives one, even where it is silently
            wrong; otherwise such input is refused.
        allow_partial: Score the frames that can be scored, and mark the result.
        lenient: Score, with a warning, what makes the toolkit crash but has an obvious meaning.
        workers: Threads.
        errors: Say of every detection what is wrong with it, too.
        attribute: tagging: which attribute, a key of `TAGS`; told by the predictions where None.
    """

    official: bool = False
    allow_partial: bool = False
    lenient: bool = False
    workers: int = 1
    errors: bool = False
    attribute: str | None = None

    def crashes(self, kind: str, where: str, why: str) -> list[tuple[str, str]]:
        """A remark if lenient.

        Raises:
            MissingError: If not.
        """
        if self.official or not self.lenient:
            raise MissingError(f"{where}: {why}", hint=OFFICIAL_HINT if self.official else LENIENT_HINT)
        return [(kind, where)]


@dataclass
class Evaluation:
    """Scores of files, with everything that should be said about them.

    Attributes:
        scores: The scores.
        accumulator: Statistics of each frame; for slices and intervals.
        source: `masks`, `bitmasks`, `rle`, `boxes` or `coco`.
        warnings: One line each.
        skipped: Frames (of tracking: videos) that were left out (only with `allow_partial`).
        official: The toolkit's scores where they differ, or None.
        official_note: Why they differ, or why the toolkit gives none.
        errors: What is wrong with the detections, where that was asked for.
    """

    scores: Scores
    accumulator: Accumulator
    source: str
    warnings: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    official: Scores | None = None
    official_note: str = ""
    errors: ErrorAccumulator | None = None
