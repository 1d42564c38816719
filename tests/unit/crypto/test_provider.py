"""One door to key files of every form: dispatch, change of protection, and what is remembered."""

import copy
import pickle

import pytest

from fabnet_secure.crypto import passphrase, provider
from fabnet_secure.crypto.keyfile import RootKey, create_key_file
from fabnet_secure.crypto.passphrase import refuse
from fabnet_secure.crypto.provider import (
    PLAIN_FILE,
    Form,
    Protection,
    Unlocked,
    create_key,
    form_of,
    open_key,
    protect_key,
    save_key,
)
from fabnet_secure.errors import KeyProblem, UsageError

OLD, NEW = "correct horse battery", "another six words in a row"
BY_PASSPHRASE = Protection(form=Form.PASSPHRASE)


@pytest.fixture(autouse=True)
def _cheap(monkeypatch):
    monkeypatch.setitem(passphrase._COST, "memory_kib", 64 * 1024)


def saying(answer):
    """Return an ``Ask`` that gives one answer and counts how often."""

    def ask(what, *, fresh=False):
        ask.asked += 1
        return answer

    ask.asked = 0
    return ask


def code_of(act, *arguments, **named):
    with pytest.raises(KeyProblem) as caught:
        act(*arguments, **named)
    return caught.value.code


def test_a_plain_file_asks_nobody(tmp_path):
    """A plain key file opens as ever, without a terminal."""
    root = create_key(tmp_path / "key", PLAIN_FILE, refuse)
    assert form_of(tmp_path / "key") is Form.FILE
    assert open_key(tmp_path / "key", refuse) == root


def test_an_unknown_first_line_is_no_key_file(tmp_path):
    """A form that this program does not know is refused; what follows is not guessed at."""
    path = tmp_path / "key"
    path.write_bytes(b"FABNET-SECURE-KEY-2\n{}\nAAAA\n")
    path.chmod(0o600)
    assert code_of(open_key, path, saying(OLD)) == "KEY_FORMAT"
    assert code_of(form_of, path) == "KEY_FORMAT"


def test_a_protection_names_a_token_or_none():
    """A token without its form, or the form without a token, is a contradiction."""
    with pytest.raises(UsageError) as caught:
        Protection(form=Form.PKCS11)
    assert caught.value.code == "PROTECTION_INVALID"


def test_an_existing_file_is_refused_before_anybody_is_asked(tmp_path):
    """Nobody types a passphrase for a file that cannot be made."""
    create_key_file(tmp_path / "key")
    ask = saying(OLD)
    assert code_of(create_key, tmp_path / "key", BY_PASSPHRASE, ask) == "KEY_EXISTS"
    assert ask.asked == 0


def test_a_key_that_exists_is_saved(tmp_path):
    """A recovered key gets a file of its own."""
    root = RootKey.generate()
    save_key(tmp_path / "key", root, BY_PASSPHRASE, saying(OLD))
    assert open_key(tmp_path / "key", saying(OLD)) == root


def test_the_protection_changes_and_the_key_stays(tmp_path):
    """Plain, passphrase, another passphrase, plain again: the same key each time, and the old way in is gone."""
    path = tmp_path / "key"
    root = create_key_file(path)
    assert protect_key(path, BY_PASSPHRASE, refuse, saying(OLD)) == root
    assert open_key(path, saying(OLD)) == root
    protect_key(path, BY_PASSPHRASE, saying(OLD), saying(NEW))
    assert code_of(open_key, path, saying(OLD)) == "PASSPHRASE_WRONG"
    protect_key(path, PLAIN_FILE, saying(NEW), refuse)
    assert open_key(path, refuse) == root
    assert [one.name for one in tmp_path.iterdir()] == ["key"]


def test_a_change_that_fails_changes_nothing(tmp_path, monkeypatch):
    """A wrong old passphrase, a short new one, and a new file that would not open: the file is as it was."""
    path = tmp_path / "key"
    create_key(path, BY_PASSPHRASE, saying(OLD))
    before = path.read_bytes()
    assert code_of(protect_key, path, PLAIN_FILE, saying(NEW), refuse) == "PASSPHRASE_WRONG"
    assert code_of(protect_key, path, BY_PASSPHRASE, saying(OLD), saying("short")) == "PASSPHRASE_SHORT"
    monkeypatch.setattr(provider.passphrase, "lock", lambda *_: passphrase_of_another_key())
    assert code_of(protect_key, path, BY_PASSPHRASE, saying(OLD), saying(NEW)) == "KEY_NOT_WRITTEN"
    assert path.read_bytes() == before


real_lock = passphrase.lock


def passphrase_of_another_key():
    return real_lock(RootKey.generate(), NEW)


# --- what is remembered


def test_whoever_is_asked_is_asked_once(tmp_path):
    """The second opening in a process asks nobody; each caller gets a copy that it may wipe."""
    path, ask, unlocked = tmp_path / "key", saying(OLD), Unlocked()
    root = create_key(path, BY_PASSPHRASE, ask)
    asked = ask.asked
    unlocked.open(path, ask).wipe()
    assert unlocked.open(path, ask) == root
    assert ask.asked == asked + 1


def test_a_file_just_made_is_not_asked_for(tmp_path):
    """Whoever chose a passphrase a moment ago is not asked for it again."""
    ask, unlocked = saying(OLD), Unlocked()
    root = unlocked.create(tmp_path / "key", BY_PASSPHRASE, ask)
    assert unlocked.open(tmp_path / "key", ask) == root
    assert ask.asked == 1


def test_a_changed_file_is_opened_anew(tmp_path):
    """Another content at the same path is another key; a file that others can read now is refused."""
    path, unlocked = tmp_path / "key", Unlocked()
    create_key(path, BY_PASSPHRASE, saying(OLD))
    first = unlocked.open(path, saying(OLD))
    path.unlink()
    create_key(path, BY_PASSPHRASE, saying(NEW))
    assert unlocked.open(path, saying(NEW)) != first
    path.chmod(0o644)
    assert code_of(unlocked.open, path, saying(NEW)) == "KEY_MODE"


def test_a_plain_file_is_not_remembered(tmp_path):
    """A plain key is read anew each time, and there is nothing to hand over."""
    path, unlocked = tmp_path / "key", Unlocked()
    first = create_key_file(path)
    assert unlocked.open(path, refuse) == first
    assert unlocked.remembered is None
    path.unlink()
    assert code_of(unlocked.open, path, refuse) == "KEY_MISSING"


def test_a_key_that_was_handed_over_needs_no_file(tmp_path):
    """A worker process opens with what its parent gave it."""
    root = RootKey.generate()
    assert Unlocked(root).open(tmp_path / "not there", refuse) == root


def test_what_was_unlocked_can_be_forgotten(tmp_path):
    """After wiping, the next opening asks again."""
    path, ask, unlocked = tmp_path / "key", saying(OLD), Unlocked()
    create_key(path, BY_PASSPHRASE, ask)
    unlocked.open(path, ask)
    unlocked.wipe()
    assert unlocked.remembered is None
    before = ask.asked
    unlocked.open(path, ask)
    assert ask.asked == before + 1


def test_what_was_unlocked_does_not_leak():
    """Neither printed, nor pickled, nor copied."""
    root = RootKey.generate()
    unlocked = Unlocked(root)
    assert root.reveal().hex() not in repr(unlocked)
    for act in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            act(unlocked)
