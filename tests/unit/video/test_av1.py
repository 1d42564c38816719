"""AV1's colours are converted by the matrix that the stream names."""

import cv2
import numpy as np
import pytest

from fabnet_secure.video.av1 import _matrix


def convert(yuv, code, *, full):
    """Convert one (Y, Cb, Cr) in 0..255 to BGR."""
    pixel = np.array([[yuv]], np.uint8)
    return [int(value) for value in cv2.transform(pixel, _matrix(code, full=full))[0, 0]]


@pytest.mark.parametrize("code", [1, 2, 5, 6, 9])
def test_white_black_and_grey_are_grey(code):
    """Without chroma every matrix gives grey; limited range stretches 16..235 to 0..255."""
    assert convert((235, 128, 128), code, full=False) == pytest.approx([255] * 3, abs=1)
    assert convert((16, 128, 128), code, full=False) == pytest.approx([0] * 3, abs=1)
    assert convert((90, 128, 128), code, full=True) == pytest.approx([90] * 3, abs=1)


@pytest.mark.parametrize("colour", [(200, 30, 60), (10, 220, 120), (40, 40, 250)])
def test_full_range_601_agrees_with_opencv(colour):
    """The matrix of BT.601 in full range undoes OpenCV's own conversion (which orders Y, Cr, Cb)."""
    luma, red, blue = cv2.cvtColor(np.array([[colour]], np.uint8), cv2.COLOR_BGR2YCrCb)[0, 0]
    assert convert((luma, blue, red), 6, full=True) == pytest.approx(colour, abs=3)


def test_709_is_not_601():
    """The same samples are another colour under another matrix: pure red of BT.709 is red only there."""
    red = (63, 102, 240)  # BT.709, limited range
    assert convert(red, 1, full=False) == pytest.approx([0, 0, 255], abs=3)
    assert convert(red, 6, full=False)[2] < 240 or convert(red, 6, full=False)[1] > 3


def test_identity_is_green_blue_red():
    """Matrix 0 means that the planes are G, B and R."""
    assert list(convert((10, 20, 30), 0, full=True)) == [20, 10, 30]
