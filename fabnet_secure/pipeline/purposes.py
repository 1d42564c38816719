"""Reading a purpose that a caller typed."""

from fabnet_secure.errors import UsageError
from fabnet_secure.types import Purpose


def read_purpose(text: str) -> Purpose:
    """Return the purpose of that name.

    Raises:
        UsageError: code ``PURPOSE_INVALID``.
    """
    try:
        return Purpose(text)
    except ValueError:
        hint = "one of: " + ", ".join(Purpose)
        raise UsageError(f"unknown purpose: {text[:40]!r}", hint=hint, code="PURPOSE_INVALID") from None
