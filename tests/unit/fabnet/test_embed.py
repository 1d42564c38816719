"""Facts about fabnet/embed.py."""

import numpy as np
import pytest
import torch

from fabnet_secure.errors import UsageError
from fabnet_secure.fabnet.embed import embed
from fabnet_secure.fabnet.model import FabNet, FabNetConfig


@pytest.fixture(scope="module")
def model() -> FabNet:
    torch.manual_seed(0)
    return FabNet(FabNetConfig(image_size=32, width=0.25, embedding_dim=16))


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (70, 40, 40, 3), dtype=np.uint8)


def test_shape_and_sign(model, crops):
    """One float16 vector a crop, of any crop size, signed and not all alike."""
    codes = embed(model, crops)
    assert codes.shape == (70, 16)
    assert codes.dtype == np.float16
    assert (codes < 0).any()
    assert len(np.unique(codes, axis=0)) == 70
    assert embed(model, crops[:0]).shape == (0, 16)


def test_company_does_not_matter(model, crops):
    """A crop's embedding is the same alone and in a batch, within float16."""
    alone = np.concatenate([embed(model, crops[i : i + 1]) for i in (0, 63, 64, 69)])
    np.testing.assert_allclose(embed(model, crops)[[0, 63, 64, 69]], alone, rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize("wrong", [np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 3), np.float32)])
def test_wrong_crops_are_refused(model, wrong):
    """Another shape or type is refused."""
    with pytest.raises(UsageError):
        embed(model, wrong)
