"""Only one browser sees the operator's page, and only a request of the page's own counts."""

import base64
import socket
from dataclasses import replace
from urllib.parse import urlencode, urlsplit

import pytest


def test_the_cookie_goes_nowhere_else(pair, reviewing):
    """It is for this path, not for scripts, and never sent from another site."""
    with reviewing(pair) as waiting:
        _, headers, _ = waiting.browser.ask()
        parts = set(headers["Set-Cookie"].split("; ")[1:])
        assert parts == {f"Path={urlsplit(waiting.browser.address).path}", "HttpOnly", "SameSite=Strict"}


def test_only_the_first_browser_looks(pair, reviewing):
    """A second one that knows the address sees nothing, and cannot answer; the first goes on."""
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask()
        other = replace(waiting.browser, cookie="")
        status, headers, text = other.ask()
        assert (status, headers["Set-Cookie"]) == (403, None)
        assert "another browser" in text
        assert "data:image" not in text
        status, _, _ = other.answer(page, face_0="0", face_1="1")
        assert status == 403
        assert waiting.browser.ask()[0] == 200
        waiting.browser.answer(page, face_0="0", face_1="1")
        assert waiting.result() == {0: "ada", 1: "ben", 2: ""}


def test_an_answer_needs_the_look_first(pair, reviewing):
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
def test_a_request_from_elsewhere_is_refused(pair, headers, status, reviewing):
    """Another host name (DNS rebinding), another site, another path or another verb shows nothing."""
    with reviewing(pair) as waiting:
        got, answered, text = waiting.browser.ask(**headers)
        assert got == status
        assert "data:image" not in text
        assert answered["Cache-Control"] == "no-store"
        assert not waiting.browser.cookie


def test_the_path_is_as_good_as_a_key(pair, reviewing):
    """Two looks have different paths, each of 256 bits; a part of one is not enough."""
    with reviewing(pair) as one, reviewing(pair) as two:
        first, second = (urlsplit(each.browser.address).path for each in (one, two))
        assert first != second
        assert len(base64.urlsafe_b64decode(first.strip("/") + "=")) == 32
        assert one.browser.ask(path=first[:-2] + "/")[0] == 404
        assert one.browser.ask(path=first + "?x")[0] == 404


def test_the_port_is_on_loopback_only(pair, reviewing):
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
def test_an_answer_without_the_pages_proof_is_refused(pair, form, reviewing):
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
def test_a_form_that_is_none_is_refused(pair, headers, reviewing):
    """Another type, or a length that cannot be: nothing is read."""
    with reviewing(pair) as waiting:
        waiting.browser.ask()
        sent = {name: value.encode() for name, value in headers.items()}
        assert waiting.browser.ask("POST", "act=bind", **sent)[0] == 403


def test_too_many_fields_are_refused(pair, reviewing):
    """A form of a thousand fields is not the page's."""
    with reviewing(pair) as waiting:
        _, _, page = waiting.browser.ask()
        many = {f"f{number}": "1" for number in range(1000)}
        assert waiting.browser.answer(page, face_0="0", face_1="1", **many)[0] == 403


def test_a_silent_connection_keeps_nobody_waiting(pair, reviewing):
    """Another account may open the port and say nothing: the operator is served meanwhile."""
    with reviewing(pair) as waiting:
        parts = urlsplit(waiting.browser.address)
        with socket.create_connection((parts.hostname, parts.port)) as silent:
            silent.sendall(b"GET ")
            assert waiting.browser.ask()[0] == 200
