"""How results and errors are printed: data to stdout, talk to stderr, JSON with a stable shape.

Every JSON object has ``schema_version`` and ``message_type``; long work prints JSON Lines and ends with ``summary``;
a fatal error ends with one ``exit_error`` object.
"""

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TextIO

from fabnet_secure.errors import FabnetError

SCHEMA_VERSION = 1
_told: ContextVar[list[dict[str, Any]] | None] = ContextVar("told", default=None)
_NARROWEST = 24  # a last column narrower than this is not wrapped
_MOST_SHOWN = 3
_FRAMES, _UNDER_WAY = "frames", "underway"  # figures of several videos together (pipeline/pool.py)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where a command prints, and in which form."""

    as_json: bool = False
    quiet: bool = False

    def result(self, message_type: str, fields: Mapping[str, Any], lines: Iterable[str] = ()) -> None:
        """Print one result: the object with ``--json``, else the lines for people, who are told of a dry run."""
        if (heard := _told.get()) is not None:
            heard.append(dict(fields))
        if self.as_json:
            print_json(message_type, fields)
        elif not self.quiet:
            shown = list(lines)
            if fields.get("dry_run") is True and not any("dry run" in line for line in shown):
                shown.append("dry run: nothing changed")
            for line in shown:
                print(line)

    def ids(self, ids: Iterable[str]) -> None:
        """Print identifiers, one a line, where only they were asked for (``-q``)."""
        if self.quiet and not self.as_json:
            for one in ids:
                print(one)

    def say(self, text: str) -> None:
        """Talk to a person, on stderr."""
        if not self.quiet:
            width = _width(sys.stderr)
            print(textwrap.fill(text, width) if width else text, file=sys.stderr)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print rows in aligned columns for people."""
        if self.as_json or self.quiet:
            return
        for line in columns(head, rows, width=_width(sys.stdout)):
            print(line)


@contextmanager
def overhearing() -> Iterator[list[dict[str, Any]]]:
    """Collect the fields of every result printed inside the block, in whatever form it is printed."""
    heard: list[dict[str, Any]] = []
    token = _told.set(heard)
    try:
        yield heard
    finally:
        _told.reset(token)


def print_json(message_type: str, fields: Mapping[str, Any]) -> None:
    """Print one JSON object on one line."""
    body = {"schema_version": SCHEMA_VERSION, "message_type": message_type, **fields}
    print(json.dumps(body, ensure_ascii=False), flush=True)


def columns(head: Sequence[str], rows: Sequence[Sequence[object]], *, width: int = 0) -> list[str]:
    """Lay out a table as text: the head, then the rows, each column as wide as its widest cell.

    Args:
        head: the columns' names.
        rows: cells of any kind; :func:`words` says how each is written.
        width: wrap the last column to end here; 0 never wraps.
    """
    cells = [list(head), *([words(cell) for cell in row] for row in rows)]
    widths = [max(len(row[number]) for row in cells) for number in range(len(head))]
    indent = sum(widths[:-1]) + 2 * (len(widths) - 1)
    lines: list[str] = []
    for row in cells:
        start = "".join(f"{cell:{wide}}  " for cell, wide in zip(row[:-1], widths[:-1], strict=True))
        wraps = width - indent >= _NARROWEST
        ends = (textwrap.wrap(row[-1], width - indent) or [""]) if wraps else [row[-1]]
        lines += [f"{start if number == 0 else ' ' * indent}{end}".rstrip() for number, end in enumerate(ends)]
    return lines


def pairs(fields: Mapping[str, object]) -> list[str]:
    """Lay out named values for people, a line each: ``noise multiplier    1.4``."""
    named = {key.replace("_", " "): words(value) for key, value in fields.items()}
    wide = max(map(len, named), default=0)
    return [f"{key:{wide}}  {value}" for key, value in named.items()]


def words(value: object) -> str:
    """Write any JSON value for people: 4 significant digits, no brackets, ``-`` for nothing, ``yes`` or ``no``."""
    if value is None or value in ("", [], {}, ()):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        counted = all(type(one) is int for one in value.values())
        return ", ".join(f"{words(one)} {key}" if counted else f"{key} {words(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        more = f" … and {len(value) - _MOST_SHOWN} more" if len(value) > _MOST_SHOWN else ""
        apart = "; " if isinstance(value[0], Mapping) else " "
        return apart.join(words(one) for one in value[:_MOST_SHOWN]) + more
    return str(value)


def day(moment: str | None) -> str | None:
    """Shorten an RFC 3339 time to its day, in UTC."""
    return moment[:10] if moment else None


def short(identifier: str | None) -> str | None:
    """Shorten an identifier that stands beside another one in a table; ``--json`` has all of it."""
    return f"{identifier[:8]}…" if identifier else None


def _width(stream: TextIO) -> int:
    return shutil.get_terminal_size((100, 24)).columns if stream.isatty() else 0


def one_line(text: str) -> str:
    """Write control characters as escapes: an id or a path from outside must not forge lines or move the cursor."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def print_error(error: FabnetError, *, as_json: bool) -> None:
    """Print what happened, what to do about it, and the code."""
    if as_json:
        plain = {key: value for key, value in error.fields.items() if _is_plain(value)}
        print_json(
            "exit_error",
            {
                **plain,
                "code": error.code,
                "message": error.message,
                "hint": error.hint,
                "exit_code": int(error.exit_code),
            },
        )
    print(f"error: {one_line(error.message)}", file=sys.stderr)
    if error.hint:
        print(f"hint: {one_line(error.hint)}", file=sys.stderr)
    print(f"[{error.code}]", file=sys.stderr)


