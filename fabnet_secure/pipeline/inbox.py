"""A watched inbox: what is dropped into a folder is ingested, and put away or deleted as the policy says.

A file is taken when nobody has written to it for ``ingest.inbox_settle_seconds`` and something says under whose
consent: ``DIR/manifest.csv`` if it names the file, else the sub-folder ``DIR/<consent_id>/`` that it lies in, else the
consents that the watcher was started with. Left alone: hidden names, names that end in ``.part``, ``.tmp`` or
``.crdownload``, links, what is no file, folders within sub-folders, files that nothing names a consent for, and every
file while the manifest is bad. Where files go and why two watchers or a crash lose none: ``claims.py``.

Guarantees: each file is read in a worker process, so that one which kills the decoder does not end the watching; a
file is taken at most once; a claimed file is gone on with after a crash, under the consents it was claimed with; a
quarantined one stays where the vault's record says until it is released or destroyed. Does not notice a writer that
pauses for longer than the settling time: a file that changes while it is read is refused.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from fabnet_secure.errors import FabnetError, UnreadableSource, UsageError
from fabnet_secure.pipeline.claims import DONE, REFUSED, Claim, Desk
from fabnet_secure.pipeline.context import Site, open_site
from fabnet_secure.pipeline.ingest import prepare
from fabnet_secure.pipeline.manifest import read_manifest
from fabnet_secure.pipeline.pool import WORKER, Overall, Pool, record_lost
from fabnet_secure.pipeline.quarantine import state_at
from fabnet_secure.pipeline.source import Outcome, Source
from fabnet_secure.progress import Progress
from fabnet_secure.store.quarantine import get_quarantine
from fabnet_secure.store.states import QuarantineState
from fabnet_secure.types import VideoId, is_id

MANIFEST = "manifest.csv"
UNFINISHED = (".part", ".tmp", ".crdownload")
_INTERVAL_S = 1.0
_UPKEEP_S = 60.0
_SWEEP_S = 3600.0
_MOST_TRIES = 3

Signature = tuple[int, int, int]


class Ending(Enum):
    """Whether a watcher goes on, ends after what it is reading, or ends now; what it breaks off is taken up again."""

    GO_ON = 0
    FINISH = 1
    NOW = 2


@dataclass(slots=True, kw_only=True)
class Settling:
    """Which files nobody has written to for a while.

    Attributes:
        seconds: how long that is.
        clock: seconds that only go up.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _seen: dict[Path, tuple[Signature, float]] = field(default_factory=dict)
    _first: float | None = None
    _last: float = 0.0

    @property
    def long_enough(self) -> bool:
        """Whether a file that was there at the first look has had its time, and was looked at after it."""
        return self._first is not None and self._last - self._first >= self.seconds

    def look(self, now: Mapping[Path, Signature]) -> list[Path]:
        """Take in how the files look now; return those that looked the same for the whole time, in order of names."""
        moment = self._last = self.clock()
        self._first = moment if self._first is None else self._first
        before, self._seen = self._seen, {}
        for path, signature in now.items():
            known = before.get(path)
            self._seen[path] = known if known is not None and known[0] == signature else (signature, moment)
        return sorted(path for path, (_, since) in self._seen.items() if moment - since >= self.seconds)


def look(folder: Path) -> dict[Path, Signature]:
    """List what lies in an inbox, relative to it: regular files in it and in its sub-folders, with size and time.

    Raises:
        OSError: the folder cannot be read now.
    """
    found = _files(folder, Path())
    with os.scandir(folder) as entries:
        inner = [one.name for one in entries if not one.name.startswith(".") and one.is_dir(follow_symlinks=False)]
    for name in inner:
        try:
            found |= _files(folder, Path(name))
        except OSError:
            continue  # somebody takes it away, or keeps it to themselves
    return found


