"""A folder of golden data: what it holds, under which names, and with which weights it was made.

Layout: `manifests/TASK/NAME.json.gz` (state-dict entries), `TASK/NAME.npz` (full images),
`TASK_b` (other image and weights), `TASK_small`, `TASK_small_b` (two crops), `tagging_tag`, `ops/*.npz`, with
index files that give each golden's gain and say which models share one. Nothing about which models
there are is known outside the folder and the registry.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bddzoo.engines.recipe import Variant
from bddzoo.engines.selftest.measures import USUAL_NOISE, Noise
from bddzoo.errors import IntegrityError, MissingError
from bddzoo.reading import LIMIT_BYTES, archive_errors, array_errors, json_errors, read_limited
from bddzoo.reading import read_arrays as unpack_arrays
from bddzoo.registry.tasks import TASKS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Arrays = dict[str, "npt.NDArray[Any]"]
NOISE = "noise.json"
IMAGE = "input_720x1280.png"
# What classifiers of 224x224 see of the first image, which is resized for them: its pixels that enter.
PIXELS = "pixels_224.png"
# Width of the second image's input by that of the even crop.
IMAGE_TO_CROP = 1216 / 256
# The two crops of the first image, (rows, columns).
CROPS = {"even": (slice(200, 328), slice(300, 556)), "odd": (slice(100, 197), slice(500, 661))}


class Kind(NamedTuple):
    """One kind of golden: folder suffix, weight variant, and whether it needs no whole image."""

    name: str
    suffix: str
    variant: Variant
    small: bool


KINDS = (
    Kind("small_b", "_small_b", "b", True),
    Kind("small", "_small", "base", True),
    Kind("full", "", "base", False),
    Kind("full_b", "_b", "b", False),
    Kind("full", "_full", "base", False),
    Kind("full_b", "_full_b", "b", False),
    Kind("tag", "_tag", "base", True),
)


class Golden(NamedTuple):
    """One golden file of a model; without a gain its weights are unknown.

    `noise` is how far legitimate arithmetic moved each measure, None where nobody looked.
    """

    name: str
    kind: Kind
    path: Path
    gain: float | None
    weights_sha256: str | None
    noise: Noise | None


class GoldenFolder:
    """Access to a folder of golden data.

    Args:
        root: The folder.
        may_be_empty: Nothing of the layout need be in it.

    Raises:
        MissingError: There is no such folder, or nothing of the layout in it.
    """

    def __init__(self, root: Path, *, may_be_empty: bool = False) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise MissingError(f"no folder at {self.root}", hint="name a folder of golden data")
        if not may_be_empty and not self.files() and not self.operators():
            raise MissingError(
                f"{self.root} holds no golden data",
                hint="expected manifests/, ops/, sem_seg/, sem_seg_small_b/ ...",
            )

    def manifest(self, task: str, name: str) -> list[list[Any]] | None:
        """State-dict entries `[name, shape, dtype, param or buffer]` in order, or None if unknown."""
        for candidate in self._names(task, name):
            path = self.root / "manifests" / task / f"{candidate}.json.gz"
            if path.is_file():
                return read_manifest(path)
        return None

    def goldens(self, task: str, name: str) -> Iterator[Golden]:
        """All golden files that apply to a model."""
        for kind in KINDS:
            for candidate in self._names(task, name):
                path = self.root / (task + kind.suffix) / f"{candidate}.npz"
                if path.is_file():
                    facts = self._weights(task, kind, candidate)
                    gain, digest = facts.get("gain"), facts.get("weights_sha256")
                    if isinstance(digest, dict):  # of both variants
                        digest = digest.get(kind.variant)
                    noise: Noise | None = self._index(NOISE).get(f"{kind.name}/{candidate}")
                    if noise is None:
                        noise = _noise_of_runs(facts.get("goldens"), kind.suffix.removeprefix("_"))
                    yield Golden(candidate, kind, path, gain, digest, noise)
                    break

    def files(self) -> list[tuple[str, str]]:
        """Task and name of every manifest and golden in the folder."""
        return [(task, name) for task, names in self._files.items() for name in sorted(names)]

    def applies_to(self, task: str, name: str) -> set[str]:
        """Names of the files that a model of that name is checked with."""
        return self._files.get(task, set()).intersection(self._names(task, name))

    def image(self, variant: Variant) -> npt.NDArray[np.uint8] | None:
        """The (H, W, 3) uint8 BGR image of a variant, or None when the folder has crops only."""
        return _image_above(self.root, "input_b_600x1000.png" if variant == "b" else IMAGE)

    def sampled_image(self, arrays: Arrays) -> npt.NDArray[np.uint8]:
        """The first image, or where the folder has only some of its pixels those, and zeros elsewhere.

        Args:
            arrays: The golden; its `image_rows` and `image_columns` say which pixels the folder has.

        Raises:
            MissingError: There is neither.
        """
        import numpy as np

        image = self.image("base")
        if image is not None:
            return image
        pixels = _read_image(self.root / PIXELS)
        if pixels is None or "image_rows" not in arrays:
            raise MissingError(f"{self.root} lacks the image it was made from")
        rows, columns = arrays["image_rows"], arrays["image_columns"]
        image = np.zeros((720, 1280, 3), np.uint8)
        image[np.ix_(rows, columns)] = _of_size(self.root / PIXELS, pixels, len(rows), len(columns))
        return image

    def crop(self, name: str) -> npt.NDArray[np.uint8]:
        """The (h, w, 3) uint8 BGR crop `even` or `odd` of the first image."""
        return read_crop(self.root, name)

    def class_map(self, golden: Golden) -> npt.NDArray[np.uint8] | None:
        """The (H, W) uint8 class map of a full golden, or None."""
        return _read_image(golden.path.with_suffix(".png"))

    def operators(self) -> dict[str, Path]:
        """Name to file of the operator goldens."""
        return {p.stem: p for p in sorted((self.root / "ops").glob("*.npz"))}

    def _names(self, task: str, name: str) -> list[str]:
        """The model's own name, then the goldens that the folder says it shares."""
        names: list[Any] = [name]
        for entry in self._models:
            if entry.get("name") == name and entry.get("task", task) == task:
                names += [entry.get("golden"), entry.get("alias_32bs_of")]
        for index in (f"{task}_index.json", f"{task}_b_index.json", "small_b_index.json"):
            names.append(self._index(index).get(name, {}).get("golden"))
        return list(dict.fromkeys(n for n in names if isinstance(n, str) and n))

    def _weights(self, task: str, kind: Kind, golden: str) -> dict[str, Any]:
        """Gain and digest of the weights that a golden was made with; empty where nothing says so."""
        # A folder has an index of each variant, or one of both, whose digests are of either.
        names = [f"{task}_index.json"]
        if kind.variant == "b":
            names.insert(0, "small_b_index.json" if kind.small else f"{task}_b_index.json")
        for name in names:
            index = self._index(name)
            sharing = [facts for facts in index.values() if facts.get("golden") == golden]
            for facts in (index.get(golden, {}), *sharing):
                if _has_gain(facts) and (name == names[0] or isinstance(facts.get("weights_sha256"), dict)):
                    return facts
        # The gain is a property of the model; only the digest is the variant's own.
        for entry in self._models:
            if golden in (entry.get("golden"), entry.get("name")) and _has_gain(entry):
                return {"gain": entry["gain"]}
        return {}

    @cached_property
    def _files(self) -> dict[str, set[str]]:
        """Names of the manifests and goldens of each task."""
        found: dict[str, set[str]] = {}
        for task in TASKS:
            manifests = (self.root / "manifests" / task).glob("*.json.gz")
            goldens = (path for kind in KINDS for path in (self.root / (task + kind.suffix)).glob("*.npz"))
            found[task] = {p.name.removesuffix(".json.gz") for p in manifests} | {p.stem for p in goldens}
        return found

    @cached_property
    def _models(self) -> list[dict[str, Any]]:
        found = read_json(self.root / "models.json")
        return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    def _index(self, name: str) -> dict[str, dict[str, Any]]:
        if name not in self._indices:
            found = read_json(self.root / name)
            entries = found.items() if isinstance(found, dict) else ()
            self._indices[name] = {key: facts for key, facts in entries if isinstance(facts, dict)}
        return self._indices[name]

    @cached_property
    def _indices(self) -> dict[str, dict[str, dict[str, Any]]]:
        return {}


