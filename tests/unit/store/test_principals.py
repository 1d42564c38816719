"""Principals: one account, one principal."""

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.store import principals
from fabnet_secure.store.principals import PrincipalRow


def test_principal_is_found_by_account_and_roles_are_replaced(site):
    """A principal comes back by account and by name; setting roles replaces them, sorted and once each."""
    with site.work() as work:
        principals.add_principal(
            work.connection, PrincipalRow(name="ana", os_user="ana01", roles=("trainer", "analyst", "trainer"))
        )
        found = principals.find_by_os_user(work.connection, "ana01")
        assert found == PrincipalRow(name="ana", os_user="ana01", roles=("analyst", "trainer"))
        principals.set_roles(work.connection, "ana", ["dpo"])
        assert principals.get_principal(work.connection, "ana").roles == ("dpo",)
        assert principals.list_principals(work.connection) == [principals.get_principal(work.connection, "ana")]
        assert principals.find_by_os_user(work.connection, "nobody") is None
        assert principals.get_principal(work.connection, "nobody") is None
        with pytest.raises(UsageError):
            principals.set_roles(work.connection, "nobody", ["dpo"])
        work.log("test.entry", facts={})


def test_two_principals_of_one_account_are_refused(site):
    """An account cannot be two principals: which roles it has is never a choice."""
    with site.refused() as work:
        for name in ("ana", "ben"):
            principals.add_principal(work.connection, PrincipalRow(name=name, os_user="same", roles=()))
