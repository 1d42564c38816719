"""The size of the pictures to come, read from a compressed packet before it is decoded.

OpenCV scales a picture of another size to the size of the first, without a word. So a file's packets are read a second
time, beside the decoder and a little ahead of it, without decoding them, and every header that states a size is read.

Guarantees: a change of size that H.264, H.265, VP8, VP9, MPEG-1/2, MPEG-4 part 2 or Motion JPEG states in a keyframe's
headers is found before the first picture of the new size is converted. Does not guarantee: VP9's changes between
keyframes; other codecs (those are rare, and their pictures are scaled as OpenCV does).

Sources: ITU-T H.264 (7.3.2.1.1), H.265 (7.3.2.2), T.81 (B.2.2); RFC 6386 (9.1); VP9 bitstream specification (6.2);
ISO/IEC 11172-2 and 13818-2 (6.2.2.1); ISO/IEC 14496-2 (6.2.3).
"""

from collections.abc import Callable

import cv2
import numpy as np

Size = tuple[int, int]
_AHEAD = 64
_PACKET_BYTES = 65_536  # of a packet that are looked at
_HEADER_BYTES = 4096  # of a NAL unit that are taken apart
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_START = b"\x00\x00\x01"


class SizeWatch:
    """Walks through a file's packets ahead of the decoder."""

    def __init__(self, packets: cv2.VideoCapture, codec: str) -> None:
        self._packets = packets
        self._size_of = _READERS.get(codec)
        self._seen: Size | None = None
        self._ahead = 0
        self._done = self._size_of is None or not packets.isOpened()

    def changes(self) -> bool:
        """Go on by one picture; True when another size than the first is ahead."""
        self._ahead -= 1
        while not self._done and self._ahead < _AHEAD:
            if not self._packets.grab():
                self._done = True
            elif self._packets.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME) and self._differs():
                return True
            self._ahead += 1
        return False

    def release(self) -> None:
        """Close the packets."""
        self._packets.release()

    def _differs(self) -> bool:
        read, packet = self._packets.retrieve()
        if not read or self._size_of is None:
            return False
        try:
            size = self._size_of(np.asarray(packet, np.uint8).ravel()[:_PACKET_BYTES].tobytes())
        except (IndexError, EOFError):
            return False  # a damaged header: the decoder will say
        if size is None or 0 in size:
            return False
        self._seen = self._seen or size
        return size != self._seen


