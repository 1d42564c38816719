from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabnet_secure.compliance import formats


def test_times_are_utc_in_both_languages():
    """A time with another offset is shown in UTC, to the minute or the second."""
    text = "2026-10-02T23:03:04+09:00"
    assert formats.moment(text, "en") == "2 October 2026, 14:03 UTC"
    assert formats.moment(text, "ja") == "2026年10月2日 14:03 UTC"
    assert formats.stamp(text) == "2026-10-02 14:03:04"


@pytest.mark.parametrize(
    ("text", "english", "japanese"),
    [
        ("P1Y", "1 year", "1年"),
        ("P1Y6M", "1 year 6 months", "1年6か月"),
        ("P30DT12H5M1S", "30 days 12 hours 5 minutes 1 second", "30日12時間5分1秒"),
        ("P2W", "2 weeks", "2週間"),
        ("until revoked", "until revoked", "until revoked"),
    ],
)
def test_periods_in_words(text, english, japanese):
    """Months and minutes are told apart, and what is no period stands as it is."""
    assert formats.period(text, "en") == english
    assert formats.period(text, "ja") == japanese


@given(st.floats(min_value=0, max_value=1e6))
def test_rounding_never_flatters(value):
    """A claim is never shown below its value, a measured bound never above it."""
    exact = Decimal(str(value))
    assert Decimal(formats.upper(value).replace(",", "")) >= exact
    assert Decimal(formats.lower(value).replace(",", "")) <= exact


@given(st.floats(min_value=1e-30, max_value=1))
def test_delta_is_a_power_of_ten_rounded_up(value):
    """δ reads back as at least itself, and at most one in a hundred more."""
    digits, _, power = formats.tiny(value).partition("×10")
    back = Decimal(digits).scaleb(int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))))
    assert Decimal(str(value)) <= back <= Decimal(str(value)) * Decimal("1.011")


def test_figures():
    """Counts are grouped, nothing is a dash, zero is zero."""
    assert formats.count(12345) == "12,345"
    assert formats.upper(None) == formats.lower(None) == formats.tiny(None) == formats.figure(None) == "–"
    assert formats.tiny(0.0) == "0"
    assert formats.tiny(1e-5) == "1×10⁻⁵"
    assert formats.figure(0.128) == "0.128"
    assert formats.share(0.73105857) == "73.11 %"
    assert formats.share(1) == "100.00 %"
    assert formats.listing(["a", "b"], "ja") == "a、b"


def test_unruly_characters_are_made_visible():
    """Controls and bidi overrides become U+FFFD; variation selectors, joiners and line ends stay."""
    assert formats.tame("a\u202eb\x1b\x00\u200bc") == "a\ufffdb\ufffd\ufffd\ufffdc"
    assert formats.tame("葛󠄀城\n髙﨑\u200d") == "葛󠄀城\n髙﨑\u200d"
    assert formats.tame(7) == 7
