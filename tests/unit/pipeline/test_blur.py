"""Pictures too coarse to know a face by."""

import struct
import zlib

import numpy as np

from fabnet_secure.pipeline.blur import CELLS, data_uri, pixelate, png


def test_a_picture_is_averaged_into_squares():
    """Each square is the mean of its part; nothing finer than 12 × 12 is left, whatever the size."""
    picture = np.zeros((128, 100, 3), np.uint8)
    picture[:, 50:] = (255, 0, 100)
    coarse = pixelate(picture)
    assert coarse.shape == (CELLS, CELLS, 3)
    assert coarse[:, :6].max() == 0
    assert (coarse[:, 6:] == (255, 0, 100)).all()
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    expected = noise.reshape(12, 8, 12, 8, 3).mean(axis=(1, 3))
    assert np.abs(pixelate(noise).astype(float) - expected).max() <= 1


def test_a_png_can_be_read_again():
    """Signature, size, checksums and pixels are as the standard has them."""
    picture = np.random.default_rng(1).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    blob = png(picture)
    assert blob.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, {}
    while at < len(blob):
        (length,) = struct.unpack(">I", blob[at : at + 4])
        kind, body = blob[at + 4 : at + 8], blob[at + 8 : at + 8 + length]
        assert struct.unpack(">I", blob[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + body),)
        chunks[kind], at = body, at + 12 + length
    assert chunks[b"IHDR"] == struct.pack(">IIBBBBB", 7, 5, 8, 2, 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(5, 22)
    assert (rows[:, 0] == 0).all()
    assert (rows[:, 1:].reshape(5, 7, 3) == picture).all()
    assert data_uri(picture).startswith(b"data:image/png;base64,")
