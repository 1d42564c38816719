"""The newest entries, proven against the signed root."""

from datetime import UTC, datetime, timedelta

import pytest

from fabnet_secure.audit.checkpoint import sign_checkpoint, vkey
from fabnet_secure.audit.leaf import build_leaf, read_leaf
from fabnet_secure.audit.log import Log
from fabnet_secure.audit.memory import MemoryStorage
from fabnet_secure.audit.recent import entries_since
from fabnet_secure.errors import IntegrityFailure

START = datetime(2026, 5, 4, tzinfo=UTC)
ORIGIN = "example.org/log"


@pytest.fixture
def timed(signer):
    """Make a log with an entry a minute, and a way to read its newest entries."""

    def made(size):
        storage = MemoryStorage()
        log = Log(storage)
        log.append(
            [
                build_leaf(act="test.done", at=START + timedelta(minutes=n), actor="a", facts={"n": n}, commitments={})
                for n in range(size)
            ]
        )
        note = sign_checkpoint(ORIGIN, size, log.root(), signer)
        return storage, (storage, note, vkey(ORIGIN, signer.public))

    return made


def numbers(log, verify, minute, slack=0):
    """Return the numbers of the entries that are read."""
    since, width = START + timedelta(minutes=minute), timedelta(minutes=slack)
    return [read_leaf(one).facts["n"] for one in entries_since(*log, verify, since=since, slack=width)]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 600, 1024])
@pytest.mark.parametrize("minute", [-10, 0, 200, 512, 599, 5000])
def test_every_entry_since_then_is_there(timed, verify, size, minute):
    """At sizes on both sides of a tile's edge: all that are wanted, in order, up to the last."""
    found = numbers(timed(size)[1], verify, minute)
    assert found == list(range(size))[size - len(found) :]
    assert set(found) >= set(range(max(0, minute), size))
    assert len(found) <= max(0, size - minute) + 512


def test_the_rest_is_not_read(timed, verify):
    """Of a thousand entries the last ten cost one tile; with slack, one more."""
    _, log = timed(1000)
    assert numbers(log, verify, 990)[0] == 768
    assert numbers(log, verify, 768, slack=10)[0] == 512


@pytest.mark.parametrize("at", [500, 700, 999])
def test_a_changed_or_lost_entry_is_refused(timed, verify, at):
    """One among those that are read does not hash to what was signed; or is gone."""
    storage, log = timed(1000)
    storage.entries[at] = storage.entries[at].replace(b'"n":', b'"n":1')
    with pytest.raises(IntegrityFailure) as caught:
        numbers(log, verify, 400)
    assert caught.value.code == "LOG_BROKEN"
    del storage.entries[at]
    with pytest.raises(IntegrityFailure):
        numbers(log, verify, 400)
