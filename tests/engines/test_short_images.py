"""Images of which a network's strides leave nothing."""

import pytest
import torch

from bddzoo.engines.load import load_model
from bddzoo.engines.semantic import SHORT_PX
from tests.engines.models import registry, with_parts


@pytest.fixture(scope="module")
def runner():
    # Its neck halves a map of one cell.
    model = with_parts(
        registry().find("upernet_vit-b_512x1024_80k_sem_seg_bdd100k"),
        backbone={"embed_dims": 48, "num_heads": 3, "num_layers": 4, "out_indices": [0, 1, 2, 3]},
        neck={"in_channels": [48] * 4, "out_channels": 48},
        decode_head={"in_channels": [48] * 4, "channels": 32},
    )
    return load_model(model, None)


@pytest.mark.parametrize("size", [(3, 97), (97, 3), (1, 1)])
def test_they_have_a_result_of_their_own_size(runner, size):
    x = torch.randn(1, 3, *size)
    found = runner.encode(x)
    assert found.shape == (1, runner.num_classes, *size)
    assert found.isfinite().all()
    # What is next to the image is its edge, repeated.
    height, width = (max(side, SHORT_PX) for side in size)
    rows = torch.arange(height).clamp(max=size[0] - 1)
    columns = torch.arange(width).clamp(max=size[1] - 1)
    longer = x[:, :, rows][:, :, :, columns]
    assert torch.equal(runner.encode(longer)[:, :, : size[0], : size[1]], found)


def test_other_errors_are_not_hidden(runner):
    with pytest.raises(RuntimeError):
        runner.encode(torch.randn(1, 4, SHORT_PX, SHORT_PX))
    with pytest.raises(RuntimeError):
        runner.encode(torch.randn(1, 4, 3, 97))
