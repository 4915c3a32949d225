"""`bddzoo registry pin`, `count` and `add`: change the registry in place, comments and order kept."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, Named
from bddzoo.cli.select import Selection
from bddzoo.errors import ExitCode, IntegrityError, MissingError, UsageError

if TYPE_CHECKING:
    from bddzoo.artifacts import Entry
    from bddzoo.registry.edit import Editor
    from bddzoo.registry.model import Model, Section


@opt.command(
    epilog="""\b
Examples:
  bddzoo registry pin --dry-run
  bddzoo registry pin 'mask_rcnn*'
"""
)
def pin(app: App, *, selection: Selection = opt.SELECTION, dry_run: bool = opt.DRY_RUN) -> int:
    """Fill in digests and sizes that were observed, from files that are in the cache."""
    editor, path = open_editor(app)
    chosen = {m.id: m for m in selection.models(app, needed=False)}
    entries = [e for e in app.cache.entries() if e.model in chosen]
    if not entries:
        raise MissingError(
            "no file of these models is in the cache", hint="download some with 'bddzoo fetch'"
        )
    changed = []
    for entry in entries:
        if pin_entry(editor, chosen[entry.model], entry):
            changed.append((entry.model, entry.kind))
            app.detail(f"{entry.model}: {entry.kind}")
    finish(app, editor, path, dry_run)
    if app.json:
        app.data_json([{"model": model, "kind": kind} for model, kind in changed])
    app.say(f"{len(changed)} of {len(entries)} files in the cache {'would be' if dry_run else 'were'} pinned")
    return 0


def open_editor(app: App) -> tuple[Editor, Path]:
    """The registry's file, ready to be changed, and its path.

    Raises:
        UsageError: It is not a file.
    """
    from bddzoo.registry.edit import Editor
    from bddzoo.registry.reader import read_text

    path = app.registry.path
    if path is None:
        raise UsageError("this registry is not a file")
    return Editor(read_text(path), str(path)), path


def finish(app: App, editor: Editor, path: Path, dry_run: bool) -> None:
    """Write the file, or show what would change.

    Raises:
        UsageError: Somebody has written it since it was read; a download takes its time.
    """
    from bddzoo.registry.reader import read_text
    from bddzoo.reports.documents import diff, write_document

    old = editor.original
    if editor.text == old:
        return
    if read_text(path) != old:
        raise UsageError(f"{path} was changed meanwhile, and is left as it is", hint="run the command again")
    if dry_run:
        if not app.json:
            app.data(diff(old, editor.text, str(path)))
        return
    write_document(path, editor.text)


_PAIR = "NAME=VALUE"
_WHOLE = re.compile(r"0|[1-9][0-9]*")
_PRINTED = re.compile(r"(0|[1-9][0-9]{0,2})(\.[0-9]{1,9})?")


@opt.command(
    epilog="""\b
Examples:
  bddzoo registry count 'fcn*' --dry-run
  bddzoo registry count --check
