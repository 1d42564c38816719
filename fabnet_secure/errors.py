"""What can go wrong, in words for people, each with its documented exit code.

Every error the program raises on purpose is a :class:`FabnetError`: a message that says what happened, a hint
that says what to do next, a stable ``code`` for programs, and an exit status. No message ever holds a person's
name or the contents of a file.
"""

from enum import IntEnum
from typing import Any, ClassVar


class ExitCode(IntEnum):
    """The exit statuses of the command line (docs/cli.md)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    NO_VAULT = 10
    LOCKED = 11
    KEY = 12
    NO_CONSENT = 20
    DENIED = 21
    BUDGET = 22
    GAP = 23
    INTEGRITY = 30
    INTERRUPTED = 130


class FabnetError(Exception):
    """A failure that was foreseen.

    Args:
        message: one sentence: what happened. Never a name, never file contents.
        hint: what the reader can do about it.
        code: a stable, upper-case word for programs, such as ``CONSENT_WITHDRAWN``.
        fields: further JSON fields for the ``exit_error`` object.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED
    default_code: ClassVar[str] = "FAILED"

    def __init__(self, message: str, *, hint: str = "", code: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code
        self.fields = fields


class UsageError(FabnetError):
    """An argument, a file or a setting cannot be used as given."""

    exit_code = ExitCode.USAGE
    default_code = "USAGE"


class UnreadableSource(FabnetError):
    """A video cannot be read: missing, empty, truncated, without pictures, or no video at all."""

    default_code = "SOURCE_UNREADABLE"


class StorageFailed(FabnetError):
    """The disk or the database refused a write; nothing of the act was kept."""

    default_code = "STORAGE_FAILED"


class NoVault(FabnetError):
    """No vault is here, or its schema is not this program's."""

    exit_code = ExitCode.NO_VAULT
    default_code = "NO_VAULT"


class VaultLocked(FabnetError):
    """Another process holds the vault's write lock."""

    exit_code = ExitCode.LOCKED
    default_code = "VAULT_LOCKED"


class KeyProblem(FabnetError):
    """The key file is missing, wrong, damaged or readable by others."""

    exit_code = ExitCode.KEY
    default_code = "KEY_PROBLEM"


class NoEffectiveConsent(FabnetError):
    """No consent covers this act now."""

    exit_code = ExitCode.NO_CONSENT
    default_code = "NO_EFFECTIVE_CONSENT"


class AccessDenied(FabnetError):
    """The access policies did not allow this act."""

    exit_code = ExitCode.DENIED
    default_code = "ACCESS_DENIED"


class BudgetExceeded(FabnetError):
    """The act would spend more privacy budget than was promised."""

    exit_code = ExitCode.BUDGET
    default_code = "BUDGET_EXCEEDED"


class Gap(FabnetError):
    """It cannot be decided whether the act is permitted, so it is not."""

    exit_code = ExitCode.GAP
    default_code = "GAP"


class Interrupted(FabnetError):
    """Somebody stopped the command (Ctrl-C)."""

    exit_code = ExitCode.INTERRUPTED
    default_code = "INTERRUPTED"


class IntegrityFailure(FabnetError):
    """Something stored or signed is not what was stored or signed."""

    exit_code = ExitCode.INTEGRITY
    default_code = "INTEGRITY_FAILURE"
