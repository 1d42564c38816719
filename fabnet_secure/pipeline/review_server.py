"""Serves one look on 127.0.0.1: to the first browser that knows the path, until it is answered.

Guarantees: only a request for exactly the announced host and path, from no other site, and from the browser that came
first is shown anything; an answer counts once, from that page alone; nothing is logged, cached or written. What other
accounts of the machine can still do is said in ``review.py``.

Source: OWASP, "Cross-Site Request Forgery Prevention" and "DNS rebinding"; RFC 6265bis (``SameSite``); CSP level 3.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import compare_digest, token_urlsafe
from socketserver import TCPServer
from threading import Event, Lock
from typing import Any, cast
from urllib.parse import parse_qs

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.review_page import NOBODY_CHOICE, Sheet, build, ending
from fabnet_secure.pipeline.review_words import language_of
from fabnet_secure.video.assign import assigned
from fabnet_secure.video.bind import NOBODY, Assignment, Scene
from fabnet_secure.video.track import Track

_LONGEST_ANSWER = 1 << 20
_COOKIE = "look"
_TAKEN = "This look is open in another browser. If that was not you, stop the command (Ctrl-C): nothing was bound."
_PLAIN_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(slots=True, kw_only=True)
class Look:
    """One look: what is shown, who may see it, and what was answered. Shared by the threads of one server."""

    sheet: Sheet
    persons: tuple[str, ...]
    tracks: tuple[Track, ...]
    path: str = field(default_factory=lambda: f"/{token_urlsafe(32)}/")
    session: str = field(default_factory=lambda: token_urlsafe(32))
    proof: str = field(default_factory=lambda: token_urlsafe(32))
    done: Event = field(default_factory=Event)
    answer: tuple[Assignment, ...] | None = None
    started: float = field(default_factory=time.monotonic)
    _lock: Lock = field(default_factory=Lock)
    _claimed: bool = False
    _closed: bool = False
    _pages: list[bytearray] = field(default_factory=list)

    def admits(self, session: str, *, may_claim: bool) -> bool:
        """Tell whether this browser may look; the first that asks for the page becomes the one that may."""
        if _same(session, self.session):
            return True
        with self._lock:
            first = may_claim and not self._claimed
            self._claimed = self._claimed or first
            return first

    def page(self, language: str, nonce: str, said: Mapping[int, str], trouble: str = "") -> bytearray:
        """Build the page as it is now; it is remembered so that it can be wiped."""
        left = max(0.0, self.sheet.seconds - (time.monotonic() - self.started))
        sheet = replace(self.sheet, seconds=left)
        page = build(sheet, language, nonce=nonce, proof=self.proof, said=said, trouble=trouble)
        with self._lock:
            self._pages.append(page)
            if self._closed:
                page[:] = bytes(len(page))
        return page

    def judge(self, said: Mapping[int, str]) -> tuple[tuple[Assignment, ...], str]:
        """Turn an answer into assignments, or say why it cannot be taken."""
        known = {str(place): person for place, person in enumerate(self.persons)} | {NOBODY_CHOICE: NOBODY}
        if any(said.get(face.number) not in known for face in self.sheet.faces):
            return (), "incomplete"
        told = tuple(Assignment(person=known[said[face.number]], track=face.number) for face in self.sheet.faces)
        scene = Scene(persons=self.persons, assignments=told, width=self.sheet.width, height=self.sheet.height)
        try:
            assigned(self.tracks, scene)
        except UsageError:
            return (), "conflict"
        return told, ""

    def take(self, answer: tuple[Assignment, ...] | None) -> bool:
        """Keep the answer, None for leaving without one; False when the look is over already."""
        with self._lock:
            if self._closed:
                return False
            self._closed, self.answer = True, answer
            return True

    def close(self) -> None:
        """End the look and overwrite its pages."""
        with self._lock:
            self._closed = True
            for page in self._pages:
                page[:] = bytes(len(page))


class Server(ThreadingHTTPServer):
    """An HTTP server on a random port of 127.0.0.1 that shows one look."""

    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, look: Look) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.look = look

    @property
    def origin(self) -> str:
        """The one host that a browser may ask for."""
        return f"127.0.0.1:{self.server_address[1]}"

    def server_bind(self) -> None:
        """Bind without asking a name server who 127.0.0.1 is, as HTTPServer would."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a browser goes away in the middle."""


