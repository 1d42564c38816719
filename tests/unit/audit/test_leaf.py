"""What may stand in a log entry, and that it is read back only in its one form."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabnet_secure.audit.leaf import Entry, build_leaf, commit, read_leaf
from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.types import new_id

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
SALT = bytes(range(32))


def leaf(**changed):
    fields = {
        "act": "ingest.completed",
        "at": AT,
        "actor": "ingestor",
        "facts": {"frames_read": 75, "frames_persisted": 0, "nested": {"ratio": 0.5, "ok": True, "none": None}},
        "commitments": {"subject": commit(SALT, "S"), "consent": commit(SALT, "C")},
    }
    return build_leaf(**(fields | changed))


def test_a_leaf_is_canonical_json_and_reads_back():
    """The bytes are sorted, spaceless JSON; reading gives every field."""
    blob = leaf()
    assert blob == json.dumps(json.loads(blob), sort_keys=True, separators=(",", ":")).encode()
    assert read_leaf(blob) == Entry(
        act="ingest.completed",
        at=AT,
        actor="ingestor",
        facts={"frames_read": 75, "frames_persisted": 0, "nested": {"ratio": 0.5, "ok": True, "none": None}},
        commitments={"subject": commit(SALT, "S"), "consent": commit(SALT, "C")},
    )
    assert read_leaf(blob).subjects == (commit(SALT, "C"), commit(SALT, "S"))


def test_a_commitment_is_a_salted_hmac():
    """It equals HMAC-SHA256 under the salt in base64url; another salt or value gives another."""
    digest = hmac.new(SALT, b"value", hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(commit(SALT, "value") + "=") == digest
    assert commit(SALT, "value") != commit(SALT[::-1], "value")
    assert commit(SALT, "value") != commit(SALT, "valuf")


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_commitment_needs_a_whole_salt(size):
    """A short salt, which could be guessed, is refused."""
    with pytest.raises(UsageError) as caught:
        commit(b"\1" * size, "value")
    assert caught.value.code == "SALT_SIZE"


@pytest.mark.parametrize(
    "facts",
    [
        {"track": new_id()},
        {"track": new_id().upper()},
        {"path": f"crops/{new_id()}.bin"},
        {"list": [1, [new_id()]]},
        {"inner": {"deep": new_id()}},
        {new_id(): 1},
        {"text": "x" * 129},
        {"k" * 129: 1},
    ],
)
def test_facts_hold_no_raw_identifier_and_no_long_text(facts):
    """A UUID or a text over 128 characters is refused wherever it hides, keys included, and not repeated."""
    with pytest.raises(UsageError) as caught:
        leaf(facts=facts)
    assert caught.value.code == "LEAF_REFUSED"
    assert "x" * 20 not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    "changed",
    [
        {"act": ""},
        {"act": "Ingest Completed"},
        {"act": new_id()},
        {"actor": ""},
        {"actor": "Jane Doe"},
        {"actor": new_id()},
        {"actor": "a" * 129},
        {"at": datetime(2026, 1, 1)},  # noqa: DTZ001 - the very thing refused
        {"commitments": {"subject": "raw name"}},
        {"commitments": {"subject": new_id()}},
        {"commitments": {"": "A" * 43}},
        {"commitments": {f"s{new_id()}": "A" * 43}},
    ],
)
def test_names_times_and_commitments_have_their_forms(changed):
    """An act, actor, time or commitment of another form is refused."""
    with pytest.raises(UsageError) as caught:
        leaf(**changed)
    assert caught.value.code == "LEAF_REFUSED"


def test_a_text_of_128_characters_and_a_digest_are_facts():
    """The bound itself passes, and so does a SHA-256 in hex."""
    facts = {"text": "x" * 128, "sha256": hashlib.sha256(b"").hexdigest()}
    assert read_leaf(leaf(facts=facts)).facts == facts


def test_a_leaf_over_65535_bytes_is_refused():
    """The tile format's bound holds when the leaf is built, not later."""
    with pytest.raises(UsageError) as caught:
        leaf(facts={f"k{i}": "x" * 100 for i in range(700)})
    assert caught.value.code == "LEAF_TOO_LARGE"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, "\ud800"])
def test_what_has_no_canonical_form_is_refused(value):
    """NaN, infinities, unsafe integers and lone surrogates never reach the log."""
    with pytest.raises(UsageError):
        leaf(facts={"value": value})


def test_time_is_written_in_utc():
    """The same instant in another offset is the same leaf."""
    assert leaf(at=AT.astimezone(timezone(timedelta(hours=9)))) == leaf()


_SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False)
_FACTS = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        _SCALARS.filter(lambda value: value not in (float("inf"), -float("inf"))) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@settings(deadline=None)
@given(_FACTS)
def test_whatever_is_built_is_read(facts):
    """Every leaf that can be built reads back to the same bytes, huge floats and odd texts included."""
    try:
        blob = leaf(facts=facts)
    except UsageError:
        return
    entry = read_leaf(blob)
    again = build_leaf(act=entry.act, at=entry.at, actor=entry.actor, facts=entry.facts, commitments=entry.commitments)
    assert again == blob


def test_a_float_beyond_the_safe_integers_reads_back():
    """RFC 8785 writes 1e20 as digits only; it is still read as the number it was."""
    assert read_leaf(leaf(facts={"big": 1e20})).facts == {"big": 1e20}


@pytest.mark.parametrize(
    "damage",
    [
        lambda blob: blob[:-1],
        lambda blob: blob + b"\n",
        lambda blob: b" " + blob,
        lambda blob: blob.replace(b"leaf/v1", b"leaf/v2"),
        lambda blob: blob.replace(b'"actor"', b'"extra"'),
        lambda blob: blob.replace(b"75", b"75.0"),
        lambda blob: blob.replace(b"75", b"NaN"),
        lambda blob: blob.replace(b"05.000006Z", b"05.000006+00:00"),
        lambda blob: blob.replace(b'"act":', b'"act":"x","act":'),
        lambda blob: blob.replace(b'"ingestor"', b"7"),
        lambda blob: blob.replace(b'"ingestor"', b'"' + new_id().encode() + b'"'),
        lambda blob: blob.replace(b'"facts":{', b'"facts":[{').replace(b"75}", b"75}]"),
        lambda _: b"[]",
        lambda _: b"null",
        lambda _: b"",
        lambda _: b"\xff",
        lambda _: b"[" * 60_000,
        lambda _: b"1" * 60_000,
    ],
)
def test_anything_but_the_canonical_form_is_unreadable(damage):
    """Another schema, form, order or type is an integrity failure, never a crash."""
    with pytest.raises(IntegrityFailure) as caught:
        read_leaf(damage(leaf()))
    assert caught.value.code == "LEAF_BROKEN"
