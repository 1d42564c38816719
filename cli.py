"""Run the program from a checkout: ``python cli.py …`` is ``fabnet-secure …``."""

from fabnet_secure.commands import app

if __name__ == "__main__":
    app()