@dataclass(slots=True, kw_only=True)
class Naming:
    """Under whose consents each file of an inbox is taken.

    Attributes:
        folder: the inbox.
        given: the consents, camera and seats that the watcher was started with.
        say: told, once, of what waits and why.
    """

    folder: Path
    given: Source
    say: Callable[[str], None]
    _read: Signature | None = None
    _rows: dict[str, Source] | None = None
    _said: set[str] = field(default_factory=set)

    def manifest(self, now: Mapping[Path, Signature], settled: Sequence[Path]) -> bool:
        """Read the manifest if it is new; False while there is one that cannot be used (yet)."""
        path = Path(MANIFEST)
        if path not in now:
            self._read, self._rows = None, {}
        elif path not in settled:
            return False
        elif self._read != now[path]:
            self._read, self._rows = now[path], None
            try:
                rows = read_manifest(self.folder / path)
            except UsageError as error:
                self.say(f"{MANIFEST} cannot be used, so every file waits: {error.message} ({error.hint})")
            else:
                self._rows = {_plain(row.path): row for row in rows if row.path is not None}
        return self._rows is not None

    def source(self, relative: Path) -> Source | None:
        """Return the consents of a file, or None (said once) while nothing names one."""
        row = (self._rows or {}).get(_plain(self.folder / relative))
        if row is not None:
            return replace(row, camera=row.camera or self.given.camera)
        if len(relative.parts) > 1 and is_id(relative.parts[0]):
            return replace(self.given, consent_ids=(relative.parts[0],), seats={})
        if len(relative.parts) == 1 and (self.given.consent_ids or self.given.seats or self.given.camera):
            return self.given
        self.tell(f"{relative.name} waits: nothing says under whose consent it was recorded")
        return None

    def tell(self, text: str) -> None:
        """Say something that was not said before."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)


@dataclass(slots=True, kw_only=True)
class _Watcher:
    site: Site
    folder: Path
    desk: Desk
    pool: Pool
    naming: Naming
    settling: Settling
    once: bool
    adopted: list[Desk] = field(default_factory=list)
    waiting: list[Claim] = field(default_factory=list)  # taken over from watchers that are no more
    reading: dict[int, Claim] = field(default_factory=dict)

    def take(self, jobs: int) -> bool:
        """Claim what may be taken, no more than can be read now; tell whether more is to be had."""
        while self.waiting and len(self.reading) < jobs:
            self.submit(self.waiting.pop())
        if self.waiting or len(self.reading) >= jobs:
            return True
        try:
            now = look(self.folder)
        except OSError as error:
            if self.once:
                hint = "check its permissions"
                raise UsageError("the inbox cannot be read", hint=hint, code="INBOX_UNUSABLE") from error
            self.naming.tell("the folder cannot be read now; it is looked at again")
            return False
        settled = self.settling.look(now)
        if not self.naming.manifest(now, settled):
            return False
        for relative in settled:
            source = None if relative == Path(MANIFEST) else self.naming.source(relative)
            if source is None:
                continue
            if len(self.reading) >= jobs:
                return True
            claim = self.desk.claim(relative, source)
            if claim is not None:
                self.submit(claim)
        return False

    def submit(self, claim: Claim) -> None:
        """Let a worker read a claimed file."""
        if claim.source is not None:
            self.reading[self.pool.submit(claim.source)] = claim

    def settle(self, number: int, outcome: Outcome) -> Outcome:
        """Put a file where its outcome says."""
        claim = self.reading.pop(number)
        if (shelf := self.shelf(outcome)) is None:
            claim.hold(outcome.video_id)
        else:
            claim.put_away(shelf)
        return outcome

    def shelf(self, outcome: Outcome) -> str | None:
        """Return where the file goes; None: it stays, since the vault's record of a quarantined video names it."""
        if outcome.status == "refused":
            return REFUSED
        state = self.state(outcome.video_id)
        if state is QuarantineState.HELD:
            return None
        return DONE if state in (None, QuarantineState.RELEASED) else REFUSED

    def state(self, video_id: str) -> QuarantineState | None:
        """Return how the quarantine of a video stands; None for a video that never was in it."""
        with self.site.reading() as connection:
            row = get_quarantine(connection, VideoId(video_id)) if video_id else None
        return None if row is None else state_at(row, self.site.clock())

    def keep_up(self) -> Iterator[Outcome]:
        """Take over what watchers that are no more have left, and put away what was released or destroyed."""
        self.adopted += Desk.abandoned(self.folder)
        mine = {claim.folder for claim in [*self.reading.values(), *self.waiting]}
        for desk in [self.desk, *self.adopted]:
            for claim in desk.claims():
                if claim.folder not in mine:
                    yield from self.go_on(claim)
        for desk in [one for one in self.adopted if not any(one.claims())]:
            self.adopted.remove(desk)
            desk.close()

    def go_on(self, claim: Claim) -> Iterator[Outcome]:
        """Go on with a claim that nobody works on."""
        if claim.video_id is not None:
            state = self.state(claim.video_id)
            if state is not QuarantineState.HELD:
                claim.put_away(DONE if state is QuarantineState.RELEASED else REFUSED)
        elif claim.source is None or claim.tries >= _MOST_TRIES:
            error = _damaged() if claim.source is None else _given_up()
            record_lost(self.site, error)
            source = claim.source or Source(path=claim.path, consent_ids=())
            claim.put_away(REFUSED)
            yield Outcome(source=source, status="refused", error=error)
        else:
            self.waiting.append(claim.counted(1))

    def close(self) -> None:
        """Let go of every claim; what was not decided is taken up by the next watcher, and this was no try."""
        for claim in [*self.reading.values(), *self.waiting]:
            if claim.folder.exists():
                claim.counted(-1)
        for desk in [self.desk, *self.adopted]:
            desk.close()


