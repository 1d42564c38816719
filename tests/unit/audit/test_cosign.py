"""Cosignatures as C2SP tlog-cosignature lays them out."""

import base64
import hashlib

import pytest

from fabnet_secure.audit.checkpoint import Checkpoint, open_checkpoint, read_checkpoint, sign_checkpoint, vkey
from fabnet_secure.audit.cosign import (
    check_cosignature,
    cosign,
    cosigned_message,
    cosigner_vkey,
    parse_cosigner_vkey,
    witness_name,
)
from fabnet_secure.crypto.mldsa import Cosigner, verify_mldsa44
from fabnet_secure.crypto.secret import Secret
from fabnet_secure.crypto.signing import Signer, verify_signature
from fabnet_secure.errors import IntegrityFailure, UsageError

ORIGIN = "example.org/log"
LOG = Signer.from_seed(b"\1" * 32)
WITNESS = Cosigner(Secret(b"\2" * 32))
KEY = cosigner_vkey(witness_name(WITNESS.public), WITNESS.public)
NOTE = sign_checkpoint(ORIGIN, 5, b"\7" * 32, LOG)
TIME = 1_800_000_000


def refuses(note, key=KEY):
    with pytest.raises(IntegrityFailure) as refused:
        check_cosignature(note, key, verify_mldsa44)
    return refused.value.code


def test_the_signed_bytes_are_the_specification_s():
    """label, name, time, origin, start 0, end, hash: byte for byte."""
    head = Checkpoint(origin=ORIGIN, size=5, root=b"\7" * 32)
    assert cosigned_message("w/1", TIME, head) == (
        b"subtree/v1\n\0"
        b"\3w/1"
        + TIME.to_bytes(8, "big")
        + bytes([len(ORIGIN)])
        + ORIGIN.encode()
        + bytes(8)
        + (5).to_bytes(8, "big")
        + b"\7" * 32
    )


def test_the_line_and_the_key_are_the_specification_s():
    """The key id is over name, 0x06 and the public key; the line holds id, big-endian time and signature."""
    name = witness_name(WITNESS.public)
    identity = hashlib.sha256(name.encode() + b"\n\x06" + WITNESS.public).digest()[:4]
    encoded_key = base64.b64encode(b"\x06" + WITNESS.public).decode()
    assert f"{name}+{identity.hex()}+{encoded_key}" == KEY
    dash, named, encoded = cosign(NOTE, WITNESS, TIME).removeprefix(NOTE).rstrip("\n").split(" ")
    blob = base64.b64decode(encoded)
    assert (dash, named, blob[:4], int.from_bytes(blob[4:12], "big")) == ("\u2014", name, identity, TIME)
    assert verify_mldsa44(WITNESS.public, cosigned_message(name, TIME, read_checkpoint(NOTE)), blob[12:])


def test_a_cosigned_checkpoint_opens_for_both_keys():
    """The log's key opens it as before, the witness's says when it was seen."""
    note = cosign(NOTE, WITNESS, TIME)
    assert open_checkpoint(note, vkey(ORIGIN, LOG.public), verify_signature).size == 5
    held = check_cosignature(note, KEY, verify_mldsa44)
    assert (held.name, held.timestamp) == (witness_name(WITNESS.public), TIME)


def test_another_witness_s_line_beside_it_does_not_matter():
    """Two witnesses cosign one checkpoint; each line is found by its own key."""
    other = Cosigner.generate()
    note = cosign(cosign(NOTE, other, TIME + 1), WITNESS, TIME)
    assert check_cosignature(note, KEY, verify_mldsa44).timestamp == TIME
    theirs = cosigner_vkey(witness_name(other.public), other.public)
    assert check_cosignature(note, theirs, verify_mldsa44).timestamp == TIME + 1


def changed(position):
    head, _, encoded = cosign(NOTE, WITNESS, TIME)[:-1].rpartition(" ")
    blob = bytearray(base64.b64decode(encoded))
    blob[position] ^= 1
    return f"{head} {base64.b64encode(blob).decode()}\n"


@pytest.mark.parametrize("position", [0, 4, 11, 12, 2000, -1], ids=["id", "time", "time-end", "first", "mid", "last"])
def test_a_changed_byte_is_refused(position):
    """Key id, time and signature are all covered."""
    assert refuses(changed(position)) == "COSIGNATURE_BROKEN"


@pytest.mark.parametrize(
    "note",
    [
        NOTE,
        cosign(NOTE, Cosigner(Secret(b"\3" * 32)), TIME),
        cosign(NOTE, WITNESS, TIME) + cosign(NOTE, WITNESS, TIME).removeprefix(NOTE),
        cosign(NOTE, WITNESS, TIME).replace("\n5\n", "\n6\n", 1),
        cosign(NOTE, WITNESS, TIME).replace(f"{ORIGIN}\n", "example.net/log\n", 1),
        sign_checkpoint(ORIGIN, 5, b"\6" * 32, LOG) + cosign(NOTE, WITNESS, TIME).removeprefix(NOTE),
    ],
    ids=["none", "another", "twice", "size", "origin", "root"],
)
def test_what_the_witness_did_not_sign_is_refused(note):
    """No line, another's, two, or one for another head."""
    assert refuses(note) == "COSIGNATURE_BROKEN"


@pytest.mark.parametrize(
    "text",
    ["", "a+b+c", KEY[:-4], vkey(ORIGIN, LOG.public), KEY.replace("fabnet", "fabnat"), f"{KEY}\n"],
    ids=["empty", "words", "short", "the-log-s", "renamed", "line-end"],
)
def test_what_is_no_witness_s_key_is_refused(text):
    """A key of another kind, or one whose id belongs to another name."""
    with pytest.raises(UsageError) as refused:
        parse_cosigner_vkey(text)
    assert refused.value.code == "VKEY_INVALID"


def test_a_time_before_1970_is_refused():
    """A witness with no clock cosigns nothing."""
    with pytest.raises(UsageError):
        cosign(NOTE, WITNESS, 0)
