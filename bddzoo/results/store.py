"""Records on disk: one JSON file each, named by content, never overwritten."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bddzoo.errors import IntegrityError, MissingError
from bddzoo.results.codec import decode_record, encode_record
from bddzoo.results.environment import project_checkout
from bddzoo.results.record import Record

NAME_DIGITS = 16
LIMIT_BYTES = 100 * 1024**2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredRecord:
    """A record and the file it is in."""

    path: Path
    record: Record

    @property
    def id(self) -> str:
        """The file's name without suffix: the first digits of its SHA-256."""
        return self.path.stem


def default_root(results: Path | None = None) -> Path:
    """Folder that records are written to and read from.

    In this order: the folder given with `--results`, `$BDDZOO_RESULTS`, `benchmarks/results` of the checkout
    of this project that the current folder is in, `$XDG_DATA_HOME/bddzoo/results`.
    """
    if results is not None:
        return results
    if chosen := os.environ.get("BDDZOO_RESULTS"):
        return Path(chosen)
    with contextlib.suppress(OSError):
        if checkout := project_checkout(Path.cwd()):
            return checkout / "benchmarks" / "results"
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "bddzoo" / "results"


def record_path(record: Record, root: Path) -> Path:
    """Where a record belongs: `<root>/<zoo>/<task>/<model>/<first digits of its SHA-256>.json`."""
    folder = root.joinpath(*(path_part(part) for part in (record.zoo, record.task, record.model)))
    return folder / f"{hashlib.sha256(encode_record(record)).hexdigest()[:NAME_DIGITS]}.json"


def check_root(root: Path) -> None:
    """Look whether records could be written below a folder, before hours are spent on one; makes nothing.

    Raises:
        MissingError: The folder cannot be made or written to.
    """
    nearest = next((p for p in (root, *root.parents) if p.exists()), None)
    if nearest is not None and nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return
    reason = "no permission" if nearest is None or nearest.is_dir() else f"{nearest} is a file"
    raise _cannot_write(root, reason)


def _cannot_write(folder: Path, reason: str) -> MissingError:
    return MissingError(
        f"cannot write a record to {folder}: {reason}",
        hint="choose a folder with --results DIR or BDDZOO_RESULTS",
    )


def write_record(record: Record, root: Path, statistics: Mapping[str, bytes] | None = None) -> Path:
    """Write a record to `<root>/<zoo>/<task>/<model>/<first digits of its SHA-256>.json`.

    The file appears whole or not at all. The same record written twice is one file; no file is overwritten.

    Args:
        record: The record.
        root: Results folder.
        statistics: Contents of the files that the record names in `statistics`; written first, so that a
            record never names a file that is not there.

    Raises:
        MissingError: The folder cannot be written to.
        IntegrityError: A different file has the record's name.
    """
    data = encode_record(record)
    target = record_path(record, root)
    folder = target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for content in (statistics or {}).values():
            _write_once(folder / statistics_name(hashlib.sha256(content).hexdigest()), content)
        _write_once(target, data)
    except OSError as error:
        raise _cannot_write(folder, error.strerror or str(error)) from error
    return target


def scan_records(
    root: Path,
    *,
    zoo: str | None = None,
    task: str | None = None,
    model: str | None = None,
    on_error: Callable[[IntegrityError], None] | None = None,
) -> Iterator[StoredRecord]:
    """Read the records under a folder, in the order of their paths.

    A file that is corrupted is reported and skipped; the others are read all the same.

    Args:
        root: Results folder; a folder that does not exist holds no records.
        zoo: Only this zoo.
        task: Only this task.
        model: Only this model.
        on_error: Called with what is wrong with a skipped file; logs a warning by default.
    """
    report = on_error or (lambda error: logger.warning("%s", error))
    for folder in _model_folders(root, (zoo, task, model)):
        for name in _names(folder):
            if not name.endswith(".json") or name.startswith("."):
                continue
            path = folder / name
            try:
                yield StoredRecord(path, read_record(path))
            except IntegrityError as error:
                report(error)


def load_records(
    root: Path,
    *,
    zoo: str | None = None,
    task: str | None = None,
    model: str | None = None,
    on_error: Callable[[IntegrityError], None] | None = None,
) -> list[Record]:
    """The records under a folder, oldest first; see `scan_records`."""
    stored = scan_records(root, zoo=zoo, task=task, model=model, on_error=on_error)
    return sorted((s.record for s in stored), key=lambda record: record.run.started)


