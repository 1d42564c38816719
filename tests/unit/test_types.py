"""The shared words: identifiers, times and canonical JSON."""

import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from fabnet_secure.errors import UsageError
from fabnet_secure.types import canonical_json, is_id, new_id, parse_rfc3339, rfc3339, utc_now

ID = "3b0c1a56-9c0b-4b8e-8d7e-0a1f2c3d4e5f"


def test_ids_are_random_uuids():
    """Every id is a fresh version-4 UUID in its one written form."""
    made = {new_id() for _ in range(100)}
    assert len(made) == 100
    assert all(is_id(one) and uuid.UUID(one).version == 4 for one in made)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "../" * 12,
        ID.upper(),
        f"{ID}\n",
        f" {ID}",
        ID.replace("-", ""),
        "😀" * 36,
    ],
)
def test_what_is_no_id(text):
    """Another case, a blank, a newline or no dashes make it no id."""
    assert not is_id(text)


@given(st.text())
def test_no_text_is_taken_for_an_id_by_chance(text):
    """What is_id accepts is what UUID would write."""
    assert not is_id(text) or str(uuid.UUID(text)) == text


ZONES = st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-3.5))])
EARLY, LATE = datetime.fromisoformat("1000-01-02"), datetime.fromisoformat("9999-12-30")


@given(st.datetimes(min_value=EARLY, max_value=LATE, timezones=ZONES))
def test_times_round_trip(moment):
    """A time is written in UTC with microseconds and read back the same, and order is kept."""
    text = rfc3339(moment)
    assert text.endswith("Z")
    assert len(text) == 27
    assert parse_rfc3339(text) == moment
    assert text < rfc3339(moment + timedelta(microseconds=1))


@pytest.mark.parametrize("text", ["", "soon", "2026-01-31", "2026-01-31T09:00:00", "2026-13-01T00:00:00Z"])
def test_what_is_no_time(text):
    """No time, or one without an offset, is refused."""
    with pytest.raises(UsageError):
        parse_rfc3339(text)


def test_now_is_aware():
    """The clock gives UTC."""
    assert utc_now().tzinfo is UTC


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcdé", max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abcdé", max_size=3), plain))
def test_canonical_json_does_not_depend_on_order(value):
    """The same mapping gives the same bytes in whatever order it was built."""
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


def test_canonical_json_is_rfc_8785():
    """The example of RFC 8785, section 3.2.2, by its bytes."""
    value = {
        "numbers": [333333333.33333329, 1e30, 4.5, 2e-3, 1e-27],
        "string": '€$\x0f\nA\'B"\\"/',
        "literals": [None, True],
    }
    expected = (
        '{"literals":[null,true],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\"/"}'
    )
    assert canonical_json(value) == expected.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53 + 1, [float("-inf")]])
def test_what_has_no_canonical_form(value):
    """NaN, infinities and integers that JSON's readers would round are refused."""
    with pytest.raises(UsageError):
        canonical_json(value)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 54), 1 << 54) | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_the_fast_way_writes_what_the_exact_one_writes(value):
    """Whatever the value, the bytes (or the refusal) are those of the RFC 8785 library."""
    try:
        exact = rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        with pytest.raises((UsageError, type(error))):
            canonical_json(value)
    else:
        assert canonical_json(value) == exact
