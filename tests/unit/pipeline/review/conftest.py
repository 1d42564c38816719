"""A review that waits for its answer, and the browser of whoever knows its address."""

import http.client
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.review import review
from fabnet_secure.video.detect import Detection
from fabnet_secure.video.track import Track, TrackedBox

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


@pytest.fixture(scope="session")
def consents():
    """Who may be named: two people, by the ids of their consents."""
    return {"11111111-aaaa-4aaa-8aaa-aaaaaaaaaaaa": "ada", "22222222-bbbb-4bbb-8bbb-bbbbbbbbbbbb": "ben"}


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


@pytest.fixture(scope="session")
def reviewing(consents):
    """Return a block that begins a review; it ends with the block if it was not answered."""

    @contextmanager
    def begun(observation, named=None, seconds=20.0):
        told, outcome, addresses = threading.Event(), [], []

        def announce(address):
            addresses.append(address)
            told.set()

        def run():
            try:
                outcome.append(review(observation, named or consents, announce=announce, seconds=seconds))
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

    return begun
