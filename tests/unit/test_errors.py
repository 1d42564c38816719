"""Errors: a message, a hint, a stable code and a documented status."""

import inspect
from pathlib import Path

import pytest

from fabnet_secure import errors
from fabnet_secure.commands.options import EXIT_STATUS
from fabnet_secure.errors import ExitCode, FabnetError

KINDS = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, FabnetError)]
STATUSES = {
    "FabnetError": 1,
    "UnreadableSource": 1,
    "StorageFailed": 1,
    "UsageError": 2,
    "NoVault": 10,
    "VaultLocked": 11,
    "KeyProblem": 12,
    "NoEffectiveConsent": 20,
    "AccessDenied": 21,
    "BudgetExceeded": 22,
    "Gap": 23,
    "IntegrityFailure": 30,
    "Interrupted": 130,
}


def test_every_kind_has_its_documented_status():
    """The table of kinds and statuses is the one of docs/cli.md."""
    assert {one.__name__: int(one.exit_code) for one in KINDS} == STATUSES


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_carries_what_people_and_programs_need(kind):
    """Message, hint, code and fields are kept; the code has a default."""
    plain, full = kind("it broke"), kind("it broke", hint="mend it", code="BROKEN", rows=[1])
    assert (str(plain), plain.hint, plain.code, plain.fields) == ("it broke", "", kind.default_code, {})
    assert (full.message, full.hint, full.code, full.fields) == ("it broke", "mend it", "BROKEN", {"rows": [1]})
    assert kind.default_code.replace("_", "").isupper()


def test_every_status_is_in_the_help_and_in_the_reference():
    """EXIT STATUS and docs/cli.md name each status there is, and no other."""
    import re

    named = {int(number) for number in re.findall(r"(?:^|[:·] )(\d+) [a-z]", EXIT_STATUS)}
    assert named == {int(one) for one in ExitCode}
    reference = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
    assert EXIT_STATUS in reference.read_text("utf-8")
