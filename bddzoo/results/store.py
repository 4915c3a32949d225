"""Records on disk: one JSON file each, named by content, never overwritten.

Where records lie: the results folder, and in it a folder for each model and a name for each content.

Which of several records speaks for a model.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeAlias

import msgspec

from bddzoo.errors import IntegrityError, MissingError
from bddzoo.files import flush, not_writable, path_part, replacing, user_folder
from bddzoo.reading import read_limited
from bddzoo.registry.model import Model
from bddzoo.results.environment import project_checkout
from bddzoo.results.record import AnyRecord, Record, decode_record, encode_record, recency
from bddzoo.results.verdict import Verdict, judge
from bddzoo.text import number_of

if TYPE_CHECKING:
    from bddzoo.registry import Registry

NAME_DIGITS = 16


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
    return user_folder("data") / "results"


def model_folder(root: Path, zoo: str, task: str, model: str) -> Path:
    """Where the records of a model lie: `<root>/<zoo>/<task>/<model>`."""
    return root.joinpath(path_part(zoo), path_part(task), path_part(model))


def content_name(data: bytes) -> str:
    """The file name of a record: the first digits of its SHA-256, `.json`."""
    return f"{hashlib.sha256(data).hexdigest()[:NAME_DIGITS]}.json"


def record_path(record: Record, root: Path) -> Path:
    """Where a record belongs: `content_name` in its `model_folder`."""
    return model_folder(root, record.zoo, record.task, record.model) / content_name(encode_record(record))


def check_root(root: Path) -> None:
    """Look whether records could be written below a folder, before hours are spent on one; makes nothing.

    Raises:
        MissingError: The folder cannot be made or written to.
    """
    if reason := not_writable(root):
        raise cannot_write(root, reason)


def cannot_write(folder: Path, reason: str) -> MissingError:
    """The error for a place where no record can be written, with the reason."""
    return MissingError(
        f"cannot write a record to {folder}: {reason}",
        hint="choose a folder with --results DIR or BDDZOO_RESULTS",
    )


def check_place(record: Record, path: Path) -> None:
    """Look whether a record lies in its model's folder: there it speaks for that model.

    Raises:
        IntegrityError: It lies in the folder of another.
    """
    folders = path.parts[-4:-1]
    for name, folder in zip((record.zoo, record.task, record.model), folders, strict=True):
        if name != folder and path_part(name) != folder:
            raise IntegrityError(
                f"{path}: a record of {record.zoo}, {record.task}, {record.model!r} in another's folder",
                hint="move it, or take it in with 'bddzoo results import'",
            )


def statistics_name(digest: str) -> str:
    """File name of statistics with that SHA-256."""
    return f"{digest[:NAME_DIGITS]}.npz"


@dataclass(frozen=True)
class Stored(Generic[AnyRecord]):
    """A record of any kind and the file it is in."""

    path: Path
    record: AnyRecord

    @property
    def id(self) -> str:
        """The file's name without suffix: the first digits of its SHA-256."""
        return self.path.stem


StoredRecord: TypeAlias = Stored[Record]


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
    folder = model_folder(root, record.zoo, record.task, record.model)
    return write_file(record, folder, (statistics or {}).values())


def write_file(record: msgspec.Struct, folder: Path, statistics: Iterable[bytes] = ()) -> Path:
    """Write a record of any kind into a folder, under its `content_name`; see `write_record`."""
    data = encode_record(record)
    target = folder / content_name(data)
    try:
        for content in statistics:
            write_once(folder / statistics_name(hashlib.sha256(content).hexdigest()), content)
        write_once(target, data)
    except OSError as error:
        raise cannot_write(folder, error.strerror or str(error)) from error
    return target


def scan_records(
    root: Path,
    *,
    zoo: str | None = None,
    task: str | None = None,
    model: str | None = None,
    on_error: Callable[[IntegrityError], None],
) -> Iterator[StoredRecord]:
    """Read the records under a folder, in the order of their paths.

    A file that is corrupted, or in another model's folder, is reported and skipped; the others are read all
    the same.

    Args:
        root: Results folder; a folder that does not exist holds no records.
        zoo: Only this zoo.
        task: Only this task.
        model: Only this model.
        on_error: Called with what is wrong with a skipped file.
    """
    for folder in _model_folders(root, (zoo, task, model)):
        for name in _names(folder):
            if not name.endswith(".json") or name.startswith("."):
                continue
            path = folder / name
            try:
                stored = read_file(path, decode_record)
                check_place(stored.record, path)
            except IntegrityError as error:
                on_error(error)
            else:
                yield stored


def records_by_model(
    root: Path, registry: Registry, on_error: Callable[[IntegrityError], None], note: Callable[[str], None]
) -> dict[str, list[StoredRecord]]:
    """The records of a registry's models, by the model's id, in the order of their paths.

    Args:
        root: Results folder.
        registry: It may have lost a model; what was measured of that stays true.
        on_error: See `scan_records`.
        note: Told how many records there are of each model that the registry does not have.
    """
    found: dict[str, list[StoredRecord]] = {}
    for stored in scan_records(root, on_error=on_error):
        found.setdefault(stored.record.model, []).append(stored)
    for model in [model for model in found if model not in registry.by_id]:
        count = number_of(len(found.pop(model)), "record")
        note(f"{count} of '{model}', which the registry does not have: left out")
    return found


