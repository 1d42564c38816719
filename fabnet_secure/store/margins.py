"""What stands in the margin of a page of embeddings: which tracks and frames its vectors are of, and their lengths.

Guarantees that every vector of a page has exactly one track and frame. The margin is sealed with the vectors, so it is
as true as they are. Little-endian: for each vector one over its length (float32, 0 where it has no direction); for each
track its 16-byte id and 4-byte count of vectors; for each vector a 4-byte frame number; last 4 bytes, how many tracks.
"""

import uuid
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.types import TrackId, is_id

_ENTRY: Final = np.dtype([("track", "V16"), ("n", "<u4")])
_WORD: Final = np.dtype("<u4")
_LENGTH: Final = np.dtype("<f4")


class Margin:
    """The tracks of a page in order, and each one's frames.

    Args:
        blob: as :func:`pack_margin` made it.
        n: how many vectors the page has.

    Nothing is parsed before it is asked for: an unlocked matrix has ten thousand margins and most are never read.
    """

    __slots__ = ("_blob", "_n", "_parsed")

    def __init__(self, blob: bytes, n: int) -> None:
        self._blob = blob
        self._n = n
        self._parsed: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None

    def inverse(self) -> npt.NDArray[np.float32]:
        """Return one over each vector's length, 0 where it has no direction; shape (n,)."""
        if len(self._blob) < 4 * self._n:
            raise _misfit()
        return np.frombuffer(self._blob, _LENGTH, self._n)

    def names(self, track_id: TrackId) -> bool:
        """Tell quickly whether the track may be in this page; :meth:`tracks` tells for certain."""
        return is_id(track_id) and self._blob.find(uuid.UUID(track_id).bytes, 4 * self._n) >= 0

    def tracks(self) -> list[tuple[TrackId, int, int]]:
        """Return each track with its first vector within the page and the one after its last."""
        entries, _ = self._read()
        ends = np.cumsum(entries["n"], dtype=np.int64).tolist()
        starts = [0, *ends][: len(ends)]
        ids = [TrackId(str(uuid.UUID(bytes=entry.tobytes()))) for entry in entries["track"]]
        return list(zip(ids, starts, ends, strict=True))

    def at(self, place: int) -> tuple[TrackId, int]:
        """Return the track and frame of the vector at ``place`` within the page."""
        _, frames = self._read()
        track_id = next(track_id for track_id, first, last in self.tracks() if first <= place < last)
        return track_id, int(frames[place])

    def labels(self) -> list[tuple[TrackId, int]]:
        """Return every vector's track and frame, in order."""
        frames = self.frames()
        return [(track_id, frames[place]) for track_id, first, last in self.tracks() for place in range(first, last)]

    def frames(self) -> tuple[int, ...]:
        """Return every vector's frame, in order."""
        return tuple(self._read()[1].tolist())

    def _read(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        if self._parsed is None:
            self._parsed = _parse(self._blob, self._n)
        return self._parsed


def pack_margin(tracks: Sequence[tuple[TrackId, Sequence[int]]], inverse: npt.NDArray[np.float32]) -> bytes:
    """Write the tracks of a page, each with the frame of every vector, in the vectors' order.

    Args:
        tracks: each with its frames.
        inverse: from :func:`fabnet_secure.store.search.inverse_lengths`, one a vector.

    Raises:
        UsageError: code ``SHAPE``: a track has no vector, or a frame number is not between 0 and 2^32 - 1.
    """
    entries = np.array([(uuid.UUID(track_id).bytes, len(frames)) for track_id, frames in tracks], _ENTRY)
    numbers = [frame for _, frames in tracks for frame in frames]
    if len(numbers) != len(inverse) or not entries["n"].all() or not all(0 <= frame < 1 << 32 for frame in numbers):
        raise UsageError("a page names a track and a frame for every vector", code="SHAPE")
    lengths = inverse.astype(_LENGTH).tobytes()
    return lengths + entries.tobytes() + np.array(numbers, _WORD).tobytes() + len(tracks).to_bytes(4, "little")


def _parse(blob: bytes, n: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Read a margin; IntegrityFailure ``STORE_CORRUPT`` when it does not fit its page."""
    count = int.from_bytes(blob[-4:], "little")
    if len(blob) != count * _ENTRY.itemsize + 8 * n + 4:
        raise _misfit()
    entries = np.frombuffer(blob, _ENTRY, count, 4 * n)
    if int(entries["n"].sum(dtype=np.int64)) != n:
        raise _misfit()
    return entries, np.frombuffer(blob, _WORD, n, 4 * n + count * _ENTRY.itemsize)


def _misfit() -> IntegrityFailure:
    return IntegrityFailure(
        "a page of embeddings does not say which frames it is of", hint="embed the track again", code="STORE_CORRUPT"
    )
