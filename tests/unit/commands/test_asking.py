"""Where a passphrase comes from: a private file, standard input, a terminal; and nothing else."""

import io
import os
import pty
import sys

import pytest

from fabnet_secure.commands import asking
from fabnet_secure.commands.asking import Asker, asker, take_from
from fabnet_secure.errors import KeyProblem

WORDS = "correct horse battery"
ON_A_TERMINAL = f"""
import sys
from fabnet_secure.commands.asking import Asker
sys.exit(Asker(None)("the passphrase of x") != {WORDS!r})
"""


def code_of(act, *arguments, **named):
    with pytest.raises(KeyProblem) as caught:
        act(*arguments, **named)
    assert caught.value.exit_code == 12
    return caught.value.code


@pytest.fixture
def kept(tmp_path):
    """Write a private file and return its path as text."""

    def write(content, mode=0o600):
        path = tmp_path / "words"
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    return write


@pytest.fixture
def stdin(monkeypatch):
    """Put these bytes on standard input."""

    def put(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


@pytest.mark.parametrize("content", [b"%s", b"%s\n", b"%s\r\n", b"%s\nand a second line\n"])
def test_a_file_s_first_line_is_the_passphrase(kept, content):
    """Its end does not count, whatever system wrote it; what follows does not either."""
    named = kept(content % WORDS.encode())
    assert Asker(named)("the passphrase") == WORDS
    assert Asker(named)("a new passphrase", fresh=True) == WORDS


def test_spaces_belong_to_it(kept):
    """Only the line's end is cut off."""
    assert Asker(kept(b"  two words \n"))("the passphrase") == "  two words "


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "PASSPHRASE_FORMAT"),
        (b"\nsecond", "PASSPHRASE_FORMAT"),
        (b"\xff\xfe", "PASSPHRASE_FORMAT"),
        (b"a" * 1025, "PASSPHRASE_FORMAT"),
    ],
)
def test_a_file_without_a_passphrase(kept, stdin, content, code):
    """Empty, no text, too long: refused, from a file as from standard input."""
    assert code_of(Asker(kept(content)), "the passphrase") == code
    stdin(content)
    assert code_of(Asker("-"), "the passphrase") == code


def test_a_file_is_guarded_as_a_key_file_is(kept, tmp_path):
    """Missing, open to others, no plain file: each its own code, none of the content in the message."""
    named = kept(WORDS.encode(), mode=0o640)
    with pytest.raises(KeyProblem) as caught:
        Asker(named)("the passphrase")
    assert caught.value.code == "PASSPHRASE_MODE"
    assert WORDS not in str(caught.value)
    assert code_of(Asker(str(tmp_path / "gone")), "x") == "PASSPHRASE_MISSING"
    assert code_of(Asker(str(tmp_path)), "x") == "PASSPHRASE_FORMAT"
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert code_of(Asker(str(tmp_path / "fifo")), "x") == "PASSPHRASE_FORMAT"


def test_standard_input_is_read_once(stdin):
    """Asked twice, it gives the same line; the rest is left for the command."""
    stdin(b"correct horse battery\nthe rest\n")
    source = Asker("-")
    assert source("the passphrase") == source("again") == WORDS
    assert sys.stdin.buffer.read() == b"the rest\n"


def test_no_terminal_is_an_error(stdin, monkeypatch):
    """Nobody there: NO_PASSPHRASE with a way out, and nothing is read from standard input."""
    stdin(b"correct horse battery\n")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with pytest.raises(KeyProblem) as caught:
        Asker(None)("the passphrase of x")
    assert (caught.value.code, caught.value.exit_code) == ("NO_PASSPHRASE", 12)
    assert "--passphrase-file" in caught.value.hint
    assert sys.stdin.buffer.read() == b"correct horse battery\n"


@pytest.mark.parametrize(
    ("typed", "fresh", "said"),
    [
        ((WORDS,), False, WORDS),
        ((WORDS, WORDS), True, WORDS),
        ((WORDS, "correct horse cattery"), True, "PASSPHRASE_DIFFERS"),
    ],
)
def test_a_terminal_is_asked(monkeypatch, typed, fresh, said):
    """Once for a passphrase that exists, twice for one that is chosen; two that differ are refused."""
    answers, prompts = list(typed), []
    monkeypatch.setattr(asking, "_has_terminal", lambda: True)
    monkeypatch.setattr(asking.getpass, "getpass", lambda prompt: (prompts.append(prompt), answers.pop(0))[1])
    if said == WORDS:
        assert Asker(None)("the passphrase of x", fresh=fresh) == WORDS
    else:
        assert code_of(Asker(None), "the passphrase of x", fresh=fresh) == said
    assert prompts[0] == "The passphrase of x: "
    assert len(prompts) == len(typed)


def test_a_terminal_that_is_closed_is_nobody(monkeypatch):
    """Ctrl-D at the prompt is no empty passphrase."""

    def closed(_):
        raise EOFError

    monkeypatch.setattr(asking, "_has_terminal", lambda: True)
    monkeypatch.setattr(asking.getpass, "getpass", closed)
    assert code_of(Asker(None), "the passphrase") == "NO_PASSPHRASE"


def test_a_real_terminal_echoes_nothing():
    """On a terminal of its own the program asks, takes the line, and shows none of it."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", ON_A_TERMINAL])  # noqa: S606  this very interpreter
    shown = b""
    while not shown.endswith(b": "):
        shown += os.read(terminal, 1024)
    os.write(terminal, WORDS.encode() + b"\n")
    try:
        while more := os.read(terminal, 1024):
            shown += more
    except OSError:  # the other end is closed
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown
    assert b"The passphrase of x: " in shown
    assert WORDS.encode() not in shown


def test_one_source_serves_a_run(kept):
    """What the program was told is what every command asks; without a word, the terminal."""
    take_from(kept(WORDS.encode()))
    assert asker()("the passphrase") == WORDS
    assert asker() is asker()
    take_from(None)
    assert asker()._named is None
