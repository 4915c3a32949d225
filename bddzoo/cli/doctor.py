"""`bddzoo doctor` and `config`: what this machine has, and every setting with where it is from."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from bddzoo.cli import options as opt
from bddzoo.cli.app import App
from bddzoo.cli.installed import (
    BROKEN,
    MISSING,
    NOTE,
    OK,
    Check,
    check_engines,
    check_extras,
    check_opencv,
    check_torch,
)
from bddzoo.cli.output import COLOURS, painted, wrapped
from bddzoo.cli.select import find_data
from bddzoo.config import SETTINGS, Setting, read_config
from bddzoo.errors import BddzooError, ExitCode
from bddzoo.files import format_size, free_bytes, not_writable
from bddzoo.text import printable
from bddzoo.version import __version__


@opt.command(
    epilog="""\b
Examples:
  bddzoo doctor
  bddzoo doctor --data /data/bdd100k --format json
"""
)
def command(app: App, *, data: Path | None = opt.DATA, results: Path | None = opt.RESULTS) -> int:
    """Report what this machine has, and what to do about the rest.

    The exit status is 0 where `list` and `fetch` can work (and the data set was found, if --data was given);
    what else is missing is only reported.
    """
    checks = []
    for check in all_checks(app, find_data(app, data), results):
        checks.append(check)
        if not app.json:
            colour = COLOURS.get(check.state) if app.colours(sys.stdout) else None
            mark = painted(f"{check.state:8}", colour)
            # The first line is as wide as the plain one, whatever the colour adds to it.
            text = wrapped(printable(f"{check.state:8}{check.name:15} {check.found}"), further=" " * 24)
            app.data(mark + text[8:], safe=True)
            if check.advice and check.state != OK:
                app.data(wrapped(f"-> {check.advice}", " " * 24, " " * 27))
    code = next((int(check.exit_code) for check in checks if check.exit_code), 0)
    if app.json:
        rows = [{**asdict(check), "exit_code": int(check.exit_code)} for check in checks]
        app.data_json({"ok": code == 0, "checks": rows})
    return code


def all_checks(app: App, data: Path | None, results: Path | None) -> Iterator[Check]:
    """Every check, in the order in which it is shown."""
    yield check_python()
    yield check_registry(app)
    yield check_cache(app)
    yield check_results(results)
    yield from check_extras()
    yield from check_torch()
    yield from check_engines()
    yield check_opencv()
    yield from check_data(data)


def check_python() -> Check:
    """The interpreter and the machine."""
    from bddzoo.results.environment import cpu_model, usable_cores

    machine = f"{platform.system()} {platform.machine()}, {usable_cores()} cores, {cpu_model()}"
    return Check(
        "python", OK, f"{platform.python_version()} ({sys.executable}), bddzoo {__version__}; {machine}"
    )


def check_registry(app: App) -> Check:
    """The registry loads."""
    try:
        registry = app.registry
    except BddzooError as error:
        return Check("registry", BROKEN, error.message, error.hint or "correct the file", error.exit_code)
    counts: dict[str, int] = {}
    for model in registry.models:
        counts[model.zoo.id] = counts.get(model.zoo.id, 0) + 1
    zoos = ", ".join(f"{zoo} {count}" for zoo, count in counts.items())
    return Check("registry", OK, f"{registry.path}: {len(registry.models)} models ({zoos})")


def check_cache(app: App) -> Check:
    """The cache folder can be written to, and has room."""
    advice = "choose one with --cache DIR or BDDZOO_CACHE"
    try:
        root = Path(app.cache.root)
    except BddzooError as error:
        return Check("cache", BROKEN, error.message, error.hint or advice, error.exit_code)
    reason = not_writable(root)
    if reason:
        return Check("cache", BROKEN, f"cannot write to {root}: {reason}", advice, ExitCode.USAGE)
    free = free_bytes(root)
    found = f"{root}: {format_size(free)} free"
    if free is not None and free < 2 * 10**9:
        return Check("cache", NOTE, found, "the larger weights files have 1 GB: choose a roomier --cache DIR")
    return Check("cache", OK, found)


def check_results(folder: Path | None) -> Check:
    """Where records go."""
    from bddzoo.results.store import default_root

    advice = "choose one with --results DIR or BDDZOO_RESULTS"
    try:
        root = default_root(folder)
    except BddzooError as error:
        return Check("results", BROKEN, error.message, error.hint or advice)
    reason = not_writable(root)
    if reason:
        return Check("results", BROKEN, f"cannot write to {root}: {reason}", advice)
    return Check("results", OK, str(root))


def check_data(root: Path | None) -> Iterator[Check]:
    """A data set's folder: which splits and labels it has; BDD100K's unless it says or looks otherwise."""
    if root is None:
        yield Check(
            "data", NOTE, "no folder given", "bddzoo doctor --data ROOT, or make one: bddzoo data mini"
        )
        return
    from bddzoo.datasets.classes import BDD_LAYOUT
    from bddzoo.datasets.identity import split_size
    from bddzoo.datasets.layouts import guess_dataset, open_layout

    dataset = guess_dataset(root)
    try:
        layout = open_layout(root, dataset)
    except BddzooError as error:
        yield Check("data", MISSING, error.message, error.hint or "", error.exit_code)
        return
    usable = False
    for task in ("sem_seg", "ins_seg") if dataset in BDD_LAYOUT else ("sem_seg",):
        try:
            listing = layout.listing(task, "val", attributes=False)
        except BddzooError as error:
            yield Check(f"data {task}", MISSING, error.message, error.hint or "")
            continue
        usable = True
        count, whole = len(listing.frames), split_size(root, task, "val", dataset)
        found = f"{root}: {count} val images with labels"
        mismatch = listing.mismatch()
        if mismatch:
            yield Check(f"data {task}", NOTE, f"{found}; {mismatch}", "bddzoo data check says more")
        elif whole is not None and count != whole:
            kind = "a partial" if count < whole else "another"
            yield Check(f"data {task}", NOTE, f"{found}; the split has {whole}", f"numbers are of {kind} set")
        else:
            yield Check(f"data {task}", OK, found)
    if not usable:
        yield Check("data", MISSING, f"{root}: nothing to evaluate on", "", ExitCode.MISSING)


@opt.command(
    epilog="""\b
