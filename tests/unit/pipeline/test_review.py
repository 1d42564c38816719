"""The operator's page: only one browser sees it, only its answer counts, and nothing of it stays."""

import base64
import gc
import http.client
import re
import socket
import struct
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline import review_server
from fabnet_secure.pipeline.blur import CELLS
from fabnet_secure.pipeline.review import review
from fabnet_secure.pipeline.review_page import Sheet
from fabnet_secure.pipeline.review_words import WORDS
from fabnet_secure.video.detect import Detection
from fabnet_secure.video.track import Track, TrackedBox

ADA, BEN = "11111111-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "22222222-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
CONSENTS = {ADA: "ada", BEN: "ben"}
NOTHING = ((), np.zeros((0, 64, 64, 3), np.uint8))


def track(number, first, last, x=100.0):
    """A face that stays in its place."""
    boxes = tuple(
        TrackedBox(index=index, detection=Detection(box=(x, 50.0, 60.0, 60.0), score=0.9))
        for index in range(first, last + 1)
    )
    return Track(number=number, boxes=boxes)


@dataclass
class Seen:
    """An observation made by hand: noise for pictures."""

    tracks: tuple
    held: dict = field(default_factory=dict)
    frames_read: int = 100
    fps: float = 25.0
    width: int = 640
    height: int = 360

    def crops(self, number):
        return self.held.get(number, NOTHING)


@pytest.fixture
def pair():
    """Two people side by side, and a third face of which nothing is held."""
    noise = np.random.default_rng(7).integers(0, 255, (9, 64, 64, 3), dtype=np.uint8)
    frames = tuple(range(10, 91, 10))
    tracks = (track(0, 0, 99), track(1, 0, 99, x=400.0), track(2, 3, 5, x=500.0))
    return Seen(tracks=tracks, held={0: (frames, noise), 1: (frames, 255 - noise)})


