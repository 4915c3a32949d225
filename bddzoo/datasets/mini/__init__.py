"""The synthetic mini set: street scenes with labels in BDD100K's layout, drawn from a seed."""

from bddzoo.datasets.mini.writer import DEFAULT_VAL, MARKER, MiniReport, frame_name, make_mini, read_marker

__all__ = ["DEFAULT_VAL", "MARKER", "MiniReport", "frame_name", "make_mini", "read_marker"]
