"""The operator's page as text: its languages, its escapes."""

import re

import pytest

from fabnet_secure.pipeline.review_page import Face, Sheet, build, ending
from fabnet_secure.pipeline.review_words import LANGUAGES, WORDS, language_of


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("ja", "ja"),
        ("ja-JP,ja;q=0.9,en;q=0.8", "ja"),
        ("en-GB,en;q=0.9,ja;q=0.8", "en"),
        ("fr,de;q=0.9", "en"),
        ("fr,ja;q=0.2,en;q=0.1", "ja"),
        ("en;q=0,ja;q=0.1", "ja"),
        ("ja;q=x,;;,=", "en"),
    ],
)
def test_the_language_is_the_browsers(header, language):
    """The language that the browser prefers of the two; English where it says nothing sensible."""
    assert language_of(header) == language


def test_both_languages_say_the_same_things():
    """Every sentence exists in both, with the same blanks to fill in."""
    assert set(WORDS) == set(LANGUAGES)
    assert WORDS["en"].keys() == WORDS["ja"].keys()
    for key, text in WORDS["en"].items():
        assert re.findall(r"\{\w+\}", text) == re.findall(r"\{\w+\}", WORDS["ja"][key]), key


def test_everything_in_the_page_is_escaped():
    """A consent's short name that looks like markup stays text."""
    face = Face(number=0, first=0, last=9, size=50.0, path=((0.0, 0.0, 9.0, 9.0),), pictures=())
    sheet = Sheet(faces=(face,), choices=("<b>&",), frames=10, fps=0.0, width=64, height=36, seconds=60)
    page = build(sheet, "en", nonce="n", proof='"><i>', said={}).decode()
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page
    assert '"><i>' not in page
    assert "frames 0 – 9" in page
    assert "0:00.0" not in page
    assert ending("ja", nonce="n", answered=False).decode().count(WORDS["ja"]["left"]) == 2
