"""Damaged at random, a video is read or refused with a code: the process never dies and never hangs.

The damage follows from the file's name and a number, so a finding can be made again: ``damaged(data, name, turn)``.
"""

import zlib
from collections import Counter

import numpy as np
import pytest

ROUNDS = 10
SLOW_ROUNDS = 120
REAL_ROUNDS = 12
EXTREMES = (b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\x00\x00\x00\x01")
HEAD = 2048


def flip(data, rng):
    """Change a few bytes anywhere."""
    for place in rng.integers(0, len(data), rng.integers(1, 40)):
        data[place] = rng.integers(256)


def flip_head(data, rng):
    """Change a few bytes of the first or the last two kilobytes, where headers and indices are."""
    start = 0 if rng.random() < 0.6 else max(0, len(data) - HEAD)
    for _ in range(rng.integers(1, 12)):
        data[min(len(data) - 1, start + int(rng.integers(HEAD)))] = rng.integers(256)


def put_extremes(data, rng):
    """Write extreme numbers over header fields."""
    start = 0 if rng.random() < 0.6 else max(0, len(data) - HEAD)
    for _ in range(rng.integers(1, 6)):
        place = min(len(data) - 4, start + int(rng.integers(HEAD)))
        data[place : place + 4] = EXTREMES[rng.integers(len(EXTREMES))]


def blank(data, rng):
    """Overwrite a stretch with zeros."""
    place, length = span(data, rng)
    data[place : place + length] = bytes(length)


def cut_out(data, rng):
    """Take a stretch out."""
    place, length = span(data, rng)
    del data[place : place + length]


def repeat(data, rng):
    """Say a stretch twice."""
    place, length = span(data, rng)
    data[place:place] = data[place : place + length]


def insert_noise(data, rng):
    """Put noise in between."""
    place, length = span(data, rng)
    data[place:place] = rng.bytes(length)


def cut_off(data, rng):
    """Cut the end off."""
    del data[int(rng.integers(1, len(data))) :]


def span(data, rng):
    """Choose a stretch within the data."""
    place = int(rng.integers(len(data)))
    return place, int(min(len(data) - place, rng.integers(1, max(2, len(data) // 4))))


DAMAGES = (flip, flip_head, put_extremes, blank, cut_out, repeat, insert_noise, cut_off)


def damaged(data, name, turn):
    """Return ``data`` with the damage number ``turn``; the same for the same name."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), turn])
    copy = bytearray(data)
    for kind in rng.choice(len(DAMAGES), rng.integers(1, 3)):
        DAMAGES[kind](copy, rng)
    return bytes(copy)


def fuzz(sources, rounds, folder, read_in_child):
    """Read every source ``rounds`` times damaged; return what became of each case."""
    paths = []
    for name, data in sources.items():
        for turn in range(rounds):
            stem, suffix = name.rsplit(".", 1)
            paths.append(folder / f"{stem}-{turn}.{suffix}")
            paths[-1].write_bytes(damaged(data, name, turn))
    return read_in_child(paths)


def assert_told(found):
    """Check that every case ended in frames or in a documented code."""
    bad = {name: told for name, (told, _) in found.items() if told != "ok" and not told.startswith("SOURCE_")}
    assert not bad, f"{len(bad)} of {len(found)}: {bad}"


def test_the_files_are_read_whole_when_they_are_whole(whole, tmp_path, read_in_child):
    """Undamaged, every file is read to its end in the same child: what follows tests damage, not formats."""
    for name, data in whole.items():
        (tmp_path / name).write_bytes(data)
    found = read_in_child(sorted(tmp_path.iterdir()))
    assert {told for told, _ in found.values()} == {"ok"}
    assert min(frames for _, frames in found.values()) >= 8


def test_damage_at_random_is_survived(whole, tmp_path, read_in_child):
    """A hundred and sixty damaged files: each is read or refused with a code, in one process that lives on."""
    found = fuzz(whole, ROUNDS, tmp_path, read_in_child)
    assert_told(found)
    kinds = Counter(told for told, _ in found.values())
    assert len(found) >= 140
    assert len(kinds) >= 3  # the damage is neither always harmless nor always fatal
    assert kinds["ok"] >= 5


def test_the_damage_is_the_same_every_time():
    """A case can be made again from its name and number; the numbers differ."""
    data = bytes(range(256)) * 20
    assert damaged(data, "a.mp4", 3) == damaged(data, "a.mp4", 3)
    assert damaged(data, "a.mp4", 3) != damaged(data, "a.mp4", 4) != damaged(data, "b.mp4", 4)


def test_a_child_that_dies_or_hangs_is_noticed(tmp_path, monkeypatch, request):
    """The test's own net holds: a crash and a hang are reported with their case, and the next file is read."""
    conftest = request.config.pluginmanager.get_plugin(str(request.path.parent / "conftest.py"))
    monkeypatch.setattr(conftest, "WAIT_SECONDS", 2)
    script = conftest.READER.replace(
        "with open_video(",
        "if 'make-it-die' in line: __import__('os').kill(__import__('os').getpid(), 11)\n"
        "        if 'make-it-wait' in line: __import__('time').sleep(60)\n"
        "        with open_video(",
    )
    monkeypatch.setattr(conftest, "READER", script)
    found = {}
    for name in ("make-it-die", "make-it-wait", "none"):
        child = conftest.ReadingChild()
        found[name] = child.read(tmp_path / name)[0]
        child.close()
    assert found["make-it-die"].startswith("DIED(-11)")
    assert found["make-it-wait"] == "HANG"
    assert found["none"] == "SOURCE_MISSING"


@pytest.mark.slow
def test_much_more_damage_is_survived(whole, tmp_path, read_in_child):
    """The same with about two thousand cases."""
    assert_told(fuzz(whole, SLOW_ROUNDS, tmp_path, read_in_child))


@pytest.mark.slow
@pytest.mark.real_clips
def test_damaged_real_clips_are_survived(real, tmp_path, read_in_child):
    """Real clips, damaged: read, or refused with a code."""
    assert_told(fuzz(real, REAL_ROUNDS, tmp_path, read_in_child))
