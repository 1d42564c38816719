"""What was named on the command line, as videos: files, folders, patterns, live sources, rows of a manifest.

Guarantees: a file is taken once however often and by whatever name it was named; nothing but a regular file is opened,
for its first bytes only; links to folders are not followed, hidden names are left out, so a search ends; what cannot be
searched is told beside what was found. A file that was named itself is always handed on: whoever reads it refuses it
with a precise reason. Does not guarantee that what was found decodes (``video/reader.py``), nor that it is still there.
"""

import math
import os
import re
import stat
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from fabnet_secure.consent.duration import parse_duration
from fabnet_secure.errors import FabnetError, UnreadableSource, UsageError
from fabnet_secure.pipeline.source import Outcome, Source
from fabnet_secure.video.container import Kind, sniff
from fabnet_secure.video.live import is_live

_HEAD = 4096
_MAGIC = frozenset("*?[")
_ADDRESS = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*:/|\S*:\S*@")  # perhaps with a password: never shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What an expansion found.

    Attributes:
        found: the videos, each file once, in the order named; folders in the order of their names.
        refused: what could not be searched, or held nothing.
        ignored: files in searched folders that are no video by their content.
    """

    found: tuple[Source, ...]
    refused: tuple[Outcome, ...] = ()
    ignored: int = 0


def expand(
    named: Sequence[str],
    *,
    consent_ids: Sequence[str],
    camera: str = "",
    seats: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> Sources:
    """Find every video that the words name, all under the same consents.

    Args:
        named: files, folders, patterns (``*``, ``?``, ``[…]``, ``**``), ``rtsp://…`` and V4L devices.
        consent_ids: as named for all of them.
        camera: the name of their camera, if it was told.
        seats: name of a region before the camera → consent of the person who sat there.
        seconds: how long a live source is read.

    Raises:
        UsageError: code ``DURATION_MISSING`` or ``DURATION_UNUSED``: live sources, and they alone, need a duration.
    """
    live = [word for word in named if is_live(word)]
    check_duration(live=bool(live), seconds=seconds)
    model = Source(consent_ids=tuple(dict.fromkeys(consent_ids)), camera=camera, seats=dict(seats or {}))
    search = _Search(model=model, seconds=seconds)
    for word in named:
        search.take_word(word)
    return Sources(found=tuple(search.found.values()), refused=tuple(search.refused), ignored=search.ignored)


def check_duration(*, live: bool, seconds: float | None) -> None:
    """Refuse a live source without a duration, and a duration without a live source.

    Raises:
        UsageError: code ``DURATION_MISSING`` or ``DURATION_UNUSED``.
    """
    if live and seconds is None:
        hint = "give --duration PT30S, or a number of seconds"
        raise UsageError("a live source has no end of its own", hint=hint, code="DURATION_MISSING")
    if seconds is not None and not live:
        hint = "leave --duration out, or name an rtsp:// address or a /dev/video device"
        raise UsageError(
            "a duration is for live sources only; files end by themselves", hint=hint, code="DURATION_UNUSED"
        )


def identity(path: Path) -> Hashable:
    """Return what makes two names the same file: its device and inode, or the path where nothing is there yet."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return os.path.normpath(path.absolute())
    return (found.st_dev, found.st_ino)


def parse_seconds(text: str, *, most: float = math.inf) -> float:
    """Read a length of time: ``PT30S`` (ISO 8601) or plain seconds.

    Raises:
        UsageError: code ``DURATION_INVALID``: neither, not longer than zero, or longer than ``most`` seconds.
    """
    try:
        seconds = float(text)
    except ValueError:
        period = parse_duration(text)
        seconds = period.total_seconds() if isinstance(period, timedelta) else math.inf
    if not 0 < seconds <= most or not math.isfinite(seconds):
        limit = f" and at most {most:g}" if math.isfinite(most) else ""
        hint = "write it as PT30S or 30; ingest.live_max_seconds in fabnet.toml sets the limit"
        raise UsageError(f"a duration is more than 0{limit} seconds", hint=hint, code="DURATION_INVALID")
    return seconds


def parse_seats(texts: Sequence[str]) -> dict[str, str]:
    """Read ``REGION=CONSENT_ID``, several times: name of the region → consent.

    Raises:
        UsageError: code ``SEAT_INVALID``: another form, or one region for two consents.
    """
    seats: dict[str, str] = {}
    for text in texts:
        region, _, consent_id = (part.strip() for part in text.rpartition("="))
        if not region or not consent_id:
            hint = "write --seat REGION=CONSENT_ID, with a region of the camera in fabnet.toml"
            raise UsageError("a seat cannot be read", hint=hint, code="SEAT_INVALID")
        if seats.setdefault(region, consent_id) != consent_id:
            hint = "one person sits on a seat; name each region once"
            raise UsageError("a seat is given to two consents", hint=hint, code="SEAT_INVALID")
    return seats


