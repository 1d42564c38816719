"""Signed checkpoints and verifier keys in the C2SP forms."""

import base64

import pytest

from fabnet_secure.audit.checkpoint import (
    Checkpoint,
    key_id,
    open_checkpoint,
    parse_vkey,
    read_checkpoint,
    sign_checkpoint,
    vkey,
)
from fabnet_secure.audit.merkle import EMPTY_ROOT
from fabnet_secure.errors import IntegrityFailure, UsageError

# The verifier key of the example in golang.org/x/mod/sumdb/note's documentation.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ROOT = bytes(range(32))


def refused(text, key, verify, **options):
    with pytest.raises(IntegrityFailure) as caught:
        open_checkpoint(text, key, verify, **options)
    return caught.value.code == "CHECKPOINT_BROKEN"


def test_a_checkpoint_opens_under_its_own_key(signer, verify):
    """What was signed comes back: origin, size and root."""
    text = sign_checkpoint("example.org/log", 7, ROOT, signer)
    assert open_checkpoint(text, vkey("example.org/log", signer.public), verify, alone=True) == Checkpoint(
        origin="example.org/log", size=7, root=ROOT
    )
    assert text.split("\n")[:3] == ["example.org/log", "7", base64.b64encode(ROOT).decode()]


def test_the_go_example_key_parses_and_is_written_the_same():
    """A verifier key made by Go reads here and comes out byte for byte."""
    origin, identifier, public = parse_vkey(GO_VKEY)
    assert (origin, identifier.hex()) == ("PeterNeumann", "c74f20a3")
    assert vkey(origin, public) == GO_VKEY
    assert key_id(origin, public) == identifier


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "PeterNeumann",
        GO_VKEY + "\n",
        GO_VKEY.replace("c74f20a3", "C74F20A3"),
        GO_VKEY.replace("c74f20a3", "c74f20a4"),
        GO_VKEY.replace("Peter", "Petra"),
        GO_VKEY.replace("+ARpc", "+BBpc"),
        GO_VKEY[:-4],
        GO_VKEY + "AAAA",
        "+" + GO_VKEY.split("+", 1)[1],
    ],
)
def test_another_key_s_text_is_no_verifier_key(wrong):
    """A wrong id, kind, length, case or name is refused."""
    with pytest.raises(UsageError) as caught:
        parse_vkey(wrong)
    assert caught.value.code == "VKEY_INVALID"


def test_another_key_or_origin_does_not_open_it(signer, other_signer, verify):
    """The key and the log's name both count."""
    text = sign_checkpoint("example.org/log", 7, ROOT, signer)
    assert refused(text, vkey("example.org/log", other_signer.public), verify)
    assert refused(text, vkey("example.org/other", signer.public), verify)


def test_the_body_names_the_log_that_signs_it(signer, verify):
    """A body about another log is refused even when this log's key signed it under its own name."""
    body = f"example.org/other\n7\n{base64.b64encode(ROOT).decode()}\n"
    line = base64.b64encode(key_id("example.org/log", signer.public) + signer.sign(body.encode())).decode()
    text = f"{body}\n\u2014 example.org/log {line}\n"
    assert refused(text, vkey("example.org/log", signer.public), verify)


def test_every_changed_bit_is_refused(signer, verify):
    """Each bit of the text, flipped, makes it another text that does not open: no byte is slack."""
    text = sign_checkpoint("example.org/log", 7, ROOT, signer)
    key = vkey("example.org/log", signer.public)
    raw = text.encode()
    for at in range(len(raw)):
        for bit in range(8):
            flipped = raw[:at] + bytes([raw[at] ^ (1 << bit)]) + raw[at + 1 :]
            try:
                changed = flipped.decode("utf-8")
            except UnicodeDecodeError:
                continue
            assert refused(changed, key, verify), (at, bit)


def test_every_cut_and_doubled_character_is_refused(signer, verify):
    """No prefix opens, and no character can be dropped or written twice."""
    text = sign_checkpoint("example.org/log", 10, EMPTY_ROOT, signer)
    key = vkey("example.org/log", signer.public)
    for at in range(len(text)):
        assert refused(text[:at], key, verify)
        assert refused(text[:at] + text[at + 1 :], key, verify)
        assert refused(text[:at] + text[at] + text[at:], key, verify)


def test_a_cosignature_is_passed_over_unless_the_log_s_key_must_stand_alone(signer, other_signer, verify):
    """A witness's line does no harm to a reader; a check of every byte refuses it."""
    text = sign_checkpoint("example.org/log", 7, ROOT, signer)
    witness = base64.b64encode(key_id("witness.example", other_signer.public) + bytes(72)).decode()
    cosigned = f"{text}\u2014 witness.example {witness}\n"
    key = vkey("example.org/log", signer.public)
    assert open_checkpoint(cosigned, key, verify).size == 7
    assert refused(cosigned, key, verify, alone=True)


def test_a_doubled_or_missing_own_signature_is_refused(signer, other_signer, verify):
    """Exactly one line by the log's key."""
    text = sign_checkpoint("example.org/log", 7, ROOT, signer)
    key = vkey("example.org/log", signer.public)
    body, line = text.split("\n\n")
    assert refused(f"{body}\n\n{line}{line}", key, verify)
    assert refused(f"{body}\n\n", key, verify)
    assert refused(sign_checkpoint("example.org/log", 7, ROOT, other_signer), key, verify)


@pytest.mark.parametrize(
    "body",
    [
        "example.org/log\n07\nAAAA",
        "example.org/log\n-1\nROOT",
        "example.org/log\n+7\nROOT",
        "example.org/log\n7\u0667\nROOT",
        "example.org/log\n7\nROOT\nextension",
        "\n7\nROOT",
        "exa mple\n7\nROOT",
        "example.org/log\n7\nAAAA",
        "example.org/log\n99999999999999999999\nROOT",
    ],
)
def test_a_malformed_body_is_refused_even_when_signed(body, signer, verify):
    """A signature over a body of another form does not make it a checkpoint."""
    text = body.replace("ROOT", base64.b64encode(ROOT).decode()) + "\n"
    line = base64.b64encode(key_id("example.org/log", signer.public) + signer.sign(text.encode())).decode()
    assert refused(f"{text}\n\u2014 example.org/log {line}\n", vkey("example.org/log", signer.public), verify)


def test_reading_without_a_key_trusts_nobody_s_signature(signer):
    """``read_checkpoint`` gives the body's words only."""
    assert read_checkpoint(sign_checkpoint("example.org/log", 0, EMPTY_ROOT, signer)).size == 0


@pytest.mark.parametrize("origin", ["", "with space", "with+plus", "line\nbreak", "nb\u00a0space"])
def test_an_origin_that_no_note_can_name_is_refused(origin, signer):
    """Spaces, plus signs and control characters cannot stand in a note's key name."""
    for act in (lambda: vkey(origin, signer.public), lambda: sign_checkpoint(origin, 0, EMPTY_ROOT, signer)):
        with pytest.raises(UsageError) as caught:
            act()
        assert caught.value.code == "ORIGIN_INVALID"


@pytest.mark.parametrize(("size", "root"), [(-1, ROOT), (1, ROOT[:31])])
def test_an_impossible_head_is_not_signed(size, root, signer):
    """A negative size or a short root never gets a signature."""
    with pytest.raises(UsageError):
        sign_checkpoint("example.org/log", size, root, signer)


def test_a_key_of_another_length_makes_no_verifier_key():
    """Ed25519 keys have 32 bytes."""
    with pytest.raises(UsageError):
        vkey("example.org/log", b"\1" * 31)
