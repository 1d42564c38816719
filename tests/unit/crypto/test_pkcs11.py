"""Key files that a token opens, against SoftHSM2: round trip, and each thing that can be missing or wrong."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fabnet_secure.crypto import pkcs11 as room
from fabnet_secure.crypto.keyfile import binding_of, parse_protected, protected_content
from fabnet_secure.crypto.passphrase import refuse
from fabnet_secure.crypto.pkcs11 import TokenKey
from fabnet_secure.crypto.provider import Form, Protection, create_key, form_of, open_key, protect_key
from fabnet_secure.errors import KeyProblem

MODULES = (Path("/usr/lib/softhsm/libsofthsm2.so"), *Path("/usr/lib").glob("*-linux-gnu/softhsm/libsofthsm2.so"))
MODULE = next((one for one in MODULES if one.exists()), None)
PIN = "8417 2963"
VAULT, LENT = "vault", "lent"
pytestmark = pytest.mark.skipif(
    MODULE is None or shutil.which("softhsm2-util") is None,
    reason="SoftHSM2 IS NOT INSTALLED: PKCS#11 key files are not tested (apt-get install softhsm2)",
)


def asking(pin=PIN):
    """Return an ``Ask`` that gives a PIN and remembers what it was asked."""
    asked = []

    def ask(what, *, fresh=False):
        asked.append((what, fresh))
        return pin

    ask.asked = asked
    return ask


@pytest.fixture(scope="module")
def hsm(tmp_path_factory):
    """Tokens by their labels, two of them of one; in this process for this module's tests."""
    import pkcs11

    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n", "utf-8")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    for label in ("vault", "other", "twice", "twice", "lent"):
        command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "so-pin"]
        subprocess.run(command, check=True, capture_output=True)
    yield folder
    pkcs11.unload(str(MODULE))
    os.environ.pop("SOFTHSM2_CONF")
    if before is not None:
        os.environ["SOFTHSM2_CONF"] = before


def by_token(name=VAULT, label="fabnet"):
    return Protection(form=Form.PKCS11, token=TokenKey(module=MODULE, token=name, label=label))


def code_of(act, *arguments, **named):
    with pytest.raises(KeyProblem) as caught:
        act(*arguments, **named)
    assert caught.value.exit_code == 12
    assert caught.value.hint
    assert PIN not in caught.value.message + caught.value.hint
    return caught.value.code


@pytest.fixture
def made(hsm, tmp_path):
    """A key file that the token 'vault' opens, and its key."""
    return tmp_path / "key", create_key(tmp_path / "key", by_token(), asking())


def test_a_token_opens_its_file(made):
    """The file opens with token and PIN; it names module, token and key, and holds no secret."""
    path, root = made
    assert form_of(path) is Form.PKCS11
    ask = asking()
    assert open_key(path, ask) == root
    assert ask.asked == [("the PIN of the token vault", False)]
    header = json.loads(path.read_bytes().split(b"\n")[1])
    assert (header["module"], header["token"], header["key_label"]) == (str(MODULE), "vault", "fabnet")
    assert header["mechanism"] == "AES_GCM"
    assert path.stat().st_mode & 0o777 == 0o600
    assert root.reveal().hex() not in path.read_text("ascii")


def test_the_wrapping_key_never_leaves_the_token(made):
    """It was made there, is sensitive and not extractable, and does nothing but encrypt and decrypt."""
    import pkcs11
    from pkcs11 import Attribute

    with pkcs11.lib(str(MODULE)).get_token(token_label=VAULT).open(user_pin=PIN) as session:
        (key,) = session.get_objects({Attribute.LABEL: "fabnet"})
        assert key[Attribute.LOCAL]
        assert key[Attribute.SENSITIVE]
        assert key[Attribute.NEVER_EXTRACTABLE]
        assert not key[Attribute.WRAP]
        with pytest.raises(pkcs11.AttributeSensitive):
            _ = key[Attribute.VALUE]


def test_the_key_is_made_once(made, tmp_path):
    """A second key file uses the same key of the token; both open."""
    second = create_key(tmp_path / "second", by_token(), asking())
    assert open_key(tmp_path / "second", asking()) == second
    assert open_key(made[0], asking()) == made[1] != second


