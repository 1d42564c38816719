"""What is held of a quarantined video, as a value: enough to find the faces again, and no pixel.

Guarantees that a live source's address (which may carry a password) is not part of what is sealed, and that a path of
any bytes survives. Does not seal anything: ``quarantine.py`` does.
"""

import json
from dataclasses import dataclass, replace

from fabnet_secure.pipeline.source import Source
from fabnet_secure.video.detect import Box
from fabnet_secure.video.track import Track

_SHOWN = 5  # boxes of a track that are held, spread over its length


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTrack:
    """When and where one quarantined face was seen: (frame, (x, y, width, height) in pixels) at a few frames."""

    first: int
    last: int
    boxes: tuple[tuple[int, Box], ...]

    @classmethod
    def of(cls, track: Track) -> "HeldTrack":
        """Describe a track by its ends and a few boxes between them."""
        spread = {round(step * (len(track.boxes) - 1) / (_SHOWN - 1)) for step in range(_SHOWN)}
        shown = (track.boxes[number] for number in sorted(spread))
        return cls(first=track.first, last=track.last, boxes=tuple((one.index, one.detection.box) for one in shown))


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is held of a quarantined video: no pixel, and of a live source no address.

    Attributes:
        source: as it was to be ingested.
        named: every consent that was named for it, by whatever way.
        content: what the file's bytes are named by (``prints.content_of``).
        reason: why it was quarantined.
        tracks: the faces that wait.
    """

    source: Source
    named: tuple[str, ...]
    content: str
    reason: str
    tracks: tuple[HeldTrack, ...]

    def to_bytes(self) -> bytes:
        """Return what is sealed: JSON in ASCII, so that a path of any bytes survives."""
        body = {
            "source": _without_address(self.source).to_json(),
            "named": list(self.named),
            "content": self.content,
            "reason": self.reason,
            "tracks": [
                {"first": one.first, "last": one.last, "boxes": [[frame, *box] for frame, box in one.boxes]}
                for one in self.tracks
            ],
        }
        return json.dumps(body).encode("ascii")

    @classmethod
    def from_bytes(cls, blob: bytes) -> "Held":
        """Read what :meth:`to_bytes` gave."""
        body = json.loads(blob)
        return cls(
            source=Source.from_json(body["source"]),
            named=tuple(body["named"]),
            content=body["content"],
            reason=body["reason"],
            tracks=tuple(
                HeldTrack(first=one["first"], last=one["last"], boxes=tuple(map(_seen, one["boxes"])))
                for one in body["tracks"]
            ),
        )


def _without_address(source: Source) -> Source:
    """Leave a live source's address out, and make a file's path hold from any working directory."""
    return replace(source, url="", path=None if source.path is None else source.path.absolute())


def _seen(told: list[float]) -> tuple[int, Box]:
    frame, x, y, width, height = told
    return int(frame), (x, y, width, height)
