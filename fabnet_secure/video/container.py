"""What a file is by its first bytes, and whether all of it is there.

Guarantees: a file is named a video container by its contents, never by its name; for MP4, Matroska and AVI a
file that ends before the length it declares is told (:func:`is_cut`). Does not guarantee: that the container
decodes; nor that a cut MPEG, MPEG-TS, Ogg, FLV, ASF or GIF file is told (these declare no length).

Sources: ISO/IEC 14496-12 section 4.2 (boxes); RFC 8794 (EBML) and RFC 9559 (Matroska); Microsoft, "AVI RIFF
File Reference"; ISO/IEC 13818-1 (program and transport streams); GIF89a, section 17.
"""

import os
from enum import StrEnum

HEAD_BYTES = 64 * 1024
_MAX_BOXES = 200_000
_MAX_MOOV = 16 * 1024 * 1024
_TS_PACKETS = ((0, 188), (4, 192))  # where the first begins, and the step: plain, and as cameras record (M2TS)
_BOX_HEADER = 8
_UNKNOWN_LENGTH = 0xFFFFFFFF
_BOX_TYPES = frozenset(
    b"ftyp moov mdat free skip wide pnot udta meta moof mfra sidx ssix styp emsg uuid prft pdin".split()
)
_EBML = bytes.fromhex("1A45DFA3")
_SEGMENT = bytes.fromhex("18538067")
_CLUSTER = bytes.fromhex("1F43B675")


class Kind(StrEnum):
    """The containers that may be opened, and plain sound, which may not."""

    MP4 = "mp4"
    MATROSKA = "matroska"
    AVI = "avi"
    GIF = "gif"
    MPEG = "mpeg"
    MPEG_TS = "mpegts"
    OGG = "ogg"
    FLV = "flv"
    ASF = "asf"
    SOUND = "sound"


_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (_EBML, Kind.MATROSKA),
    (b"GIF87a", Kind.GIF),
    (b"GIF89a", Kind.GIF),
    (b"\x00\x00\x01\xba", Kind.MPEG),
    (b"\x00\x00\x01\xb3", Kind.MPEG),
    (b"\x00\x00\x01\xb0", Kind.MPEG),
    (b"\x00\x00\x01\x00\x00\x00\x01\x20", Kind.MPEG),
    (b"OggS", Kind.OGG),
    (b"FLV\x01", Kind.FLV),
    (bytes.fromhex("3026B2758E66CF11"), Kind.ASF),
    (b"ID3", Kind.SOUND),
    (b"fLaC", Kind.SOUND),
    (b"FORM", Kind.SOUND),
    (b"\xff\xfb", Kind.SOUND),
    (b"\xff\xf1", Kind.SOUND),
)


def sniff(head: bytes) -> Kind | None:
    """Name the container that ``head``, a file's first bytes, opens; None when it is none we read."""
    if head[4:8] in _BOX_TYPES:
        return Kind.MP4
    if head[:4] == b"RIFF":
        return {b"AVI ": Kind.AVI, b"WAVE": Kind.SOUND}.get(head[8:12])
    if any(head[at : at + 1] == b"G" == head[at + step : at + step + 1] for at, step in _TS_PACKETS):
        return Kind.MPEG_TS
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def is_cut(descriptor: int, kind: Kind, size: int) -> bool:
    """Tell whether the file of ``size`` bytes ends before the length its container declares."""
    if kind is Kind.MP4:
        return _mp4_is_cut(descriptor, size)
    if kind is Kind.AVI:
        length = int.from_bytes(os.pread(descriptor, 4, 4), "little")
        return length != _UNKNOWN_LENGTH and length + _BOX_HEADER > size
    if kind is Kind.MATROSKA:
        return _matroska_is_cut(os.pread(descriptor, HEAD_BYTES, 0), size)
    return False


def holds_only_sound(descriptor: int, kind: Kind, size: int) -> bool:
    """Tell whether the container names a sound stream and no video stream (for the error's wording only)."""
    if kind is Kind.SOUND:
        return True
    head = os.pread(descriptor, HEAD_BYTES, 0)
    if kind is Kind.MP4:
        moov = _read_moov(descriptor, size)
        return b"soun" in moov and b"vide" not in moov
    if kind is Kind.MATROSKA:
        return b"A_" in head and b"V_" not in head
    if kind is Kind.OGG:
        return (b"vorbis" in head or b"OpusHead" in head) and b"theora" not in head
    if kind is Kind.AVI:
        return b"auds" in head and b"vids" not in head
    return False


def holds_no_pictures(descriptor: int, kind: Kind, size: int) -> bool:
    """Tell whether the container is well-formed but holds no pictures (for the error's wording only)."""
    if kind is Kind.MP4:
        moov = _read_moov(descriptor, size)
        return bool(moov) and b"vide" not in moov
    if kind is Kind.MATROSKA and size <= HEAD_BYTES:
        head = os.pread(descriptor, HEAD_BYTES, 0)
        return b"V_" in head and _CLUSTER not in head
    return False


def _boxes(descriptor: int, size: int) -> list[tuple[bytes, int, int]]:
    """List the top-level boxes as (type, start, end); the last may end beyond ``size``."""
    found: list[tuple[bytes, int, int]] = []
    start = 0
    while start + _BOX_HEADER <= size and len(found) < _MAX_BOXES:
        header = os.pread(descriptor, 16, start)
        length, name = int.from_bytes(header[:4]), header[4:8]
        if name not in _BOX_TYPES:
            break  # bytes appended by some tool: not ours to judge
        if length == 1:
            length = int.from_bytes(header[8:16])
        elif length == 0:
            length = size - start
        if length < _BOX_HEADER:
            break
        found.append((name, start, start + length))
        start += length
    return found


def _mp4_is_cut(descriptor: int, size: int) -> bool:
    boxes = _boxes(descriptor, size)
    if any(end > size for _, _, end in boxes):
        return True
    names = {name for name, _, _ in boxes}
    return b"mdat" in names and b"moov" not in names


def _read_moov(descriptor: int, size: int) -> bytes:
    for name, start, end in _boxes(descriptor, size):
        if name == b"moov":
            return os.pread(descriptor, min(end - start, _MAX_MOOV), start)
    return b""


def _matroska_is_cut(head: bytes, size: int) -> bool:
    length, start = _vint(head, len(_EBML))
    if length is None or head[start + length : start + length + 4] != _SEGMENT:
        return False
    segment, body = _vint(head, start + length + 4)
    return segment is not None and body + segment > size


def _vint(data: bytes, at: int) -> tuple[int | None, int]:
    """Read an EBML length at ``at`` (RFC 8794 s. 4): (value, or None for "unknown", where it ends)."""
    if at >= len(data) or data[at] == 0:
        return None, at
    width = 9 - data[at].bit_length()
    bits = 7 * width
    value = int.from_bytes(data[at : at + width]) & ((1 << bits) - 1)
    return (None if value == (1 << bits) - 1 else value), at + width