def test_a_token_without_gcm(hsm, tmp_path, monkeypatch):
    """AES-CBC with padding wraps where there is no GCM, and a changed byte is found all the same."""
    monkeypatch.setattr(room, "_MECHANISMS", {"AES_CBC_PAD": 16})
    root = create_key(tmp_path / "key", by_token(), asking())
    monkeypatch.undo()
    assert open_key(tmp_path / "key", asking()) == root
    assert b'"mechanism":"AES_CBC_PAD"' in (tmp_path / "key").read_bytes()
    parts = parse_protected(tmp_path / "key", (tmp_path / "key").read_bytes())
    for name in ("iv", "wrap"):
        flipped = bytes([bytes.fromhex(parts.header[name])[0] ^ 1]).hex() + parts.header[name][2:]
        _change(tmp_path / "key", parts, {name: flipped})
        assert code_of(open_key, tmp_path / "key", asking()) == "KEY_WRONG"


def _change(path, parts, header, wrapped=None):
    binding = binding_of(parts.first, dict(parts.header) | header)
    path.write_bytes(protected_content(binding, parts.wrapped if wrapped is None else wrapped))


def test_every_part_of_the_file_is_bound(made):
    """Wrapped key, IV, the key's id and the module's name: none can be changed."""
    path, _ = made
    parts = parse_protected(path, path.read_bytes())
    flipped = {name: bytes([bytes.fromhex(parts.header[name])[0] ^ 1]).hex() + parts.header[name][2:] for name in
               ("iv", "wrap")}  # fmt: skip
    for change in ({"iv": flipped["iv"]}, {"wrap": flipped["wrap"]}, {"key_id": ""}):
        _change(path, parts, change)
        assert code_of(open_key, path, asking()) == "KEY_WRONG"
    _change(path, parts, {"module": "/elsewhere.so"})
    assert code_of(open_key, path, asking(), module=MODULE) == "KEY_WRONG"
    _change(path, parts, {}, bytes([parts.wrapped[0] ^ 1]) + parts.wrapped[1:])
    assert code_of(open_key, path, asking()) == "KEY_WRONG"


@pytest.mark.parametrize(
    "header",
    [
        {"mechanism": "AES_ECB"},
        {"mechanism": "RSA_PKCS"},
        {"iv": ""},
        {"iv": "zz"},
        {"wrap": "00"},
        {"key_id": "5"},
        {"token": 7},
        {"extra": "x"},
    ],
    ids=repr,
)
def test_another_header_is_no_key_file(made, header):
    """Refused before a library is loaded or anybody is asked."""
    path, _ = made
    _change(path, parse_protected(path, path.read_bytes()), header)
    ask = asking()
    assert code_of(open_key, path, ask) == "KEY_FORMAT"
    assert ask.asked == []


def test_a_wrong_pin_is_tried_once(made):
    """It has its own code; the PIN is asked for once a call, so that nothing here locks a token."""
    ask = asking("0000 0000")
    assert code_of(open_key, made[0], ask) == "PIN_WRONG"
    assert len(ask.asked) == 1
    assert code_of(open_key, made[0], asking("")) == "PIN_WRONG"
    assert open_key(made[0], asking()) == made[1]


def test_a_locked_token_says_so(made, monkeypatch):
    """SoftHSM never locks; another token's answer has its own code."""
    import pkcs11

    class Locked:
        def open(self, **_):
            raise pkcs11.PinLocked

    monkeypatch.setattr(room, "_token", lambda *_: Locked())
    assert code_of(open_key, made[0], asking()) == "PIN_LOCKED"


def test_a_token_that_fails_says_so(made, monkeypatch):
    """A device error is no wrong key."""
    import pkcs11

    class Broken:
        def open(self, **_):
            raise pkcs11.DeviceRemoved

    monkeypatch.setattr(room, "_token", lambda *_: Broken())
    assert code_of(open_key, made[0], asking()) == "PKCS11_FAILED"


def test_nobody_to_ask_for_the_pin(made):
    """Without terminal or file: NO_PASSPHRASE, as for a passphrase."""
    assert code_of(open_key, made[0], refuse) == "NO_PASSPHRASE"


