"""Instances of an image, made up."""

import numpy as np

from bddzoo.datasets.formats.scalabel import Instances


def no_instances(height: int, width: int) -> Instances:
    """An empty set for an image of that size."""
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    return Instances(*empty, np.zeros((0, height, width), np.bool_))
