"""The key file: how it is made, and what is refused."""

import base64
import os
import signal
import stat
import subprocess
import sys

import pytest

from fabnet_secure.crypto import keyfile
from fabnet_secure.crypto.envelope import Context, seal_to, unseal
from fabnet_secure.crypto.keyfile import (
    create_key_file,
    load_key_file,
    parse_protected,
    plain_content,
    replace_content,
)
from fabnet_secure.errors import IntegrityFailure, KeyProblem

GOOD = b"FABNET-SECURE-KEY-1\n" + base64.b64encode(bytes(range(32))) + b"\n"


def code_of(act, *arguments):
    with pytest.raises(KeyProblem) as caught:
        act(*arguments)
    assert caught.value.exit_code == 12
    return caught.value.code


def write(path, content=GOOD, mode=0o600):
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_new_file_reads_back_and_is_private(tmp_path):
    """What was created is what is loaded; the file is 0600 whatever the umask, with the documented two lines."""
    path = tmp_path / "key"
    before = os.umask(0)
    try:
        root = create_key_file(path)
    finally:
        os.umask(before)
    assert load_key_file(path) == root
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"FABNET-SECURE-KEY-1\n" + base64.b64encode(root.reveal()) + b"\n"


def test_a_strict_umask_does_not_lock_the_owner_out(tmp_path):
    """Under umask 0777 the new key file is still readable by its owner."""
    before = os.umask(0o777)
    try:
        create_key_file(tmp_path / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_two_files_hold_two_keys(tmp_path):
    """Each key file has a key of its own."""
    assert create_key_file(tmp_path / "a") != create_key_file(tmp_path / "b")


def test_an_existing_file_is_never_overwritten(tmp_path):
    """Neither a file nor a dangling link at the path is written over or through."""
    path = write(tmp_path / "key", b"precious")
    assert code_of(create_key_file, path) == "KEY_EXISTS"
    assert path.read_bytes() == b"precious"
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert code_of(create_key_file, tmp_path / "link") == "KEY_EXISTS"
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    """When the disk refuses, no half-written key file stays behind."""
    assert code_of(create_key_file, tmp_path / "missing" / "key") == "KEY_NOT_WRITTEN"

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keyfile.os, "fsync", full)
    assert code_of(create_key_file, tmp_path / "key") == "KEY_NOT_WRITTEN"
    assert not (tmp_path / "key").exists()


def test_a_missing_file_is_named_so(tmp_path):
    """No file: KEY_MISSING with a hint how to name one."""
    with pytest.raises(KeyProblem) as caught:
        load_key_file(tmp_path / "key")
    assert caught.value.code == "KEY_MISSING"
    assert "--key-file" in caught.value.hint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o777, 0o660])
def test_a_file_open_to_others_is_refused(tmp_path, mode):
    """Any right of group or others is one too many."""
    assert code_of(load_key_file, write(tmp_path / "key", mode=mode)) == "KEY_MODE"


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_is_read(tmp_path, mode):
    """Owner-only modes are accepted."""
    assert load_key_file(write(tmp_path / "key", mode=mode)).reveal() == bytes(range(32))


def test_a_file_of_another_account_is_refused(tmp_path, monkeypatch):
    """A key file that neither we nor root own is refused; one that root owns is not."""
    path = write(tmp_path / "key")
    owner = path.stat().st_uid
    monkeypatch.setattr(keyfile.os, "geteuid", lambda: owner + 1)
    if owner == 0:
        assert load_key_file(path).reveal() == bytes(range(32))
        os.chown(path, 4242, -1)
    assert code_of(load_key_file, path) == "KEY_OWNER"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        GOOD[:-1],
        GOOD + b"\n",
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"KEY-1", b"KEY-2"),
        b"FABNET-SECURE-KEY-1\n" + base64.b64encode(bytes(31)) + b"\n",
        b"FABNET-SECURE-KEY-1\nnot base64!\n",
        b"FABNET-SECURE-KEY-1\n\n",
        bytes(10_000),
    ],
)
def test_another_form_is_refused(tmp_path, content):
    """Only the two documented lines are a key file, and the refusal shows none of the contents."""
    with pytest.raises(KeyProblem) as caught:
        load_key_file(write(tmp_path / "key", content))
    assert caught.value.code == "KEY_FORMAT"
    assert base64.b64encode(bytes(31)).decode() not in str(caught.value)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    """A directory and a FIFO are refused, the FIFO without waiting for a writer."""
    (tmp_path / "directory").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert code_of(load_key_file, tmp_path / "directory") == "KEY_FORMAT"
    assert code_of(load_key_file, tmp_path / "fifo") == "KEY_FORMAT"
    assert code_of(load_key_file, write(tmp_path / "key") / "below") == "KEY_UNREADABLE"


def test_a_read_that_fails_is_a_key_problem(tmp_path, monkeypatch):
    """An I/O error while reading is reported as KEY_UNREADABLE."""
    path = write(tmp_path / "key")

    def broken(_descriptor, _length):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(keyfile.os, "read", broken)
    assert code_of(load_key_file, path) == "KEY_UNREADABLE"


def test_a_root_key_has_a_public_half(tmp_path):
    """What is sealed to a key file's public half is opened by the file's key, and by no other."""
    root = create_key_file(tmp_path / "key")
    context = Context(format="test/1")
    sealed = seal_to(root.public, context, b"for you alone")
    assert unseal(load_key_file(tmp_path / "key"), context, sealed) == b"for you alone"
    with pytest.raises(IntegrityFailure):
        unseal(create_key_file(tmp_path / "other"), context, sealed)


# --- whole, or not there

