"""The chain of evidence from a reported number down to the weights, link by link.

    registry     the registry's number is what the zoo's document says
    scores       the published scores file gives that number, to its printed precision
    predictions  the published predictions, scored here, give it too
    weights      inference with the verified weights gives it, within tolerance

A link that nobody could look at is not a pass: its verdict is `missing` and it is shown as not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bddzoo.datasets.classes import DET
from bddzoo.datasets.identity import (
    dataset_id,
    digest_label_files,
    digest_names,
    published_images,
    split_size,
)
from bddzoo.errors import BddzooError, ExitCode, MissingError
from bddzoo.reading import read_text
from bddzoo.registry.model import Model
from bddzoo.results.record import TIME_FORMAT, Fingerprint, RunInfo, new_record
from bddzoo.results.scorefile import ScoreFile, read_score_file
from bddzoo.results.verdict import (
    MetricVerdict,
    Verdict,
    VerdictReport,
    describe_scope,
    judge,
    reported_on,
    worst,
)

if TYPE_CHECKING:
    from bddzoo.evaluation.options import Evaluation
    from bddzoo.registry.markdown.parse import Document, Heading, Row

Link = Literal["registry", "scores", "predictions", "weights"]
LINKS: tuple[Link, ...] = ("registry", "scores", "predictions", "weights")

# What went wrong with looking, and what that means for the link.
_VERDICT_OF = {ExitCode.INTEGRITY: Verdict.UNVERIFIED, ExitCode.INCOMPARABLE: Verdict.INCOMPARABLE}


@dataclass(frozen=True)
class LinkResult:
    """What one link showed.

    Attributes:
        link: Which.
        verdict: See `Verdict`.
        source: What was looked at, in words; empty where there was nothing.
        metrics: One entry for each reported number.
        reasons: Why it is not `reproduced`.
        compared: What agrees with what is published, in words.
        not_compared: What could not be compared.
        looked: Whether there was anything to look at.
        published: Whether the zoo has published anything of the kind.
    """

    link: Link
    verdict: Verdict
    source: str = ""
    metrics: tuple[MetricVerdict, ...] = ()
    reasons: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()
    looked: bool = True
    published: bool = True

    @property
    def outcome(self) -> str:
        """The verdict in words: `not looked at` if there was nothing to look at."""
        return str(self.verdict) if self.looked else "not looked at"

    @property
    def scope(self) -> str:
        """What was compared and what was not, in words; empty if nothing was."""
        return describe_scope(self.compared, self.not_compared)


@dataclass(frozen=True)
class ModelCheck:
    """The chain of one model.

    Attributes:
        model: Id of the model.
        zoo: Id of its zoo.
        links: The links that were asked for, in order.
    """

    model: str
    zoo: str
    links: tuple[LinkResult, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of the links."""
        return worst(link.verdict for link in self.links)

    @property
    def first_broken(self) -> LinkResult | None:
        """The first link that breaks, otherwise the first that could not be looked at, or None."""
        bad = [link for link in self.links if link.verdict is not Verdict.REPRODUCED]
        return min(bad, key=lambda link: not link.looked, default=None)


class NotPublishedError(MissingError):
    """The zoo has published nothing that a link could be about."""


def attempt(link: Link, check: Callable[[], LinkResult]) -> LinkResult:
    """Run the check of a link; an error becomes its verdict."""
    try:
        return check()
    except BddzooError as error:
        verdict = _VERDICT_OF.get(error.exit_code, Verdict.MISSING)
        looked, published = verdict is not Verdict.MISSING, not isinstance(error, NotPublishedError)
        return LinkResult(link, verdict, reasons=(error.message,), looked=looked, published=published)
    except OSError as error:  # the other models are checked all the same
        what = f"{error.filename}: " if error.filename else ""
        reasons = (f"{what}{error.strerror or error}",)
        return LinkResult(link, Verdict.MISSING, reasons=reasons, looked=False)


