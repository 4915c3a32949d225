"""What torch sees on this machine, found out in a process of its own.

A torch or a driver that does not work may raise, hang or take the process down; `bddzoo doctor` must survive
all three and say which.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import Any

TIMEOUT_S = 180


def probe(timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Import torch and the engines' operators in a subprocess and report what they are.

    Returns:
        `torch`: its version; `cuda`: the version it was built for, or None; `gpus`: their names with memory
        in bytes; `threads`; `ops`: operator to implementation; `errors`: part to reason, for every part that
        does not work.
    """
    command = [sys.executable, "-m", "bddzoo.cli.probe"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return {"errors": {"torch": f"importing torch took longer than {timeout_s:.0f} s"}}
    except OSError as error:
        return {"errors": {"torch": f"cannot start Python: {error}"}}
    with contextlib.suppress(json.JSONDecodeError, IndexError):
        found = json.loads(done.stdout.splitlines()[-1])
        if isinstance(found, dict):
            return found
    said = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return {"errors": {"torch": f"the process died with status {done.returncode}: {said}"}}


def look() -> dict[str, Any]:
    """What `probe` reports, in this process."""
    found: dict[str, Any] = {"errors": {}}
    errors: dict[str, str] = found["errors"]
    try:
        import torch

        found["torch"] = str(torch.__version__)
        found["cuda"] = torch.version.cuda
        found["threads"] = torch.get_num_threads()
    except Exception as error:  # whatever a broken installation raises is what the user must see
        errors["torch"] = _line(error)
        return found
    try:
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        properties = [torch.cuda.get_device_properties(i) for i in range(count)]
        found["gpus"] = [{"name": p.name, "memory_bytes": p.total_memory} for p in properties]
    except Exception as error:
        errors["gpu"] = _line(error)
    try:
        from bddzoo.engines import ops_in_use

        found["ops"] = ops_in_use()
    except Exception as error:
        errors["ops"] = _line(error)
    return found


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


if __name__ == "__main__":
    print(json.dumps(look()))
