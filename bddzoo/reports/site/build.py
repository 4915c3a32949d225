"""Puts the pages, their assets and images into a folder.

Images of predictions: checked, and copied into the site.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bddzoo.artifacts.probe import History
from bddzoo.errors import BddzooError, IntegrityError, MissingError
from bddzoo.registry import Registry
from bddzoo.registry.model import Model, Section
from bddzoo.registry.tasks import TASKS
from bddzoo.reports.facts import UNKNOWN, dataset_name, params_text, settings_text
from bddzoo.reports.site.evidence import IMAGES, Evidence, Report
from bddzoo.reports.site.folder import whole_folder
from bddzoo.reports.site.render import MARK, SharedBlocks, asset, front_script, render, share
from bddzoo.reports.site.values import (
    SiteColumn,
    class_table,
    columns,
    method_name,
    model_blocks,
    numbers,
    other_metrics,
    page_names,
    provenance,
    speeds,
)
from bddzoo.results.verdict import Verdict

# In the order in which the page explains them.
VERDICTS = {
    "reproduced": "Measured here, under the same protocol, on the whole set, with verified weights: the same "
    "within the tolerance.",
    "drifted": "Measured lower than reported, by more than the tolerance.",
    "better-than-reported": "Measured higher than reported, by more than the tolerance.",
    "incomparable": "Measured, but under another protocol, on another set, or on a part of it.",
    "unverified": "The number agrees, but nobody could verify the weights or the protocol, or the record "
    "contradicts itself.",
    "missing": "Nothing was measured, or nothing was reported. Never a pass.",
}


@dataclass(frozen=True)
class TaskTable:
    """One task's table.

    Attributes:
        task: Id of the task.
        title: The task in words.
        columns: Columns after the model's own.
        models: Rows, zoo by zoo in published order.
        rows: Text of every cell, row by row.
    """

    task: str
    title: str
    columns: Sequence[SiteColumn]
    models: Sequence[Model]
    rows: Sequence[Sequence[str]]

    @property
    def numeric(self) -> list[int]:
        """Positions of the columns of numbers, as a style sheet counts: the model's own is 1."""
        return [i for i, column in enumerate(self.columns, 2) if column.kind == "number"]

    @property
    def verdict(self) -> int:
        """Index of the verdict's column."""
        return next(i for i, column in enumerate(self.columns) if column.kind == "verdict")


def by_task(sections: Iterable[Section]) -> list[list[Section]]:
    """Sections of each task, tasks in the registry's order."""
    found: dict[str, list[Section]] = {}
    for section in sections:
        found.setdefault(section.task, []).append(section)
    return list(found.values())


def task_table(sections: Sequence[Section], evidence: Mapping[str, Evidence], history: History) -> TaskTable:
    """The table of one task, over all its zoos."""
    shown = columns(sections, evidence, history)
    models = [m for s in sections for m in s.models]
    task = sections[0].task
    rows = [[column.cell(model) for column in shown] for model in models]
    return TaskTable(task, TASKS[task].title, shown, models, rows)


def counts(registry: Registry, evidence: Mapping[str, Evidence]) -> dict[str, int]:
    """How many models there are, were measured, and were reproduced; models that are made up not counted."""
    real = [m for m in registry.models if not m.zoo.synthetic]
    return {
        "models": len(real),
        "zoos": len({m.zoo.id for m in real}),
        "datasets": len({dataset_name(m) for m in real}),
        "measured": sum(evidence[m.id].stored is not None for m in real),
        "reproduced": sum(str(evidence[m.id].verdict) == "reproduced" for m in real),
    }


def copy_images(
    models: Iterable[Model],
    evidence: Mapping[str, Evidence],
    names: Mapping[str, str],
    folder: Path,
    report: Report,
) -> dict[str, str]:
    """Copy each model's image; one that cannot be shown is reported, and the others are copied.

    Returns:
        Model id -> name of its image below `pictures`.
    """
    found: dict[str, str] = {}
    for model in models:
        source = evidence[model.id].image
        if source is None:
            continue
        name = names[model.id].removesuffix(".html") + source.suffix.lower()
        try:
            _check_image(source)
            (folder / "pictures").mkdir(exist_ok=True)
            shutil.copyfile(source, folder / "pictures" / name)
        except BddzooError as error:
            report(error)
            continue
        found[model.id] = name
    return found