"""
)
def count(
    app: App, *, selection: Selection = opt.SELECTION, check: bool = opt.CHECK, dry_run: bool = opt.DRY_RUN
) -> int:
    """Count parameters, state-dict entries and operations of networks, and write them down.

    Networks are built, and run without computing anything, on one 1280x720 image by their protocol.
    """
    from bddzoo.cli.progress import Bar
    from bddzoo.engines.registry_config import is_buildable

    models = [m for m in selection.models(app, needed=False) if is_buildable(m) and m.protocol is not None]
    if not models:
        raise MissingError("none of these models has a network to count", hint="see 'bddzoo list'")
    editor, path = open_editor(app)
    changed: list[dict[str, Any]] = []
    with Bar(app, "networks") as bar:
        for number, model in enumerate(models, start=1):
            bar.step(model.id)
            found = counts_of(model)
            known = dict(editor.model_data(model.id).get("counts") or {})
            if {key: str(value) for key, value in known.items()} != {k: str(v) for k, v in found.items()}:
                changed.append({"model": model.id, "before": known, "now": found})
            bar.update(number, len(models))
    if not check and changed:
        editor.set_in_models("counts", {row["model"]: row["now"] for row in changed})
        finish(app, editor, path, dry_run)
    if app.json:
        app.data_json(changed)
    elif check:
        for row in changed:
            app.data(f"{row['model']}: {row['before']} is {row['now']}")
    app.say(f"{len(changed)} of {len(models)} models differ")
    return int(ExitCode.NOT_REPRODUCED if check and changed else ExitCode.OK)


def counts_of(model: Model) -> dict[str, Any]:
    """Parameters, entries of the state dict, and 10^9 operations of one 1280x720 image by the protocol."""
    from decimal import Decimal

    from bddzoo.engines.flops import count_flops
    from bddzoo.engines.load import build_network
    from bddzoo.inference.batches import frame_input_size
    from bddzoo.inference.pipeline import protocol_of

    protocol = protocol_of(model)
    module = build_network(model)
    size = frame_input_size(protocol)
    return {
        "params": sum(p.numel() for p in module.parameters()),
        "entries": len(module.state_dict()),
        "gflops": Decimal(f"{count_flops(module, model, size) / 1e9:.2f}"),
    }


@opt.command(
    epilog="""\b
Examples:
  bddzoo registry add my_fpn --like fpn_r50_512x1024_40k_sem_seg_bdd100k \\
      --reported mIoU=60.12 --weights my.pth --url https://example.org/my.pth
  bddzoo registry add my_net --zoo bdd100k-models -t sem_seg --method FCN \\
      --backbone R-50-D8 --setting Iters=40K --reported mIoU-test=53.00