def check_registry(model: Model, documents: Sequence[Path], split: str = "val") -> LinkResult:
    """Compare the registry's row with the zoo's own document: numbers with their decimals, names, links.

    Args:
        model: The model.
        documents: The zoo's Markdown documents; the first with a row for the model counts.
        split: Split whose numbers are compared.

    Raises:
        MissingError: A document cannot be read, or none has a row for the model.
        UsageError: One holds no tables that can be read.
    """
    rows = ((document, _row_of(model, _read_document(document))) for document in documents)
    document, found = next((pair for pair in rows if pair[1] is not None), (None, None))
    if document is None or found is None:
        raise MissingError(f"no row for {model.id} in {', '.join(map(str, documents))}")
    heading, row = found
    metrics = []
    for number in reported_on(model, split):
        assert number.value is not None
        printed = row.numbers.get((split, number.metric))
        same = printed is not None and str(printed) == str(number.value)
        kind = Verdict.REPRODUCED if same else Verdict.MISSING if printed is None else Verdict.DRIFTED
        said = "nothing" if printed is None else str(printed)
        reasons = () if same else (f"{number.column}: the registry has {number.value}, the document {said}",)
        difference = None if printed is None else float(printed - number.value)
        value = None if printed is None else float(printed)
        metrics.append(
            MetricVerdict(
                number.metric, number.column, kind, number.value, value, difference, Decimal(0), reasons
            )
        )
    if not metrics:
        reason = f"the zoo reports no number on split '{split}' for {model.id}"
        return LinkResult("registry", Verdict.MISSING, str(document), reasons=(reason,))
    compared, different = _compare_row(model, heading, row)
    verdicts = [m.verdict for m in metrics] + [Verdict.DRIFTED] * bool(different)
    why = (*(reason for metric in metrics for reason in metric.reasons), *different)
    return LinkResult(
        "registry", worst(verdicts), str(document), tuple(metrics), why, compared=("numbers", *compared)
    )


def _compare_row(model: Model, heading: Heading, row: Row) -> tuple[list[str], list[str]]:
    """What of a document's row, besides its numbers, agrees with the registry; and how the rest differs."""
    from bddzoo.registry.markdown.parse import row_of

    ours = row_of(model, heading.style)
    groups: dict[str, list[tuple[str, str | None, str | None]]] = {
        "names": [("heading", model.method.name, heading.name), ("backbone", ours.backbone, row.backbone)],
        "settings": _both(ours.settings, row.settings),
        "links": [(f"link of {kind}", a, b) for kind, a, b in _both(ours.links, row.links)],
    }
    if heading.paper is not None:
        paper = model.method.paper
        groups["paper"] = [("paper", paper.title if paper else None, heading.paper.title)]
        groups["paper"] += [("link of the paper", paper.url if paper else None, heading.paper.url)]
    compared = [name for name, pairs in groups.items() if pairs and all(a == b for _, a, b in pairs)]
    different = [
        f"{what}: the registry has {a or 'nothing'}, the document {b or 'nothing'}"
        for pairs in groups.values()
        for what, a, b in pairs
        if a != b
    ]
    return compared, different


def _both(a: Mapping[str, str], b: Mapping[str, str]) -> list[tuple[str, str | None, str | None]]:
    return [(key, a.get(key), b.get(key)) for key in dict.fromkeys((*a, *b))]


def _read_document(document: Path) -> Document:
    from bddzoo.registry.markdown.importer import import_markdown

    return import_markdown(read_text(document, "the document"), str(document))


def _row_of(model: Model, document: Document) -> tuple[Heading, Row] | None:
    """The model's row: the one with its id, or the only one with its heading, backbone and settings."""
    rows = [(heading, row) for heading in document.headings for row in heading.rows]
    named = [(heading, row) for heading, row in rows if row.id == model.id]
    alike = [
        (heading, row)
        for heading, row in rows
        if (heading.name, row.backbone) == (model.method.name, model.backbone)
        and dict(row.settings) == dict(model.settings)
    ]
    found = named or alike
    return found[0] if len(found) == 1 else None


def check_scores(model: Model, file: Path, split: str = "val") -> LinkResult:
    """Compare a published scores file with the reported numbers, to their printed precision.

    A file that says of itself that images were left out is believed.

    Raises:
        MissingError: The file cannot be read or is not a scores file.
    """
    found = read_score_file(file, model.task)
    record = new_record(
        model,
        summary=found.summary,
        per_class=found.classes,
        absent_classes=found.absent,
        protocol=_published(model, split, found),
        run=_run((str(file),)),
    )
    return from_report("scores", judge(model, record), str(file))


