"""A file that changes while it is ingested is refused, nothing of it is kept, and no file is deleted for it.

The policy is ``source_disposition = "delete"``: a file that was not read must not be deleted either.
"""

import os
import threading

import pytest

from fabnet_secure.pipeline import ingest
from fabnet_secure.pipeline.source import Source
from fabnet_secure.progress import Silent
from fabnet_secure.synth.clip import write_clip


class Acting(Silent):
    """Lets ``act()`` happen once, at the first news of frames."""

    def __init__(self, act):
        self.act = act

    def advance(self, *_news, **_figures):
        act, self.act = self.act, lambda: None
        act()


def replace(path, make):
    """Give the name to another file in one step."""
    make(path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def append(path, data):
    with path.open("ab") as file:
        file.write(data)


def overwrite(path, data):
    """Write other bytes into the same file; its size stays."""
    with path.open("r+b") as file:
        file.write(data[: path.stat().st_size])


def link(path, data):
    """Give the name to a symbolic link that leads to another file."""
    path.with_suffix(".target").write_bytes(data)
    replace(path, lambda new: new.symlink_to(path.with_suffix(".target")))


CHANGES = {
    "grows": append,
    "is cut": lambda path, _: os.truncate(path, path.stat().st_size // 2),
    "is overwritten": overwrite,
    "is replaced": lambda path, data: replace(path, lambda new: new.write_bytes(data)),
    "becomes a link": link,
}
VANISHINGS = {
    "is removed": lambda path, _: path.unlink(),
    "becomes a pipe": lambda path, _: replace(path, os.mkfifo),
    "becomes a folder": lambda path, _: (path.unlink(), path.mkdir()),
}
MOMENTS = ("opened", "looked up", "read", "read through")


@pytest.fixture
def meanwhile(monkeypatch):
    """Return a function that lets ``act()`` happen at a moment of the next ingest, and gives the progress for it."""

    def once(owner, name, act, *, after=False):
        real, acts = getattr(owner, name), [act]

        def interrupted(*given, **named):
            if acts and not after:
                acts.pop()()
            answer = real(*given, **named)
            if acts:
                acts.pop()()
            return answer

        monkeypatch.setattr(owner, name, interrupted)

    def at(moment, act):
        if moment == "opened":  # and checked: the reader holds it
            once(ingest.Identity, "of", act)
        elif moment == "looked up":  # which file it is, but not yet what its bytes are named by
            once(ingest, "take", act)
        elif moment == "read through":
            once(ingest, "observe", act, after=True)
        elif moment == "bound":  # and found unchanged
            once(ingest, "keep", act)
        return Acting(act if moment == "read" else lambda: None)

    return at


@pytest.fixture
def refuse(vault, films, meanwhile, monkeypatch):
    """Return a function that ingests a film which ``act(path)`` changes at a moment; it must be refused, in words."""

    def run(site, moment, act, name="0-h264.ts"):
        path = vault.film(name)
        path.write_bytes(films[name])
        left = []

        def change():
            act(path)
            left.append(path.stat() if path.exists() else None)

        before = vault.books(site)
        progress = meanwhile(moment, change)
        source = Source(path=path, consent_ids=(vault.consents["ada"],))
        (outcome,) = ingest.ingest(site, [source], progress=progress)
        monkeypatch.undo()
        assert outcome.status == "refused"
        vault.assert_log_verifies(site, vault.assert_sound(site, outcome, before))
        if left[0] is not None:
            assert path.stat().st_ino == left[0].st_ino
        return outcome.error.code

    return run


@pytest.mark.parametrize(
    "moment",
    [
        "opened",
        "looked up",
        "read",
        "read through",
    ],
)
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_is_refused(vault, films, refuse, moment, change):
    """Whenever it happens, what is committed and what is deleted is what was read, or nothing is."""
    with vault.open(source_disposition="delete") as site:
        for name, other in (("0-h264.ts", "0-h265.mkv"), ("0-mjpeg.avi", "1-mjpeg.avi")):
            code = refuse(site, moment, lambda path, new=films[other]: CHANGES[change](path, new), name)
            assert code in ("SOURCE_CHANGED", "SOURCE_TRUNCATED")


@pytest.mark.parametrize("change", VANISHINGS)
def test_a_file_that_vanishes_is_refused_in_words(vault, refuse, change):
    """At every moment: no path in the words, and a hint; a pipe under the same name is not waited for."""
    with vault.open(source_disposition="delete") as site:
        for moment in MOMENTS:
            assert refuse(site, moment, lambda path: VANISHINGS[change](path, b"")).startswith("SOURCE_")
            for left in vault.film("").parent.iterdir():
                left.rmdir() if left.is_dir() else left.unlink()


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_after_it_was_read_stays(vault, films, meanwhile, change):
    """What was read is kept, and found unchanged when it had been read; the other file in its place is not deleted."""
    path = vault.film("late.avi")
    path.write_bytes(films["0-mjpeg.avi"])
    with vault.open(source_disposition="delete") as site:
        before = vault.books(site)
        progress = meanwhile("bound", lambda: CHANGES[change](path, films["1-mjpeg.avi"]))
        source = Source(path=path, consent_ids=(vault.consents["ada"],))
        (outcome,) = ingest.ingest(site, [source], progress=progress)
        assert (outcome.status, outcome.disposition) == ("ingested", "delete_failed")
        assert path.exists()
        vault.assert_sound(site, outcome, before)


@pytest.mark.parametrize("way", ["grows", "shrinks"])
def test_a_file_that_another_thread_writes_to_is_refused(vault, films, refuse, way):
    """Somebody goes on writing from the first picture until the end: refused, at the latest when all was read."""
    begun, over = threading.Event(), threading.Event()

    def write(path):
        while not over.is_set():
            if way == "grows":
                append(path, films["0-h264.ts"][:1880])
            else:
                os.truncate(path, path.stat().st_size * 9 // 10)
            begun.set()
            over.wait(0.002)

    def start(path):
        threads.append(threading.Thread(target=write, args=(path,)))
        threads[-1].start()
        assert begun.wait(10)

    threads = []
    try:
        with vault.open(source_disposition="delete") as site:
            for name in ("0-h264.ts", "0-mjpeg.avi"):
                assert refuse(site, "read", start, name) in ("SOURCE_CHANGED", "SOURCE_TRUNCATED")
                begun.clear()
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    "name",
    [
        *("h264.ts", "h265.ts", "mpeg2.ts", "mpeg4.ts", "vp9.webm", "mjpeg.avi"),
        "av1.mkv",
    ],
)
def test_a_change_of_size_midway_is_refused(vault, tmp_path, ffmpeg, formats, name):
    """Three larger pictures of the same person in the middle: nothing is kept, wherever the detector looks."""
    clip, joined = tmp_path / "raw.avi", vault.film(name)
    write_clip(clip, [1], frames=14, width=180, height=160)
    for number, size in enumerate(("180:160", "216:192", "180:160")):
        part = tmp_path / f"{number}-{name}"
        frames = 3 if number == 1 else 14
        ffmpeg("-i", clip, "-an", "-vf", f"scale={size}", "-frames:v", frames, *formats[name], part)
        with joined.open("ab") as file:
            file.write(part.read_bytes())
    for interval in (1, 5):
        with vault.open(detector_interval=interval, source_disposition="delete") as site:
            before = vault.books(site)
            source = Source(path=joined, consent_ids=(vault.consents["ada"],))
            (outcome,) = ingest.ingest(site, [source], progress=Silent())
            assert outcome.status == "refused", interval
            assert outcome.error.code == "SOURCE_SIZE_CHANGES"
            vault.assert_log_verifies(site, vault.assert_sound(site, outcome, before))
    assert joined.exists()