"""
)
def add(
    app: App,
    *,
    model_id: str = opt.argument(metavar="ID"),
    given: dict[str, Any] = opt.gathered(
        dict,
        like=opt.option(
            "--like", shell_complete=opt.complete_models, metavar="MODEL", help="Model to take the rest from."
        ),
        zoo=opt.option("--zoo", metavar="ZOO", help="Zoo."),
        task=opt.option("-t", "--task", metavar="TASK", help="Task."),
        method=opt.option("--method", metavar="NAME", help="Method."),
        backbone=opt.option("--backbone", metavar="NAME", help="Backbone."),
        settings=opt.option(
            "--setting", multiple=True, metavar=_PAIR, help="A column: Iters=40K; repeatable."
        ),
        reported=opt.option(
            "--reported",
            multiple=True,
            metavar=_PAIR,
            help="A number: mIoU-val=60.12, or without a split one on val; repeatable.",
        ),
        weights=opt.option("--weights", type=Named(), metavar="FILE", help="Local file to take digests of."),
        url=opt.option(
            "--url",
            metavar="URL",
            help="Where the weights are published; downloaded for digests without --weights.",
        ),
        notes=opt.option("--note", multiple=True, metavar="TEXT", help="What is odd about the model."),
    ),
    dry_run: bool = opt.DRY_RUN,
) -> int:
    """Add a model: checks it with schema and lint, and says what its zoo would still ask for."""
    from bddzoo.registry import load_text
    from bddzoo.registry.edit import assumed_files, missing_facts
    from bddzoo.registry.lint import lint, open_findings

    if model_id in app.registry.by_id:
        raise UsageError(f"there is a model '{model_id}' already", hint="change its entry in the file")
    editor, path = open_editor(app)
    like = app.registry.find(given["like"]) if given["like"] else None
    zoo = given["zoo"] or (like.zoo.id if like else None) or _ask("zoo", given)
    task = given["task"] or (like.task if like else None) or _ask("task", given)
    method = given["method"] or (like.method.name if like else None) or _ask("method", given)
    section = app.registry.section(zoo, task)
    index = next(i for i, z in enumerate(app.registry.zoos) if z.id == zoo)
    if like is None and sys.stdin.isatty():
        given = _ask_row(section, method, given)
    entry = _entry(editor, model_id, like, given)
    before = {(f.code, f.subject.name, f.message) for f in open_findings(lint(app.registry))}
    editor.add_model(("zoos", index, "tasks", section.task), method, entry)
    if given["weights"] or given["url"]:
        pin_weights(editor, model_id, given["weights"], given["url"], app.cache_dir)
    registry = load_text(editor.text, str(path), path)
    fresh = [f for f in open_findings(lint(registry)) if (f.code, f.subject.name, f.message) not in before]
    missing = missing_facts(registry.find(model_id))
    assumed = assumed_files(registry.find(model_id))
    finish(app, editor, path, dry_run)
    if app.json:
        findings = [{"code": f.code, "subject": f.subject.name, "message": f.message} for f in fresh]
        app.data_json({"id": model_id, "missing": missing, "assumed": assumed, "findings": findings})
    else:
        for finding in fresh:
            app.data(f"{finding.code} {finding.subject.name}: {finding.message}")
        for what in missing:
            app.data(f"missing: {what}")
        for kind, url in assumed.items():
            app.data(f"to be put at the zoo's usual place, or {kind}: false in the entry: {url}")
    app.say(f"{model_id} {'would be' if dry_run else 'was'} added to {path}")
    return int(ExitCode.NOT_REPRODUCED) if fresh else 0


def _ask(what: str, given: Mapping[str, Any]) -> str:
    """A value from the user, where there is one to ask."""
    if not sys.stdin.isatty():
        raise UsageError(f"which {what}?", hint=f"say it with --{what}, or name a model with --like")
    return str(click.prompt(what, err=True))


def _ask_row(section: Section, method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the user says of a row's columns, numbers and weights; an empty answer leaves one out."""
    answers = {**given, "backbone": given["backbone"] or _ask("backbone", given)}
    heading = next((m for m in section.methods if m.name == method), None)
    style = section.styles.get(heading.table) if heading else None

    def ask(what: str) -> str:
        return str(click.prompt(f"{what} (empty: none)", default="", show_default=False, err=True)).strip()

    def told(option: str, name: str) -> bool:
        names = (text.partition("=")[0].strip() for text in answers[option])
        return any(_full(given) == name if option == "reported" else given == name for given in names)

    for column in style.columns if style else ():
        if column.kind == "setting":
            option, name = "settings", column.name
        elif column.metric is not None and column.metric[0] in ("val", "test"):
            option, name = "reported", "{1}-{0}".format(*column.metric)
        else:
            continue
        if not told(option, name) and (text := ask(column.name)):
            answers[option] = (*answers[option], f"{name}={text}")
    if not answers["weights"] and not answers["url"]:
        file, url = ask("local file of the weights"), ask("URL of the weights")
        answers |= {"weights": Path(file) if file else None, "url": url or None}
    return answers


def pin_entry(editor: Editor, model: Model, entry: Entry) -> bool:
    """Fill in the digests and size of a file of the cache.

    Returns:
        Whether anything was new.

    Raises:
        IntegrityError: The file is not the one that the registry means.
    """
    from bddzoo.registry.edit import pin_text, pinned

    artifact = next((a for a in model.artifacts if a.kind == entry.kind), None)
    if artifact is None:
        return False
    for digest in artifact.digests:
        if not entry.hashes.get(digest.algorithm).startswith(digest.hex):
            raise IntegrityError(
                f"{model.id}: {entry.kind} in the cache has another {digest.algorithm} than the registry",
                hint="check it with 'bddzoo cache verify'",
            )
    day = entry.fetched[:10]
    published = entry.published_digest
    texts = [pin_text(published.algorithm, published.hex, "published", day)] if published else []
    texts += [pin_text("md5", entry.md5, "observed", day), pin_text("sha256", entry.sha256, "observed", day)]
    have = {d.algorithm for d in artifact.digests}
    if artifact.size_bytes is not None and {"md5", "sha256"} <= have:
        return False
    own = editor.model_data(model.id).get("artifacts", {})
    new = {**own, entry.kind: pinned(own.get(entry.kind), texts, f"{entry.size_bytes} observed {day}")}
    editor.set_model_key(model.id, "artifacts", new)
    return True