def watch(
    site: Site,
    folder: Path,
    *,
    given: Source,
    jobs: int,
    progress: Progress,
    say: Callable[[str], None],
    ending: Callable[[], Ending],
    once: bool = False,
    command: Sequence[str] = WORKER,
) -> Iterator[Outcome]:
    """Ingest what lies in ``folder`` and what is put there, until told to end.

    Args:
        site: an open vault.
        folder: the inbox.
        given: the consents, camera and seats of files that nothing else names a consent for.
        jobs: how many files are read at once.
        progress: told of all files together.
        say: told in words of what waits.
        ending: asked about once a second.
        once: end when everything that may be taken was taken.
        command: what to start as a worker.

    Yields:
        The outcome of each file as soon as the file is put away.

    Raises:
        UsageError: code ``NOT_A_DIRECTORY``, ``INBOX_IN_VAULT`` or ``INBOX_UNUSABLE``.
        AccessDenied: the principal may not ingest.
        FabnetError: as :meth:`fabnet_secure.pipeline.pool.Pool.poll`; claimed files are taken up by the next watcher.
    """
    _check(site, folder)
    prepare(site)
    settings = site.settings
    seconds = settings.ingest.inbox_settle_seconds
    pool = Pool(
        site.place,
        settings,
        jobs=jobs,
        overall=Overall(progress, None),
        lost=lambda error: record_lost(site, error),
        command=command,
    )
    with pool:
        watcher = _Watcher(
            site=site,
            folder=folder,
            desk=Desk.open(folder),
            pool=pool,
            naming=Naming(folder=folder, given=given, say=say),
            settling=Settling(seconds=seconds),
            once=once,
        )
        try:
            yield from _rounds(watcher, jobs=jobs, ending=ending, pause_s=min(_INTERVAL_S, seconds))
        finally:
            pool.close()
            watcher.close()


def _rounds(watcher: _Watcher, *, jobs: int, ending: Callable[[], Ending], pause_s: float) -> Iterator[Outcome]:
    kept_up = swept = time.monotonic()
    yield from watcher.keep_up()
    while (end := ending()) is not Ending.NOW:
        more = end is Ending.GO_ON and watcher.take(jobs)
        for number, outcome in watcher.pool.poll(pause_s):
            yield watcher.settle(number, outcome)
        enough = end is Ending.FINISH or (watcher.once and watcher.settling.long_enough)
        if enough and not more and not watcher.reading:
            return
        now = time.monotonic()
        if now - kept_up > _UPKEEP_S:
            kept_up = now
            yield from watcher.keep_up()
        if now - swept > _SWEEP_S:
            swept = now
            with open_site(watcher.site.place, watcher.site.settings, clock=watcher.site.clock) as site:
                prepare(site)  # roles may have changed, and things expire meanwhile


def _check(site: Site, folder: Path) -> None:
    if not folder.is_dir():
        hint = "name the folder that videos are put into"
        raise UsageError("the inbox is not a folder", hint=hint, code="NOT_A_DIRECTORY")
    vault, inbox = site.root.resolve(), folder.resolve()
    if inbox.is_relative_to(vault) or vault.is_relative_to(inbox):
        hint = "raw video never lies in the vault: choose a folder beside it"
        raise UsageError("the inbox and the vault lie within one another", hint=hint, code="INBOX_IN_VAULT")


def _files(folder: Path, inner: Path) -> dict[Path, Signature]:
    """List the regular files of one folder that may be complete, by their name relative to the inbox."""
    found: dict[Path, Signature] = {}
    with os.scandir(folder / inner) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.casefold().endswith(UNFINISHED):
                continue
            try:
                seen = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISREG(seen.st_mode):
                found[inner / entry.name] = (seen.st_size, seen.st_mtime_ns, seen.st_ino)
    return found


def _plain(path: Path) -> str:
    return os.path.normpath(path.absolute())


def _damaged() -> FabnetError:
    return UnreadableSource(
        "what was written down about a claimed file is damaged, so nothing says under whose consent it was recorded",
        hint="the file is in .refused: put it back into the inbox",
        code="CLAIM_DAMAGED",
    )


def _given_up() -> FabnetError:
    return UnreadableSource(
        f"the watching was cut off {_MOST_TRIES} times while this file was read",
        hint="the file is in .refused: try it alone with 'fabnet-secure ingest'",
        code="TRIED_TOO_OFTEN",
    )
