"""A small RTSP camera for the tests: RTSP 1.0 on the loopback, H.264 as RTP interleaved in the TCP connection.

Sources: RFC 2326 (requests, section 10; interleaving, 10.12), RFC 3550 (RTP), RFC 6184 (H.264 in RTP).
"""

import base64
import contextlib
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Self

_LARGEST = 1200
_CLOCK = 90_000


def split_nals(stream: bytes) -> list[bytes]:
    """Split an Annex B byte stream into its NAL units."""
    return [part for part in re.split(rb"\x00\x00\x00\x01|\x00\x00\x01", stream) if part]


def pictures_of(stream: bytes) -> list[list[bytes]]:
    """Group the NAL units of a stream with access unit delimiters by picture."""
    pictures: list[list[bytes]] = []
    for nal in split_nals(stream):
        if nal[0] & 31 == 9:
            pictures.append([])
        elif pictures:
            pictures[-1].append(nal)
    return pictures


@dataclass
class Camera:
    """What the camera shows and how it misbehaves.

    Attributes:
        stream: H.264, Annex B, with access unit delimiters; shown again and again.
        rate: pictures per second, in truth and in time stamps.
        stall_after: number of pictures after which it sends nothing, keeping the connection.
        close_after: number of pictures after which it hangs up.
        sound: offer a stream of sound, too.
        account: ``user:password`` that it asks for (RFC 7617), or nothing.
        mute: accept the connection and never answer.
    """

    stream: bytes
    rate: float = 100.0
    stall_after: int | None = None
    close_after: int | None = None
    sound: bool = False
    account: str = ""
    mute: bool = False
    requests: list[str] = field(default_factory=list)
    port: int = 0


class RtspServer:
    """Serves one :class:`Camera` to one client at a time, from ``with`` to the end of it."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        camera.port = self._listener.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)
        self._listener.close()

    def url(self, account: str = "", path: str = "cam") -> str:
        """Return the camera's address."""
        return f"rtsp://{account + '@' if account else ''}127.0.0.1:{self.camera.port}/{path}"

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            with client, contextlib.suppress(OSError):
                client.settimeout(0.1)
                self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        pending = b""
        while not self._stop.is_set():
            try:
                more = client.recv(65536)
            except TimeoutError:
                continue
            if not more:
                return
            pending += more
            while b"\r\n\r\n" in pending and not self.camera.mute:
                request, pending = pending.split(b"\r\n\r\n", 1)
                if not self._answer(client, request.decode()):
                    return

    def _answer(self, client: socket.socket, request: str) -> bool:
        """Answer one request; False when the connection is over."""
        method, address = request.split(" ", 2)[:2]
        number = re.search(r"CSeq: *(\d+)", request)[1]
        self.camera.requests.append(f"{method} {address}")
        proof = base64.b64encode(self.camera.account.encode()).decode()
        if self.camera.account and f"Basic {proof}" not in request:
            head = f'RTSP/1.0 401 Unauthorized\r\nCSeq: {number}\r\nWWW-Authenticate: Basic realm="cam"\r\n\r\n'
            client.sendall(head.encode())
            return True
        lines, body = [f"CSeq: {number}", "Session: 7"], ""
        if method == "OPTIONS":
            lines.append("Public: DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE":
            body = self._description()
            lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            lines.append(re.search(r"Transport: .*", request)[0].strip())
        client.sendall(("RTSP/1.0 200 OK\r\n" + "\r\n".join(lines) + "\r\n\r\n" + body).encode())
        if method == "PLAY":
            self._play(client)
        return method not in {"PLAY", "TEARDOWN"}

    def _description(self) -> str:
        nals = split_nals(self.camera.stream)
        sets = [base64.b64encode(next(nal for nal in nals if nal[0] & 31 == kind)).decode() for kind in (7, 8)]
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=cam", "c=IN IP4 127.0.0.1", "t=0 0"]
        if self.camera.sound:
            lines += ["m=audio 0 RTP/AVP 0", "a=control:sound"]
        lines += ["m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000", f"a=framerate:{self.camera.rate:g}"]
        lines += [f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={','.join(sets)}", "a=control:pictures"]
        return "\r\n".join(lines) + "\r\n"

    def _play(self, client: socket.socket) -> None:
        """Send pictures at their rate until somebody has had enough."""
        client.settimeout(5)
        pictures = pictures_of(self.camera.stream)
        began, sequence, index = time.monotonic(), 0, 0
        while not self._stop.is_set():
            if self.camera.close_after is not None and index >= self.camera.close_after:
                return
            if self.camera.stall_after is not None and index >= self.camera.stall_after:
                self._stop.wait(0.05)
                continue
            nals = pictures[index % len(pictures)]
            for payload, last in _payloads(nals):
                header = struct.pack(
                    ">BBHII", 0x80, 96 | last << 7, sequence & 0xFFFF, int(index * _CLOCK / self.camera.rate), 7
                )
                client.sendall(struct.pack(">cBH", b"$", 0, len(header) + len(payload)) + header + payload)
                sequence += 1
            index += 1
            self._stop.wait(max(0.0, began + index / self.camera.rate - time.monotonic()))


def _payloads(nals: list[bytes]) -> list[tuple[bytes, bool]]:
    """Cut a picture's NAL units into RTP payloads: whole, or as fragments (FU-A)."""
    found: list[bytes] = []
    for nal in nals:
        if len(nal) <= _LARGEST:
            found.append(nal)
            continue
        parts = [nal[at : at + _LARGEST] for at in range(1, len(nal), _LARGEST)]
        for place, part in enumerate(parts):
            edge = (place == 0) << 7 | (place == len(parts) - 1) << 6
            found.append(bytes([nal[0] & 0xE0 | 28, edge | nal[0] & 31]) + part)
    return [(payload, place == len(found) - 1) for place, payload in enumerate(found)]
