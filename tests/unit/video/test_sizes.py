"""A picture's size is read from its compressed headers, and no header, however damaged, is more than unknown."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabnet_secure.video import sizes
from fabnet_secure.video.sizes import CODECS, SizeWatch

JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08\x00\x40\x00\x60" + bytes(20)
MPEG1 = b"\x00\x00\x01\xb3\x0a\x00\x78\x23" + bytes(20)
MPEG2 = MPEG1 + b"\x00\x00\x01\xb5\x14\x8a\x00\x01" + bytes(20)
VP8 = b"\x10\x00\x00\x9d\x01\x2a\x60\x00\x40\x00" + bytes(20)
# From an encoder: an access unit delimiter and the sequence parameter set of a High profile stream.
H264 = bytes.fromhex("0000000109f0000000016764001eacd940a02ff97011000003000100000300320f162d96")


class Packets:
    """Stands in for a capture that gives packets; every one a keyframe unless it begins with a zero byte."""

    def __init__(self, packets):
        self.packets, self.at, self.released = packets, -1, False

    def isOpened(self):  # noqa: N802  the name is OpenCV's
        return True

    def grab(self):
        self.at += 1
        return self.at < len(self.packets)

    def get(self, name):
        assert name == cv2.CAP_PROP_LRF_HAS_KEY_FRAME
        return float(self.packets[self.at][:1] != b"\x00")

    def retrieve(self):
        return True, np.frombuffer(self.packets[self.at], np.uint8).reshape(1, -1)

    def release(self):
        self.released = True


def jpeg(width, height):
    """Return the beginning of a JPEG of this size."""
    return JPEG.replace(b"\x00\x40\x00\x60", height.to_bytes(2) + width.to_bytes(2))


@pytest.mark.parametrize(
    ("codec", "packet", "size"),
    [
        ("mjpg", JPEG, (96, 64)),
        ("mpg1", MPEG1, (160, 120)),
        ("mpg2", MPEG2, (160, 120)),
        ("vp80", VP8, (96, 64)),
        ("h264", H264, (640, 360)),
    ],
    ids=["jpeg", "mpeg1", "mpeg2", "vp8", "h264"],
)
def test_the_size_is_read(codec, packet, size):
    """Headers of each kind give the width and height they state."""
    assert sizes._READERS[codec](packet) == size


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=300), st.sampled_from([b"", JPEG, MPEG2, VP8, H264]))
def test_no_bytes_are_more_than_unknown(codec, noise, start):
    """Whatever a packet holds, the watch says "no change" or "change"; it never fails."""
    watch = SizeWatch(Packets([b"\x01" + start + noise, start + noise]), codec)
    assert watch.changes() in {True, False}


def test_a_change_is_told_before_its_picture():
    """The watch runs ahead: the change is told at once when it is near, and in any case before its own frame."""
    near = SizeWatch(Packets([jpeg(96, 64)] * 10 + [jpeg(64, 96)]), "mjpg")
    assert near.changes()
    far = SizeWatch(Packets([jpeg(96, 64)] * 200 + [jpeg(64, 96)] * 5), "mjpg")
    frames = next(frame for frame in range(206) if far.changes())
    assert 200 - sizes._AHEAD <= frames <= 200


def test_the_same_size_again_is_no_change():
    """Headers that repeat the size, packets without one and damaged ones change nothing."""
    packets = [jpeg(96, 64), b"\x00 no keyframe", jpeg(96, 64), b"\xff\xd8", b"\xff\xd8\xff", jpeg(0, 64)] * 30
    watch = SizeWatch(Packets(packets), "mjpg")
    assert not any(watch.changes() for _ in range(400))


def test_an_unknown_codec_is_not_watched():
    """Nothing is read of a codec whose headers are not known; release closes the packets in any case."""
    packets = Packets([jpeg(96, 64), jpeg(1, 1)])
    watch = SizeWatch(packets, "ffv1")
    assert not watch.changes()
    assert packets.at == -1
    watch.release()
    assert packets.released
