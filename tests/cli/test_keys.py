"""``keys``: who holds what and how it is renewed, as it is typed."""

import pytest

from fabnet_secure.pipeline import context


@pytest.fixture
def ada(shell, monkeypatch):
    """Ada, a trainer with a keyring; return how she types a command."""
    made = shell.json("keys", "new", str(shell.folder / "ada.key"))
    shell.json("policy", "grant", "ada", "--role", "trainer")
    shell.json("keys", "grant", "ada", "--role", "trainer", "--public-key", made["public_key"])

    def typed(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(context, "os_account", lambda: "ada")
            return shell.run(*arguments, "--json", FABNET_KEY_FILE=str(shell.folder / "ada.key"))

    return typed


def test_a_keyring_is_granted_listed_and_revoked(shell, ada):
    """Each command's object has its documented fields; what was revoked opens nothing, exit status 12."""
    listed = shell.run("keys", "list", "--json").objects
    (held,) = [one for one in listed if one["message_type"] == "keyring"]
    assert (held["name"], held["roles"], held["domains"]) == ("ada", ["trainer"], ["log", "tracklets"])
    assert (held["proven"], held["revoked_at"]) == (True, None)
    assert [one["epoch"] for one in listed if one["message_type"] == "epoch"] == [1]
    assert listed[-1] == listed[-1] | {"message_type": "summary", "keyrings": 1, "period": "P30D"}
    assert ada("model", "list").status == 0
    told = shell.run("keys", "revoke", "ada")
    assert "rekey" in told.err
    result = ada("model", "list")
    assert (result.status, result.last["code"]) == (12, "KEY_REVOKED")
    assert shell.json("keys", "revoke", "ada", "--rekey")["rekeyed"]["destroyed_epoch"] == 1


def test_a_key_file_is_made_for_somebody(shell):
    """With --key-file-out; never over another file; a dry run makes none."""
    out = shell.folder / "bob.key"
    command = ("keys", "grant", "bob", "--role", "analyst", "--key-file-out", str(out))
    assert shell.json(*command, "--dry-run")["dry_run"] is True
    assert not out.exists()
    done = shell.json(*command)
    assert done["missing_roles"] == ["analyst"]
    assert out.stat().st_mode & 0o777 == 0o600
    shell.refused(*command, status=12, code="KEY_EXISTS")


def test_a_role_cannot_hand_out_or_renew_keys(shell, ada):
    """A trainer's keyring: the policy denies it (21)."""
    for command in (
        ("keys", "rekey"),
        ("keys", "reencrypt"),
        ("keys", "grant", "x", "--role", "dpo", "--public-key", "00" * 32),
    ):
        assert ada(*command).status == 21


def test_the_epoch_is_renewed(shell, ada):
    """Fields, a dry run that changes nothing, the timer's form, and a word about backups."""
    dry = shell.json("keys", "rekey", "--dry-run")
    done = shell.run("keys", "rekey", "--json")
    assert done.last["rewrapped"] == dry["rewrapped"] > 0
    assert (done.last["epoch"], done.last["destroyed_epoch"], done.last["holders"]) == (2, 1, 1)
    assert "backup" in done.err
    assert shell.json("keys", "rekey", "--if-due")["destroyed_epoch"] is None
    assert ada("model", "list").status == 0
    track = shell.named["tracks"][0]
    assert shell.json("query", "similar", "--track", track, "--purpose", "query_internal")


def test_every_data_key_is_exchanged(shell):
    """Fields, and searching goes on."""
    assert shell.json("keys", "reencrypt", "--dry-run")["rows"] == 0
    done = shell.json("keys", "reencrypt")
    assert done["reencrypted"] > 0
    assert done["rows"] > done["reencrypted"] / 2
    assert shell.json("query", "similar", "--track", shell.named["tracks"][0], "--purpose", "query_internal")


def test_one_key_is_destroyed_by_two_people_only(shell):
    """Without approvals: 21; a dry run counts."""
    consent = shell.named["consents"][0]
    command = ("keys", "destroy", "--consent", consent, "--domain", "tracklets")
    assert shell.json(*command, "--dry-run")["keys"] == 1
    shell.refused(*command, status=2, code="NOT_CONFIRMED")
    shell.refused(*command, "--confirm", consent, status=21, code="APPROVALS_NEEDED", logs=("approval.refused",))


def test_an_old_keystore_put_back_is_told(shell):
    """From before a renewal: 12, and what to do."""
    old = (shell.vault / "keystore.db").read_bytes()
    shell.json("keys", "rekey")
    (shell.vault / "keystore.db").write_bytes(old)
    result = shell.run("consent", "list", "--json")
    assert (result.status, result.last["code"]) == (12, "KEY_EPOCH_GONE")


def test_where_the_epoch_file_lies_can_be_said(shell):
    """FABNET_EPOCH_FILE moves it; without it the vault says what is missing."""
    moved = shell.folder / "elsewhere.epoch"
    (shell.folder / "vault.epoch").rename(moved)
    result = shell.run("consent", "list", "--json")
    assert (result.status, result.last["code"]) == (12, "GATE_MISSING")
    assert shell.run("consent", "list", FABNET_EPOCH_FILE=str(moved)).status == 0


@pytest.mark.parametrize(
    "options",
    [(), ("--public-key", "00", "--key-file-out", "x"), ("--public-key", "no hex")],
    ids=["neither", "both", "no_hex"],
)
def test_a_grant_needs_one_key(shell, options):
    """Exactly one way to say which."""
    assert shell.run("keys", "grant", "ada", "--role", "trainer", *options).status == 2
