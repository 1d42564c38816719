"""Crops show the bound face and no pixel of a neighbour's."""

import cv2
import numpy as np
import pytest

from fabnet_secure.video.crop import Cutter, Square, crop, crop_version, paint_over, square_of

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
    assert square_of((110.0, 60.0, 20.0, 40.0)) == square_of(FACE)


@pytest.mark.parametrize("size", [16, 24, 31])
def test_a_much_larger_square_is_averaged(size):
    """A square shrunk by more than two loses no row: noise comes out as its mean, not as single pixels."""
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    cut = crop(noise, (140.0, 140.0, 120.0, 120.0), size)
    whole = 192 // size
    assert np.abs(cut.astype(float) - 127).mean() < 90 / whole


def test_beyond_the_frame_the_border_repeats(frame):
    """A face at a corner, or outside altogether, still gives a full square of the border's colour."""
    for box in ((-15.0, -15.0, 40.0, 40.0), (500.0, 500.0, 40.0, 40.0), (-900.0, 20.0, 40.0, 40.0)):
        assert (crop(frame, box, 32) == 90).all()
    edge = frame.copy()
    edge[:, -1] = (0, 200, 0)
    cut = crop(edge, (220.0, 60.0, 40.0, 40.0), 64)
    assert (cut[:, 33:] == (0, 200, 0)).all()
    assert (cut[:, :30] == 90).all()


def test_a_crop_is_a_copy_and_the_frame_is_untouched(frame):
    """Zeroing the frame leaves the crop; painting a neighbour over leaves the frame, even one that is read-only."""
    kept = frame.copy()
    frame.flags.writeable = False
    cut = crop(frame, FACE, 64, others=[(110.0, 60.0, 40.0, 40.0)])
    assert np.array_equal(frame, kept)
    frame.flags.writeable = True
    frame.fill(0)
    assert cut.any()


def test_a_neighbour_in_the_margin_leaves_no_pixel(frame):
    """Blue pixels of a neighbour's face are gone, also where a little of it stands out of its box."""
    blue = frame.copy()
    blue[56:104, 144:170] = (200, 0, 0)
    assert (crop(blue, FACE, 64)[:, :, 2] > 150).any()
    cut = crop(blue, FACE, 64, others=[(146.0, 60.0, 40.0, 40.0)])
    assert not (cut[:, :, 2] > 120).any()
    assert (cut == (200, 0, 0)).all(axis=2).sum() > 1000


def test_a_neighbour_that_covers_all_leaves_one_colour(frame):
    """When the neighbour's box covers the whole square, nothing of the picture is left."""
    assert not crop(frame, FACE, 64, others=[(0.0, 0.0, 240.0, 160.0)]).any()


def test_a_distant_neighbour_changes_nothing(frame):
    """A box that does not reach into the square paints nothing."""
    assert np.array_equal(crop(frame, FACE, 64, others=[(0.0, 0.0, 20.0, 20.0)]), crop(frame, FACE, 64))


@pytest.mark.parametrize("box", [(5.0, 5.0, 0.0, 0.0), (5.0, 5.0, 0.4, 0.4)], ids=["none", "less than a pixel"])
def test_a_box_of_no_size_still_gives_a_crop(frame, box):
    """A degenerate box does not fail."""
    assert crop(frame, box, 16).shape == (16, 16, 3)


def test_the_painted_share_is_that_of_the_middle():
    """What is painted in the margin costs nothing; what covers half the face costs half."""
    square = np.full((160, 160, 3), 90, np.uint8)
    assert paint_over(square.copy(), []) == 0
    assert paint_over(square.copy(), [(0.0, 0.0, 20.0, 130.0)]) == 0
    assert paint_over(square.copy(), [(200.0, 0.0, 100.0, 160.0)]) == pytest.approx(0, abs=0.01)
    assert paint_over(square.copy(), [(100.0, -100.0, 100.0, 400.0)]) == pytest.approx(0.5, abs=0.02)
    assert paint_over(square.copy(), [(0.0, 0.0, 160.0, 160.0)]) == 1


def test_where_a_box_lies_in_a_square():
    """A frame's box is moved and scaled as the square is."""
    square = Square(left=10, top=20, side=40)
    assert square.place((20.0, 30.0, 8.0, 4.0), 0.5) == (5, 5, 4, 2)
    assert square.meets((51.0, 30.0, 10.0, 10.0))
    assert not square.meets((60.0, 30.0, 10.0, 10.0))


def test_a_blurred_face_measures_less_sharp():
    """The sharper picture has the larger figure, whatever lies in the margin."""
    noise = np.random.default_rng(0).integers(60, 200, (128, 128, 3), np.uint8)
    blurred = noise.copy()
    blurred[24:104, 24:104] = cv2.GaussianBlur(noise, (9, 9), 3)[24:104, 24:104]
    cutter = Cutter(128)
    sharpness = []
    for picture in (noise, blurred):
        cutter.cut(picture, Square(left=0, top=0, side=128))
        sharpness.append(cutter.measure().sharpness)
    assert sharpness[0] > 20 * sharpness[1]


def test_exposure_counts_what_shows_something():
    """Half a face in the dark, and half of the rest painted over, leaves a quarter; burnt out leaves nothing."""
    cutter, whole = Cutter(128), Square(left=0, top=0, side=128)
    picture = np.full((128, 128, 3), 120, np.uint8)
    cutter.cut(picture, whole)
    assert cutter.measure().exposure == 1
    picture[:64] = 3
    cutter.cut(picture, whole)
    assert cutter.measure().exposure == pytest.approx(0.5, abs=0.02)
    cutter.cut(np.full((128, 128, 3), 120, np.uint8), whole, [(76.0, -50.0, 60.0, 300.0)])
    assert cutter.measure().exposure == pytest.approx(0.5, abs=0.03)
    cutter.cut(np.full((128, 128, 3), 254, np.uint8), whole)
    assert cutter.measure().exposure == 0


def test_a_cutter_keeps_nothing(frame):
    """The rough buffers are zero after each cut, all of them after wipe."""
    cutter = Cutter(16)
    cut = cutter.cut(frame, square_of((210.0, 60.0, 40.0, 40.0)), [(200.0, 50.0, 10.0, 10.0)])
    cutter.measure()
    assert cut.any()
    assert len(cutter._rough) == 2
    assert not any(buffer.any() for buffer in cutter._rough)
    cutter.wipe()
    assert not cut.any()
    assert not cutter._grey.any()
    assert not cutter._edges.any()


def test_the_version_names_method_and_size():
    """Crops of different size or method are told apart."""
    assert crop_version(64) == "yunet-margin-v2/64"
