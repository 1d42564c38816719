"""Keyrings and policies edited by hand, and a clock set back, give nobody more than before."""

import shutil
from datetime import timedelta

import pytest

from fabnet_secure.config import policies_dir
from fabnet_secure.pipeline import context

KEYS = "keystore.db"
BROKEN = 30


@pytest.mark.parametrize("change", ["domains", "roles", "both", "a holder of one's own", "the root's blob"])
def test_a_keyring_that_is_widened_by_hand(change, crowded, home, program, ok, monkeypatch, asked):
    """Somebody with an analyst's key and the keystore's file gives herself more: refused, and the root sees it."""
    if change in ("domains", "both"):
        home.rows('UPDATE holder SET domains = \'["embeddings","identity","log","tracklets"]\'', file=KEYS)
    if change in ("roles", "both"):
        home.rows('UPDATE holder SET roles = \'["analyst","dpo","trainer"]\'', file=KEYS)
    if change == "a holder of one's own":
        ok("keys", "new", "mallory.key")
        public = ok("keys", "public", "mallory.key")["public_key"]
        home.rows("INSERT INTO holder SELECT 'mallory', ?, roles, domains, proof, created_at, NULL FROM holder",
                  bytes.fromhex(public), file=KEYS)  # fmt: skip
        home.rows("INSERT INTO holder_key SELECT 'mallory', epoch, sealed FROM holder_key", file=KEYS)
    if change == "the root's blob":
        home.rows("UPDATE holder_key SET sealed = (SELECT wrapped FROM epoch)", file=KEYS)
    name, key = ("mallory", "mallory.key") if change == "a holder of one's own" else ("ana", "ana.key")
    with monkeypatch.context() as patch:
        patch.setattr(context, "os_account", lambda: name)
        patch.setenv("FABNET_KEY_FILE", str(home.folder / key))
        for command in (asked(crowded), ("consent", "list"), ("track", "list")):
            said = program(*command)
            assert said.status in (12, BROKEN), (change, said.err)
    if change != "the root's blob":
        listed = program("keys", "list")
        assert [one["proven"] for one in listed.objects if one["message_type"] == "keyring"][-1] is False
        assert program("keys", "rekey").status == BROKEN
    assert home.rows("SELECT number FROM epoch WHERE destroyed_at IS NULL", file=KEYS) == [(1,)]


def test_a_policy_that_errors_denies(crowded, home, program, ok, monkeypatch, tmp_path, asked):
    """Cedar passes over a policy that fails, even a forbid: we deny (21), whatever the others say."""
    folder = tmp_path / "policies"
    shutil.copytree(policies_dir(), folder)
    (folder / "access" / "zz.cedar").write_text(
        '@id("overflows")\n@title("Counts too far")\n'
        "forbid (principal, action, resource) when { 9223372036854775807 * (context.hour + 2) > 0 };\n"
    )
    with monkeypatch.context() as patch:
        patch.setattr(context, "policies_dir", lambda: folder)
        for command in (asked(crowded), ("consent", "list"), ("audit", "verify")):
            said = program(*command)
            assert (said.status, said.last["code"]) == (21, "ACCESS_DENIED"), said.err
            assert "results" not in said.out
    assert ok(*asked(crowded))["results"]
    denied = home.rows("SELECT count(*) FROM decision WHERE outcome = 'deny'")
    assert denied >= [(3,)]


def test_the_clock_set_back_brings_no_consent_back(trained, home, program, later, ok, leave, asked):
    """An hour back: nothing is answered or done (30); five minutes are let pass; right again, all goes on."""
    leave(trained.consents["ben"])
    size = ok("audit", "verify")["size"]
    later(timedelta(hours=-1))
    for command in (asked(trained), ("audit", "verify"), ("consent", "list"), ("embed", "--model", trained.model)):
        said = program(*command)
        assert (said.status, said.last["code"]) == (BROKEN, "CLOCK_BACK")
    later(timedelta(seconds=-200))
    assert ok("audit", "verify")["size"] == size
    later(timedelta())
    assert {one["track_id"] for one in ok(*asked(trained))["results"]} & set(trained.tracks["ben"]) == set()
