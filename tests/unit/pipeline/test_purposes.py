"""A purpose is one of the words that people can consent to, or an error."""

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.purposes import read_purpose
from fabnet_secure.types import Purpose


@pytest.mark.parametrize("purpose", Purpose, ids=str)
def test_every_purpose_is_read(purpose):
    """By its own word."""
    assert read_purpose(purpose.value) is purpose


@pytest.mark.parametrize("text", ["", "EMBED", "embed ", "anything", "x" * 5000])
def test_no_other_word_is_one(text):
    """PURPOSE_INVALID, with a short message and the list of words."""
    with pytest.raises(UsageError) as refused:
        read_purpose(text)
    assert refused.value.code == "PURPOSE_INVALID"
    assert len(refused.value.message) < 100
    assert "query_internal" in refused.value.hint
