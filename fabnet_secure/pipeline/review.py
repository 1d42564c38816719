"""The operator's look: a page on this machine's loopback that asks whose each face is, and is gone once answered.

Guarantees: nothing is written to disk; pictures leave the process only inside that page and never finer than
``blur.CELLS`` squares a side; the page is served on 127.0.0.1 alone, under a path that cannot be guessed, to the first
browser that opens it and to no other, and never cached, framed or scripted; an answer counts only from that page, in
that browser, within the time limit, once. A request under another host name (DNS rebinding) or from another site is
refused. Without an answer nothing is bound.

Does not guarantee: loopback is shared by every account of the machine, so another account can connect to the port, see
that it is open and keep it busy; the path is what keeps it out. Who can read this process's memory, its terminal, or
the command line that a browser was started with can read the path: paste the address into a window that is open. If
someone was faster, the operator's own browser is refused and says so. What is wiped is the page; Python's temporary
copies of the coarse pictures, the kernel's socket buffers and the browser's own memory cannot be wiped from here.
"""

from collections.abc import Callable, Mapping, Sequence
from threading import Thread
from typing import Protocol

import numpy as np

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.blur import data_uri, pixelate
from fabnet_secure.pipeline.review_page import Face, Picture, Sheet
from fabnet_secure.pipeline.review_server import Look, Server
from fabnet_secure.video.assign import box_at, key_frames
from fabnet_secure.video.bind import NOBODY, Assignment
from fabnet_secure.video.reader import Pixels
from fabnet_secure.video.track import Track

_PICTURES = 5
_SHORT = 8


class Looked(Protocol):
    """What a review needs of an observation (``video.observe.Observation``)."""

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Every track of the video, by number."""

    @property
    def frames_read(self) -> int:
        """How many frames the video has."""

    @property
    def fps(self) -> float:
        """Frames a second; 0.0 when unknown."""

    @property
    def width(self) -> int:
        """Of the frames, in pixels."""

    @property
    def height(self) -> int:
        """Of the frames, in pixels."""

    def crops(self, number: int) -> tuple[tuple[int, ...], Pixels]:
        """Return the frames and the (n, size, size, 3) pictures that are held of a track."""


def review(
    observation: Looked, consents: Mapping[str, str], *, announce: Callable[[str], None], seconds: float = 900.0
) -> tuple[Assignment, ...]:
    """Ask a person at this machine whose each track is, and wait for the answer.

    Args:
        observation: of one video, before it is wiped.
        consents: id of each named consent → the person it is of.
        announce: told the page's address; it must reach the operator and nobody else.
        seconds: how long the page waits.

    Returns:
        One assignment for every track, to ``NOBODY`` where the operator said so or where there is no picture to
        judge by.

    Raises:
        UsageError: code REVIEW_ABANDONED: no answer came in time, or the operator left without one.
    """
    faces = _faces(observation)
    unseen = {track.number for track in observation.tracks} - {face.number for face in faces}
    nobody = tuple(Assignment(person=NOBODY, track=number) for number in sorted(unseen))
    if not faces:
        return nobody
    sheet = Sheet(
        faces=faces,
        choices=_short(tuple(consents)),
        frames=observation.frames_read,
        fps=observation.fps,
        width=observation.width,
        height=observation.height,
        seconds=seconds,
    )
    look = Look(sheet=sheet, persons=tuple(consents.values()), tracks=observation.tracks)
    return (*nobody, *_serve(look, announce))


def _serve(look: Look, announce: Callable[[str], None]) -> tuple[Assignment, ...]:
    with Server(look) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            announce(f"http://{server.origin}{look.path}")
            look.done.wait(look.sheet.seconds)
        finally:
            look.close()
            server.shutdown()
    if look.answer is None:
        raise UsageError(
            "nobody said whose the faces are; nothing was bound",
            hint="run it again and answer the page, or name each face with --box",
            code="REVIEW_ABANDONED",
        )
    return look.answer


def _faces(observation: Looked) -> tuple[Face, ...]:
    """Say what is to be seen of every track of which there are pictures."""
    found: list[Face] = []
    for track in observation.tracks:
        pictures = _pictures(observation, track)
        if pictures:
            path = tuple(box for frame in key_frames(track) if (box := box_at(track, frame)))
            found.append(
                Face(
                    number=track.number,
                    first=track.first,
                    last=track.last,
                    size=track.median_size,
                    path=path,
                    pictures=pictures,
                )
            )
    return tuple(found)


def _pictures(observation: Looked, track: Track) -> tuple[Picture, ...]:
    frames, crops = observation.crops(track.number)
    places = sorted(set(np.linspace(0, len(frames) - 1, _PICTURES).round().astype(int).tolist())) if frames else []
    found: list[Picture] = []
    for place in places:
        coarse = pixelate(crops[place])
        found.append(Picture(frame=frames[place], address=data_uri(coarse)))
        coarse.fill(0)
    return tuple(found)


def _short(ids: Sequence[str]) -> tuple[str, ...]:
    """Shorten ids to what a person can compare, as long as that still tells them apart."""
    shown = tuple(f"{one[:_SHORT]}…" for one in ids)
    return shown if len(set(shown)) == len(shown) else tuple(ids)
