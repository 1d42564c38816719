"""Files that a watcher has taken out of its inbox: claimed by a rename, held under a lock, put away by a rename.

    DIR/clip.mp4                       waits; the watcher renames it to
    DIR/.taken/<desk>/<claim>/clip.mp4     and reads it there, under what <desk>/<claim>.json says; then it lies in
    DIR/.done/clip.mp4                 ingested, or known before (deleted where the policy says so)
    DIR/.refused/clip.mp4              refused
    DIR/.taken/<desk>/<claim>/clip.mp4     still, if quarantined: the vault's record names this very path

Guarantees: of several watchers one has a file (a rename happens once); a desk whose watcher died is found by its lock,
which the kernel frees, and its claims are gone on with where they lie, under the consents they were claimed with; no
file is renamed between being read and being decided; nothing is ever overwritten. Does not guarantee any of this on a
file system without locks or without atomic renames.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.source import Source
from fabnet_secure.types import VideoId, new_id

TAKEN, DONE, REFUSED = ".taken", ".done", ".refused"
_LOCK = "lock"
_MOST_NUMBERS = 100_000
_LONGEST_NAME, _SHORT_STEM = 240, 25  # bytes, characters: room for a number within a file system's 255 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One file that was taken.

    Attributes:
        inbox: the watched folder.
        folder: where the file lies alone; its card lies beside it.
        origin: where it lay in the inbox.
        source: the file where it lies now, and its consents; None where the card cannot be read.
        tries: how often a watcher has begun with it.
        video_id: of the quarantined video, once it is one; "" before.
    """

    inbox: Path
    folder: Path
    origin: Path
    source: Source | None
    tries: int = 1
    video_id: VideoId | None = None

    @property
    def path(self) -> Path:
        """Where the file lies now."""
        return self.folder / self.origin.name

    @property
    def card(self) -> Path:
        """The file that says what was claimed."""
        return self.folder.with_suffix(".json")

    def write(self) -> None:
        """Write the card, so that it is there whole or not at all, even if the power fails."""
        body = {
            "format": 1,
            "origin": str(self.origin),
            "tries": self.tries,
            "video_id": self.video_id,
            "source": None if self.source is None else self.source.to_json(),
        }
        part = self.folder.with_suffix(".part")
        with part.open("w", encoding="ascii") as stream:
            json.dump(body, stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(self.card)

    def hold(self, video_id: str) -> "Claim":
        """Let the file lie here: it is quarantined, and the vault names it by this path."""
        held = replace(self, video_id=VideoId(video_id))
        held.write()
        return held

    def counted(self, more: int) -> "Claim":
        """Count another try, or take one back."""
        counted = replace(self, tries=self.tries + more)
        counted.write()
        return counted

    def put_away(self, shelf: str) -> None:
        """Move the file onto a shelf of the inbox, if it is still here, and end the claim."""
        if os.path.lexists(self.path):
            target = _free_name(self.inbox / shelf / self.origin)
            self.path.rename(target)
        self.drop()

    def drop(self) -> None:
        """End the claim of a file that is not here (any more)."""
        if self.folder.exists():  # a file that the policy deletes may have been cleared away with its folder
            self.folder.rmdir()
        self.card.unlink(missing_ok=True)


@dataclass(slots=True, kw_only=True)
class Desk:
    """One watcher's claims; open as long as its lock is held."""

    inbox: Path
    folder: Path
    _lock: int = field(repr=False)

    @classmethod
    def open(cls, inbox: Path) -> "Desk":
        """Make a desk of one's own; it appears locked or not at all.

        Raises:
            UsageError: code ``INBOX_UNUSABLE``: the folder may not be written to, or knows no locks.
        """
        name = new_id()
        making, folder = inbox / TAKEN / f".{name}", inbox / TAKEN / name
        try:
            (inbox / TAKEN).mkdir(mode=0o700, exist_ok=True)
            making.mkdir(mode=0o700)
            lock = _locked(making, create=True)
            if lock is None:
                raise BlockingIOError
            making.rename(folder)
        except OSError as error:
            hint = "the watched folder must be writable, on a file system with locks"
            raise UsageError("the inbox cannot be used", hint=hint, code="INBOX_UNUSABLE") from error
        return cls(inbox=inbox, folder=folder, _lock=lock)

    @classmethod
    def abandoned(cls, inbox: Path) -> "Iterator[Desk]":
        """Take over the desks of watchers that are no more, each locked."""
        for folder in sorted((inbox / TAKEN).iterdir()):
            lock = None if folder.name.startswith(".") else _locked(folder, create=False)
            if lock is not None:
                yield cls(inbox=inbox, folder=folder, _lock=lock)

    def claim(self, relative: Path, source: Source) -> Claim | None:
        """Take a file out of the inbox; None if it is gone, since another watcher was faster.

        Args:
            relative: where it lies in the inbox.
            source: its consents, camera and seats; the path is set here.
        """
        folder = self.folder / new_id()
        claim = Claim(
            inbox=self.inbox,
            folder=folder,
            origin=relative,
            source=replace(source, path=(folder / relative.name).absolute()),
        )
        folder.mkdir(mode=0o700)
        claim.write()
        try:
            (self.inbox / relative).rename(claim.path)
        except FileNotFoundError:
            claim.drop()
            return None
        return claim

    def claims(self) -> Iterator[Claim]:
        """Yield every claim that lies here; one that a crash cut off before the rename is cleared away."""
        for folder in sorted(one for one in self.folder.iterdir() if one.is_dir()):
            files = sorted(folder.iterdir())
            if not files:
                Claim(inbox=self.inbox, folder=folder, origin=Path(), source=None).drop()
            else:
                yield _read(self.inbox, folder, files[0])
        for left in self.folder.iterdir():  # of claims that were put away, or that were not made
            if left.suffix in {".json", ".part"} and not left.with_suffix("").exists():
                left.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the lock; a desk without claims is cleared away first."""
        try:
            if [one.name for one in self.folder.iterdir()] == [_LOCK]:
                shutil.rmtree(self.folder)
        finally:
            os.close(self._lock)


def _read(inbox: Path, folder: Path, file: Path) -> Claim:
    """Read the card of a claim; a damaged one leaves nothing to ingest the file under."""
    claim = Claim(inbox=inbox, folder=folder, origin=Path(file.name), source=None)
    try:
        card: dict[str, Any] = json.loads(claim.card.read_text("ascii"))
        origin, source = Path(card["origin"]), Source.from_json(card["source"])
        fits = origin.name == file.name and not origin.is_absolute() and ".." not in origin.parts
        tries, video_id = int(card["tries"]), card["video_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return claim
    if not fits:
        return claim
    return replace(claim, origin=origin, source=replace(source, path=file.absolute()), tries=tries, video_id=video_id)


def _locked(folder: Path, *, create: bool) -> int | None:
    """Lock a desk; return the descriptor, or None if somebody holds it or it is gone."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # the last: another account's desk
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    if not (folder / _LOCK).exists():  # its owner cleared it away meanwhile
        os.close(descriptor)
        return None
    return descriptor


def _free_name(wanted: Path) -> Path:
    """Reserve ``wanted``, or ``wanted-2`` and so on: an empty file that only the coming rename replaces."""
    wanted.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    stem = wanted.stem if len(os.fsencode(wanted.name)) <= _LONGEST_NAME else wanted.stem[:_SHORT_STEM]
    for number in range(1, _MOST_NUMBERS):
        free = wanted if number == 1 else wanted.with_name(f"{stem}-{number}{wanted.suffix[:_SHORT_STEM]}")
        try:
            os.close(os.open(free, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            continue
        return free
    raise UsageError("the inbox holds too many files of one name", hint="clear .done and .refused", code="INBOX_FULL")
