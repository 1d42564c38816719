"""The doors to OpenCV."""

import numpy as np
import pytest

from fabnet_secure.synth.raster import (
    blur,
    fractal_noise,
    mix_channels,
    rasterise,
    read_grey,
    resize,
    sample,
    smooth_step,
)


def test_near_triangles_hide_far_ones():
    """Of two triangles over the same pixels the nearer one is seen, whatever the order; the rest stays empty."""
    flat = np.float32([[-1, -1], [1, -1], [0, 1]])
    vertices = np.vstack([np.c_[flat * 2, np.full(3, -4)], np.c_[flat, np.full(3, -2)]]).astype(np.float32)
    colours = np.repeat(np.float32([[0.2] * 3, [0.8] * 3]), 3, axis=0)
    for order in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        drawn = rasterise(vertices, np.int32(order), colours, shape=(40, 60), field_of_view=np.pi / 2, empty=-1)
        assert drawn.shape == (40, 60, 3)
        assert drawn[20, 30, 0] == pytest.approx(0.8, abs=1e-3)
        assert drawn[0, 0, 0] == -1


def test_resampling_keeps_type_and_mean():
    """Resizing and blurring give float32 of the asked shape and keep the mean."""
    image = np.random.default_rng(0).random((20, 30), dtype=np.float32)
    small = resize(image, 15, 10)
    assert small.shape == (10, 15)
    assert small.dtype == np.float32
    assert small.mean() == pytest.approx(image.mean(), abs=1e-4)
    assert blur(image, 2.0).std() < image.std()


def test_sampling_reads_between_pixels():
    """Half way between two pixels their mean is read; outside, the border."""
    image = np.float32([[0, 1], [0, 1]])
    read = sample(image, np.float32([[0.5, 9]]), np.float32([[0, 0]]))
    assert read.tolist() == [[0.5, 1.0]]


def test_channels_are_mixed_by_rows():
    """Every pixel is the matrix times the pixel."""
    image = np.float32([[[1, 2, 3]]])
    matrix = np.float32([[1, 0, 0], [0, 0, 1], [0, 1, 1]])
    assert mix_channels(image, matrix).tolist() == [[[1, 3, 5]]]


def test_noise_is_smooth_and_seeded():
    """The same generator state gives the same noise; neighbours are alike."""
    one, two = (fractal_noise(np.random.default_rng(3), 64, (4, 8)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert np.abs(np.diff(one, axis=0)).mean() < one.std() / 2


def test_smooth_step_ends():
    """Zero below, one above, a half in the middle."""
    assert smooth_step(1, 3, np.float32([0, 2, 4])).tolist() == [0, 0.5, 1]


def test_no_picture_is_an_error(tmp_path):
    """A file that is no picture raises OSError instead of giving nothing."""
    path = tmp_path / "x.jpg"
    path.write_text("no")
    with pytest.raises(OSError, match="not a picture"):
        read_grey(str(path))
