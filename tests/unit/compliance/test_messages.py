import re
from importlib.resources import files
from string import Formatter

import pytest

from fabnet_secure.compliance.messages import LANGUAGES, MESSAGES, text
from fabnet_secure.compliance.render import KINDS
from fabnet_secure.compliance.words import WORDS, tone, word
from fabnet_secure.types import Domain, Purpose

VERIFY_COMMAND = "fabnet-secure report verify FILE --public-key KEY"
TEMPLATES = {
    path.name: path.read_text()
    for path in (files("fabnet_secure.compliance") / "templates").iterdir()
    if path.is_file()
}
USED = {key for body in TEMPLATES.values() for key in re.findall(r'\bt\("([a-z._]+)"', body)} - {"lead."}
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def holes(message):
    return {name for _, name, _, _ in Formatter().parse(message) if name}


@pytest.mark.parametrize("key", MESSAGES)
def test_every_message_is_in_both_languages(key):
    """Both texts exist, differ, take the same values, and the Japanese one is Japanese."""
    english, japanese = MESSAGES[key]
    assert english
    assert JAPANESE.search(japanese)
    assert not JAPANESE.search(english)
    assert holes(english) == holes(japanese)


def test_every_word_is_in_both_languages():
    """Both texts exist for every word, and the Japanese one is Japanese (or is a symbol's name)."""
    for english, japanese in WORDS.values():
        assert english
        assert JAPANESE.search(japanese)


def test_templates_ask_only_for_messages_that_exist_and_leave_none_unused():
    """No key is missing, and none is dead."""
    computed = {f"{part}.{kind}" for part in ("title", "lead") for kind in KINDS}
    assert set(MESSAGES) == USED | computed


def test_templates_hold_no_words_of_their_own():
    """Every word a reader sees comes from the messages, so no language is left out."""
    for name, body in TEMPLATES.items():
        bare = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<[^>]*>|<pre>.*?</pre>", "", body, flags=re.DOTALL)
        if name.endswith(".html.j2"):
            assert not re.search(r"[A-Za-z]{2}", bare.replace(VERIFY_COMMAND, "")), name


def test_purposes_and_domains_have_words():
    """Nothing of the program's own vocabulary is shown raw."""
    for value in [*Purpose, *(domain for domain in Domain)]:
        assert word(value, "ja") != value


def test_an_unknown_word_is_shown_as_it_stands():
    """A fact is never dropped for want of a translation, and has no colour."""
    assert word("一般社団法人 <x>", "en") == "一般社団法人 <x>"
    assert tone("no such outcome") == "plain"


def test_values_are_put_in():
    """A message takes its values in both languages."""
    for language in LANGUAGES:
        assert "73.11 %" in text("dp.words.guess", language, guess="73.11 %")
