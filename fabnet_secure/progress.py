"""Progress as the library tells it; the shell draws it (``commands/``)."""

from typing import Protocol


class Progress(Protocol):
    """Receives news of a long job. Implementations must not raise."""

    def advance(self, stage: str, done: int, total: int | None = None, **figures: float) -> None:
        """Say that ``done`` of ``total`` units of ``stage`` are finished, with any figures worth showing."""


class Silent:
    """Progress for nobody."""

    def advance(self, stage: str, done: int, total: int | None = None, **figures: float) -> None:
        """Do nothing."""