def _noise_of_runs(goldens: Any, kind: str) -> Noise | None:
    """The largest noise that an index has for a kind of golden, by the names of measures; None for none.

    Where that kind was not measured, the network's others speak for it, and pixels of the crops count for
    as many of the image as it is wider. An index has noise by run and by group of arrays; boxes and scores
    of proposals and detections are groups of their own there, `NAME px` and `NAME score`.
    """
    kinds = goldens if isinstance(goldens, dict) else {}
    for facts, wider in ((kinds.get(kind), 1.0), *((facts, IMAGE_TO_CROP) for facts in kinds.values())):
        runs = facts.get("noise") if isinstance(facts, dict) else None
        found: dict[str, float] = {}
        for groups in runs.values() if isinstance(runs, dict) else ():
            for group, value in groups.items():
                unit = group.rpartition(" ")[2]
                name = {"px": "boxes", "score": "scores"}.get(unit, group)
                usual = USUAL_NOISE.get(unit, USUAL_NOISE["std"])
                wide = wider if name == "boxes" else 1.0
                found[name] = max(found.get(name, usual), float(value) * wide)
        if found:
            return found
    return None


def _has_gain(facts: dict[str, Any]) -> bool:
    gain = facts.get("gain")
    return isinstance(gain, int | float) and not isinstance(gain, bool)


