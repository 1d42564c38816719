"""Where a passphrase or PIN comes from: a terminal, a private file, or standard input; never a flag or a variable.

Guarantees: nothing is echoed; a passphrase that is chosen is typed twice; a file that others could read is refused; on
a machine with neither terminal nor file the answer is an error, never an empty passphrase. Does not wipe what was
typed: Python keeps strings until it forgets them.
"""

import getpass
import os
import sys
from contextvars import ContextVar
from pathlib import Path

from fabnet_secure.errors import KeyProblem

_LONGEST = 1024


class Asker:
    """Answers :class:`fabnet_secure.crypto.passphrase.Ask`.

    Args:
        named: a file's path, ``-`` for standard input, or None for the terminal.
    """

    def __init__(self, named: str | None) -> None:
        self._named = named
        self._first_line: str | None = None

    def __call__(self, what: str, *, fresh: bool = False) -> str:
        """Return the secret that is asked for.

        Raises:
            KeyProblem: (NO_PASSPHRASE) there is nothing to ask; (PASSPHRASE_MISSING, PASSPHRASE_MODE,
                PASSPHRASE_OWNER, PASSPHRASE_FORMAT, PASSPHRASE_UNREADABLE) the file will not do;
                (PASSPHRASE_DIFFERS) what was typed twice was not the same.
        """
        if self._named == "-" and not sys.stdin.isatty():
            if self._first_line is None:
                self._first_line = _first_line(sys.stdin.buffer.readline(_LONGEST + 2), "standard input")
            return self._first_line
        if self._named and self._named != "-":
            from fabnet_secure.crypto.keyfile import read_guarded

            return _first_line(read_guarded(Path(self._named), kind="passphrase"), self._named)
        return _typed(what, fresh=fresh)


_asker: ContextVar[Asker | None] = ContextVar("asker", default=None)


def take_from(named: str | None) -> None:
    """Say, once a run of the program, where secrets come from."""
    _asker.set(Asker(named))


def asker() -> Asker:
    """Return what answers in this run of the program; without :func:`take_from` the terminal."""
    return _asker.get() or Asker(None)


def _first_line(content: bytes, source: str) -> str:
    """Return the first line, without its end."""
    line = content.split(b"\n", 1)[0].removesuffix(b"\r")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if not text or len(line) > _LONGEST:
        hint = "it is the first line, in UTF-8, of at most 1,024 bytes"
        raise KeyProblem(f"there is no passphrase in {source}", hint=hint, code="PASSPHRASE_FORMAT")
    return text


def _typed(what: str, *, fresh: bool) -> str:
    from fabnet_secure.crypto.passphrase import refuse

    if not _has_terminal():
        refuse(what)
    try:
        typed = getpass.getpass(f"{what[:1].upper()}{what[1:]}: ")
        again = getpass.getpass("The same once more: ") if fresh else typed
    except EOFError:
        refuse(what)
    if typed != again:
        raise KeyProblem("the two were not the same", hint="nothing was made; try again", code="PASSPHRASE_DIFFERS")
    return typed


def _has_terminal() -> bool:
    """Tell whether a person sits there: a program started by another one has no terminal, or shows nothing on it."""
    if not (sys.stdin.isatty() or sys.stderr.isatty()):
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
