"""Crops show the bound face and no pixel of a neighbour's."""

import numpy as np
import pytest

from fabnet_secure.video.crop import crop, crop_version, select

FACE = (100.0, 60.0, 40.0, 40.0)
RED_BGR = (0, 0, 200)


@pytest.fixture
def frame():
    """A grey frame, 240 by 160, with a red square where the face is."""
    pixels = np.full((160, 240, 3), 90, np.uint8)
    pixels[60:100, 100:140] = RED_BGR
    return pixels


def test_a_crop_is_a_centred_rgb_square_with_its_margin(frame):
    """The face fills 1 / 1.6 of the crop's side, in the middle, red first."""
    cut = crop(frame, FACE, 64)
    red = (cut == (200, 0, 0)).all(axis=2)
    assert (cut.shape, cut.dtype) == ((64, 64, 3), np.uint8)
    assert red[32].sum() == red[:, 32].sum() == pytest.approx(40, abs=2)
    assert red[32, 13:51].all()
    assert not red[:10].any()


def test_the_longer_side_makes_the_square(frame):
    """A tall box gives the same square as one as wide as tall."""
    assert np.array_equal(crop(frame, (110.0, 60.0, 20.0, 40.0), 64), crop(frame, FACE, 64))


def test_beyond_the_frame_the_border_repeats(frame):
    """A face at the corner, and one outside altogether, still give full squares of the border's colour."""
    for box in ((-15.0, -15.0, 40.0, 40.0), (500.0, 500.0, 40.0, 40.0)):
        assert (crop(frame, box, 32) == 90).all()


def test_a_crop_is_a_copy_and_the_frame_is_untouched(frame):
    """Zeroing the frame leaves the crop; painting a neighbour over leaves the frame."""
    kept = frame.copy()
    cut = crop(frame, FACE, 64, others=[(110.0, 60.0, 40.0, 40.0)])
    assert np.array_equal(frame, kept)
    frame.fill(0)
    assert cut.any()


def test_a_neighbour_in_the_margin_leaves_no_pixel(frame):
    """Blue pixels of a neighbour's face are gone, also where a little of it stands out of its box."""
    blue = frame.copy()
    blue[56:104, 144:170] = (200, 0, 0)
    assert (crop(blue, FACE, 64)[:, :, 2] > 150).any()
    cut = crop(blue, FACE, 64, others=[(146.0, 60.0, 40.0, 40.0)])
    assert not (cut[:, :, 2] > 150).any()
    assert (cut == (200, 0, 0)).all(axis=2).sum() > 1000


def test_a_neighbour_that_covers_all_leaves_one_colour(frame):
    """When the neighbour's box covers the whole square, nothing of the picture is left."""
    assert not crop(frame, FACE, 64, others=[(0.0, 0.0, 240.0, 160.0)]).any()


def test_a_distant_neighbour_changes_nothing(frame):
    """A box that does not reach into the square paints nothing."""
    assert np.array_equal(crop(frame, FACE, 64, others=[(0.0, 0.0, 20.0, 20.0)]), crop(frame, FACE, 64))


@pytest.mark.parametrize("box", [(5.0, 5.0, 0.0, 0.0), (5.0, 5.0, 0.4, 0.4)])
def test_a_box_of_no_size_still_gives_a_crop(frame, box):
    """A degenerate box does not fail."""
    assert crop(frame, box, 16).shape == (16, 16, 3)


def test_the_version_names_method_and_size():
    """Crops of different size or method are told apart."""
    assert crop_version(64) == "yunet-margin-v1/64"


def test_selection_is_even_and_keeps_both_ends(make_track):
    """At most ``budget`` frames, evenly spread, first and last among them, in order, the same every time."""
    track = make_track(0, 10, 110)
    assert select(track, 5) == (10, 35, 60, 85, 110)
    assert select(track, 5) == select(track, 5)


@pytest.mark.parametrize(("budget", "expected"), [(0, 0), (-3, 0), (1, 1), (7, 7), (200, 101)])
def test_selection_never_passes_budget_or_track(make_track, budget, expected):
    """The number chosen is the budget or all there is, with no frame twice."""
    chosen = select(make_track(0, 10, 110), budget)
    assert len(chosen) == len(set(chosen)) == expected
