"""How plots look, and how they are written: the same numbers give the same bytes.

Colours are those of Okabe and Ito (2008) without their yellow, which is lost on white paper; every colour
comes with a marker or a hatch of its own, so that nothing hangs on colour alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.errors import MissingError, NotReproducedError, UsageError
from bddzoo.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "///", "...", "xx")
SUFFIXES = (".svg", ".png")
WIDTH_IN = 8.0
DPI = 160

FONT = "DejaVu Sans"
# As wide as the font that the words were set in, for those who have it not.
FONTS = f"'{FONT}', Verdana, sans-serif"

_RC: dict[str, Any] = {
    # Without a salt the ids in an SVG differ from run to run; words stay words, which keeps files small.
    "svg.hashsalt": "bddzoo",
    "svg.fonttype": "none",
    # It comes with matplotlib, so words are as wide everywhere.
    "font.family": FONT,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "hatch.linewidth": 0.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclass(frozen=True)
class PointStyle:
    """Colour and marker of a group of points."""

    colour: str
    marker: str


def looks(names: Sequence[str]) -> dict[str, PointStyle]:
    """A look for each name; no two share both colour and marker, up to 56 names."""
    count = len(COLOURS)
    return {
        name: PointStyle(COLOURS[i % count], MARKERS[(i % count + i // count) % len(MARKERS)])
        for i, name in enumerate(dict.fromkeys(names))
    }


@contextmanager
def drawing() -> Iterator[None]:
    """Settings of all plots, for the time of the block.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)  # type: ignore[arg-type]
        yield


def new_figure(width: float, height: float, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of inches, with its axes side by side; no window and no global state belongs to it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, **options)
    return figure, list(axes[0])


def targets(out: Path) -> list[Path]:
    """Files that a name stands for: itself with a suffix that is known, else one of each kind.

    Raises:
        UsageError: The suffix is that of another format.
    """
    if out.suffix.lower() in SUFFIXES:
        return [out]
    if out.suffix.lower() in (".pdf", ".jpg", ".jpeg", ".eps", ".gif", ".webp"):
        raise UsageError(f"cannot plot to {out}", hint="plots are .svg or .png; without a suffix, both")
    return [out.with_name(out.name + suffix) for suffix in SUFFIXES]


def render(figure: Figure, suffix: str, title: str) -> bytes:
    """Bytes of a figure; the same for the same figure and version of matplotlib."""
    buffer = io.BytesIO()
    # No date, and no version: an image changes when its numbers do.
    metadata = {"Title": title, "Date": None, "Creator": None} if suffix == ".svg" else {"Software": None}
    figure.savefig(buffer, format=suffix[1:], dpi=DPI, metadata=metadata)
    content = buffer.getvalue()
    if suffix == ".svg":
        text = content.decode("utf-8").replace(f"'{FONT}'", FONTS)
        lines = [line.rstrip() for line in text.splitlines()]
        content = ("\n".join(lines) + "\n").encode()
    return content


def save(figure: Figure, out: Path, title: str) -> list[Path]:
    """Write a figure; see `targets`.

    Raises:
        MissingError: A file cannot be written.
    """
    paths = targets(out)
    for path in paths:
        write_bytes(path, render(figure, path.suffix.lower(), title))
    return paths


def check(figure: Figure, out: Path, title: str) -> list[Path]:
    """Compare a figure with the files of an earlier one.

    Raises:
        MissingError: A file is not there.
        NotReproducedError: A file is another image.
    """
    paths = targets(out)
    for path in paths:
        try:
            there = path.read_bytes()
        except OSError as error:
            raise MissingError(
                f"cannot read {path}: {error.strerror}", hint="plot it without --check"
            ) from None
        if there != render(figure, path.suffix.lower(), title):
            raise NotReproducedError(
                f"{path} is not what its numbers give now",
                hint="plot it again without --check, and look at it",
            )
    return paths
