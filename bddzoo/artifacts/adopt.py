"""Take files that the user already has into the cache, after looking at them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bddzoo.artifacts.cache import Cache, Entry, new_entry
from bddzoo.artifacts.digests import (
    Hashes,
    first_mismatch,
    fits,
    hashes_of,
    is_whole,
    matches,
    parse_digest_file,
    strongest,
    tensors_known,
)
from bddzoo.artifacts.tensors import TensorDigester
from bddzoo.artifacts.verification import HEAD_BYTES, cut_short, wrong_content
from bddzoo.errors import BddzooError, IntegrityError, MissingError, UsageError
from bddzoo.files import copy_whole, explain, link_or_copy
from bddzoo.registry.model import Artifact, Digest, DigestState, Model


@dataclass(frozen=True)
class Adopted:
    """One file taken in.

    Attributes:
        path: The user's file.
        entry: Its entry in the cache.
        state: What is known of its content, as in `FetchResult`.
        how: `reflink`, `hardlink` or `copy`; `cached` if the cache had the content.
    """

    path: Path
    entry: Entry
    state: DigestState
    how: str


class Adopter:
    """Finds out which file of which model a user's file is.

    Args:
        cache: Where files go.
        models: Models that may be meant.
        copy: Never link: the cache shares nothing with the user's file.
        verify: Take only what a known digest proves.
        tensors: Computes the digest of the tensors in a weights file; with it a copy in another
            container is taken where the registry knows that digest.
    """

    def __init__(
        self,
        cache: Cache,
        models: Iterable[Model],
        *,
        copy: bool = False,
        verify: bool = False,
        tensors: TensorDigester | None = None,
    ) -> None:
        self.cache = cache
        self._verify = verify
        self._tensors = tensors
        self._copy = copy
        self._by_name: dict[str, list[tuple[Model, Artifact]]] = defaultdict(list)
        self._known: list[tuple[Model, Artifact]] = []
        for model in models:
            for artifact in model.artifacts:
                self._by_name[artifact.name].append((model, artifact))
                if tensors is not None and tensors_known(artifact) is not None:
                    twin = artifact.name.removesuffix(".pth") + ".safetensors"
                    self._by_name[twin].append((model, artifact))
                digest = strongest(artifact.digests)
                if digest is not None and is_whole(digest):
                    self._known.append((model, artifact))

    def adopt(self, path: Path) -> Adopted | None:
        """Take one file in.

        Returns:
            What was taken, or None if the file is none of the models'.

        Raises:
            IntegrityError: It has the name of a model's file, and other content.
            UsageError: Its name may mean several files, and nothing tells which.
            OSError: It cannot be read, or the cache cannot be written.
        """
        size = path.stat().st_size
        named = self._by_name.get(path.name, [])
        sized = [(m, a) for m, a in self._known if a.size_bytes in (None, size)]
        if not named and not sized:
            return None
        with path.open("rb") as file:
            found = wrong_content(file.read(HEAD_BYTES), path.name)
        if found is not None:
            if not named:
                return None
            raise IntegrityError(f"{path} is {found}", hint="fetch it again")
        before = path.stat()
        hashes = hashes_of(path)
        if (path.stat().st_mtime_ns, path.stat().st_size) != (before.st_mtime_ns, before.st_size):
            raise IntegrityError(f"{path} is being written", hint="adopt it when it is whole")
        proven = [(m, a) for m, a in sized if _is_proven(a, hashes)]
        if proven:
            by_name = [pair for pair in proven if pair in named]
            model, artifact = (by_name or proven)[0]
            return self._admit(path, self._entry(path, hashes, model, artifact), artifact)
        if not named:
            return None
        return self._adopt_named(path, hashes, named)

    def _adopt_named(self, path: Path, hashes: Hashes, named: Sequence[tuple[Model, Artifact]]) -> Adopted:
        fitting = [(m, a) for m, a in named if fits(a, hashes)]
        if not fitting:
            model, artifact = named[0]
            if self._tensors is not None and tensors_known(artifact) is not None:
                entry = replace(self._entry(path, hashes, model, artifact), tensors=self._tensors(path))
                if entry.has_tensors_of(artifact):
                    return self._admit(path, entry, artifact)
            raise IntegrityError(
                _explain(path, model, artifact, hashes), hint="it is kept where it is; fetch anew"
            )
        if len(fitting) > 1:
            # Scores, predictions and images of a model share a name; the zoo's folders tell them apart.
            fitting = [(m, a) for m, a in fitting if _is_placed(path, a)] or fitting
        if len(fitting) > 1:
            kinds = ", ".join(f"{m.id} {a.kind}" for m, a in fitting[:4])
            raise UsageError(
                f"{path} may be any of: {kinds}", hint="put it into a folder named after its kind"
            )
        model, artifact = fitting[0]
        cut = cut_short(path, artifact.name)
        if cut is not None:
            raise IntegrityError(f"{path} is {cut}", hint="fetch it again")
        entry = self._entry(path, hashes, model, artifact)
        published = _published_next_to(path)
        if published is not None:
            digest, where = published
            if first_mismatch((digest,), hashes) is not None:
                found = hashes.get(digest.algorithm)
                text = f"{path} has {digest.algorithm} {found}, but {where} says {digest.hex}"
                raise IntegrityError(text, hint="fetch it again")
            entry = replace(entry, published=f"{digest.algorithm}:{digest.hex}", published_at=str(where))
        return self._admit(path, entry, artifact)

    def _entry(self, path: Path, hashes: Hashes, model: Model, artifact: Artifact) -> Entry:
        return new_entry(model, artifact, hashes, str(path.absolute()))

    def _admit(self, path: Path, entry: Entry, artifact: Artifact) -> Adopted:
        state, evidence = entry.evidence(artifact)
        if self._verify and state != "verified":
            known = f"only the {evidence}" if state == "prefix" else "no digest"
            are = "are" if state == "prefix" else "is"
            raise IntegrityError(
                f"{path} cannot be verified: {known} of {entry.model}'s {entry.kind} {are} known",
                hint="adopt it without --verify if you trust it",
            )
        how = "cached"

        def place(target: Path) -> None:
            nonlocal how
            if target.exists() and hashes_of(target) == entry.hashes:
                return
            if self._copy:
                copy_whole(path, target)
                how = "copy"
            else:
                how = link_or_copy(path, target)

        return Adopted(path, self.cache.admit(entry, place), state, how)


def walk_files(paths: Iterable[Path], cache_root: Path) -> Iterator[Path]:
    """Files named on the command line, and all files in named folders; the cache itself is left out.

    Raises:
        MissingError: One of the paths is not there.
    """
    for path in paths:
        if path.is_file():
            yield path
        elif path.is_dir():
            for folder, folders, names in os.walk(path):
                folders[:] = sorted(f for f in folders if (Path(folder) / f).absolute() != cache_root)
                for name in sorted(names):
                    found = Path(folder) / name
                    if found.is_file():
                        yield found
        else:
            raise MissingError(f"no file or folder {path}", hint="check the path")


def explain_error(error: OSError, path: Path) -> BddzooError:
    """One line for a file that cannot be taken in."""
    if error.filename is not None and Path(str(error.filename)) == path:
        return MissingError(f"{path}: cannot be read: {error.strerror or error}")
    return explain(error, f"adopting {path}")


def _is_proven(artifact: Artifact, hashes: Hashes) -> bool:
    digest = strongest(artifact.digests)
    return digest is not None and matches(digest, hashes) and first_mismatch(artifact.digests, hashes) is None


def _is_placed(path: Path, artifact: Artifact) -> bool:
    """Whether the file's folder speaks for a kind: its name, or the folder of the kind's URL."""
    folder = path.absolute().parent.name
    return folder == artifact.kind or any(u.split("/")[-2:-1] == [folder] for u in artifact.sources)


def _explain(path: Path, model: Model, artifact: Artifact, hashes: Hashes) -> str:
    what = f"{path} has the name of {model.id}'s {artifact.kind}, but"
    if artifact.size_bytes not in (None, hashes.size_bytes):
        return f"{what} {hashes.size_bytes} bytes instead of {artifact.size_bytes}"
    wrong = first_mismatch(artifact.digests, hashes)
    assert wrong is not None
    return f"{what} {wrong.algorithm} {hashes.get(wrong.algorithm)} instead of {wrong.hex}"


def _published_next_to(path: Path) -> tuple[Digest, Path] | None:
    for file in (path.with_name(path.name + ".md5"), path.with_suffix(".md5")):
        if file.is_file() and file != path and file.stat().st_size < 1 << 20:
            digest = parse_digest_file(file.read_bytes(), path.name)
            if digest is not None:
                return digest, file
    return None