def find_record(
    root: Path, reference: str, on_error: Callable[[IntegrityError], None], model: Model | None = None
) -> StoredRecord:
    """The record that a user names.

    Args:
        root: Results folder.
        reference: A path; the id of a record or at least its first 4 digits; or the id of a model, which
            stands for its best record, see `best_record`.
        on_error: Called with what is wrong with other records of the model; see `scan_records`.
        model: The model, where `reference` is its id; of one that is unknown the newest record is taken.

    Raises:
        MissingError: No record, or several, are meant by it.
        IntegrityError: The record is damaged, or all of the model are.
    """
    path = Path(reference)
    if path.suffix == ".json" and path.is_file():
        return read_file(path, decode_record)
    if named := find_file(root, "*/*/*", reference):
        return read_file(named, decode_record)
    errors: list[IntegrityError] = []
    of_model = list(scan_records(root, model=reference, on_error=errors.append))
    if not of_model and errors:
        raise errors[0]
    if not of_model:
        raise MissingError(f"no record '{reference}' in {root}", hint="see 'bddzoo results ls'")
    for error in errors:
        on_error(error)
    best = best_stored(model, of_model) if model is not None else None
    return best or max(of_model, key=lambda stored: recency(stored.record))


def find_file(root: Path, folders: str, reference: str) -> Path | None:
    """The file in folders of a pattern whose name begins with at least 4 digits; None where there is none.

    Raises:
        MissingError: Several begin so.
    """
    if not _ID_PREFIX.fullmatch(reference):
        return None
    paths = sorted(root.glob(f"{folders}/{reference}*.json"))
    if len(paths) > 1:
        shown = ", ".join(path.stem for path in paths[:4])
        raise MissingError(f"{len(paths)} records start with '{reference}': {shown}", hint="give more digits")
    return paths[0] if paths else None


def read_file(path: Path, decode: Callable[[bytes, str], AnyRecord]) -> Stored[AnyRecord]:
    """Read a record of any kind and check that its content is what its name says.

    Args:
        path: The file.
        decode: Reads the kind, from its JSON and the file's name.

    Raises:
        IntegrityError: The file is unreadable, not a record, or was changed after it was written.
    """
    try:
        data = read_limited(path)
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error.strerror}") from error
    record, name = decode(data, str(path)), content_name(data)
    if path.stem != Path(name).stem:
        raise IntegrityError(
            f"{path}: content does not match its name: changed after it was written, or renamed",
            hint=f"restore the file or remove it; a record with this content is named {name}",
        )
    return Stored(path, record)


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
        data = read_limited(path)
    except OSError as error:
        raise MissingError(f"{path}: {error.strerror}", hint="it belongs next to the record") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise IntegrityError(f"{path}: content does not match its record", hint="restore the file")
    return data


def check_statistics(stored: StoredRecord) -> None:
    """Compare a record's numbers with those that the statistics next to it give, where they are there.

    Raises:
        IntegrityError: They give other numbers, or are damaged.
    """
    from bddzoo.evaluation import statistics  # not before it is needed: it brings NumPy

    record = stored.record
    for name in record.statistics:
        with contextlib.suppress(MissingError):
            scores = statistics.load(read_statistics(stored, name)).compute()
            tables = [(record.summary, scores.summary)]
            tables += [(record.per_class.get(m, {}), row) for m, row in scores.table.items()]
            for given, found in tables:
                for key, value in found.items():
                    said = given.get(key)
                    if said is not None and not abs(said - value) < 1e-6:
                        raise IntegrityError(
                            f"{stored.path}: {key} is {said:.2f}, by its statistics of '{name}' {value:.2f}",
                            hint="restore the file or remove it",
                        )


def write_once(target: Path, data: bytes) -> None:
    """Write a file whose name stands for its content: whole, and never over another.

    Two writers at the same moment are no danger: they write the same bytes.
    """
    if not target.exists():
        with replacing(target) as temporary, temporary.open("xb") as file:
            file.write(data)
            flush(file)
    elif target.read_bytes() != data:
        raise IntegrityError(
            f"{target}: another content has this name", hint="the file is damaged: restore or remove it"
        )


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


_ID_PREFIX = re.compile(r"[0-9a-f]{4,64}")


def best_record(model: Model, records: Iterable[Record], split: str = "val") -> Record | None:
    """The newest comparable record of a model on a split, otherwise the newest; None if there are none.

    A quick look at a part of the data set does not replace a whole measurement, and a measurement by another
    protocol does not replace one by the model's own.
    """
    own = model.protocol.id if model.protocol else None

    def rank(record: Record) -> tuple[bool, bool, tuple[bool, str]]:
        report = judge(model, record)
        comparable = report.verdict not in (Verdict.INCOMPARABLE, Verdict.MISSING)
        return comparable, comparable and report.protocol == own, recency(record)

    of_split = [r for r in records if r.model == model.id and r.protocol.split == split]
    return max(of_split, key=rank, default=None)


def best_stored(model: Model, stored: Sequence[StoredRecord], split: str = "val") -> StoredRecord | None:
    """`best_record`, with its file."""
    best = best_record(model, [item.record for item in stored], split)
    return next((item for item in stored if item.record is best), None)
