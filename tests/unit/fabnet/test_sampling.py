"""Facts about fabnet/sampling.py."""

import numpy as np
import pytest
import torch

from fabnet_secure.errors import UsageError
from fabnet_secure.fabnet.sampling import draw_tuples, poisson_persons, to_pixels, usable


def coded(track: int, n: int, side: int = 8) -> np.ndarray:
    """A track whose pixels say which track and frame they are."""
    frames = np.zeros((n, side, side, 3), dtype=np.uint8)
    frames[..., 0], frames[..., 1] = track, np.arange(n)[:, None, None]
    return frames


def test_poisson_rate(rng):
    """Each person is drawn with probability q, independently of the others."""
    draws = np.array([[one in set(poisson_persons(range(10), 0.3, rng)) for one in range(10)] for _ in range(4000)])
    assert np.all(np.abs(draws.mean(axis=0) - 0.3) < 4 * np.sqrt(0.21 / 4000))
    assert np.abs(np.corrcoef(draws.T) - np.eye(10)).max() < 0.08
    assert draws.sum(axis=1).var() == pytest.approx(10 * 0.21, rel=0.15)


def test_poisson_edges(rng):
    """Nobody may be drawn at all; with q = 1 everybody is; from nobody comes nobody."""
    assert any(poisson_persons(["a"], 0.5, rng) == [] for _ in range(60))
    assert poisson_persons(["a", "b"], 1.0, rng) == ["a", "b"]
    assert poisson_persons([], 0.5, rng) == []


def test_tuples_come_from_one_track(rng):
    """Target and sources are different frames of one track; all tracks and frames come up."""
    targets, sources = draw_tuples([coded(1, 4), coded(2, 3)], 400, 8, rng, sources=2)
    assert targets.shape == (400, 3, 8, 8)
    assert sources.shape == (400, 2, 3, 8, 8)
    target = (targets[:, :2, 0, 0] * 255).round().int().numpy()
    source = (sources[:, :, :2, 0, 0] * 255).round().int().numpy()
    assert np.all(source[:, :, 0] == target[:, None, 0])
    assert np.all(source[:, :, 1] != target[:, None, 1])
    assert {tuple(row) for row in target.tolist()} == {(1, n) for n in range(4)} | {(2, n) for n in range(3)}


def test_pixels_are_scaled_and_resized():
    """uint8 becomes [0, 1]; a uniform picture stays uniform at another size."""
    assert to_pixels(np.full((1, 8, 8, 3), 255, dtype=np.uint8), 8).max() == 1
    grown = to_pixels(np.full((2, 50, 50, 3), 51, dtype=np.uint8), 32)
    torch.testing.assert_close(grown, torch.full((2, 3, 32, 32), 0.2))


def test_short_tracks_are_left_out():
    """A track of one frame holds no tuple."""
    assert [len(track) for track in usable([coded(1, 1), coded(2, 2)])] == [2]


@pytest.mark.parametrize(
    "track",
    [np.zeros((3, 8, 8), np.uint8), np.zeros((3, 8, 8, 3), np.float32), np.zeros((3, 8, 9, 3), np.uint8)],
)
def test_wrong_tracks_are_refused(track):
    """Another shape or type is refused."""
    with pytest.raises(UsageError) as caught:
        usable([track])
    assert caught.value.code == "TRACK_SHAPE"
