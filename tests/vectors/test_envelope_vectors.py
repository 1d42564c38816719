"""Stored bytes of today open tomorrow: fixed keys, envelopes and wraps, and what must be refused (envelope.json)."""

import base64
import hmac
import json
from pathlib import Path

import pytest

from fabnet_secure.crypto.digest import blind_index, fingerprint
from fabnet_secure.crypto.envelope import Context, DataKey, Sealed, unseal
from fabnet_secure.crypto.keyfile import load_key_file
from fabnet_secure.crypto.keyring import WrappedKey
from fabnet_secure.crypto.legacy import LegacyKeyring
from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.types import Domain

VECTORS = json.loads((Path(__file__).parent / "envelope.json").read_text(encoding="utf-8"))
KEY = bytes.fromhex(VECTORS["key"])
by_name = {"ids": lambda case: case["name"]}


@pytest.mark.parametrize("case", VECTORS["cases"], **by_name)
def test_a_stored_envelope_opens(case):
    """Each fixed envelope opens to its plaintext, and its associated data is byte for byte the recorded one."""
    context = Context(**case["context"])
    assert context.encode() == case["associated_data"].encode()
    blob = base64.b64decode(case["blob"])
    assert blob[4] == case["kind"]
    assert unseal(DataKey(KEY), context, Sealed.from_storage(blob)) == base64.b64decode(case["plaintext"])


@pytest.mark.parametrize("case", VECTORS["failures"], **by_name)
def test_an_expected_failure_fails(case):
    """Each recorded mutation is refused with its recorded code."""
    with pytest.raises(IntegrityFailure) as caught:
        unseal(
            DataKey(bytes.fromhex(case["key"])),
            Context(**case["context"]),
            Sealed.from_storage(base64.b64decode(case["blob"])),
        )
    assert caught.value.code == case["code"]


def hkdf(secret, label):
    """RFC 5869 for one block, by hmac alone."""
    return hmac.digest(hmac.digest(bytes(32), secret, "sha256"), label + b"\x01", "sha256")


@pytest.mark.parametrize("case", VECTORS["cases"], **by_name)
def test_the_written_form_is_the_form(case):
    """A reader built from envelope.py's description alone, on the primitives, opens every envelope."""
    from cryptography.cobblestone import Cobblestone256Decryptor
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    blob, associated = base64.b64decode(case["blob"]), case["associated_data"].encode()
    header, body = blob[:5], blob[5:]
    content_key = hkdf(KEY, b"fabnet-secure/seal/v1")
    if header == b"FSE1\x02":
        private = X25519PrivateKey.from_private_bytes(hkdf(KEY, b"fabnet-secure/hpke/v1"))
        assert private.public_key().public_bytes_raw().hex() == VECTORS["public"]
        suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
        content_key, body = suite.decrypt(body[:80], private, info=associated), body[80:]
    decryptor = Cobblestone256Decryptor(content_key, header + associated)
    assert decryptor.update(body) + decryptor.finalize() == base64.b64decode(case["plaintext"])


def test_a_stored_keyring_of_the_first_form_opens(tmp_path):
    """The recorded key file opens the recorded epochs, data key and vault secret of a vault of kind 1."""
    recorded = VECTORS["keyring"]
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_text(recorded["key_file"], encoding="ascii")
    epochs = {int(number): base64.b64decode(wrapped) for number, wrapped in recorded["epochs"].items()}
    keyring = LegacyKeyring(load_key_file(path), epochs)
    row = recorded["wrapped_key"]
    key = keyring.unwrap(
        WrappedKey(
            **{
                **row,
                "domain": Domain(row["domain"]),
                "wrapped": base64.b64decode(row["wrapped"]),
                "public": base64.b64decode(row["public"]),
            }
        )
    )
    assert key.reveal().hex() == recorded["data_key"]
    secret = recorded["secret"]
    assert keyring.unwrap_secret(secret["name"], base64.b64decode(secret["wrapped"])).hex() == secret["value"]


def test_recorded_digests_stay():
    """A blind index or fingerprint that changed would lose every person and video already recorded."""
    recorded = VECTORS["digests"]
    key = bytes.fromhex(recorded["key"])
    for entry in recorded["blind_index"]:
        assert blind_index(key, entry["text"]) == entry["value"]
    for entry in recorded["fingerprint"]:
        assert fingerprint(key, entry["parts"]) == entry["value"]
