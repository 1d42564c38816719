import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabnet_secure.consent.codec import decode, encode, word
from fabnet_secure.consent.record import Controller, ModelFate
from fabnet_secure.errors import UsageError


@given(st.tuples(st.text(), st.text(), st.text(), st.text()))
def test_any_text_comes_back(texts):
    """No text is changed by encoding and decoding."""
    name, address, contact, role = texts
    controller = Controller(name=name, address=address, contact=contact, role=role)
    assert decode(Controller, encode(controller)) == controller


@pytest.mark.parametrize("body", [None, [], "x", 3, {}])
def test_what_is_no_object_is_refused(body):
    """Only an object with exactly the fields is read."""
    with pytest.raises(UsageError):
        decode(Controller, body)


def test_an_unknown_word_is_answered_with_the_known_ones():
    """The hint lists the words that may be used."""
    assert word(ModelFate, "retire") is ModelFate.RETIRE
    with pytest.raises(UsageError) as caught:
        word(ModelFate, "burn")
    assert "keep_if_dp" in caught.value.hint
