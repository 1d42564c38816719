"""The operator's page: its answer becomes assignments, it shows nothing fine, and nothing of it stays."""

import base64
import gc
import re
import struct
from dataclasses import replace

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline import review_server
from fabnet_secure.pipeline.blur import CELLS
from fabnet_secure.pipeline.review import review
from fabnet_secure.pipeline.review_page import Sheet
from fabnet_secure.pipeline.review_words import WORDS


def test_the_answer_becomes_assignments(pair, reviewing):
    """Each face gets the person whose consent was ticked, or nobody; a face without pictures is nobody's."""
    with reviewing(pair) as waiting:
        status, _, page = waiting.browser.ask()
        assert status == 200
        status, _, over = waiting.browser.answer(page, face_0="1", face_1="nobody")
        assert status == 200
        assert WORDS["en"]["done"] in over
        assert waiting.result() == {0: "ben", 1: "", 2: ""}


def test_the_page_says_when_where_and_how_large(pair, reviewing):
    """Every face that can be judged has its times, its size, its place and five pictures; other faces are not there."""
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask()
    assert page.count("<fieldset") == 2
    assert page.count("data:image/png") == 10
    for text in ("Face 1", "Face 2", "0:00.0 – 0:04.0", "frames 0 – 99", "100 frames", "60 pixels"):
        assert text in page
    assert "Face 3" not in page
    assert 'viewBox="0 0 640 360"' in page
    assert 'x="400"' in page


def test_the_page_holds_nothing_fine(pair, reviewing, consents):
    """Every picture in it is 12 × 12; no full id of a consent and no name is in it; nothing is ticked but nobody."""
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask()
    for uri in re.findall(r"data:image/png;base64,([^\"]+)", page):
        blob = base64.b64decode(uri)
        assert struct.unpack(">II", blob[16:24]) == (CELLS, CELLS)
    assert "11111111…" in page
    for secret in (*consents, *consents.values()):
        assert secret not in page
    assert re.findall(r'value="([^"]+)" required checked', page) == ["nobody", "nobody"]
    assert "<script" not in page
    assert "http" not in page


def test_the_page_is_not_kept_framed_or_scripted(pair, reviewing):
    """The headers forbid caching, framing, scripts, other origins, and name the one style sheet."""
    with reviewing(pair) as waiting:
        _, headers, page = waiting.browser.ask()
    assert headers["Cache-Control"] == "no-store"
    policy = headers["Content-Security-Policy"]
    for part in ("default-src 'none'", "img-src data:", "form-action 'self'", "frame-ancestors 'none'"):
        assert part in policy
    nonce = re.search(r"style-src 'nonce-([^']+)'", policy)[1]
    assert f'<style nonce="{nonce}">' in page
    assert " style=" not in page
    assert headers["X-Frame-Options"] == "DENY"
    assert "Python" not in headers["Server"]


@pytest.mark.parametrize("choices", [{"face_0": "0"}, {"face_0": "0", "face_1": "2"}, {"face_0": "0", "face_1": ""}])
def test_an_incomplete_answer_is_asked_again(pair, choices, reviewing):
    """A face without an answer, or with one that was not offered: the page says so and waits on."""
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask()
        status, _, again = waiting.browser.answer(page, **choices)
        assert status == 409
        assert WORDS["en"]["incomplete"] in again
        waiting.browser.answer(again, face_0="0", face_1="nobody")
        assert waiting.result() == {0: "ada", 1: "", 2: ""}


def test_one_consent_for_two_faces_at_a_time_is_asked_again(pair, reviewing):
    """Bind would refuse it and the look would be lost: the page says why, and remembers what was ticked."""
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask()
        status, _, again = waiting.browser.answer(page, face_0="0", face_1="0")
        assert status == 409
        assert WORDS["en"]["conflict"] in again
        assert re.findall(r'value="([^"]+)" required checked', again) == ["0", "0"]
        waiting.browser.answer(again, face_0="0", face_1="1")
        assert waiting.result() == {0: "ada", 1: "ben", 2: ""}