def _is_plain(value: object) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


@dataclass(slots=True, kw_only=True)
class Talk:
    """Progress for people: a line that rewrites itself on a terminal, a line every 30 s elsewhere."""

    quiet: bool = False
    started: float = field(default_factory=time.monotonic)
    spoken: float = field(default_factory=time.monotonic)
    stage: str = ""
    figures: dict[str, float] = field(default_factory=dict)

    def advance(self, stage: str, done: int, total: int | None = None, **figures: float) -> None:
        """Say how far ``stage`` is, its rate, and when it should end."""
        now = time.monotonic()
        if stage != self.stage:
            self.stage, self.started, self.figures = stage, now, {}
        self.figures |= figures  # a figure stays until its next news
        terminal = sys.stderr.isatty()
        if self.quiet or now - self.spoken < (0.2 if terminal else 30.0):
            return
        self.spoken = now
        # Figures such as the loss are private: never into a file. How many frames were read is not.
        shown = {name: one for name, one in self.figures.items() if terminal or name in (_FRAMES, _UNDER_WAY)}
        line = self._line(stage, done, total, now - self.started, shown)
        print(f"\r\x1b[K{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Clear the line that a terminal still shows."""
        if sys.stderr.isatty() and self.stage and not self.quiet:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    @staticmethod
    def _line(stage: str, done: int, total: int | None, seconds: float, figures: Mapping[str, float]) -> str:
        finished = done + figures.get(_UNDER_WAY, 0.0)
        rate = finished / seconds if seconds > 0 else 0.0
        parts = [f"{stage}: {done}" + (f"/{total}" if total else "")]
        parts.append(
            f"{figures[_FRAMES] / seconds:.0f} frames/s" if _FRAMES in figures and seconds else f"{rate:.1f}/s"
        )
        if total and rate:
            parts.append(f"ETA {max(0.0, (total - finished) / rate):.0f} s")
        others = {name: one for name, one in figures.items() if name not in (_FRAMES, _UNDER_WAY)}
        parts += [f"{name.replace('_', ' ')} {value:.4g}" for name, value in others.items()]
        return "  ".join(parts)
