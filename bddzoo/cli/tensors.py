"""The digest of the tensors in a weights file of any container, for commands that may have no torch."""

from __future__ import annotations

from pathlib import Path

from bddzoo.errors import MissingError, install_hint


def digest_tensors(path: Path) -> str:
    """Digest of the weights in a file; `bddzoo.artifacts.tensors` says of what exactly.

    Raises:
        MissingError: The file cannot be read, or torch is needed and not installed.
        IntegrityError: It is no checkpoint, or would run code.
    """
    from bddzoo.artifacts.tensors import digest_safetensors, digest_state, is_safetensors

    if is_safetensors(path):
        return digest_safetensors(path)
    try:
        from bddzoo.engines.checkpoint import read_checkpoint

        state = read_checkpoint(path)
    except ImportError as error:
        raise MissingError(f"reading {path.name} needs {error.name}", hint=install_hint("run")) from None
    return digest_state(state)
