"""Facts about fabnet/model.py."""

import pytest
import torch
from opacus.validators import ModuleValidator

from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.fabnet.model import FabNet, FabNetConfig, tuple_loss, tuple_losses, warp

SMALL = FabNetConfig(image_size=32, width=0.25, embedding_dim=16)


@pytest.fixture(scope="module")
def model() -> FabNet:
    torch.manual_seed(0)
    return FabNet(SMALL)


def batch(k=3, m=1):
    torch.manual_seed(1)
    return torch.rand(k, 3, 32, 32), torch.rand(k, m, 3, 32, 32)


def test_default_size():
    """The default network has at most 0.6 million parameters; the paper's shape has about eight million."""
    assert sum(p.numel() for p in FabNet(FabNetConfig()).parameters()) <= 600_000
    paper = FabNet(FabNetConfig(image_size=256, width=1, embedding_dim=256))
    assert 7e6 < sum(p.numel() for p in paper.parameters()) < 9e6


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_shapes(size):
    """Every image size gives one embedding a frame and a picture of the same size."""
    net = FabNet(FabNetConfig(image_size=size, width=0.1, embedding_dim=8))
    targets, sources = torch.rand(2, 3, size, size), torch.rand(2, 2, 3, size, size)
    assert net.encoder(targets).shape == (2, 8)
    assert net(targets, sources).shape == targets.shape


def test_opacus_finds_nothing_to_object(model):
    """Opacus' validator accepts the network; it holds no buffers, which could carry people past the noise."""
    assert ModuleValidator.validate(model.train(), strict=True) == []
    assert list(model.buffers()) == []


def test_zero_flow_changes_nothing():
    """Warping by zero flow returns the source exactly to rounding; the border is repeated, not black."""
    source = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(warp(source, torch.zeros(2, 2, 16, 16)), source, atol=1e-5, rtol=0)
    ones = torch.ones(1, 3, 8, 8)
    torch.testing.assert_close(warp(ones, torch.full((1, 2, 8, 8), 0.7)), ones)


def test_flow_moves_by_pixels():
    """A horizontal flow of 2/(S-1) moves the picture by one pixel."""
    source = torch.rand(1, 3, 9, 9)
    flow = torch.zeros(1, 2, 9, 9)
    flow[:, 0] = 2 / 8
    torch.testing.assert_close(warp(source, flow)[..., :-1], source[..., 1:], atol=1e-5, rtol=0)


def test_tuples_do_not_touch_each_other(model):
    """A tuple's loss is the same alone and beside other tuples: no statistics over the batch."""
    targets, sources = batch()
    together = tuple_losses(model, targets, sources)
    alone = torch.cat([tuple_losses(model, targets[i : i + 1], sources[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    assert tuple_loss(model, targets, sources).item() == pytest.approx(together.mean().item())


def test_one_source_needs_no_mask(model):
    """With one source the confidence has no effect: its weights get no gradient; with two they do."""
    last = model.decoder.layers[-1]
    for m, expected in ((1, False), (2, True)):
        model.zero_grad()
        tuple_loss(model, *batch(m=m)).backward()
        assert bool((last.weight.grad[2].abs() > 0).any()) is expected
        assert bool((last.weight.grad[:2].abs() > 0).any())


def test_training_lowers_the_loss():
    """Without noise, a few steps bring the loss below that of the unmoved source: the warp is learned."""
    torch.manual_seed(0)
    net = FabNet(SMALL)
    y, x = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 32), indexing="ij")
    targets = torch.stack([torch.stack([torch.sin(6 * x + i), torch.cos(5 * y + i), x * y]) for i in range(2)])
    sources = targets.roll(4, dims=-1)[:, None]
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        loss = tuple_loss(net, targets, sources)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * (sources[:, 0] - targets).abs().mean().item()


@pytest.mark.parametrize("change", [{"image_size": 48}, {"width": 0}, {"width": 9}, {"embedding_dim": 0}])
def test_impossible_shapes(change):
    """A shape that no network has is refused."""
    with pytest.raises(UsageError) as caught:
        FabNetConfig(**change)
    assert caught.value.code == "MODEL_SHAPE"


def test_config_round_trip():
    """A configuration survives JSON; a damaged one is an integrity failure."""
    assert FabNetConfig.from_json(SMALL.to_json()) == SMALL
    for broken in ({}, {"image_size": 48, "width": 1, "embedding_dim": 8}, {"image_size": "x"}):
        with pytest.raises(IntegrityFailure):
            FabNetConfig.from_json(broken)