def read_json(path: Path) -> Any:
    """What a JSON file holds; None where there is none.

    Raises:
        IntegrityError: It is not JSON.
    """
    try:
        return json.loads(read_limited(path)) if path.is_file() else None
    except json_errors() as error:
        raise IntegrityError(f"{path} is not JSON: {error}", hint="copy it again") from error


def read_manifest(path: Path) -> list[list[Any]]:
    """State-dict entries `[name, shape, dtype, param or buffer]` of a manifest, in order.

    Raises:
        IntegrityError: It is not a manifest, or is damaged.
    """
    again = "copy it again"
    try:
        with gzip.open(io.BytesIO(read_limited(path))) as packed:
            text = packed.read(LIMIT_BYTES + 1)
        if len(text) > LIMIT_BYTES:
            raise ValueError("it unpacks without end")
        found = json.loads(text)
    except archive_errors(RecursionError) as error:
        raise IntegrityError(f"{path} is not a manifest: {error}", hint=again) from error
    entries = found.get("entries") if isinstance(found, dict) else None
    if not isinstance(entries, list) or not all(isinstance(e, list) and len(e) == 4 for e in entries):
        raise IntegrityError(f"{path} is not a manifest: it has no list of entries", hint=again)
    return entries


def read_arrays(path: Path) -> Arrays:
    """All arrays of an .npz file, never unpickling.

    Raises:
        IntegrityError: It is not an .npz file, or is damaged.
    """
    try:
        return unpack_arrays(io.BytesIO(read_limited(path, 256 << 20)))
    except array_errors() as error:
        raise IntegrityError(f"{path} cannot be read: {error}", hint="copy it again") from error


def read_crop(root: Path, name: str) -> npt.NDArray[np.uint8]:
    """The (h, w, 3) uint8 BGR crop `even` or `odd` of the first image of a folder, or of the one above.

    Raises:
        MissingError: Neither the image nor the crop is there.
    """
    image = _image_above(root)
    if image is not None:
        return image[CROPS[name]]
    path = root / f"crop_{name}.png"
    found = _read_image(path)
    if found is None:
        with packaged() as own:
            found = _read_image(own / path.name)
    if found is None:
        raise MissingError(f"{root} has no {IMAGE}", hint="copy the folder again, whole")
    rows, columns = CROPS[name]
    return _of_size(path, found, rows.stop - rows.start, columns.stop - columns.start)


def read_image_above(root: Path) -> npt.NDArray[np.uint8]:
    """The first image, (720, 1280, 3) uint8 BGR, of a folder or of the one above.

    Raises:
        MissingError: It is not there.
    """
    image = _image_above(root)
    if image is None:
        raise MissingError(f"{root} has no {IMAGE}", hint="copy the folder again, whole")
    return image


def _image_above(root: Path, name: str = IMAGE) -> npt.NDArray[np.uint8] | None:
    """An image of a folder or of the one above, as large as its name says; None where there is none."""
    height, width = (int(n) for n in Path(name).stem.rpartition("_")[2].split("x"))
    for folder in (root, root.parent):
        image = _read_image(folder / name)
        if image is not None:
            return _of_size(folder / name, image, height, width)
    return None


def _of_size(path: Path, image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    if image.shape != (height, width, 3):
        found = "x".join(str(n) for n in image.shape)
        raise IntegrityError(f"{path} is {found}, not {height}x{width}x3", hint="copy it again")
    return image


def _read_image(path: Path) -> npt.NDArray[np.uint8] | None:
    if not path.is_file():
        return None
    import cv2

    pixels: npt.NDArray[np.uint8] | None = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)  # type: ignore[assignment]
    if pixels is None:
        raise IntegrityError(f"{path} is not an image", hint="copy it again")
    return pixels


@contextmanager
def packaged() -> Iterator[Path]:
    """The folder of compact golden data that ships with this package."""
    from importlib.resources import as_file, files

    with as_file(files("bddzoo.engines") / "golden") as folder:
        yield folder