def find_record(root: Path, reference: str) -> StoredRecord:
    """The record that a user names.

    Args:
        root: Results folder.
        reference: A path; the id of a record or at least its first 4 digits; or the id of a model, which
            stands for its newest record.

    Raises:
        MissingError: No record, or several, are meant by it.
        IntegrityError: The record is damaged.
    """
    path = Path(reference)
    if path.suffix == ".json" and path.is_file():
        return StoredRecord(path, read_record(path))
    if _ID_PREFIX.fullmatch(reference):
        paths = [p for p in root.glob(f"*/*/*/{reference}*.json") if not p.name.startswith(".")]
        if len(paths) > 1:
            shown = ", ".join(p.stem for p in sorted(paths)[:4])
            raise MissingError(
                f"{len(paths)} records start with '{reference}': {shown}", hint="give more digits"
            )
        if paths:
            return StoredRecord(paths[0], read_record(paths[0]))
    of_model = list(scan_records(root, model=reference))
    if not of_model:
        raise MissingError(f"no record '{reference}' in {root}", hint="see 'bddzoo results ls'")
    return max(of_model, key=lambda stored: stored.record.run.started)


def read_record(path: Path) -> Record:
    """Read one record and check that its content is what its name says.

    Raises:
        IntegrityError: The file is unreadable, not a record, or was changed after it was written.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > LIMIT_BYTES:  # a pipe would never end
            raise IntegrityError(f"{path}: not a record: no file, or a huge one", hint="remove it")
        data = path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error.strerror}") from error
    record = decode_record(data, str(path))
    if _CONTENT_NAME.fullmatch(path.stem) and not hashlib.sha256(data).hexdigest().startswith(path.stem):
        raise IntegrityError(
            f"{path}: content does not match its name: changed after it was written",
            hint="restore the file or remove it",
        )
    return record


def read_statistics(stored: StoredRecord, name: str) -> bytes:
    """Content of one of the files that a record names in `statistics`.

    Raises:
        MissingError: The record names no such file, or it is not there.
        IntegrityError: It is not what the record says.
    """
    record = stored.record
    digest = record.statistics.get(name)
    if digest is None:
        raise MissingError(
            f"record {stored.id} of {record.model} kept no statistics of '{name}'", hint="measure it again"
        )
    path = stored.path.parent / statistics_name(digest)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MissingError(f"{path}: {error.strerror}", hint="it belongs beside the record") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise IntegrityError(f"{path}: content does not match its record", hint="restore the file")
    return data


def statistics_name(digest: str) -> str:
    """File name of statistics with that SHA-256."""
    return f"{digest[:NAME_DIGITS]}.npz"


def _write_once(target: Path, data: bytes) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _publish(temporary, target, data)
    finally:
        temporary.unlink(missing_ok=True)


def _publish(temporary: Path, target: Path, data: bytes) -> None:
    # A hard link fails where the name is taken, in one step: two writers cannot overwrite each other.
    try:
        target.hardlink_to(temporary)
    except FileExistsError:
        if target.read_bytes() != data:
            raise IntegrityError(
                f"{target}: another content has this name", hint="the file is damaged: restore or remove it"
            ) from None
    except OSError:
        # No hard links on this file system. The name is a digest: whoever wins wrote the same bytes.
        if target.exists() and target.read_bytes() != data:
            raise IntegrityError(f"{target}: another content has this name") from None
        temporary.replace(target)


def _model_folders(root: Path, wanted: tuple[str | None, str | None, str | None]) -> Iterator[Path]:
    folders = [root]
    for name in wanted:
        if name is not None:
            folders = [folder / path_part(name) for folder in folders]
        else:
            folders = [f / n for f in folders for n in _names(f) if not n.startswith(".")]
    yield from folders


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - names only: 10,000 Path objects cost half the time
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise MissingError(f"cannot read {folder}: {error.strerror}") from error


def path_part(name: str) -> str:
    """The name as one file name: a model id may hold characters that a path must not."""
    part = re.sub(r"[^\w.+@=-]", "_", name)
    return "_" + part if part.startswith(".") or not part else part


_ID_PREFIX = re.compile(r"[0-9a-f]{4,64}")
_CONTENT_NAME = re.compile(rf"[0-9a-f]{{{NAME_DIGITS}}}")
