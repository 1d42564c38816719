"""Margins: every vector of a page has one track, one frame and one length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.store.margins import Margin, pack_margin
from fabnet_secure.types import new_id

RUNS = st.lists(st.tuples(st.uuids().map(str), st.lists(st.integers(0, 2**32 - 1), min_size=1)), max_size=5)


@given(runs=RUNS)
def test_what_is_packed_is_read(runs):
    """Tracks, frames and lengths come back in their order."""
    count = sum(len(frames) for _, frames in runs)
    inverse = np.arange(count, dtype=np.float32)
    margin = Margin(pack_margin(runs, inverse), count)
    labels = [(track_id, frame) for track_id, frames in runs for frame in frames]
    assert margin.labels() == labels
    assert [margin.at(place) for place in range(count)] == labels
    assert margin.inverse().tolist() == inverse.tolist()
    assert all(margin.names(track_id) for track_id, _ in runs)


def test_a_track_that_is_not_there_is_not_named():
    """Neither another id nor text that is no id is found."""
    margin = Margin(pack_margin([(new_id(), [1])], np.ones(1, np.float32)), 1)
    assert not margin.names(new_id())
    assert not margin.names("no id")


@pytest.mark.parametrize("frames", [[], [-1], [2**32], [1, 2]], ids=["none", "negative", "too large", "too many"])
def test_what_does_not_fit_is_not_packed(frames):
    """A track without a vector, a frame that is no number of one, and a count that is not the vectors'."""
    with pytest.raises(UsageError):
        pack_margin([(new_id(), frames)], np.ones(1, np.float32))


@pytest.mark.parametrize("change", [lambda blob: blob[1:], lambda blob: blob + b"\0" * 4, lambda _: b""])
def test_a_margin_of_another_shape_is_refused(change):
    """Cut short, longer, or empty: it does not fit its page."""
    blob = pack_margin([(new_id(), [1, 2])], np.ones(2, np.float32))
    with pytest.raises(IntegrityFailure):
        Margin(change(blob), 2).tracks()
    with pytest.raises(IntegrityFailure):
        Margin(b"", 2).inverse()


def test_counts_that_do_not_add_up_are_refused():
    """A margin for two vectors says nothing about a page of three."""
    blob = bytearray(pack_margin([(new_id(), [1, 2])], np.ones(2, np.float32)))
    blob[8 + 16] = 1  # the track's count
    with pytest.raises(IntegrityFailure):
        Margin(bytes(blob), 2).frames()
