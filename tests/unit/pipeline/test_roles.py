"""Roles of accounts: set whole, by an operator, never so that no operator is left."""

import pytest

from fabnet_secure.access.decision import ROLES
from fabnet_secure.errors import AccessDenied, UsageError
from fabnet_secure.pipeline import context, roles


def test_roles_are_set_whole(room, site):
    """A second grant takes the place of the first; each is in the log with its roles."""
    assert roles.set_roles(site, "bob", ("analyst", "trainer")).roles == ("analyst", "trainer")
    assert roles.set_roles(site, "bob", ("dpo",)).roles == ("dpo",)
    assert roles.set_roles(site, "bob", ()).roles == ()
    assert {row.os_user for row in roles.listing(site)} == {"bob", context.os_account()}
    assert room.acts(site)[-6:] == ["access.roles_set", "access.allowed"] * 3


@pytest.mark.parametrize("account", ["", "Bob", "bob smith", "../bob", "bob\n", "b" * 33, "bób", "0bob", "-rf"])
def test_a_name_that_is_no_accounts(room, site, account):
    """What no account can be called is refused before anything is written."""
    before = room.acts(site)
    with pytest.raises(UsageError) as caught:
        roles.set_roles(site, account, ("analyst",))
    assert caught.value.code == "ACCOUNT_INVALID"
    assert room.acts(site) == before


def test_a_role_that_is_none(site):
    """A role that no policy knows is refused, with those there are."""
    with pytest.raises(UsageError) as caught:
        roles.set_roles(site, "bob", ("analyst", "admin"))
    assert caught.value.code == "ROLE_UNKNOWN"
    assert all(role in caught.value.hint for role in ROLES)


def test_the_last_operator_stays(room, site):
    """Taking the last operator's role is undone: roles and log are as before."""
    me, before = context.os_account(), room.acts(site)
    with pytest.raises(UsageError) as caught:
        roles.set_roles(site, me, tuple(role for role in ROLES if role != "operator"))
    assert caught.value.code == "LAST_OPERATOR"
    assert set(roles.listing(site)[0].roles) == set(ROLES)
    assert room.acts(site) == before


def test_an_operator_hands_over(room, site):
    """With a second operator the first may go, and may then give no roles any more."""
    roles.set_roles(site, "deputy", ("operator",))
    roles.set_roles(site, context.os_account(), ())
    with pytest.raises(AccessDenied):
        roles.set_roles(room.open(), "bob", ("analyst",))
