"""The in-memory storage keeps the contract that the database's must keep."""

from fabnet_secure.audit.log import LogStorage
from fabnet_secure.audit.memory import MemoryStorage


def test_reading_beyond_what_is_stored_gives_fewer():
    """Entries come in order, fewer when fewer are stored; a tile that is not there is ``None``."""
    storage: LogStorage = MemoryStorage()
    storage.write_entries(0, [b"a", b"b"])
    storage.write_entries(2, [b"c"])
    storage.set_size(3)
    assert storage.size() == 3
    assert storage.read_entries(1, 1 << 62) == [b"b", b"c"]
    assert storage.read_entries(3, 1 << 62) == []
    assert storage.read_tile(0, 0) is None


def test_a_wider_tile_takes_the_narrower_one_s_place():
    """Writing a tile replaces it."""
    storage = MemoryStorage()
    storage.write_tile(0, 0, b"x" * 32)
    storage.write_tile(0, 0, b"y" * 64)
    assert storage.read_tile(0, 0) == b"y" * 64
