"""Key files that a passphrase opens: round trip, wrong ones, and crafted files."""

import base64
import json
import stat
import unicodedata

import pytest

from fabnet_secure.crypto import passphrase
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.crypto.provider import Form, Protection, create_key, form_of, open_key
from fabnet_secure.errors import KeyProblem

GOOD = "correct horse battery"
BY_PASSPHRASE = Protection(form=Form.PASSPHRASE)


@pytest.fixture(autouse=True)
def _cheap(monkeypatch):
    """The least work that a file may ask for; one test below does the real amount."""
    monkeypatch.setitem(passphrase._COST, "memory_kib", 64 * 1024)


def saying(answer):
    """Return an ``Ask`` that gives one answer and remembers what it was asked."""
    asked = []

    def ask(what, *, fresh=False):
        asked.append((what, fresh))
        return answer

    ask.asked = asked
    return ask


def code_of(act, *arguments, **named):
    with pytest.raises(KeyProblem) as caught:
        act(*arguments, **named)
    assert caught.value.exit_code == 12
    assert GOOD not in str(caught.value) + caught.value.hint
    return caught.value.code


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One file of the real cost, and its key."""
    path = tmp_path_factory.mktemp("real") / "key"
    root = create_key(path, BY_PASSPHRASE, saying(GOOD))
    return path, root


def test_the_cost_is_what_is_promised(made):
    """256 MiB, 3 passes, 4 lanes (RFC 9106), and a salt of 16 bytes, all in the file; it is private."""
    path, root = made
    header = json.loads(path.read_bytes().split(b"\n")[1])
    assert {name: header[name] for name in ("memory_kib", "passes", "lanes")} == {
        "memory_kib": 262_144,
        "passes": 3,
        "lanes": 4,
    }
    assert len(base64.b64decode(header["salt"])) == 16
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert base64.b64encode(root.reveal()) not in path.read_bytes()
    assert form_of(path) is Form.PASSPHRASE
    ask = saying(GOOD)
    assert open_key(path, ask) == root
    assert ask.asked == [(f"the passphrase of {path}", False)]


def test_a_passphrase_is_chosen_once_and_opens(tmp_path):
    """Making a file asks for a fresh passphrase once; the file opens with it and not with another."""
    ask = saying(GOOD)
    root = create_key(tmp_path / "key", BY_PASSPHRASE, ask)
    assert ask.asked == [(f"a new passphrase for {tmp_path / 'key'}", True)]
    assert open_key(tmp_path / "key", saying(GOOD)) == root
    assert code_of(open_key, tmp_path / "key", saying(GOOD + " ")) == "PASSPHRASE_WRONG"


def test_two_files_of_one_passphrase_share_nothing(tmp_path):
    """The salt is fresh: the same passphrase and key give another file each time."""
    root = RootKey.generate()
    assert passphrase.lock(root, GOOD).split(b"\n")[1:] != passphrase.lock(root, GOOD).split(b"\n")[1:]


def test_composed_and_decomposed_are_the_same(tmp_path):
    """A passphrase typed on another system, with its accents apart, opens the file (NFC)."""
    root = create_key(tmp_path / "key", BY_PASSPHRASE, saying("crème brûlée à la carte"))
    apart = unicodedata.normalize("NFD", "crème brûlée à la carte")
    assert open_key(tmp_path / "key", saying(apart)) == root


@pytest.mark.parametrize("short", ["", "a" * 11, "é" * 11])
def test_a_short_passphrase_is_refused(tmp_path, short):
    """Eleven characters are too few; nothing is made."""
    assert code_of(create_key, tmp_path / "key", BY_PASSPHRASE, saying(short)) == "PASSPHRASE_SHORT"
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_text_is_refused(tmp_path):
    """A lone surrogate cannot be a passphrase."""
    code = code_of(create_key, tmp_path / "key", BY_PASSPHRASE, saying("long enough \udcff"))
    assert code == "PASSPHRASE_FORMAT"


def _file(path, header, wrapped=bytes(104)):
    lines = [passphrase.FIRST_LINE, header, base64.b64encode(wrapped), b""]
    path.write_bytes(b"\n".join(lines))
    path.chmod(0o600)
    return path


def _header(**changes):
    plain = {"lanes": 4, "memory_kib": 262144, "passes": 3, "salt": base64.b64encode(bytes(16)).decode()}
    made = {name: value for name, value in (plain | changes).items() if value is not ...}
    return json.dumps(made, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_kib": 1 << 30},
        {"memory_kib": 1024 * 1024 + 1},
        {"memory_kib": 64 * 1024 - 1},
        {"memory_kib": 8},
        {"memory_kib": -1},
        {"passes": 1},
        {"passes": 2},
        {"passes": 17},
        {"passes": 1 << 40},
        {"lanes": 0},
        {"lanes": 17},
    ],
    ids=lambda one: "-".join(f"{name}={value}" for name, value in one.items()),
)
def test_crafted_parameters_are_refused(tmp_path, changes):
    """Neither a terabyte nor a weak setting is worked on: refused before anybody is asked and any memory is taken."""
    path = _file(tmp_path / "key", _header(**changes))
    ask = saying(GOOD)
    assert code_of(open_key, path, ask) == "KEY_PARAMETERS"
    assert ask.asked == []


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_kib": "262144"},
        {"memory_kib": True},
        {"memory_kib": 262144.5},
        {"passes": None},
        {"lanes": ...},
        {"salt": base64.b64encode(bytes(15)).decode()},
        {"salt": "not base64!"},
        {"salt": 5},
        {"salt": "é"},
        {"extra": 1},
    ],
    ids=repr,
)
def test_another_header_is_no_key_file(tmp_path, changes):
    """Missing, further and mistyped fields: KEY_FORMAT, nobody asked."""
    ask = saying(GOOD)
    assert code_of(open_key, _file(tmp_path / "key", _header(**changes)), ask) == "KEY_FORMAT"
    assert code_of(open_key, _file(tmp_path / "cut", _header(), bytes(103)), ask) == "KEY_FORMAT"
    assert ask.asked == []


def test_every_part_of_the_file_is_bound(tmp_path):
    """A changed cost, salt or wrapped key does not open, with the right passphrase either."""
    path = tmp_path / "key"
    create_key(path, BY_PASSPHRASE, saying(GOOD))
    first, header, wrapped, _ = path.read_bytes().split(b"\n")
    fields = json.loads(header)
    salt = bytes([base64.b64decode(fields["salt"])[0] ^ 1]) + base64.b64decode(fields["salt"])[1:]
    flipped = bytearray(base64.b64decode(wrapped))
    flipped[-1] ^= 1
    for changed_header, changed_wrap in (
        ({"salt": base64.b64encode(salt).decode()}, wrapped),
        ({"lanes": 3}, wrapped),
        ({}, base64.b64encode(flipped)),
    ):
        encoded = json.dumps(fields | changed_header, sort_keys=True, separators=(",", ":")).encode()
        path.write_bytes(b"\n".join([first, encoded, changed_wrap, b""]))
        assert code_of(open_key, path, saying(GOOD)) == "PASSPHRASE_WRONG"


def test_too_little_memory_is_told(tmp_path, monkeypatch):
    """A machine that cannot lend the memory says so, with how much it takes."""

    class Poor:
        def __init__(self, **_):
            pass

        def derive(self, _):
            raise MemoryError

    monkeypatch.setattr(passphrase, "Argon2id", Poor)
    assert code_of(create_key, tmp_path / "key", BY_PASSPHRASE, saying(GOOD)) == "PASSPHRASE_MEMORY"


def test_nobody_to_ask_is_an_error(made):
    """The default answer refuses: no empty passphrase, no other way in."""
    with pytest.raises(KeyProblem) as caught:
        open_key(made[0], passphrase.refuse)
    assert caught.value.code == "NO_PASSPHRASE"
    assert "--passphrase-file" in caught.value.hint