@dataclass(slots=True, kw_only=True)
class _Search:
    """An expansion under way."""

    model: Source
    seconds: float | None
    found: dict[Hashable, Source] = field(default_factory=dict)
    refused: list[Outcome] = field(default_factory=list)
    ignored: int = 0
    videos: int = 0

    def take_word(self, word: str) -> None:
        """Take one word of the command line for what it names."""
        path = Path(word)
        if is_live(word):
            self.found.setdefault(word, replace(self.model, url=word, seconds=self.seconds))
        elif _ADDRESS.match(word) and not os.path.lexists(path):
            error = UsageError(
                "this is no address of a live source",
                hint="write rtsp://HOST/PATH, rtsps://HOST/PATH or /dev/videoN",
                code="ADDRESS_INVALID",
            )
            self.refused.append(Outcome(source=replace(self.model, url="rtsp://…"), status="refused", error=error))
        elif not word:
            self.refuse(path, UnreadableSource("an empty name names no video", code="SOURCE_MISSING"))
        elif _is_folder(path):
            self.take_search(path, "no video is in the folder", self.files(path))
        elif os.path.lexists(path) or not _MAGIC.intersection(word):
            self.add(path)
        else:
            self.take_search(path, "no video matches the pattern", self.matches(word))

    def take_search(self, path: Path, nothing: str, files: Iterator[Path]) -> None:
        """Take the videos among the files found; a search that finds none and meets no refusal is refused itself."""
        before = (self.videos, len(self.refused))
        for one in files:
            self.look(one)
        if before == (self.videos, len(self.refused)):
            hint = "name video files, or folders that hold some; files that are no video by their content do not count"
            self.refuse(path, UnreadableSource(nothing, hint=hint, code="SOURCE_MISSING"))

    def add(self, path: Path) -> None:
        """Add a file, unless it is there under another name."""
        self.videos += 1
        self.found.setdefault(identity(path), replace(self.model, path=path))

    def refuse(self, path: Path, error: FabnetError) -> None:
        """Keep a refusal beside what was found."""
        self.refused.append(Outcome(source=replace(self.model, path=path), status="refused", error=error))

    def look(self, path: Path) -> None:
        """Add a file that is a video by its content; one that cannot be opened is refused by whoever reads it."""
        try:
            is_video = holds_video(path)
        except OSError:
            is_video = True
        if is_video:
            self.add(path)
        else:
            self.ignored += 1

    def entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """List a folder in the order of names, without what is hidden; none, and a refusal, if it may not be read."""
        try:
            with os.scandir(folder) as found:
                return sorted((one for one in found if not one.name.startswith(".")), key=lambda one: one.name)
        except OSError:
            hint = "check its permissions, or leave it out"
            error = UnreadableSource("a folder cannot be read", hint=hint, code="FOLDER_UNREADABLE")
            self.refuse(folder, error)
            return []

    def files(self, folder: Path) -> Iterator[Path]:
        """Yield every file at any depth; a stack, since folders may lie deeper than Python recurses."""
        waiting = self.entries(folder)[::-1]
        while waiting:
            entry = waiting.pop()
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                waiting += self.entries(path)[::-1]
            elif not _is_folder(path):
                yield path

    def matches(self, pattern: str) -> Iterator[Path]:
        """Yield the files that a pattern matches, and those in folders that it matches."""
        parts: list[str] = []
        for part in Path(pattern).parts:
            if part != "**" or parts[-1:] != ["**"]:
                parts.append(part)
        if parts[-1] == "**":
            parts.append("*")
        yield from self.below(Path(), tuple(parts), deep="**" in parts)

    def below(self, folder: Path, parts: tuple[str, ...], *, deep: bool) -> Iterator[Path]:
        """Yield what the rest of a pattern matches below ``folder``; a link to a folder is followed by name only."""
        first, *rest = parts
        if first == "**":
            yield from self.below(folder, tuple(rest), deep=deep)
            for entry in self.entries(folder):
                if entry.is_dir(follow_symlinks=False):
                    yield from self.below(Path(entry.path), parts, deep=deep)
            return
        if not _MAGIC.intersection(first):
            named = [folder / first]
        else:
            named = [Path(entry.path) for entry in self.entries(folder) if fnmatchcase(entry.name, first)]
        for path in named:
            if rest:
                if _is_folder(path):
                    yield from self.below(path, tuple(rest), deep=deep)
            elif _is_folder(path):
                yield from () if deep else self.files(path)
            elif os.path.lexists(path):
                yield path


def _is_folder(path: Path) -> bool:
    """Tell whether a path leads to a folder; what cannot be looked at (a loop of links, no permission) does not."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def holds_video(path: Path) -> bool:
    """Tell whether a file is a video by its first bytes; what is no regular file is never opened.

    Raises:
        OSError: the file cannot be opened.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        return sniff(os.read(descriptor, _HEAD)) not in (None, Kind.SOUND)
    finally:
        os.close(descriptor)
