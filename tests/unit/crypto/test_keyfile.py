"""The key file: how it is made, and what is refused."""

import base64
import os
import stat

import pytest

from fabnet_secure.crypto import keyfile
from fabnet_secure.crypto.keyfile import create_key_file, load_key_file
from fabnet_secure.errors import KeyProblem

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

    def broken(_path, _content):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(keyfile, "_parse", broken)
    assert code_of(load_key_file, write(tmp_path / "key")) == "KEY_UNREADABLE"
