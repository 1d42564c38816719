"""Writing a file whole: beside its place, flushed, then named.

Guarantees that a crash or a full disk leaves what was there, and no part of what was to come. The name is on disk when
the call returns.
"""

import os
import tempfile
from pathlib import Path


def put(path: Path, content: bytes, *, replace: bool, mode: int = 0o600, group: int = -1) -> None:
    """Write ``content`` at ``path``; without ``replace`` never over another file.

    Args:
        path: where.
        content: all of it.
        replace: in place of what is there.
        mode: who may read and write it.
        group: whose it is besides (its number); -1 is the account's own.

    Raises:
        OSError: it cannot be written, or (FileExistsError) it is there already.
    """
    descriptor, name = tempfile.mkstemp(prefix=".whole-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchown(file.fileno(), -1, group)
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(name, path)  # noqa: PTH105  both names stay as they are
        else:
            os.link(name, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        Path(name).unlink(missing_ok=True)
