"""Names for a video's bytes that only this vault can compute: to do nothing twice, and nothing for two people.

A print is an HMAC under the vault's index key, so that who holds a copy of a video cannot look for it in a stolen
database. The same bytes under one person's consent are skipped; under another's they are refused, since one face
cannot be two people's and a withdrawal would leave it with the other.
"""

from dataclasses import dataclass
from pathlib import Path

from fabnet_secure.crypto.digest import fingerprint, sha256_file
from fabnet_secure.errors import Gap
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.declared import Declared
from fabnet_secure.store import tracks, videos
from fabnet_secure.store.database import Connection
from fabnet_secure.types import TrackStatus
from fabnet_secure.video.crop import crop_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Prints:
    """A video's bytes alone; under these consents as ingested; and as quarantined under the policy in force."""

    content: str
    ingested: str
    quarantined: str


def take(site: Site, path: Path, declared: Declared) -> Prints:
    """Read the file and name it."""
    digest, key = sha256_file(path), site.index_key
    parts = [digest, crop_version(site.settings.ingest.crop_size), *sorted(declared.consent_ids)]
    return Prints(
        content=fingerprint(key, ["content", digest]),
        ingested=fingerprint(key, ["ingested", *parts]),
        quarantined=fingerprint(key, ["quarantined", site.policy_sha256, *parts]),
    )


def known(connection: Connection, prints: Prints) -> bool:
    """Tell whether this video was taken in, or quarantined under the same policy, before."""
    return any(videos.find_by_fingerprint(connection, one) for one in (prints.ingested, prints.quarantined))


def refuse_another(connection: Connection, prints: Prints, declared: Declared) -> None:
    """Refuse bytes that are bound to somebody else.

    Raises:
        Gap: code ``SOURCE_OF_ANOTHER``: a living track of another person came from the same file.
    """
    for video in videos.find_by_content(connection, prints.content):
        for track in tracks.list_tracks(connection, video_id=video.video_id):
            if track.status is not TrackStatus.ERASED and track.subject_id not in (None, declared.record.subject_id):
                raise Gap(
                    "this video is bound to another person already; whose face it shows cannot be decided",
                    hint="withdraw the consent it was wrongly ingested under, or check which file belongs to whom",
                    code="SOURCE_OF_ANOTHER",
                )
