"""Facts about privacy/event.py."""

import json

import dp_accounting
import pytest

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.privacy.event import composed_json, event_json, parse_event

TEXT = event_json(noise_multiplier=1.5, sampling_probability=0.5, steps=40)


def test_event_round_trip():
    """A written event reads back as the library's event tree with the same numbers."""
    gaussian = dp_accounting.GaussianDpEvent(1.5)
    expected = dp_accounting.SelfComposedDpEvent(dp_accounting.PoissonSampledDpEvent(0.5, gaussian), 40)
    assert parse_event(TEXT) == expected
    assert parse_event(composed_json((TEXT, TEXT))) == dp_accounting.ComposedDpEvent([expected, expected])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"event":"no_op"}',
        TEXT.replace("1.5", "0"),
        TEXT.replace("1.5", "-1"),
        TEXT.replace("1.5", "NaN"),
        TEXT.replace("0.5", "1.5"),
        TEXT.replace("40", "-1"),
        json.dumps({"event": "gaussian"}),
        json.dumps({"module_name": "os", "class_name": "system"}),
    ],
)
def test_event_broken(text):
    """Anything but the four known events with sound numbers is an integrity failure, never an import."""
    with pytest.raises(IntegrityFailure) as caught:
        parse_event(text)
    assert caught.value.code == "DP_EVENT_BROKEN"