def pin_weights(
    editor: Editor, model_id: str, file: Path | None, url: str | None, cache: Path | None
) -> None:
    """Write source, size and digests of a model's weights, from a local file, otherwise from a download.

    Args:
        editor: The registry's file, with the model in it.
        model_id: The model.
        file: Local file of the weights; None to download them.
        url: Where they are published.
        cache: Cache folder that a download goes to; None for the default one.

    Raises:
        MissingError: The file cannot be read.
        NetworkError: The download failed.
    """
    from bddzoo.artifacts import Cache, Fetcher, hash_file
    from bddzoo.registry import load_text
    from bddzoo.registry.edit import pin_text

    weights: dict[str, Any] = {"sources": [url]} if url else {"name": file.name} if file else {}
    if file is not None:
        try:
            found = hash_file(file)
            size = file.stat().st_size
        except OSError as error:
            raise MissingError(f"cannot read {file}: {error.strerror or error}") from None
    else:
        editor.set_model_key(model_id, "artifacts", {"weights": weights})
        model = load_text(editor.text, editor.name).find(model_id)
        result = Fetcher(Cache(cache)).fetch(model, "weights")
        found, size = {"md5": result.md5, "sha256": result.sha256}, result.size_bytes
    day = datetime.now(timezone.utc).date().isoformat()
    weights["digests"] = [pin_text(name, digits, "observed", day) for name, digits in found.items()]
    weights["size"] = f"{size} observed {day}"
    editor.set_model_key(model_id, "artifacts", {"weights": weights})


def _entry(editor: Editor, model_id: str, like: Model | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The new entry: what was given, over what a like model has of architecture and training."""
    base = editor.model_data(like.id) if like else {}
    backbone = given["backbone"] or base.get("backbone") or _ask("backbone", given)
    entry: dict[str, Any] = {"id": model_id, "backbone": backbone}
    settings = {**base.get("settings", {}), **_pairs(given["settings"], "--setting")}
    if settings:
        entry["settings"] = {k: int(v) if _WHOLE.fullmatch(str(v)) else v for k, v in settings.items()}
    reported: dict[str, dict[str, Any]] = {}
    for name, text in _pairs(given["reported"], "--reported").items():
        metric, _, split = _full(name).rpartition("-")
        if metric in reported.get(split, {}):
            raise UsageError(f"--reported {_full(name)} is given twice")
        reported.setdefault(split, {})[metric] = _number(text, f"--reported {name}")
    if reported:
        entry["reported"] = reported
    entry.update({k: base[k] for k in ("network", "counts", "protocol", "training") if k in base})
    if given["notes"]:
        entry["notes"] = list(given["notes"])
    return entry


def _full(name: str) -> str:
    """A metric with its split; val where none is named."""
    return name if name.rpartition("-")[2] in ("val", "test") else f"{name}-val"


def _pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise UsageError(f"cannot read {option} '{text}'", hint=f"write it as {_PAIR}")
        if name.strip() in found:
            raise UsageError(f"{option} {name.strip()} is given twice")
        found[name.strip()] = value.strip()
    return found


def _number(text: str, what: str) -> Any:
    from decimal import Decimal

    # As a table prints it: Decimal also takes 6e1, 6_0 and the digits of other scripts.
    value = Decimal(text) if _PRINTED.fullmatch(text) else None
    if value is None or value > 100:
        raise UsageError(f"{what}: expected a number between 0 and 100, got '{text}'")
    return value
