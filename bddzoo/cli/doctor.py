"""`bddzoo doctor`: what this machine has, and what to do about the rest."""

from __future__ import annotations

from pathlib import Path

import click

from bddzoo.cli.app import App, ZooCommand


@click.command(
    cls=ZooCommand,
    epilog="""\b
Examples:
  bddzoo doctor
  bddzoo doctor --data /data/bdd100k --format json
""",
)
@click.option("--data", type=click.Path(path_type=Path), help="BDD100K folder to look at, too.")
@click.pass_obj
def command(app: App, data: Path | None) -> int:
    """Report what this machine has, and what to do about the rest.

    The exit status is 0 where `list` and `fetch` can work (and the data set was found, if --data was given);
    what else is missing is only reported.
    """
    from dataclasses import asdict

    from bddzoo.cli.finding import OK
    from bddzoo.cli.health import all_checks

    checks = []
    for check in all_checks(app, data):
        checks.append(check)
        if not app.json:
            mark = (
                click.style(f"{check.state:8}", fg=_COLOURS[check.state]) if app.color else f"{check.state:8}"
            )
            app.data(f"{mark}{check.name:15} {check.found}")
            if check.advice and check.state != OK:
                app.data(f"{'':23} -> {check.advice}")
    code = next((int(check.exit_code) for check in checks if check.exit_code), 0)
    if app.json:
        rows = [{**asdict(check), "exit_code": int(check.exit_code)} for check in checks]
        app.data_json({"ok": code == 0, "checks": rows})
    return code


_COLOURS = {"ok": "green", "note": "yellow", "missing": "yellow", "broken": "red"}
