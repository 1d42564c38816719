"""Two small ways to use the second core while the first one decrypts: a call at the side, and reading ahead.

Guarantees that an error at the side is raised here, and that no thread is left behind. Both lend themselves to work
that lets go of Python's lock: the kernel's, the database's.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

_Item = TypeVar("_Item")


@contextmanager
def working(call: Callable[..., _Item], *arguments: Any) -> Iterator[Callable[[], _Item]]:
    """Run a call at the side; the function given waits for it and returns what it returned."""
    done: list[_Item] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(call(*arguments))
        except BaseException as error:  # noqa: BLE001  handed to the caller, whatever it is
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result() -> _Item:
        thread.join()
        if failed:
            raise failed[0]
        return done[0]

    try:
        yield result
    finally:
        thread.join()


def hand_over(items: Iterable[_Item], take: Callable[[_Item], None], *, depth: int = 4) -> None:
    """Give each item to ``take`` in another thread, in order, while this thread fetches the next ones.

    A database connection stays with the thread that opened it, so it is the reading that stays here.

    Args:
        items: fetched here; whatever fetching raises is raised here, after what was fetched before was taken.
        take: called at the side; after its first error nothing more is fetched, and the error is raised here.
        depth: how many items may wait.
    """
    waiting: queue.Queue[_Item | None] = queue.Queue(depth)
    failed: list[BaseException] = []

    def run() -> None:
        while (item := waiting.get()) is not None:
            if not failed:  # after an error the queue is emptied all the same: its other end may be waiting for room
                try:
                    take(item)
                except BaseException as error:  # noqa: BLE001  handed to the caller, whatever it is
                    failed.append(error)

    with working(run):
        try:
            for item in items:
                if failed:
                    break
                waiting.put(item)
        finally:
            waiting.put(None)
    if failed:
        raise failed[0]
