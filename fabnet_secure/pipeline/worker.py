"""One worker process of ``ingest --jobs``: told its sources over a pipe, it tells progress and outcomes over another.

Started by :mod:`fabnet_secure.pipeline.pool` as ``python -m fabnet_secure.pipeline.worker``. Guarantees: what crosses
the process boundary are JSON lines of names, ids, counts and settings, never a pixel and never a pickle; the vault is
opened anew for every video, so that keys, roles and policies are those in force when it begins; a worker whose parent
died dies with it (Linux); asked to end, it leaves by unwinding, so that buffers are zeroed and a transaction is undone.

In, one JSON object a line: first ``{"root", "key_file", "settings", "dry_run", "debug", "parent", "unlocked"}``
(database URLs come through the environment); where ``unlocked`` is true, the 32 bytes of the key that the parent was
given a passphrase or PIN for; then ``{"source": …}`` any number of times. Out: ``{"ready": true}``, ``{"progress":
[stage, done, total]}``, ``{"outcome": …}``, and ``{"failed": …}`` for what is no single video's fault.
"""

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from fabnet_secure.config import Settings
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.crypto.provider import Unlocked
from fabnet_secure.crypto.secret import SECRET_BYTES
from fabnet_secure.errors import FabnetError, VaultLocked
from fabnet_secure.logs import LOGGER, configure
from fabnet_secure.memory import harden
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.pipeline.ingest import ingest_one, load_detector
from fabnet_secure.pipeline.source import Outcome, Source, error_to_json
from fabnet_secure.video.detect import Detector

_NEWS_S = 0.25
_TRIES = 3
_PR_SET_PDEATHSIG = 1


class _Line:
    """The pipe to the parent, as the worker's progress too: a line now and then is enough."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._spoken = 0.0

    def tell(self, **message: Any) -> None:
        """Write one message."""
        self._pipe.write(json.dumps(message).encode("ascii") + b"\n")
        self._pipe.flush()

    def advance(self, stage: str, done: int, total: int | None = None, **figures: float) -> None:
        """Pass on how far the video is."""
        del figures
        now = time.monotonic()
        if now - self._spoken >= _NEWS_S:
            self._spoken = now
            self.tell(progress=[stage, done, total])


def main() -> int:
    """Serve the parent until it closes the pipe; return the exit status."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the parent, which ends its workers
    signal.signal(signal.SIGTERM, _unwind)
    orders, line = sys.stdin.buffer, _Line(_own_output())
    first = orders.readline()
    if not first:
        return 0
    told = json.loads(first)
    if told["parent"] != os.getppid():
        return 0  # it died before this process could ask to be told
    configure(debug=told["debug"])
    harden()
    try:
        _serve(orders, line, told)
    except FabnetError as error:
        line.tell(failed=error_to_json(error))
    except BrokenPipeError:
        pass
    except Exception as error:  # noqa: BLE001  the parent tells it as this video's refusal
        LOGGER.debug("a worker failed", exc_info=error)
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing is under way: the interpreter ends in peace
    return 0


def _serve(orders: BinaryIO, line: _Line, told: dict[str, Any]) -> None:
    settings = Settings.model_validate(told["settings"])
    place = Place(
        root=Path(told["root"]),
        key_file=Path(told["key_file"]),
        database_url=os.environ.get("FABNET_DATABASE_URL") or None,
        keystore_url=os.environ.get("FABNET_KEYSTORE_URL") or None,
        unlocked=Unlocked(RootKey(orders.read(SECRET_BYTES)) if told["unlocked"] else None),
        anchor=Path(os.environ["FABNET_ANCHOR"]) if os.environ.get("FABNET_ANCHOR") else None,
    )
    with open_site(place, settings) as site:
        detector = load_detector(site)
    line.tell(ready=True)
    for order in orders:
        source = Source.from_json(json.loads(order)["source"])
        outcome = _patiently(partial(_ingested, place, settings, source, detector, line, dry_run=told["dry_run"]))
        line.tell(outcome=outcome.to_json())


def _ingested(
    place: Place, settings: Settings, source: Source, detector: Detector, line: _Line, *, dry_run: bool
) -> Outcome:
    with open_site(place, settings) as site:
        return ingest_one(site, source, detector, line, dry_run=dry_run)


def _patiently(act: Callable[[], Outcome]) -> Outcome:
    """Try again where another process kept the vault's lock for long: that is not the video's fault."""
    for _ in range(_TRIES - 1):
        try:
            return act()
        except VaultLocked:
            LOGGER.debug("the vault was locked; once more")
    return act()


def _own_output() -> BinaryIO:
    """Keep standard output for the parent alone: what a library prints goes to standard error."""
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return own


def _die_with_parent() -> None:
    """Ask the kernel to end this process with its parent, however that ends (prctl(2); nothing but Linux has it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _unwind(number: int, frame: object) -> NoReturn:
    del frame
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
