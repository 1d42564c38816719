"""The shell: one file a noun; parse, call one journey, print.

Importing this package is cheap: every engine (torch, OpenCV, SQLAlchemy) is imported inside the command that needs it,
so that ``fabnet-secure --help`` answers at once.
"""

import sys


def app() -> None:
    """Run the program on ``sys.argv`` and exit with its documented status."""
    from fabnet_secure.commands.program import main

    sys.exit(main(sys.argv[1:]))