class _Bits:
    """Reads bits, most significant first, and Exp-Golomb numbers."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise EOFError
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def golomb(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise EOFError
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        code = self.golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def _nal(packet: bytes, wanted: Callable[[int], bool]) -> bytes | None:
    """Return the first NAL unit whose first byte is wanted, without its emulation prevention bytes."""
    at = packet.find(_START)
    while at >= 0 and at + 3 < len(packet):
        if wanted(packet[at + 3]):
            end = packet.find(_START, at + 3)
            return packet[at + 3 : end if end > 0 else None][:_HEADER_BYTES].replace(b"\x00\x00\x03", b"\x00\x00")
        at = packet.find(_START, at + 3)
    return None


def _h264(packet: bytes) -> Size | None:
    unit = _nal(packet, lambda first: first & 31 == 7)
    if unit is None:
        return None
    bits = _Bits(unit[1:])
    profile = bits.take(24) >> 16
    bits.golomb()
    chroma = 1
    if profile in _HIGH_PROFILES:
        chroma = _skip_h264_high(bits)
    bits.golomb()
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take(1)
        _, _ = bits.signed(), bits.signed()
        for _ in range(bits.golomb()):
            bits.signed()
    bits.golomb()
    bits.take(1)
    width, units = 16 * (bits.golomb() + 1), bits.golomb() + 1
    frames_only = bits.take(1)
    height = 16 * units * (2 - frames_only)
    if not frames_only:
        bits.take(1)
    bits.take(1)
    if bits.take(1):
        step_x, step_y = (1 if chroma in {0, 3} else 2), (2 if chroma == 1 else 1) * (2 - frames_only)
        width -= step_x * (bits.golomb() + bits.golomb())
        height -= step_y * (bits.golomb() + bits.golomb())
    return width, height


def _skip_h264_high(bits: _Bits) -> int:
    """Step over what only the high profiles state; return chroma_format_idc."""
    chroma = bits.golomb()
    if chroma == 3:
        bits.take(1)
    _, _ = bits.golomb(), bits.golomb()
    bits.take(1)
    if bits.take(1):
        for number in range(12 if chroma == 3 else 8):
            if bits.take(1):
                last = following = 8
                for _ in range(16 if number < 6 else 64):
                    if following:
                        following = (last + bits.signed()) % 256
                    last = following or last
    return chroma


def _h265(packet: bytes) -> Size | None:
    unit = _nal(packet, lambda first: first >> 1 & 63 == 33)
    if unit is None:
        return None
    bits = _Bits(unit[2:])
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + 88 + 8)
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    if layers:
        bits.take(2 * (8 - layers))
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    bits.golomb()
    chroma = bits.golomb()
    if chroma == 3:
        bits.take(1)
    width, height = bits.golomb(), bits.golomb()
    if bits.take(1):
        width -= (2 if chroma in {1, 2} else 1) * (bits.golomb() + bits.golomb())
        height -= (2 if chroma == 1 else 1) * (bits.golomb() + bits.golomb())
    return width, height


def _vp8(packet: bytes) -> Size | None:
    if packet[0] & 1 or packet[3:6] != b"\x9d\x01\x2a":
        return None
    return int.from_bytes(packet[6:8], "little") & 0x3FFF, int.from_bytes(packet[8:10], "little") & 0x3FFF


def _vp9(packet: bytes) -> Size | None:
    bits = _Bits(packet[:24])
    bits.take(2)
    profile = bits.take(1) | bits.take(1) << 1
    if profile == 3:
        bits.take(1)
    if bits.take(1) or bits.take(1):  # shows an earlier frame, or is no keyframe
        return None
    bits.take(2 + 24 + (1 if profile >= 2 else 0))
    if bits.take(3) != 7:
        bits.take(1 + (3 if profile & 1 else 0))
    elif profile & 1:
        bits.take(1)
    return bits.take(16) + 1, bits.take(16) + 1


def _mpeg12(packet: bytes) -> Size | None:
    at = packet.find(_START + b"\xb3")
    if at < 0:
        return None
    sizes = int.from_bytes(packet[at + 4 : at + 7])
    width, height = sizes >> 12, sizes & 0xFFF
    more = packet.find(_START + b"\xb5", at, at + 256)
    if more > 0 and packet[more + 4] >> 4 == 1:  # MPEG-2's sequence extension
        bits = _Bits(packet[more + 4 : more + 8])
        bits.take(4 + 8 + 1 + 2)
        width, height = width | bits.take(2) << 12, height | bits.take(2) << 12
    return width, height


def _mpeg4(packet: bytes) -> Size | None:
    at = packet.find(_START)
    while at >= 0 and not 0x20 <= packet[at + 3] <= 0x2F:
        at = packet.find(_START, at + 3)
    if at < 0:
        return None
    bits = _Bits(packet[at + 4 : at + 68])
    bits.take(9)
    version = 1
    if bits.take(1):
        version = bits.take(4)
        bits.take(3)
    if bits.take(4) == 15:
        bits.take(16)
    if bits.take(1):
        bits.take(3)
        if bits.take(1):
            bits.take(79)
    shape = bits.take(2)
    if shape == 3 and version != 1:
        bits.take(4)
    bits.take(1)
    ticks = bits.take(16)
    bits.take(1)
    if bits.take(1):
        bits.take(max(1, (ticks - 1).bit_length()))
    if shape != 0:
        return None
    bits.take(1)
    width = bits.take(13)
    bits.take(1)
    return width, bits.take(13)


def _jpeg(packet: bytes) -> Size | None:
    at = 2
    while packet[at] == 0xFF and packet[at + 1] not in {0xC0, 0xC1, 0xC2}:
        at += 2 + int.from_bytes(packet[at + 2 : at + 4])
    if packet[at] != 0xFF or at + 9 > len(packet):
        return None
    return int.from_bytes(packet[at + 7 : at + 9]), int.from_bytes(packet[at + 5 : at + 7])


_READERS: dict[str, Callable[[bytes], Size | None]] = {
    **dict.fromkeys(("h264", "avc1", "avc3", "x264"), _h264),
    **dict.fromkeys(("hevc", "hvc1", "hev1", "h265"), _h265),
    **dict.fromkeys(("vp80", "vp08"), _vp8),
    **dict.fromkeys(("vp90", "vp09"), _vp9),
    **dict.fromkeys(("mpg1", "mpg2", "mpeg", "pim1", "mpv1", "mpv2"), _mpeg12),
    **dict.fromkeys(("fmp4", "mp4v", "xvid", "divx", "dx50"), _mpeg4),
    **dict.fromkeys(("mjpg", "mjpa", "jpeg"), _jpeg),
}
CODECS = frozenset(_READERS)  # by the four letters OpenCV names them by, in lower case