DIE = """
import os, signal, sys
from pathlib import Path
from fabnet_secure.crypto import keyfile

def die(*given, **named):
    os.kill(os.getpid(), signal.SIGKILL)

where, when = sys.argv[1], sys.argv[2]
real = getattr(os, where)

def doomed(*given, **named):
    if when == "after":
        real(*given, **named)
    die()

setattr(keyfile.os, where, doomed)
if sys.argv[4] == "create":
    keyfile.create_key_file(Path(sys.argv[3]))
else:
    path = Path(sys.argv[3])
    keyfile.replace_content(path, path.read_bytes(), b"new content" + bytes([10]))
"""


def killed(path, where, when, act):
    done = subprocess.run([sys.executable, "-c", DIE, where, when, str(path), act], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("where", "when", "there"),
    [
        ("fchmod", "before", False),
        ("fsync", "before", False),
        ("link", "before", False),
        ("link", "after", True),
    ],
)
def test_a_kill_leaves_a_whole_file_or_none(tmp_path, where, when, there):
    """A kill -9 at each step of making a key file: whole or not there, all of it private; the next one tidies up."""
    path = tmp_path / "key"
    killed(path, where, when, "create")
    assert path.exists() is there
    assert all(stat.S_IMODE(one.stat().st_mode) == 0o600 for one in tmp_path.iterdir())
    if there:
        root = load_key_file(path)
        assert code_of(create_key_file, path) == "KEY_EXISTS"
        replace_content(path, path.read_bytes(), plain_content(root))  # the leftover name does not count as a link
    else:
        root = create_key_file(path)
    assert load_key_file(path) == root
    assert [one.name for one in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize(
    ("where", "when", "new"),
    [("fsync", "before", False), ("replace", "before", False), ("replace", "after", True), ("pwrite", "before", True)],
)
def test_a_kill_while_replacing_leaves_the_old_or_the_new(tmp_path, where, when, new):
    """A kill -9 at each step of changing a key file: the old content whole, or the new one whole."""
    path = write(tmp_path / "key")
    killed(path, where, when, "replace")
    assert path.read_bytes() == (b"new content\n" if new else GOOD)
    path.unlink()
    create_key_file(path)
    assert [one.name for one in tmp_path.iterdir()] == ["key"]


def test_a_leftover_of_a_living_process_is_left_alone(tmp_path):
    """Two processes that make the same key file at once do not tidy each other's work away: one of them wins."""
    with keyfile._temporary(tmp_path / "key", GOOD) as theirs:
        create_key_file(tmp_path / "key")
        assert theirs.read_bytes() == GOOD
    assert [one.name for one in tmp_path.iterdir()] == ["key"]


def test_replaced_bytes_are_overwritten(tmp_path):
    """The old content is not on the old file's blocks any more; the new file is private and in its place."""
    path = write(tmp_path / "key")
    with path.open("rb") as old:
        replace_content(path, GOOD, b"new content\n")
        left = os.pread(old.fileno(), 4096, 0)
    assert len(left) == len(GOOD)
    assert GOOD[:10] not in left
    assert GOOD[-10:] not in left
    assert path.read_bytes() == b"new content\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_to_a_key_file_stays_one(tmp_path):
    """A symbolic link is followed: the file that it names is changed."""
    write(tmp_path / "key")
    (tmp_path / "link").symlink_to("key")
    replace_content(tmp_path / "link", GOOD, b"new\n")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "key").read_bytes() == b"new\n"


def test_what_is_not_replaced(tmp_path):
    """A file that changed meanwhile, that has a second name, or that others could read stays as it is."""
    path = write(tmp_path / "key")
    assert code_of(replace_content, path, b"something else", b"new") == "KEY_CHANGED"
    os.link(path, tmp_path / "second")
    assert code_of(replace_content, path, GOOD, b"new") == "KEY_LINKED"
    (tmp_path / "second").unlink()
    path.chmod(0o640)
    assert code_of(replace_content, path, GOOD, b"new") == "KEY_MODE"
    assert path.read_bytes() == GOOD
    assert code_of(replace_content, tmp_path / "gone", GOOD, b"new") == "KEY_NOT_WRITTEN"


# --- the protected forms' three lines

HEADER = {"b": "é", "a": 1}
THREE = keyfile.protected_content(keyfile.binding_of(b"FORM-1", HEADER), b"wrapped")


def test_three_lines_are_read(tmp_path):
    """First line, header, wrapped key; what the wrap is bound to is the first two lines as they stand."""
    parts = parse_protected(tmp_path, THREE)
    assert (parts.first, dict(parts.header), parts.wrapped) == (b"FORM-1", HEADER, b"wrapped")
    assert parts.binding == THREE[: len(parts.binding)]
    assert parts.binding.count(b"\n") == 2


@pytest.mark.parametrize(
    "content",
    [
        THREE[:-1],
        THREE + b"\n",
        THREE.replace(b'"a":1', b'"a": 1'),
        THREE.replace(b'"a":1,', b'"a":1,"a":1,'),
        THREE.replace(b'{"a":1', b'{"a":NaN'),
        b"FORM-1\n[]\nAAAA\n",
        b"FORM-1\n" + b"[" * 4000 + b"\n\n",
        b"FORM-1\n{}\n\xff\n",
        b"FORM-1\n\xff\nAAAA\n",
        b"",
    ],
    ids=["cut", "longer", "space", "twice", "nan", "list", "deep", "base64", "utf8", "empty"],
)
def test_no_other_three_lines_are_read(tmp_path, content):
    """There is one way to write a header; anything else is no key file."""
    assert code_of(parse_protected, tmp_path, content) == "KEY_FORMAT"