What is typed beats the environment, which beats the config file:
  mirrors: [https://host/zoo, /mnt/zoo]
  data: /data/bdd100k
  data: {bdd100k: /data/bdd100k, ade20k: /data/ade20k}   # or one for each set
\b
Examples:
  bddzoo config
  BDDZOO_DATA=/data/bdd100k bddzoo config --format json
"""
)
def config(app: App) -> int:
    """Show every setting, its value, and where it is from."""
    config = read_config()
    rows = [(s, *_value(app, s)) for s in SETTINGS]
    if app.json:
        app.data_json(
            {
                "config_file": config.path,
                "settings": [
                    {
                        "name": s.name,
                        "value": value,
                        "from": origin,
                        "option": s.option,
                        "variable": s.variable,
                    }
                    for s, value, origin in rows
                ],
            }
        )
        return 0
    app.table(("setting", "value", "from"), [(s.name, value or "-", origin) for s, value, origin in rows])
    there = config.path is not None and config.path.is_file()
    app.say(
        f"config file: {config.path or 'none, for there is no home folder'}{'' if there else ' (not there)'}"
    )
    return 0


def _value(app: App, setting: Setting) -> tuple[str, str]:
    """Value and origin of a setting."""
    typed = {"registry": "registry_path", "cache": "cache_dir", "color": "color"}.get(setting.name, "")
    if typed in app.typed:
        return str(getattr(app, typed)) if typed != "color" else "off", setting.option
    config = read_config()
    from_file = {
        "mirrors": " ".join(config.mirrors),
        "data": ", ".join(f"{name}: {root}" if name else str(root) for name, root in config.data.items()),
    }.get(setting.key, "")
    if value := os.environ.get(setting.variable):
        if setting.name == "mirrors" and from_file:
            return f"{value} {from_file}", f"{setting.variable} and config file"
        return ("off" if setting.name == "color" else value), setting.variable
    if from_file:
        return from_file, "config file"
    return _default(app, setting.name), "default"


def _default(app: App, name: str) -> str:
    """Value of a setting that nobody set."""
    from bddzoo.registry.catalog import default_path
    from bddzoo.results import default_root

    defaults: dict[str, Callable[[], object]] = {
        "registry": default_path,
        "cache": lambda: app.cache.root,
        "results": default_root,
        "color": lambda: "on",
        "native": lambda: "1",
    }
    return str(defaults[name]()) if name in defaults else ""