def test_a_missing_token(made, hsm, tmp_path):
    """Another token in its place: PKCS11_TOKEN; two of one name: the same; nobody is asked for a PIN."""
    path, _ = made
    parts, ask = parse_protected(path, path.read_bytes()), asking()
    for token in ("gone", "twice"):
        _change(path, parts, {"token": token})
        assert code_of(open_key, path, ask) == "PKCS11_TOKEN"
    assert ask.asked == []
    _change(path, parts, {"token": "other"})
    assert code_of(open_key, path, asking()) == "PKCS11_KEY"


def test_a_key_that_is_gone_or_is_another(made, hsm, tmp_path):
    """A key of the same label and id in another token does not open it; two of one label are not chosen from."""
    import pkcs11
    from pkcs11 import Attribute, KeyType

    path, _ = made
    parts = parse_protected(path, path.read_bytes())
    with pkcs11.lib(str(MODULE)).get_token(token_label=LENT).open(rw=True, user_pin=PIN) as session:
        key_id = bytes.fromhex(parts.header["key_id"])
        session.generate_key(KeyType.AES, 256, label="fabnet", id=key_id, store=True)
        session.generate_key(KeyType.AES, 256, label="soft", store=True, template={Attribute.EXTRACTABLE: True})
        for _ in range(2):
            session.generate_key(KeyType.AES, 256, label="two", store=True)
        session.generate_key(KeyType.AES, 128, label="short", store=True)
    _change(path, parts, {"token": "lent"})
    assert code_of(open_key, path, asking()) == "KEY_WRONG"
    assert code_of(create_key, tmp_path / "a", by_token("lent", "two"), asking()) == "PKCS11_KEY"
    assert code_of(create_key, tmp_path / "a", by_token("lent", "soft"), asking()) == "PKCS11_KEY_WEAK"
    assert code_of(create_key, tmp_path / "a", by_token("lent", "short"), asking()) == "PKCS11_KEY_WEAK"
    assert not (tmp_path / "a").exists()


def test_a_module_that_cannot_be_used(made, tmp_path):
    """Missing, a folder, no library, relative, or one that others could write: PKCS11_MODULE, and it is not loaded."""
    path, _ = made
    (tmp_path / "words.so").write_text("not a library", "utf-8")
    open_to_all = tmp_path / "open.so"
    shutil.copy(MODULE, open_to_all)
    open_to_all.chmod(0o666)
    for module in (tmp_path / "gone.so", tmp_path, tmp_path / "words.so", Path("words.so"), open_to_all):
        ask = asking()
        assert code_of(open_key, path, ask, module=module) == "PKCS11_MODULE"
        assert ask.asked == []


def test_the_module_may_have_moved(made, tmp_path):
    """FABNET_PKCS11_MODULE names it where the file names an older place."""
    path, root = made
    target = tmp_path / "moved"
    parts = parse_protected(path, path.read_bytes())
    token = TokenKey(module=Path("/opt/old/libsofthsm2.so"), token=VAULT, label="fabnet")
    assert code_of(room.lock, root, token, asking()) == "PKCS11_MODULE"
    target.write_bytes(path.read_bytes())
    target.chmod(0o600)
    assert open_key(target, asking(), module=MODULE) == root
    assert parts.header["module"] == str(MODULE)


def test_a_plain_file_moves_into_a_token_and_back(hsm, tmp_path):
    """The protection changes, the key stays."""
    path = tmp_path / "key"
    root = create_key(path, Protection(), refuse)
    assert protect_key(path, by_token(), refuse, asking()) == root
    assert open_key(path, asking()) == root
    protect_key(path, Protection(), asking(), refuse)
    assert open_key(path, refuse) == root


def test_pkcs11_is_imported_only_for_such_files(tmp_path):
    """A plain and a passphrase key never load the library."""
    script = f"""
import sys
from pathlib import Path
from fabnet_secure.crypto.passphrase import refuse
from fabnet_secure.crypto.provider import PLAIN_FILE, create_key, open_key
create_key(Path({str(tmp_path / "key")!r}), PLAIN_FILE, refuse)
open_key(Path({str(tmp_path / "key")!r}), refuse)
sys.exit("pkcs11" in sys.modules or "shamir_mnemonic" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
