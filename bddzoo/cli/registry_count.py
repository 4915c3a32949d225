"""`bddzoo registry count`: what networks consist of, computed and written into the registry."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bddzoo.cli.app import App
from bddzoo.cli.options import CHECK, DRY_RUN, SELECTION, zoo_command
from bddzoo.cli.registry_edit import finish, open_editor
from bddzoo.cli.select import Selection
from bddzoo.errors import ExitCode, MissingError

if TYPE_CHECKING:
    from bddzoo.registry.model import Model


@zoo_command(
    SELECTION,
    CHECK,
    DRY_RUN,
    name="count",
    epilog="""\b
Examples:
  bddzoo registry count 'fcn*' --dry-run
  bddzoo registry count --check
""",
)
def count(app: App, *, selection: Selection, check: bool, dry_run: bool) -> int:
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
    from bddzoo.engines.build import build_network
    from bddzoo.engines.flops import count_flops
    from bddzoo.inference.pipeline import protocol_of
    from bddzoo.inference.preprocess import frame_input_size

    protocol = protocol_of(model)
    module = build_network(model)
    size = frame_input_size(protocol)
    return {
        "params": sum(p.numel() for p in module.parameters()),
        "entries": len(module.state_dict()),
        "gflops": Decimal(f"{count_flops(module, model, size) / 1e9:.2f}"),
    }