@dataclass
class Browser:
    """Somebody who knows the page's address: plain requests, and a cookie if one was given."""

    address: str
    cookie: str = ""

    def ask(self, method="GET", body=None, path=None, **headers):
        """Send one request; return (status, headers, text)."""
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        plain = {"Cookie": self.cookie} if self.cookie else {}
        if body is not None:
            plain["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path or parts.path, body, plain | given)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if set_cookie := answer.headers["Set-Cookie"]:
            self.cookie = set_cookie.partition(";")[0]
        return answer.status, answer.headers, text

    def answer(self, page, act="bind", **choices):
        """Fill in the page's form and send it."""
        proof = re.search(r'name="proof" value="([^"]+)"', page)[1]
        fields = {name.replace("_", "-"): value for name, value in choices.items()}
        return self.ask("POST", urlencode(fields | {"proof": proof, "act": act}))


@dataclass
class Waiting:
    """A review that runs in a thread of its own."""

    browser: Browser
    thread: threading.Thread
    outcome: list

    def result(self):
        """Wait for its end; return its assignments as {track: person}, or its error's code."""
        self.thread.join(5)
        assert not self.thread.is_alive()
        (ended,) = self.outcome
        return ended.code if isinstance(ended, UsageError) else {one.track: one.person for one in ended}


@contextmanager
def reviewing(observation, consents=None, seconds=20.0):
    """Begin a review; it ends with the block if it was not answered."""
    told, outcome, addresses = threading.Event(), [], []

    def announce(address):
        addresses.append(address)
        told.set()

    def run():
        try:
            outcome.append(review(observation, consents or CONSENTS, announce=announce, seconds=seconds))
        except UsageError as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert told.wait(5)
    waiting = Waiting(Browser(addresses[0]), thread, outcome)
    try:
        yield waiting
    finally:
        if thread.is_alive():
            browser = waiting.browser
            _, _, page = browser.ask()
            if "proof" in page:
                browser.answer(page, act="leave")
        thread.join(5)


def test_the_answer_becomes_assignments(pair):
    """Each face gets the person whose consent was ticked, or nobody; a face without pictures is nobody's."""
    with reviewing(pair) as waiting:
        status, _, page = waiting.browser.ask()
        assert status == 200
        status, _, over = waiting.browser.answer(page, face_0="1", face_1="nobody")
        assert status == 200
        assert WORDS["en"]["done"] in over
        assert waiting.result() == {0: "ben", 1: "", 2: ""}


def test_the_page_says_when_where_and_how_large(pair):
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


def test_the_page_holds_nothing_fine(pair):
    """Every picture in it is 12 × 12; no full id of a consent and no name is in it; nothing is ticked but nobody."""
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask()
    for uri in re.findall(r"data:image/png;base64,([^\"]+)", page):
        blob = base64.b64decode(uri)
        assert struct.unpack(">II", blob[16:24]) == (CELLS, CELLS)
    assert "11111111…" in page
    for secret in (ADA, BEN, "ada", "ben"):
        assert secret not in page
    assert re.findall(r'value="([^"]+)" required checked', page) == ["nobody", "nobody"]
    assert "<script" not in page
    assert "http" not in page


def test_the_page_is_not_kept_framed_or_scripted(pair):
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


def test_the_cookie_goes_nowhere_else(pair):
    """It is for this path, not for scripts, and never sent from another site."""
    with reviewing(pair) as waiting:
        _, headers, _ = waiting.browser.ask()
        parts = set(headers["Set-Cookie"].split("; ")[1:])
        assert parts == {f"Path={urlsplit(waiting.browser.address).path}", "HttpOnly", "SameSite=Strict"}


def test_only_the_first_browser_looks(pair):
    """A second one that knows the address sees nothing, and cannot answer; the first goes on."""
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask()
        other = Browser(waiting.browser.address)
        status, headers, text = other.ask()
        assert (status, headers["Set-Cookie"]) == (403, None)
        assert "another browser" in text
        assert "data:image" not in text
        status, _, _ = other.answer(page, face_0="0", face_1="1")
        assert status == 403
        assert waiting.browser.ask()[0] == 200
        waiting.browser.answer(page, face_0="0", face_1="1")
        assert waiting.result() == {0: "ada", 1: "ben", 2: ""}


def test_an_answer_needs_the_look_first(pair):
    """Who has not opened the page cannot send an answer, and does not become the one browser by trying."""
    with reviewing(pair) as waiting:
        assert waiting.browser.ask("POST", "act=bind&proof=x")[0] == 403
        assert waiting.browser.ask()[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost"}, 421),
        ({"Host": "rebound.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"path": "/"}, 404),
        ({"path": "/favicon.ico"}, 404),
        ({"method": "PUT"}, 501),
        ({"method": "HEAD"}, 501),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else None,
)
def test_a_request_from_elsewhere_is_refused(pair, headers, status):
    """Another host name (DNS rebinding), another site, another path or another verb shows nothing."""
    with reviewing(pair) as waiting:
        got, answered, text = waiting.browser.ask(**headers)
        assert got == status
        assert "data:image" not in text
        assert answered["Cache-Control"] == "no-store"
        assert not waiting.browser.cookie


def test_the_path_is_as_good_as_a_key(pair):
    """Two looks have different paths, each of 256 bits; a part of one is not enough."""
    with reviewing(pair) as one, reviewing(pair) as two:
        first, second = (urlsplit(each.browser.address).path for each in (one, two))
        assert first != second
        assert len(base64.urlsafe_b64decode(first.strip("/") + "=")) == 32
        assert one.browser.ask(path=first[:-2] + "/")[0] == 404
        assert one.browser.ask(path=first + "?x")[0] == 404


def test_the_port_is_on_loopback_only(pair):
    """The server listens on 127.0.0.1, and nowhere after the answer."""
    with reviewing(pair) as waiting:
        parts = urlsplit(waiting.browser.address)
        assert parts.hostname == "127.0.0.1"
        _, _, page = waiting.browser.ask()
        waiting.browser.answer(page, act="leave")
        waiting.thread.join(5)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((parts.hostname, parts.port), timeout=2).close()


@pytest.mark.parametrize(
    "form",
    [
        {"proof": "wrong", "act": "bind", "face-0": "0", "face-1": "1"},
        {"act": "bind", "face-0": "0", "face-1": "1"},
        {},
    ],
)
def test_an_answer_without_the_pages_proof_is_refused(pair, form):
    """The cookie alone is not enough: another page in the same browser does not know the proof."""
    with reviewing(pair) as waiting:
        waiting.browser.ask()
        assert waiting.browser.ask("POST", urlencode(form))[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": "text/plain"},
        {"Content_Length": str(1 << 30)},
        {"Content_Length": "-1"},
        {"Content_Length": "١"},
    ],
    ids=["type", "too-long", "negative", "digits"],
)
def test_a_form_that_is_none_is_refused(pair, headers):
    """Another type, or a length that cannot be: nothing is read."""
    with reviewing(pair) as waiting:
        waiting.browser.ask()
        sent = {name: value.encode() for name, value in headers.items()}
        assert waiting.browser.ask("POST", "act=bind", **sent)[0] == 403


def test_too_many_fields_are_refused(pair):
    """A form of a thousand fields is not the page's."""
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask()
        many = {f"f{number}": "1" for number in range(1000)}
        assert waiting.browser.answer(page, face_0="0", face_1="1", **many)[0] == 403


@pytest.mark.parametrize("choices", [{"face_0": "0"}, {"face_0": "0", "face_1": "2"}, {"face_0": "0", "face_1": ""}])
def test_an_incomplete_answer_is_asked_again(pair, choices):
    """A face without an answer, or with one that was not offered: the page says so and waits on."""
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask()
        status, _, again = waiting.browser.answer(page, **choices)
        assert status == 409
        assert WORDS["en"]["incomplete"] in again
        waiting.browser.answer(again, face_0="0", face_1="nobody")
        assert waiting.result() == {0: "ada", 1: "", 2: ""}


def test_one_consent_for_two_faces_at_a_time_is_asked_again(pair):
    """Bind would refuse it and the look would be lost: the page says why, and remembers what was ticked."""
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask()
        status, _, again = waiting.browser.answer(page, face_0="0", face_1="0")
        assert status == 409
        assert WORDS["en"]["conflict"] in again
        assert re.findall(r'value="([^"]+)" required checked', again) == ["0", "0"]
        waiting.browser.answer(again, face_0="0", face_1="1")
        assert waiting.result() == {0: "ada", 1: "ben", 2: ""}


def test_leaving_binds_nothing(pair):
    """The button that gives no answer ends the look at once: REVIEW_ABANDONED."""
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask()
        status, _, over = waiting.browser.answer(page, act="leave", face_0="0", face_1="1")
        assert (status, WORDS["en"]["left"] in over) == (200, True)
        assert waiting.result() == "REVIEW_ABANDONED"


def test_no_answer_in_time_binds_nothing(pair):
    """The look ends by itself, opened or not: REVIEW_ABANDONED, and the server is gone."""
    with pytest.raises(UsageError) as caught:
        review(pair, CONSENTS, announce=lambda _: None, seconds=0.1)
    assert caught.value.code == "REVIEW_ABANDONED"


def test_a_late_answer_does_not_count(pair, monkeypatch):
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


def test_the_pages_are_overwritten(pair, monkeypatch):
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


def test_nothing_is_written(pair, tmp_path, monkeypatch):
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


def test_a_silent_connection_keeps_nobody_waiting(pair):
    """Another account may open the port and say nothing: the operator is served meanwhile."""
    with reviewing(pair) as waiting:
        parts = urlsplit(waiting.browser.address)
        with socket.create_connection((parts.hostname, parts.port)) as silent:
            silent.sendall(b"GET ")
            assert waiting.browser.ask()[0] == 200


def test_the_look_lets_go_of_the_observation(pair):
    """Nothing keeps the pictures alive once the review is over."""
    import weakref

    seen = Seen(tracks=pair.tracks, held=pair.held)
    gone = weakref.ref(seen)
    with pytest.raises(UsageError):
        review(seen, CONSENTS, announce=lambda _: None, seconds=0.05)
    del seen
    gc.collect()
    assert gone() is None


def test_without_pictures_nobody_is_asked(pair):
    """Where there is nothing to judge by, every track is nobody's and no page is opened."""
    bare = Seen(tracks=pair.tracks)
    told = review(bare, CONSENTS, announce=pytest.fail, seconds=5)
    assert {one.track: one.person for one in told} == {0: "", 1: "", 2: ""}


def test_ids_are_as_long_as_they_must_be(pair):
    """Two consents that begin alike are shown whole."""
    alike = {"11111111-aaaa": "ada", "11111111-bbbb": "ben"}
    with reviewing(pair, alike) as waiting:
        _, _, page = waiting.browser.ask()
    assert "11111111-aaaa" in page
    assert "11111111-bbbb" in page


def test_the_page_speaks_japanese(pair):
    """Asked in Japanese, it answers so."""
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask(Accept_Language="ja-JP")
    assert '<html lang="ja">' in page
    assert WORDS["ja"]["lead"] in page