def _check_image(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise MissingError(f"cannot read the image {path}: {error.strerror}") from None
    if not head.startswith(IMAGES[path.suffix.lower()]):
        raise IntegrityError(f"{path} is not the image that its name says: left out")


# Order of the kinds of blocks there: papers, citations, protocols, training, commands, files.
ORDER = "pcrtkf"


@dataclass(frozen=True)
class Built:
    """What was written.

    Attributes:
        models: Number of models.
        size_bytes: Of everything but images.
        images: Number of images.
    """

    models: int
    size_bytes: int
    images: int


def build_site(
    registry: Registry,
    evidence: Mapping[str, Evidence],
    target: Path,
    *,
    history: History,
    report: Report,
    title: str = "bddzoo",
) -> Built:
    """Write the whole site; the same input gives the same bytes.

    Args:
        registry: The registry.
        evidence: By model id, see `gather`.
        target: Folder; absent, empty, or an earlier site, which is replaced whole.
        history: What is known of the files' health.
        report: Called with each image that cannot be shown.
        title: The site's name.

    Raises:
        UsageError: The folder holds something else.
        MissingError: It cannot be written, or the registry is empty.
    """
    if not registry.models:
        raise MissingError("the registry has no models: nothing to show", hint="see 'bddzoo registry check'")
    names = page_names(registry.models)
    with whole_folder(target) as folder:
        images = copy_images(registry.models, evidence, names, folder, report)
        shared = share({m.id: model_blocks(m, history) for m in registry.models})
        texts = front_files(registry, evidence, history, names, title) | _facts(shared, title)
        for model in registry.models:
            texts[f"models/{names[model.id]}"] = _model(
                model, evidence[model.id], shared, images.get(model.id), title
            )
        size = 0
        for name, text in texts.items():
            content = text.encode("utf-8")
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
            size += len(content)
    return Built(len(registry.models), size, len(images))


def _assets(title: str) -> dict[str, str]:
    # Without the last one, GitHub Pages leaves out files whose names start with an underscore.
    return {
        "site.css": asset("site.css"),
        "page.js": f"const SITE = {json.dumps(title)};\n" + asset("page.js"),
        "site.js": front_script(),
        ".nojekyll": "",
    }


def front_files(
    registry: Registry,
    evidence: Mapping[str, Evidence],
    history: History,
    names: Mapping[str, str],
    title: str = "bddzoo",
) -> dict[str, str]:
    """The front page and the files that every page uses, by name.

    Args:
        registry: The registry.
        evidence: By model id, see `gather`.
        history: What is known of the files' health.
        names: Model id -> file name of its page.
        title: The site's name.
    """
    front = render(
        "index.html",
        title=title,
        tables=[task_table(sections, evidence, history) for sections in by_task(registry.sections)],
        names=names,
        zoos=registry.zoos,
        counts=counts(registry, evidence),
        verdicts=VERDICTS.items(),
        UNKNOWN=UNKNOWN,
    )
    return {"index.html": front, **_assets(title)}


def _facts(shared: SharedBlocks, title: str) -> dict[str, str]:
    """The page of what other pages share; they take it from there."""
    from markupsafe import Markup

    names = sorted(shared.blocks, key=lambda name: (ORDER.index(name[0]), int(name[1:])))
    blocks = [(name, Markup(shared.blocks[name])) for name in names]
    return {"facts.html": render("facts.html", title=title, blocks=blocks, mark=MARK)}


def _model(model: Model, evidence: Evidence, shared: SharedBlocks, image: str | None, title: str) -> str:
    from markupsafe import Markup

    looked = any(link.verdict is not Verdict.MISSING for link in evidence.chain)
    return render(
        "model.html",
        title=title,
        m=model,
        task=TASKS[model.task].title,
        lead=_lead(model),
        evidence=evidence,
        looked=looked,
        numbers=numbers(model, evidence),
        others=other_metrics(model, evidence),
        classes=class_table(evidence.record),
        provenance=provenance(evidence),
        speeds=speeds(evidence),
        shared=shared.names[model.id],
        own=Markup(shared.own[model.id]),
        image=image,
        UNKNOWN=UNKNOWN,
    )


def _lead(model: Model) -> str:
    params = params_text(model)
    parts = [
        method_name(model),
        model.backbone,
        settings_text(model),
        "" if params == UNKNOWN else f"{params} parameters",
        model.zoo.id,
    ]
    return " · ".join(part for part in parts if part)
