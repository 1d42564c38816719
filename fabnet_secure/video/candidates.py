"""The face squares held while a video is read: bounded, in locked memory, zeroed when let go.

Guarantees: never more candidates of a track, nor slots in all, than given; a slot is zeroed before it is used again and
when it is given back; while the video's budget is short every track gives up alike, down to two candidates, then
the shortest ended tracks give up all. Does not guarantee that memory could be locked: ``locked`` tells.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fabnet_secure.memory import locked_zeros
from fabnet_secure.video.detect import Box
from fabnet_secure.video.reader import Pixels
from fabnet_secure.video.select import Quality, Reservoir

LEAST = 2  # candidates that every track keeps as long as it keeps any
_CHUNK = 16  # slots that are mapped and locked at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A face square that may be kept; its pixels are in the store.

    Attributes:
        index: number of its frame.
        time_ms: presentation time of its frame in milliseconds.
        box: (x, y, width, height) of the face in frame pixels.
        quality: the only figures that were computed from its pixels.
    """

    index: int
    time_ms: float
    box: Box
    quality: Quality


class Slab:
    """Slots for pictures of one size, mapped and locked in chunks as they are needed, up to a number."""

    def __init__(self, size: int, slots: int) -> None:
        self._size = size
        self._slots = slots
        self._chunks: list[npt.NDArray[np.uint8]] = []
        self._free: list[int] = []
        self.locked = True

    def has_room(self) -> bool:
        """See to a free slot; False when all are in use."""
        room = min(_CHUNK, self._slots - len(self._chunks) * _CHUNK)
        if not self._free and room > 0:
            chunk, locked = locked_zeros((room, self._size, self._size, 3))
            first = len(self._chunks) * _CHUNK
            self._chunks.append(chunk)
            self._free.extend(range(first + room - 1, first - 1, -1))
            self.locked = self.locked and locked
        return bool(self._free)

    def take(self) -> int:
        """Return a free slot, which is zero.

        Raises:
            IndexError: all are in use; ask :meth:`has_room` first.
        """
        return self._free.pop()

    def picture(self, slot: int) -> Pixels:
        """Return the slot's (size, size, 3) array itself."""
        return np.asarray(self._chunks[slot // _CHUNK][slot % _CHUNK], np.uint8)

    def give(self, slot: int) -> None:
        """Zero the slot and let it be used again."""
        self.picture(slot).fill(0)
        self._free.append(slot)


@dataclass(slots=True, eq=False)
class _Held:
    """One track's candidates, by their numbers in the reservoir, each with its slot."""

    reservoir: Reservoir
    candidates: dict[int, tuple[Candidate, int]] = field(default_factory=dict)
    frames: int | None = None  # covered; None while the track lives


class Store:
    """Every track's candidates."""

    def __init__(self, *, size: int, per_track: int, slots: int) -> None:
        self.size = size
        self._per_track = per_track
        self._slab = Slab(size, slots)
        self._held: dict[int, _Held] = {}
        self._copies: dict[int, list[Pixels]] = {}
        self._next = 0
        self._copies_locked = True

    @property
    def locked(self) -> bool:
        """Whether every candidate, and every copy of one, was in locked memory."""
        return self._slab.locked and self._copies_locked

    def offer(self, number: int, candidate: Candidate, picture: Pixels, motion: npt.NDArray[np.float64]) -> None:
        """Hold a copy of the picture for the track, if it is worth it."""
        held = self._held.get(number) or _Held(Reservoir(self._per_track))
        if len(held.candidates) < self._per_track and not self._make_room(held):
            return
        self._held[number] = held
        key, self._next = self._next, self._next + 1
        gone = held.reservoir.offer(key, motion=motion, time_ms=candidate.time_ms, value=candidate.quality.value())
        if gone == key:
            return
        if gone is not None:
            self._let_go(held, gone)
        slot = self._slab.take()
        np.copyto(self._slab.picture(slot), picture)
        held.candidates[key] = (candidate, slot)

    def end(self, number: int, frames: int) -> None:
        """Say that the track has ended and how many frames it covers."""
        held = self._held.get(number)
        if held is not None:
            held.frames = frames
            held.reservoir.close()

    def candidates(self, number: int) -> tuple[tuple[Candidate, Pixels], ...]:
        """Return the track's candidates in order of frames, each with the slot's array itself."""
        held = self._held.get(number)
        if held is None:
            return ()
        return tuple((candidate, self._slab.picture(slot)) for candidate, slot in held.candidates.values())

    def copies(self, number: int, count: int) -> Pixels:
        """Return (count, size, size, 3) zeros in locked memory, which are zeroed again with the track."""
        array, locked = locked_zeros((count, self.size, self.size, 3))
        self._copies_locked = self._copies_locked and (locked or not count)
        self._copies.setdefault(number, []).append(array)
        return array

    def release(self, number: int) -> None:
        """Zero the track's candidates and the copies made of them; again does nothing."""
        for copy in self._copies.pop(number, []):
            copy.fill(0)
        held = self._held.pop(number, None)
        for _, slot in held.candidates.values() if held else ():
            self._slab.give(slot)

    def wipe(self) -> None:
        """Zero everything."""
        for number in {*self._held, *self._copies}:
            self.release(number)

    def _let_go(self, held: _Held, key: int) -> None:
        self._slab.give(held.candidates.pop(key)[1])

    def _make_room(self, held: _Held) -> bool:
        """See to a free slot for one more of ``held``; False when there is none to be had.

        The track that holds most gives one up, this one first among equals. When all are down to two, a track that
        has fewer gets what the shortest ended track gives up: all it has.
        """
        if self._slab.has_room():
            return True
        most = max(self._held.values(), key=lambda other: (len(other.candidates), other is held))
        if len(most.candidates) > LEAST or most is held:
            self._let_go(most, most.reservoir.thin())
            return True
        ended = [(other.frames, -number) for number, other in self._held.items() if other.frames is not None]
        if ended and len(held.candidates) < LEAST:
            self.release(-min(ended)[1])
        return self._slab.has_room()


def slots_of(total: int, size: int) -> int:
    """Return how many (size, size, 3) pictures fit in a number of bytes."""
    return total // (size * size * 3)


def no_store(size: int = 1) -> Store:
    """Return a store that holds nothing."""
    return Store(size=size, per_track=LEAST, slots=0)
