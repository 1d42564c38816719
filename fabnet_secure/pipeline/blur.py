"""Pictures that are too coarse to know a face by, for an operator who has to say whose a track is.

Guarantees: what leaves this module holds at most 12 × 12 averages of the picture given, whatever size a page shows it
in; nothing is written to disk. Does not guarantee that somebody who knows the person well cannot guess by hair, clothes
and place: that is what the operator is asked to do.
"""

import binascii
import struct
import zlib

import numpy as np

from fabnet_secure.video.reader import Pixels

CELLS = 12
"""Squares a side: an iris, a mouth or a nose is smaller than one of them."""


def pixelate(picture: Pixels, cells: int = CELLS) -> Pixels:
    """Average a picture into squares.

    Args:
        picture: (h, w, 3) uint8 RGB, both sides at least ``cells`` pixels.
        cells: squares a side.

    Returns:
        (cells, cells, 3) uint8 RGB, memory of its own.
    """
    rows, columns = (np.linspace(0, side, cells, endpoint=False).astype(int) for side in picture.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(picture.astype(np.uint32), rows, axis=0), columns, axis=1)
    tall = np.diff(rows, append=picture.shape[0])[:, None, None]
    wide = np.diff(columns, append=picture.shape[1])[None, :, None]
    return np.asarray(sums // (tall * wide), np.uint8)


def png(picture: Pixels) -> bytes:
    """Encode an (h, w, 3) uint8 RGB picture as PNG (W3C Portable Network Graphics, 3rd edition), in memory."""
    height, width = picture.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row starts with its filter: 0, none
    rows[:, 1:] = picture.reshape(height, 3 * width)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows.tobytes())) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def data_uri(picture: Pixels) -> bytes:
    """Encode an (h, w, 3) uint8 RGB picture as a ``data:`` address."""
    return b"data:image/png;base64," + binascii.b2a_base64(png(picture), newline=False)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
