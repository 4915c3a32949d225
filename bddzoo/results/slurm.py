"""A sweep as a job array of Slurm."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from bddzoo.registry.types import Model


def slurm_script(models: Sequence[Model], options: Sequence[str], gpus: int) -> str:
    """A job array with one model per task; a task that is run again finds what is done.

    Args:
        models: The models.
        options: Options of `bddzoo sweep`.
        gpus: GPUs for each model; 0 for none.
    """
    ids = "\n".join(f"  {shlex.quote(model.id)}" for model in models)
    command = shlex.join(["bddzoo", "sweep", *options])
    wish = f"#SBATCH --gpus={gpus}\n" if gpus else ""
    return f"""\
#!/bin/bash
#SBATCH --job-name=bddzoo-sweep
#SBATCH --array=0-{len(models) - 1}
{wish}#SBATCH --requeue
#SBATCH --output=bddzoo-sweep-%A-%a.log
set -euo pipefail
models=(
{ids}
)
exec {command} "${{models[$SLURM_ARRAY_TASK_ID]}}\""""