def check_predictions(
    model: Model, truth: Path, predictions: Path, data: Path, split: str = "val", workers: int = 1
) -> LinkResult:
    """Score published predictions and compare with the reported numbers.

    Raises:
        MissingError: Something cannot be scored.
    """
    from bddzoo.datasets.layouts import labels_of

    result = _score(model, truth, predictions, workers)
    scores = result.scores
    layout = model.dataset
    protocol = Fingerprint(
        dataset=dataset_id(data, layout),
        split=split,
        images=scores.frames,
        split_images=split_size(data, model.task, split, layout),
        skipped=tuple(sorted(result.skipped)),
        partial=scores.partial,
        evaluator="openseg" if labels_of(model) else "bdd100k",
        source="predictions",
        **_digests(model, data, split, scores.frames, workers),
    )
    record = new_record(
        model,
        summary=scores.summary,
        per_class=scores.table,
        absent_classes=scores.absent,
        protocol=protocol,
        run=_run((str(predictions),)),
    )
    return from_report("predictions", judge(model, record), str(predictions))


def _digests(model: Model, data: Path, split: str, scored: int, workers: int) -> dict[str, Any]:
    """Digests of the images and labels of a split; without an image list that was scored whole, none."""
    from bddzoo.datasets.layouts import layout_of
    from bddzoo.evaluation.det_frames import digest_box_labels

    try:
        frames = layout_of(model, data).listing(model.task, split, attributes=False).frames
    except MissingError:
        return {}  # labels without their images
    if len(frames) != scored:
        return {}
    digests: dict[str, Any] = {"image_list": digest_names(frame.name for frame in frames)}
    truth = model.protocol.ground_truth.get(split) if model.protocol else None
    if truth is not None and truth.labels is not None:
        files = [(frame.name, frame.label) for frame in frames if frame.label is not None]
        if model.task == DET.task:  # one file for all of them
            digests["labels"] = digest_box_labels(files)
        else:
            digests["labels"] = digest_label_files(model.task, files, workers)
    return digests


def _score(model: Model, truth: Path, predictions: Path, workers: int) -> Evaluation:
    """Scores of predictions of any of the kinds that zoos publish."""
    from bddzoo.datasets.layouts import labels_of
    from bddzoo.evaluation.det_frames import score_detections
    from bddzoo.evaluation.disk import evaluate
    from bddzoo.evaluation.labelled import evaluate_labels
    from bddzoo.evaluation.options import Options
    from bddzoo.evaluation.prediction_files import find_detections

    labels = labels_of(model)
    if labels is not None:
        masks = predictions / "masks"
        found = masks if masks.is_dir() else predictions
        return evaluate_labels(labels, truth, found, options=Options(workers=workers))

    # `predict` and the zoo's own script write scores and boxes next to the folder of bitmasks.
    if (predictions / "bitmasks").is_dir():
        predictions = predictions / "bitmasks"
    places = (predictions / "score.json", predictions.parent / "score.json") if predictions.is_dir() else ()
    result = evaluate(
        model.task,
        truth,
        predictions,
        score_file=next((place for place in places if place.is_file()), None),
        options=Options(workers=workers),
    )
    boxes = model.task == "ins_seg" and any(number.metric.startswith("box_") for number in model.reported)
    # Predictions without boxes leave the boxes' number unmeasured, and so `missing`.
    if boxes and (detections := find_detections(predictions)):
        result.scores = result.scores.with_scores(score_detections(truth, *detections))
    return result


def from_report(link: Link, report: VerdictReport, source: str) -> LinkResult:
    """A link's result from the verdict on a record."""
    return LinkResult(
        link, report.verdict, source, report.metrics, report.reasons, report.compared, report.not_compared
    )


def _published(model: Model, split: str, found: ScoreFile) -> Fingerprint:
    """The zoo's own protocol on the whole split, unless the file itself says that it was less."""
    protocol = model.protocol
    dataset = protocol.dataset if protocol else "unknown"
    whole = published_images(dataset, model.task, split) or found.frames or 1
    return Fingerprint(
        dataset=dataset,
        split=split,
        images=whole if found.frames is None else found.frames,
        split_images=whole,
        skipped=found.skipped,
        partial=found.partial,
        evaluator=protocol.evaluator if protocol else "unknown",
        source="scores",
    )


def _run(command: tuple[str, ...]) -> RunInfo:
    now = datetime.now(timezone.utc).strftime(TIME_FORMAT)
    return RunInfo(started=now, duration_s=0.0, command=command)
