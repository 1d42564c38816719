"""SSH signatures: only these bytes, only this key, only our namespace; and one written form of each key."""

import base64
import subprocess
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabnet_secure.crypto import sshsig
from fabnet_secure.errors import FabnetError, IntegrityFailure, UsageError

MESSAGE = b'{"act":"budget_raise"}\n'


def keygen(folder, kind, *options):
    path = folder / f"{len(list(folder.iterdir()))}-{kind}"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *options, "-N", "", "-C", "Anna Kowalski", "-f", path], check=True)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for keys."""
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def key(folder):
    """A private key's file."""
    return keygen(folder, "ed25519")


@pytest.fixture(scope="module")
def public(key):
    """Its public half."""
    return sshsig.read_public_key(key.with_suffix(".pub").read_text())


@pytest.fixture(scope="module")
def signature(key):
    """A signature over MESSAGE."""
    return sshsig.sign(MESSAGE, key)


def field(blob):
    return len(blob).to_bytes(4, "big") + blob


def line(kind, *fields):
    blob = field(kind.encode()) + b"".join(map(field, fields))
    return f"{kind} {base64.b64encode(blob).decode()} anna"


def test_a_signature_holds_for_its_bytes_and_key(public, signature):
    """What was signed verifies, and says by which key."""
    assert sshsig.verify(MESSAGE, signature, public)
    assert sshsig.signer_of(signature) == public


@pytest.mark.parametrize("changed", [MESSAGE[:-1], MESSAGE + b"\n", MESSAGE.replace(b"raise", b"Raise"), b""])
def test_other_bytes_do_not_verify(public, signature, changed):
    """A byte less, more or different is another message."""
    assert not sshsig.verify(changed, signature, public)


def test_another_key_does_not_verify(folder, signature):
    """A signature counts under the key that is named, whatever key it says it is by."""
    other = keygen(folder, "ecdsa")
    assert not sshsig.verify(MESSAGE, signature, sshsig.read_public_key(other.with_suffix(".pub").read_text()))


@pytest.mark.parametrize("kind", [("ecdsa",), ("ecdsa", "-b", "521"), ("rsa", "-b", "3072")], ids=" ".join)
def test_other_strong_keys_sign_too(folder, kind):
    """ECDSA and RSA of 3072 bits are as good."""
    path = keygen(folder, *kind)
    public = sshsig.read_public_key(path.with_suffix(".pub").read_text())
    assert sshsig.verify(MESSAGE, sshsig.sign(MESSAGE, path), public)


def test_the_fingerprint_is_the_one_that_ssh_shows(key, public):
    """What we show is what ssh-keygen -l shows, so that people can compare."""
    shown = subprocess.run(["ssh-keygen", "-l", "-f", key], capture_output=True, text=True, check=True).stdout
    assert shown.split()[1] == public.fingerprint


def test_a_name_in_a_key_is_left_out(public):
    """The comment, often a person's name, is not part of what is kept."""
    assert "Anna" not in public.line


def test_a_signature_for_another_purpose_is_none(key, public):
    """What was signed for git, say, is no approval."""
    made = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-q", "-f", key, "-n", "git"], input=MESSAGE, capture_output=True, check=True
    ).stdout
    assert not sshsig.verify(MESSAGE, made, public)
    with pytest.raises(IntegrityFailure) as caught:
        sshsig.signer_of(made)
    assert caught.value.code == "APPROVAL_BROKEN"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_bit_breaks_a_signature(data, public, signature):
    """Flip any bit of the signature's own bytes: it does not verify under the key."""
    body = signature.split(b"-----")[2]
    blob = bytearray(base64.b64decode(body))
    place = data.draw(st.integers(0, len(blob) * 8 - 1))
    blob[place // 8] ^= 1 << (place % 8)
    changed = signature.replace(body, b"\n" + base64.encodebytes(bytes(blob)))
    assert not sshsig.verify(MESSAGE, changed, public)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(blob):
    """Whatever a signature's armour holds, it is refused by one code or names a key."""
    armoured = b"-----BEGIN SSH SIGNATURE-----\n" + base64.encodebytes(b"SSHSIG\0\0\0\1" + blob)
    with suppress(IntegrityFailure):
        assert sshsig.signer_of(armoured + b"-----END SSH SIGNATURE-----").line


BAD = {
    "empty": "",
    "words": "hello there",
    "two keys": "ssh-ed25519 AAAA\nssh-ed25519 BBBB",
    "dsa": line("ssh-dss", b"\1" * 128, b"\1" * 20, b"\1" * 128, b"\1" * 128),
    "certificate": line("ssh-ed25519-cert-v01@openssh.com", b"n" * 32, b"p" * 32),
    "short rsa": line("ssh-rsa", b"\1\0\1", b"\0" + b"\xff" * 256),
    "padded rsa": line("ssh-rsa", b"\1\0\1", b"\0\0" + b"\xff" * 384),
    "left over": line("ssh-ed25519", b"p" * 32, b"more"),
    "other name": "ssh-rsa " + line("ssh-ed25519", b"p" * 32).split()[1],
    "cut": line("ssh-ed25519", b"p" * 32)[:-12],
    "options": 'command="x" ' + line("ssh-ed25519", b"p" * 32),
    "private": "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_weak_and_broken_keys_are_refused(text):
    """No DSA, no short RSA, no certificate, no private key, nothing left over or written in a second way."""
    with pytest.raises(UsageError) as caught:
        sshsig.read_public_key(text)
    assert caught.value.code == "SSH_KEY_INVALID"
    assert "AAAA" not in f"{caught.value.message}{caught.value.hint}"


def test_without_ssh_keygen_the_error_says_so(monkeypatch, public, signature, tmp_path):
    """A machine without OpenSSH is told of it; nothing is taken for approved."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FabnetError) as caught:
        sshsig.verify(MESSAGE, signature, public)
    assert caught.value.code == "SSH_KEYGEN_MISSING"


def test_a_key_that_cannot_sign_is_refused(key, tmp_path):
    """A missing file, or one that is no key, is a clear error."""
    (tmp_path / "no.key").write_text("nothing")
    for path in (tmp_path / "none", tmp_path / "no.key"):
        with pytest.raises(UsageError) as caught:
            sshsig.sign(MESSAGE, path)
        assert caught.value.code == "SSH_SIGN_FAILED"


def test_nothing_secret_or_personal_is_in_a_command_line(monkeypatch, key, public, signature):
    """Neither the message nor a name stands in the words or the environment of the programs that are started."""
    seen = []
    real = subprocess.run
    monkeypatch.setattr(sshsig.subprocess, "run", lambda *a, **k: seen.append((a[0], k["env"])) or real(*a, **k))
    monkeypatch.setenv("FABNET_KEY_FILE", "/somewhere/secret")
    sshsig.verify(MESSAGE, signature, public)
    sshsig.sign(MESSAGE, key)
    assert len(seen) == 2
    for words, env in seen:
        assert not any("budget" in word or "Anna" in word for word in words)
        assert not any(name.startswith("FABNET") for name in env)
