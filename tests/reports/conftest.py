import shutil

import numpy as np
import pytest

from bddzoo.datasets.formats.mask import write_mask
from tests.cli.command import run_here
from tests.reports.vis_data import make


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Small images with labels in every format; to be read only."""
    return make(tmp_path_factory.mktemp("vis"))


@pytest.fixture
def vis(capsys):
    return lambda *arguments: run_here(capsys, "vis", *arguments)


@pytest.fixture
def broken(data, tmp_path):
    """A damaged label, one of another size, a damaged image, one without labels; one that is whole."""
    for folder in ("images", "masks"):
        shutil.copytree(data / folder, tmp_path / folder)
    label = tmp_path / "masks/e.png"
    label.write_bytes(label.read_bytes()[:60])
    write_mask(tmp_path / "masks/ü.png", np.zeros((32, 48), np.uint8))
    image = tmp_path / "images/d#1%20.png"
    image.write_bytes(image.read_bytes()[:60])
    shutil.copy(tmp_path / "images/e.png", tmp_path / "images/lonely.png")
    return tmp_path
