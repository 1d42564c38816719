"""A manifest: a CSV that says under whose consents each video was recorded, all of it good or none of it used.

Columns ``video`` and ``consent_id``, several rows a video; ``camera`` (a name in fabnet.toml) and ``box``
(``FRAME:X,Y,W,H``, pixels: the operator's word that this face is this consent's) may follow. Guarantees: rows that say
the same are taken once, rows that contradict one another are all named, and a video under two spellings is one video.
Names in it are relative to the manifest's folder. Values never stand in an error: a shifted cell may be a name.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.applications import read_small
from fabnet_secure.pipeline.source import BoxClaim, Source
from fabnet_secure.pipeline.sources import check_duration, identity
from fabnet_secure.video.live import is_live

if TYPE_CHECKING:
    from fabnet_secure.video.detect import Box

COLUMNS = ("video", "consent_id", "camera", "box")
_SHOWN = 20
_NUMBER = r"\d{1,6}(?:\.\d{1,4})?"
_BOX = re.compile(rf"(\d{{1,9}}):({_NUMBER}),({_NUMBER}),({_NUMBER}),({_NUMBER})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    line: int
    video: str
    same: Hashable  # what makes two spellings one video
    consent_id: str
    camera: str
    box: "tuple[int, Box] | None"


def read_manifest(path: Path, *, seconds: float | None = None) -> tuple[Source, ...]:
    """Read a manifest of at most 1 MiB.

    Args:
        path: the CSV; files named in it are relative to its folder.
        seconds: how long a live source in it is read.

    Returns:
        One source a video, in the order of their first rows.

    Raises:
        UsageError: code ``TABLE_INVALID``: it is no such CSV, or rows are bad or contradict one another;
            ``fields["rows"]`` lists every bad line. ``DURATION_MISSING``, ``DURATION_UNUSED``: as ``sources.expand``.
    """
    rows, bad = _parsed(path)
    bad |= _contradictions(rows)
    if bad or not rows:
        listing = "; ".join(f"line {line}: {why}" for line, why in sorted(bad.items())[:_SHOWN])
        more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise UsageError(
            f"{len(bad)} bad lines in the manifest; nothing was taken" if bad else "the manifest has no rows",
            hint=listing + more or f"a header and rows with the columns {','.join(COLUMNS[:2])}",
            code="TABLE_INVALID",
            rows=[{"line": line, "message": why} for line, why in sorted(bad.items())],
        )
    check_duration(live=any(is_live(row.video) for row in rows), seconds=seconds)
    videos: dict[Hashable, list[_Row]] = defaultdict(list)
    for row in rows:
        videos[row.same].append(row)
    return tuple(_source(path.parent, same, seconds) for same in videos.values())


def parse_box(text: str) -> "tuple[int, Box]":
    """Read ``FRAME:X,Y,W,H``, in pixels of that frame.

    Raises:
        UsageError: code ``BOX_INVALID``.
    """
    found = _BOX.fullmatch(text.strip())
    sides = [float(one) for one in found.groups()[1:]] if found else []
    if found is None or not sides[2] or not sides[3]:
        hint = "write it as FRAME:X,Y,W,H in pixels, such as 120:310,80,96,96"
        raise UsageError("a box cannot be read", hint=hint, code="BOX_INVALID")
    return int(found[1]), (sides[0], sides[1], sides[2], sides[3])


def _parsed(path: Path) -> tuple[list[_Row], dict[int, str]]:
    hint = f"a UTF-8 CSV with the columns {','.join(COLUMNS[:2])} and, if wanted, {','.join(COLUMNS[2:])}"
    try:
        reader = csv.DictReader(io.StringIO(read_small(path, "manifest").decode("utf-8-sig"), newline=""), strict=True)
        header = list(reader.fieldnames or ())
        if not set(COLUMNS[:2]) <= set(header) <= set(COLUMNS) or len(header) != len(set(header)):
            raise UsageError("the manifest's columns are not known", hint=hint, code="TABLE_INVALID")
        rows: list[_Row] = []
        bad: dict[int, str] = {}
        for cells in reader:
            try:
                rows.append(_row(path.parent, reader.line_num, cells))
            except UsageError as error:
                bad[reader.line_num] = error.message
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError("the manifest cannot be read", hint=hint, code="TABLE_INVALID") from error
    return rows, bad


def _row(folder: Path, line: int, cells: "dict[str | None, str | None]") -> _Row:
    if None in cells or None in cells.values():
        raise UsageError("too many or too few fields")
    cell = {str(name): str(value) for name, value in cells.items()}
    video, consent_id, box = cell["video"], cell["consent_id"].strip(), cell.get("box", "").strip()
    if not video.strip() or "\0" in video:
        raise UsageError("names no video")
    if not consent_id:
        raise UsageError("names no consent")
    return _Row(
        line=line,
        video=video,
        same=video if is_live(video) else identity(folder / video),
        consent_id=consent_id,
        camera=cell.get("camera", "").strip(),
        box=parse_box(box) if box else None,
    )


def _contradictions(rows: Sequence[_Row]) -> dict[int, str]:
    """Return every line that contradicts another one, and how."""
    cameras: dict[Hashable, set[str]] = defaultdict(set)
    owners: dict[Hashable, set[str]] = defaultdict(set)
    boxed: dict[Hashable, set[bool]] = defaultdict(set)
    for row in rows:
        if row.camera:
            cameras[row.same].add(row.camera)
        if row.box:
            owners[row.same, row.box].add(row.consent_id)
        boxed[row.same, row.consent_id].add(row.box is not None)
    found: dict[int, str] = {}
    for row in rows:
        if row.camera and len(cameras[row.same]) > 1:
            found[row.line] = "another line gives the same video another camera"
        elif row.box and len(owners[row.same, row.box]) > 1:
            found[row.line] = "another line gives the same box to another consent"
        elif len(boxed[row.same, row.consent_id]) > 1:
            found[row.line] = "one line has a box, another line with the same video and consent has none"
    return found


def _source(folder: Path, rows: Sequence[_Row], seconds: float | None) -> Source:
    first = rows[0]
    live = is_live(first.video)
    boxes = dict.fromkeys((row.consent_id, row.box) for row in rows)
    return Source(
        path=None if live else folder / first.video,
        url=first.video if live else "",
        seconds=seconds if live else None,
        consent_ids=_once(row.consent_id for row in rows),
        camera=next((row.camera for row in rows if row.camera), ""),
        boxes=tuple(BoxClaim(consent_id=one, frame=box[0], box=box[1]) for one, box in boxes if box is not None),
    )


def _once(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))
