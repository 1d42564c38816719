"""A site's own policies: checked, approved by two people, and in force only as they were adopted."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from fabnet_secure.errors import AccessDenied, Gap, IntegrityFailure, UsageError
from fabnet_secure.pipeline.adopt import adopt, check_log
from fabnet_secure.pipeline.adopted import SHIPPED, digest_of, folder_of
from fabnet_secure.pipeline.authorize import authorize
from fabnet_secure.pipeline.roles import set_roles

OWN = """@id("own-no-roles")
@title("Nobody gives roles here any more")
forbid (principal, action == Action::"role_grant", resource);
"""
LOCKED = OWN.replace("role_grant", "policy_change")


@pytest.fixture
def own(room):
    """A directory with a policy of the site's own."""
    folder = room.folder / "own"
    folder.mkdir()
    (folder / "own.cedar").write_text(OWN, "utf-8")
    return folder


def digest(folder):
    return digest_of({path.name: path.read_bytes() for path in sorted(folder.iterdir())})


def put(site, pair, folder):
    said = adopt(site, folder, confirm=None, approvals=[], dry_run=True).policies
    return adopt(site, folder, confirm=said, approvals=pair.approve(site, "policy_change", policies=said))


def behind(room, statement):
    with closing(sqlite3.connect(room.folder / "vault" / "vault.db")) as connection, connection:
        connection.execute(statement)


def test_adopted_policies_decide_from_the_next_start(room, site, pair, own):
    """What was permitted is forbidden; the log names the digests before and after; going back takes two as well."""
    before = site.policies.sha256
    done = put(site, pair, own)
    facts = room.facts(site, "policy.adopted")
    assert (facts["adopted"], facts["before"]) == (digest(own), before)
    later = room.open()
    assert later.policies.sha256 == facts["after"] != before
    with pytest.raises(AccessDenied) as caught:
        set_roles(later, "carol", ("auditor",))
    assert caught.value.fields["policy_id"] == "own-no-roles"
    files = pair.approve(later, "policy_change", policies=SHIPPED)
    adopt(later, None, confirm=SHIPPED, approvals=files)
    assert authorize(room.open(), "role_grant")
    assert not folder_of(site.root, done.policies).exists()


def test_adopting_takes_two_people_and_the_digest(site, pair, own):
    """Not without approvals, not unconfirmed, not when the files changed since they were approved."""
    said = digest(own)
    files = pair.approve(site, "policy_change", policies=said)
    with pytest.raises(AccessDenied) as caught:
        adopt(site, own, confirm=said, approvals=[])
    assert caught.value.code == "APPROVALS_NEEDED"
    (own / "own.cedar").write_text(OWN + "\n// one more line\n", "utf-8")
    with pytest.raises(UsageError) as caught:
        adopt(site, own, confirm=said, approvals=files)
    assert caught.value.code == "NOT_CONFIRMED"
    with pytest.raises(AccessDenied) as caught:
        adopt(site, own, confirm=digest(own), approvals=files)
    assert caught.value.code == "APPROVAL_OTHER_ACT"


@pytest.mark.parametrize(
    ("text", "error", "code"),
    [
        ("permit (principal", Gap, "POLICY_INVALID"),
        (OWN.replace("role_grant", "role_giant"), Gap, "POLICY_INVALID"),
        (OWN.replace("own-no-roles", "dpo-consent"), Gap, "POLICY_INVALID"),
        (LOCKED, UsageError, "POLICY_LOCKS_OUT"),
    ],
    ids=["no cedar", "unknown action", "taken id", "locks out"],
)
def test_policies_that_cannot_be_used_are_not_adopted(room, site, own, text, error, code):
    """They are tried before anybody is asked, and nothing of them stays."""
    (own / "own.cedar").write_text(text, "utf-8")
    for dry_run in (True, False):
        with pytest.raises(error) as caught:
            adopt(site, own, confirm=digest(own), approvals=[], dry_run=dry_run)
        assert caught.value.code == code
    assert not list(site.root.glob("policies*"))


def test_only_plain_policy_files_make_a_directory(room, site, own):
    """Nothing, another file, a folder, a link: not a directory of policies."""
    (own / "notes.txt").write_text("hello")
    empty = room.folder / "empty"
    empty.mkdir()
    linked = room.folder / "linked"
    linked.mkdir()
    (linked / "own.cedar").symlink_to(own / "own.cedar")
    for folder in (own, empty, linked, room.folder / "none"):
        with pytest.raises(UsageError) as caught:
            adopt(site, folder, confirm=None, approvals=[], dry_run=True)
        assert caught.value.code == "NO_POLICIES"


CHANGES = {
    "changed": lambda folder: (folder / "own.cedar").write_text(OWN.replace("forbid", "permit")),
    "added": lambda folder: (folder / "more.cedar").write_text(OWN.replace("own-no-roles", "more")),
    "another kind": lambda folder: (folder / "notes.txt").write_text("x"),
    "taken away": shutil.rmtree,
    "linked": lambda folder: (folder.rename(folder.with_name("away")), folder.mkdir()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_changed_files_keep_the_vault_closed(room, site, pair, own, change):
    """A file changed, added or gone: the vault does not open."""
    put(site, pair, own)
    change(folder_of(site.root, digest(own)))
    with pytest.raises(IntegrityFailure) as caught:
        room.open()
    assert caught.value.code == "POLICY_CHANGED"


@pytest.mark.parametrize(
    "value", ["'{}'", "'nonsense'", "replace(value, 'adopted', 'adapted')", "replace(value, '1', '2')"]
)
def test_a_changed_record_keeps_the_vault_closed(room, site, pair, own, value):
    """The record of what is adopted is one that only this vault makes."""
    put(site, pair, own)
    behind(room, f"UPDATE meta SET value = {value} WHERE key = 'policies/adopted'")
    with pytest.raises(IntegrityFailure) as caught:
        room.open()
    assert caught.value.code == "POLICY_CHANGED"


def test_a_record_that_was_taken_out_is_found_by_the_log(room, site, pair, own):
    """An ordinary start cannot tell; whoever compares with the log can."""
    put(site, pair, own)
    behind(room, "DELETE FROM meta WHERE key = 'policies/adopted'")
    with site.reading() as connection, pytest.raises(IntegrityFailure) as caught:
        check_log(site, connection)
    assert caught.value.code == "POLICY_CHANGED"


def test_who_may_not_change_policies_does_not(stranger, own):
    """A stranger does not even learn whether they are good."""
    with pytest.raises(AccessDenied):
        adopt(stranger, own, confirm=None, approvals=[], dry_run=True)