class _Asked(BaseHTTPRequestHandler):
    """One request of a browser."""

    timeout = 10  # a connection that says nothing is dropped
    server_version = "look"
    sys_version = ""

    def do_GET(self) -> None:
        """Show the page."""
        if self._refused(may_claim=True):
            return
        if self._look.done.is_set():
            self.send_error(HTTPStatus.GONE)
            return
        nonce = token_urlsafe(16)
        page = self._look.page(self._language, nonce, {})
        self._send(HTTPStatus.OK, page, nonce, cookie=self._look.session)

    def do_POST(self) -> None:
        """Take the answer."""
        if self._refused(may_claim=False):
            return
        form = self._form()
        if form is None or not _same(form.get("proof", ""), self._look.proof):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        nonce = token_urlsafe(16)
        said = {face.number: form.get(f"face-{face.number}", "") for face in self._look.sheet.faces}
        leaves = form.get("act") != "bind"
        answer, trouble = ((), "") if leaves else self._look.judge(said)
        if trouble:
            self._send(HTTPStatus.CONFLICT, self._look.page(self._language, nonce, said, trouble), nonce)
            return
        if not self._look.take(None if leaves else answer):
            self.send_error(HTTPStatus.GONE)
            return
        try:
            self._send(HTTPStatus.OK, ending(self._language, nonce=nonce, answered=not leaves), nonce)
        finally:
            self._look.done.set()

    @property
    def _look(self) -> Look:
        return cast("Server", self.server).look

    @property
    def _language(self) -> str:
        return language_of(self.headers.get("Accept-Language", ""))

    def _refused(self, *, may_claim: bool) -> bool:
        """Refuse a request under another host, from another site, for another path or from another browser."""
        origin = cast("Server", self.server).origin
        abroad = self.headers.get("Origin", f"http://{origin}") != f"http://{origin}"
        site = self.headers.get("Sec-Fetch-Site", "none")
        if self.headers.get_all("Host") != [origin]:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        elif not _same(self.path, self._look.path):
            self.send_error(HTTPStatus.NOT_FOUND)
        elif abroad or site not in ("none", "same-origin"):
            self.send_error(HTTPStatus.FORBIDDEN)
        elif not self._look.admits(self._cookie(), may_claim=may_claim):
            self.send_error(HTTPStatus.FORBIDDEN, explain=_TAKEN)
        else:
            return False
        return True

    def _cookie(self) -> str:
        try:
            cookies = SimpleCookie(self.headers.get("Cookie", ""))
        except CookieError:
            return ""
        return cookies[_COOKIE].value if _COOKIE in cookies else ""

    def _form(self) -> dict[str, str] | None:
        """Read a small form; None where it is not one."""
        length = self.headers.get("Content-Length", "")
        kind = self.headers.get("Content-Type", "")
        plain = kind.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded"
        if not (plain and length.isascii() and length.isdigit() and int(length) <= _LONGEST_ANSWER):
            return None
        body = self.rfile.read(int(length)).decode("utf-8", "replace")
        try:
            fields = parse_qs(body, max_num_fields=len(self._look.sheet.faces) + 8)
        except ValueError:
            return None
        return {name: values[0] for name, values in fields.items() if len(values) == 1}

    def _send(self, status: HTTPStatus, page: bytes | bytearray, nonce: str, *, cookie: str = "") -> None:
        self.send_response(status)
        for name, value in _PLAIN_HEADERS.items():
            self.send_header(name, value)
        policy = "default-src 'none'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        self.send_header("Content-Security-Policy", f"{policy}; style-src 'nonce-{nonce}'")
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        if cookie:
            self.send_header("Set-Cookie", f"{_COOKIE}={cookie}; Path={self._look.path}; HttpOnly; SameSite=Strict")
        self.end_headers()
        self.wfile.write(page)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse in a sentence, and say nothing else about this program."""
        status = HTTPStatus(code)
        body = f"{explain or message or status.phrase}\n".encode()
        self.send_response(status, status.phrase)
        for name, value in (_PLAIN_HEADERS | {"Content-Type": "text/plain; charset=utf-8"}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """Log nothing: the path is a secret."""


def _same(one: str, other: str) -> bool:
    return compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
