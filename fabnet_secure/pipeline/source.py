"""What is to be ingested, and what became of it: the two ends of the journey, as values that can be written down.

Both have a JSON form, since a worker of ``--jobs`` is told its source and tells its outcome over a pipe: names, ids and
counts cross a process boundary, pixels never do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fabnet_secure import errors
from fabnet_secure.errors import FabnetError
from fabnet_secure.types import TrackId
from fabnet_secure.video.detect import Box
from fabnet_secure.video.live import without_secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxClaim:
    """The operator's word that the face at ``box`` (x, y, width, height, pixels) of ``frame`` is this consent's."""

    consent_id: str
    frame: int
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One video, file or live, and the consents that it was recorded under.

    Attributes:
        path: the file; None for a live source.
        url: of a live source, with its password if it has one; "" for a file.
        seconds: how long a live source is read.
        consent_ids: as named; of one person or of several.
        camera: the name of a camera in the site's settings; "" to look it up by the source's name.
        seats: name of a region before the camera → the consent of the person who sat there.
        boxes: the operator's assignment, if any.
        released: whether a person looks at it now, so that a quarantine of before is no reason to skip it.
        releases: the id of the quarantined video whose wait ends with this ingest; "" for none.
    """

    path: Path | None = None
    url: str = ""
    seconds: float | None = None
    consent_ids: tuple[str, ...]
    camera: str = ""
    seats: Mapping[str, str] = field(default_factory=dict)
    boxes: tuple[BoxClaim, ...] = ()
    released: bool = False
    releases: str = ""

    @property
    def label(self) -> str:
        """What people call it: the file's name, or the URL without its password."""
        return (self.path.name or str(self.path)) if self.path is not None else without_secrets(self.url)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; a path of any bytes survives it as surrogates."""
        return {
            "path": None if self.path is None else str(self.path),
            "url": self.url,
            "seconds": self.seconds,
            "consent_ids": list(self.consent_ids),
            "camera": self.camera,
            "seats": dict(self.seats),
            "boxes": [{"consent_id": one.consent_id, "frame": one.frame, "box": list(one.box)} for one in self.boxes],
            "released": self.released,
            "releases": self.releases,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Source":
        """Read what :meth:`to_json` gave."""
        boxes = (
            BoxClaim(consent_id=one["consent_id"], frame=one["frame"], box=_box(one["box"])) for one in body["boxes"]
        )
        return cls(
            path=None if body["path"] is None else Path(body["path"]),
            url=body["url"],
            seconds=body["seconds"],
            consent_ids=tuple(body["consent_ids"]),
            camera=body["camera"],
            seats=dict(body["seats"]),
            boxes=tuple(boxes),
            released=body["released"],
            releases=body["releases"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one video.

    Attributes:
        status: ingested, skipped, refused or quarantined.
        disposition: what became of the file: keep, deleted or delete_failed; "" where nothing was decided about it.
        error: why it was refused.
    """

    source: Source
    status: str
    video_id: str = ""
    frames_read: int = 0
    frames_persisted: int = 0
    detected: int = 0
    bound: int = 0
    dropped: int = 0
    quarantined: int = 0
    drop_reasons: Mapping[str, int] = field(default_factory=dict)
    track_ids: tuple[TrackId, ...] = ()
    disposition: str = ""
    error: FabnetError | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        body = {name: getattr(self, name) for name in _PLAIN}
        return body | {
            "source": self.source.to_json(),
            "drop_reasons": dict(self.drop_reasons),
            "track_ids": list(self.track_ids),
            "error": None if self.error is None else error_to_json(self.error),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Outcome":
        """Read what :meth:`to_json` gave."""
        return cls(
            **{name: body[name] for name in _PLAIN},
            source=Source.from_json(body["source"]),
            drop_reasons=dict(body["drop_reasons"]),
            track_ids=tuple(TrackId(one) for one in body["track_ids"]),
            error=None if body["error"] is None else error_from_json(body["error"]),
        )


_PLAIN = (
    "status", "video_id", "frames_read", "frames_persisted", "detected", "bound", "dropped", "quarantined",
    "disposition",
)  # fmt: skip


def error_to_json(error: FabnetError) -> dict[str, str]:
    """Return an error's kind and words."""
    return {"kind": type(error).__name__, "message": error.message, "hint": error.hint, "code": error.code}


def error_from_json(body: Mapping[str, str]) -> FabnetError:
    """Make an error of the same kind; one that this program does not know is a plain :class:`FabnetError`."""
    kind = getattr(errors, body["kind"], FabnetError)
    known = kind if isinstance(kind, type) and issubclass(kind, FabnetError) else FabnetError
    return known(body["message"], hint=body["hint"], code=body["code"])


def _box(sides: list[float]) -> Box:
    x, y, width, height = (float(side) for side in sides)
    return (x, y, width, height)
