"""The chain of evidence from a reported number down to the weights, link by link.

    registry     the registry's number is what the zoo's document says
    scores       the published scores file gives that number, to its printed precision
    predictions  the published predictions, scored here, give it too
    weights      inference with the verified weights gives it, within tolerance

A link that could not be looked at is `missing`, never a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bddzoo.errors import BddzooError, ExitCode
from bddzoo.registry.model import Model
from bddzoo.results.record import TIME_FORMAT, Fingerprint, Record, RunInfo, new_record
from bddzoo.results.scorefile import ScoreFile, read_score_file
from bddzoo.results.verdict import MetricVerdict, Verdict, VerdictReport, judge, worst

if TYPE_CHECKING:
    from bddzoo.evaluation.options import Evaluation
    from bddzoo.registry.markdown.document import Document, Row

Link = Literal["registry", "scores", "predictions", "weights"]
LINKS: tuple[Link, ...] = ("registry", "scores", "predictions", "weights")

# What went wrong with looking, and what that means for the link.
_VERDICT_OF = {
    ExitCode.INTEGRITY: Verdict.UNVERIFIED,
    ExitCode.INCOMPARABLE: Verdict.INCOMPARABLE,
}


@dataclass(frozen=True)
class LinkResult:
    """What one link showed.

    Attributes:
        link: Which.
        verdict: See `Verdict`.
        source: What was looked at, in words; empty where there was nothing.
        metrics: One entry for each reported number.
        reasons: Why it is not `reproduced`.
        record: The measurement behind it, if one was made.
    """

    link: Link
    verdict: Verdict
    source: str = ""
    metrics: tuple[MetricVerdict, ...] = ()
    reasons: tuple[str, ...] = ()
    record: Record | None = None


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
        """The first link that does not hold, or None."""
        return next((link for link in self.links if link.verdict is not Verdict.REPRODUCED), None)


def attempt(link: Link, check: Callable[[], LinkResult]) -> LinkResult:
    """Run the check of a link; an error becomes its verdict."""
    try:
        return check()
    except BddzooError as error:
        verdict = _VERDICT_OF.get(error.exit_code, Verdict.MISSING)
        return LinkResult(link, verdict, reasons=(error.message,))
    except OSError as error:  # the other models are checked all the same
        what = f"{error.filename}: " if error.filename else ""
        return LinkResult(link, Verdict.MISSING, reasons=(f"{what}{error.strerror or error}",))


def check_registry(model: Model, documents: Sequence[Path], split: str = "val") -> LinkResult:
    """Compare the registry's numbers with the zoo's own document, decimals included.

    Args:
        model: The model.
        documents: The zoo's Markdown documents; the first with a row for the model counts.
        split: Split whose numbers are compared.

    Raises:
        MissingError: A document cannot be read, or none has a row for the model.
        UsageError: One holds no tables that can be read.
    """
    from bddzoo.errors import MissingError

    rows = ((document, _row_of(model, _read_document(document))) for document in documents)
    document, row = next((pair for pair in rows if pair[1] is not None), (None, None))
    if document is None or row is None:
        raise MissingError(f"no row for {model.id} in {', '.join(map(str, documents))}")
    metrics = []
    for number in model.reported:
        if number.split != split or number.value is None:
            continue
        printed = row.numbers.get((split, number.metric))
        same = printed is not None and str(printed) == str(number.value)
        kind = Verdict.REPRODUCED if same else Verdict.MISSING if printed is None else Verdict.DRIFTED
        said = "nothing" if printed is None else str(printed)
        reasons = () if same else (f"{number.column}: the registry has {number.value}, the document {said}",)
        difference = None if printed is None else float(printed - number.value)
        found = None if printed is None else float(printed)
        metrics.append(
            MetricVerdict(
                number.metric, number.column, kind, number.value, found, difference, Decimal(0), reasons
            )
        )
    return _result("registry", metrics, str(document), model, split)


def _read_document(document: Path) -> Document:
    from bddzoo.errors import MissingError
    from bddzoo.registry.markdown.importer import import_markdown

    try:
        text = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MissingError(f"cannot read the document {document}: {error}") from error
    return import_markdown(text, str(document))


def _row_of(model: Model, document: Document) -> Row | None:
    """The model's row: the one with its id, else the only one with its heading, backbone and settings."""
    rows = [(heading, row) for heading in document.headings for row in heading.rows]
    named = [row for _, row in rows if row.id == model.id]
    alike = [
        row
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
    found = read_score_file(file)
    record = new_record(
        model,
        summary=found.summary,
        per_class=found.classes,
        absent_classes=found.absent,
        protocol=_published(model, split, found),
        run=_run((str(file),)),
    )
    return from_report("scores", judge(model, record), str(file), record)


def check_predictions(
    model: Model, truth: Path, predictions: Path, data: Path, split: str = "val", workers: int = 1
) -> LinkResult:
    """Score published predictions and compare with the reported numbers.

    Args:
        model: The model.
        truth: Ground-truth labels of the split.
        predictions: Folder, JSON file or archive.
        data: Data set that the labels are of.
        split: Split.
        workers: Threads.

    Raises:
        MissingError: Something cannot be scored.
    """
    from bddzoo.datasets.identity import dataset_id, split_size
    from bddzoo.datasets.layouts import dataset_of, labels_of

    result = _score(model, truth, predictions, workers)
    scores = result.scores
    layout = dataset_of(model)
    protocol = Fingerprint(
        dataset=dataset_id(data, layout),
        split=split,
        images=scores.frames,
        split_images=split_size(data, model.task, split, layout),
        skipped=tuple(sorted(result.skipped)),
        partial=scores.partial,
        evaluator="openseg" if labels_of(model) else "bdd100k",
        source="predictions",
    )
    record = new_record(
        model,
        summary=scores.summary,
        per_class=scores.table,
        absent_classes=scores.absent,
        protocol=protocol,
        run=_run((str(predictions),)),
    )
    return from_report("predictions", judge(model, record), str(predictions), record)


def _score(model: Model, truth: Path, predictions: Path, workers: int) -> Evaluation:
    """Scores of predictions of any of the kinds that zoos publish."""
    from bddzoo.datasets.layouts import labels_of
    from bddzoo.evaluation.boxfile import find_detections, score_detections
    from bddzoo.evaluation.disk import evaluate
    from bddzoo.evaluation.labelled import evaluate_labels
    from bddzoo.evaluation.options import Options

    labels = labels_of(model)
    if labels is not None:
        masks = predictions / "masks"
        found = masks if masks.is_dir() else predictions
        return evaluate_labels(labels, truth, found, options=Options(workers=workers))

    # `predict` and the zoo's own script write scores and boxes beside the folder of bitmasks.
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


def from_report(link: Link, report: VerdictReport, source: str, record: Record | None) -> LinkResult:
    """A link's result from the verdict on a record."""
    return LinkResult(link, report.verdict, source, report.metrics, report.reasons, record)


def _published(model: Model, split: str, found: ScoreFile) -> Fingerprint:
    """The zoo's own protocol on the whole split, unless the file itself says that it was less."""
    from bddzoo.datasets.identity import published_images

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
    from datetime import datetime, timezone

    now = datetime.now(timezone.utc).strftime(TIME_FORMAT)
    return RunInfo(started=now, duration_s=0.0, command=command)


def _result(link: Link, metrics: list[MetricVerdict], source: str, model: Model, split: str) -> LinkResult:
    if not metrics:
        reason = f"the zoo reports no number on split '{split}' for {model.id}"
        return LinkResult(link, Verdict.MISSING, source, reasons=(reason,))
    reasons = tuple(reason for metric in metrics for reason in metric.reasons)
    return LinkResult(link, worst(m.verdict for m in metrics), source, tuple(metrics), reasons)
