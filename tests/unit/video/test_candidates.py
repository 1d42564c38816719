"""Candidates are bounded in number and bytes, shared out fairly, and zeroed when they go."""

import numpy as np
import pytest

from fabnet_secure.video import candidates as module
from fabnet_secure.video.candidates import Candidate, Slab, Store, no_store, slots_of
from fabnet_secure.video.select import Quality

SIZE = 8
GOOD = Quality(size_px=100.0, score=0.9, sharpness=100.0, exposure=1.0)


def offer(store, number, index, *, quality=GOOD):
    """Offer a picture whose every pixel is the frame's index + 1."""
    candidate = Candidate(index=index, time_ms=40.0 * index, box=(0.0, 0.0, 9.0, 9.0), quality=quality)
    store.offer(number, candidate, np.full((SIZE, SIZE, 3), index % 250 + 1, np.uint8), np.zeros(11))


def held(store, number):
    """Return the frames held of a track, after checking that each picture is its frame's."""
    found = store.candidates(number)
    assert all((picture == candidate.index % 250 + 1).all() for candidate, picture in found)
    return [candidate.index for candidate, _ in found]


def in_use(store):
    """Count the slots that hold anything."""
    return sum(int(picture.any()) for chunk in store._slab._chunks for picture in chunk)


def test_what_is_offered_is_held_in_order_of_frames():
    """Each picture is copied and comes back with its frame, in order."""
    store = Store(size=SIZE, per_track=4, slots=8)
    for index in (1, 2, 3):
        offer(store, 7, index)
    assert held(store, 7) == [1, 2, 3]
    assert held(store, 8) == []


def test_a_track_never_holds_more_than_its_budget():
    """With room for three, a hundred offers leave three, and no slot is lost."""
    store = Store(size=SIZE, per_track=3, slots=8)
    for index in range(100):
        offer(store, 0, index)
    assert len(held(store, 0)) == in_use(store) == 3


def test_a_worse_picture_takes_nobodys_place():
    """A candidate that would be the first to go is not even copied."""
    store = Store(size=SIZE, per_track=3, slots=3)
    for index in range(3):
        offer(store, 0, index)
    offer(store, 0, 3, quality=Quality(size_px=100.0, score=0.9, sharpness=100.0, exposure=0.0))
    assert held(store, 0) == [0, 1, 2]


def test_what_is_let_go_is_zeroed_and_its_slot_used_again():
    """Release zeroes the track's slots; the next track gets the same memory, and it is zero."""
    store = Store(size=SIZE, per_track=4, slots=4)
    for index in range(4):
        offer(store, 0, index)
    before = [picture for _, picture in store.candidates(0)]
    store.release(0)
    store.release(0)
    assert not any(picture.any() for picture in before)
    assert held(store, 0) == []
    for index in range(4):
        offer(store, 1, index)
    assert all(picture.any() for picture in before)


def test_a_full_video_thins_every_track_alike():
    """Three tracks share twelve slots evenly although the first was there alone at first."""
    store = Store(size=SIZE, per_track=12, slots=12)
    for number in range(3):
        for index in range(40):
            offer(store, number, 40 * number + index)
    assert [len(held(store, number)) for number in range(3)] == [4, 4, 4]
    assert in_use(store) == 12


def test_no_track_goes_below_two_until_the_shortest_goes_whole():
    """When all are down to two, the shortest that has ended gives up both for a new one."""
    store = Store(size=SIZE, per_track=4, slots=6)
    for number, frames in ((0, 50), (1, 9), (2, 30)):
        for index in range(4):
            offer(store, number, 10 * number + index)
        store.end(number, frames)
    assert [len(held(store, number)) for number in range(3)] == [2, 2, 2]
    for index in range(4):
        offer(store, 3, 100 + index)
    assert [len(held(store, number)) for number in range(4)] == [2, 0, 2, 2]


def test_when_every_track_is_live_a_new_one_waits():
    """Live tracks keep their two; the newcomer gets nothing and takes no memory."""
    store = Store(size=SIZE, per_track=4, slots=4)
    for number in (0, 1, 2):
        for index in range(3):
            offer(store, number, 10 * number + index)
    assert [len(held(store, number)) for number in range(3)] == [2, 2, 0]
    assert set(store._held) == {0, 1}


def test_a_thousand_fragments_keep_within_the_slots():
    """However many tracks come and go, the slots in use and the tracks that hold any stay bounded."""
    store = Store(size=SIZE, per_track=8, slots=40)
    for number in range(1000):
        for index in range(6):
            offer(store, number, index)
        store.end(number, 6 + number % 7)
    assert sum(len(held(store, number)) for number in range(1000)) == in_use(store) <= 40
    assert len(store._held) <= 20
    kept = [6 + number % 7 for number in store._held]
    assert min(kept[:-1]) >= 11, "the longest are those that are kept"


def test_copies_are_zeroed_with_their_track():
    """What was handed out of a track is zero after release, and after wipe."""
    store = Store(size=SIZE, per_track=4, slots=4)
    first, second = store.copies(0, 2), store.copies(1, 1)
    first.fill(9)
    second.fill(9)
    store.release(0)
    assert not first.any()
    assert second.any()
    store.wipe()
    assert not second.any()


def test_memory_is_mapped_as_it_is_needed(monkeypatch):
    """The first candidate maps one chunk, not the whole budget; the last chunk is as small as the budget says."""
    monkeypatch.setattr(module, "_CHUNK", 4)
    slab = Slab(SIZE, 6)
    taken = []
    while slab.has_room():
        taken.append(slab.take())
        assert sum(chunk.shape[0] for chunk in slab._chunks) in {4, 6}
    assert sorted(taken) == list(range(6))


def test_a_refused_lock_is_told(monkeypatch):
    """Where the system locks no memory, the store says so."""
    monkeypatch.setattr(module, "locked_zeros", lambda shape: (np.zeros(shape, np.uint8), False))
    store = Store(size=SIZE, per_track=4, slots=4)
    assert store.locked
    offer(store, 0, 0)
    assert not store.locked


@pytest.mark.parametrize(("total", "size", "slots"), [(1_572_864, 128, 32), (192, 8, 1), (191, 8, 0)], ids=str)
def test_how_many_crops_a_number_of_bytes_holds(total, size, slots):
    """A crop is size by size by three bytes."""
    assert slots_of(total, size) == slots


def test_no_store_holds_nothing():
    """An observation without pixels answers all the same."""
    assert no_store().candidates(0) == ()
    no_store().wipe()