def test_leaving_binds_nothing(pair, reviewing):
    """The button that gives no answer ends the look at once: REVIEW_ABANDONED."""
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask()
        status, _, over = waiting.browser.answer(page, act="leave", face_0="0", face_1="1")
        assert (status, WORDS["en"]["left"] in over) == (200, True)
        assert waiting.result() == "REVIEW_ABANDONED"


def test_no_answer_in_time_binds_nothing(pair, consents):
    """The look ends by itself, opened or not: REVIEW_ABANDONED, and the server is gone."""
    with pytest.raises(UsageError) as caught:
        review(pair, consents, announce=lambda _: None, seconds=0.1)
    assert caught.value.code == "REVIEW_ABANDONED"


def test_a_late_answer_does_not_count(pair, monkeypatch, reviewing):
    """What comes while the look is closing is told that it is over."""
    looks = []
    make = review_server.Look

    def remember(**fields):
        looks.append(make(**fields))
        return looks[-1]

    monkeypatch.setattr("fabnet_secure.pipeline.review.Look", remember)
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask()
        looks[0].close()
        status, _, _ = waiting.browser.answer(page, face_0="0", face_1="1")
        assert status == 410
        looks[0].done.set()
        assert waiting.result() == "REVIEW_ABANDONED"


def test_the_pages_are_overwritten(pair, monkeypatch, reviewing):
    """After the answer no page that was built holds anything but zeros."""
    pages = []
    make = review_server.build

    def remember(*args, **fields):
        pages.append(make(*args, **fields))
        return pages[-1]

    monkeypatch.setattr(review_server, "build", remember)
    with reviewing(pair) as waiting:
        waiting.browser.ask()
        _, _, page = waiting.browser.ask()
        waiting.browser.answer(page, face_0="0", face_1="1")
        waiting.result()
    assert len(pages) == 2
    assert not any(any(page) for page in pages)


def test_a_page_built_too_late_is_empty():
    """A request that was on its way when the look was closed gets zeros."""
    sheet = Sheet(faces=(), choices=(), frames=1, fps=0.0, width=64, height=36, seconds=60)
    look = review_server.Look(sheet=sheet, persons=(), tracks=())
    assert any(look.page("en", "n", {}))
    look.close()
    assert not any(look.page("en", "n", {}))


def test_nothing_is_written(pair, tmp_path, monkeypatch, reviewing):
    """No file is opened for writing while somebody looks."""
    import builtins

    opened = []
    plain = builtins.open

    def spy(path, mode="r", *args, **more):
        opened.append((path, mode))
        return plain(path, mode, *args, **more)

    monkeypatch.setattr(builtins, "open", spy)
    monkeypatch.chdir(tmp_path)
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask()
        waiting.browser.answer(page, face_0="0", face_1="1")
        waiting.result()
    assert [mode for _, mode in opened if set(mode) & set("wax+")] == []
    assert list(tmp_path.iterdir()) == []


def test_the_look_lets_go_of_the_observation(pair, consents):
    """Nothing keeps the pictures alive once the review is over."""
    import weakref

    seen = replace(pair)
    gone = weakref.ref(seen)
    with pytest.raises(UsageError):
        review(seen, consents, announce=lambda _: None, seconds=0.05)
    del seen
    gc.collect()
    assert gone() is None


def test_without_pictures_nobody_is_asked(pair, consents):
    """Where there is nothing to judge by, every track is nobody's and no page is opened."""
    bare = replace(pair, held={})
    told = review(bare, consents, announce=pytest.fail, seconds=5)
    assert {one.track: one.person for one in told} == {0: "", 1: "", 2: ""}


def test_ids_are_as_long_as_they_must_be(pair, reviewing):
    """Two consents that begin alike are shown whole."""
    alike = {"11111111-aaaa": "ada", "11111111-bbbb": "ben"}
    with reviewing(pair, alike) as waiting:
        _, _, page = waiting.browser.ask()
    assert "11111111-aaaa" in page
    assert "11111111-bbbb" in page


def test_the_page_speaks_japanese(pair, reviewing):
    """Asked in Japanese, it answers so."""
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask(Accept_Language="ja-JP")
    assert '<html lang="ja">' in page
    assert WORDS["ja"]["lead"] in page
