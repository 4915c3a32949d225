"""`bddzoo config`: every setting, its value, and where it is from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from bddzoo.cli import options as opt
from bddzoo.cli.app import App
from bddzoo.config import SETTINGS, Setting, read_config


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
def command(app: App) -> int:
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
    default = _DEFAULTS.get(setting.name)
    return default(app) if default else "", "default"


def _cache(app: App) -> str:
    from bddzoo.artifacts import Cache

    return str(Cache(app.cache_dir).root)


def _registry(app: App) -> str:
    from bddzoo.registry.catalog import default_path

    return str(default_path())


def _results(app: App) -> str:
    from bddzoo.results import default_root

    return str(Path(default_root()))


_DEFAULTS: dict[str, Callable[[App], str]] = {
    "registry": _registry,
    "cache": _cache,
    "results": _results,
    "color": lambda app: "on",
    "native": lambda app: "1",
}
