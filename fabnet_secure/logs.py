"""Diagnostics for whoever runs the program: standard ``logging`` under one name, to stderr, no personal data.

The audit log is not here: that is ``audit/``. Nothing logged here may hold a name, a subject's id or a path of a
source video; callers log counts, durations and error codes.
"""

import logging
import sys

LOGGER = logging.getLogger("fabnet_secure")


def configure(*, debug: bool) -> None:
    """Send diagnostics to stderr: warnings, or everything with ``debug``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(logging.DEBUG if debug else logging.WARNING)
    LOGGER.propagate = False
