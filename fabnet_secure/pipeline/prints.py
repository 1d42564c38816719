"""Names for a video's bytes that only this vault can compute: to do nothing twice, and nothing for two people.

A print is an HMAC under the vault's index key, so that who holds a copy of a video cannot look for it in a stolen
database. The same bytes under the same consents are skipped; under somebody else's they are refused, since one face
cannot be two people's and a withdrawal would leave it with the other. A live source has no bytes to come back to: its
prints are random.
"""

from dataclasses import dataclass
from pathlib import Path

from fabnet_secure.crypto.digest import fingerprint, sha256_file
from fabnet_secure.errors import Gap
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.declared import Declared
from fabnet_secure.pipeline.source import Source
from fabnet_secure.store import tracks, videos
from fabnet_secure.store.database import Connection
from fabnet_secure.types import TrackStatus, canonical_json, new_id
from fabnet_secure.video.crop import crop_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Prints:
    """A video's bytes alone; under these consents as ingested; and as quarantined under the policy in force."""

    content: str
    ingested: str
    quarantined: str


def take(site: Site, source: Source, declared: Declared, descriptor: int | None) -> Prints:
    """Read the open file and name it: by its descriptor, since its name may lead elsewhere by now; None is live."""
    digest, key = new_id() if descriptor is None else sha256_file(Path(f"/dev/fd/{descriptor}")), site.index_key
    parts = [digest, crop_version(site.settings.ingest.crop_size), *sorted(declared.consent_ids)]
    claims = source.to_json()
    told = {name: claims[name] for name in ("boxes", "seats", "camera") if claims[name]}
    if told:
        parts.append(canonical_json(told).decode())
    return Prints(
        content=_content(site, digest),
        ingested=fingerprint(key, ["ingested", *parts]),
        quarantined=fingerprint(key, ["quarantined", site.policy_sha256, *parts]),
    )


def content_of(site: Site, path: Path) -> str:
    """Read the file and name its bytes alone: what :attr:`Prints.content` is for the same bytes."""
    return _content(site, sha256_file(path))


def _content(site: Site, digest: str) -> str:
    return fingerprint(site.index_key, ["content", digest])


def find_known(connection: Connection, prints: Prints, *, looked_at: bool) -> videos.VideoRow | None:
    """Return the row of this video if it was taken in before, or quarantined under the same policy.

    Where a person looks at it now (``looked_at``), a quarantine of before is no reason to skip it.
    """
    names = (prints.ingested,) if looked_at else (prints.ingested, prints.quarantined)
    return next((row for one in names if (row := videos.find_by_fingerprint(connection, one))), None)


def refuse_another(connection: Connection, prints: Prints, declared: Declared) -> None:
    """Refuse bytes that are bound to somebody who was not declared.

    Raises:
        Gap: code ``SOURCE_OF_ANOTHER``: a living track of another person came from the same file.
    """
    if bound_before(connection, prints.content, living=False) - set(declared.subjects):
        raise of_another()


def of_another() -> Gap:
    """Say that these bytes gave tracks to somebody else before."""
    return Gap(
        "this video is bound to another person already; whose face it shows cannot be decided",
        hint="check which file belongs to whom: a file is bound once, to everybody who is in it",
        code="SOURCE_OF_ANOTHER",
    )


def bound_before(connection: Connection, content: str, *, living: bool = True) -> set[str]:
    """Return the people to whom tracks of these bytes are bound; with ``living=False`` expired tracks count too."""
    ended = {TrackStatus.ERASED} if not living else {TrackStatus.ERASED, TrackStatus.EXPIRED}
    return {
        track.subject_id
        for video in videos.find_by_content(connection, content)
        for track in tracks.list_tracks(connection, video_id=video.video_id)
        if track.status not in ended and track.subject_id is not None
    }
