"""Somebody puts things back as they were: the vault's database, both databases, the clock, the anchor. All refused."""

import shutil
from datetime import timedelta

import pytest

from fabnet_secure.config import load
from fabnet_secure.pipeline.context import Place, open_site

EVERYTHING = (
    ("consent", "list"),
    ("budget", "show"),
    ("audit", "verify"),
    ("report", "ropa", "--out", "ropa.json"),
)


def refused(program, code):
    """Every command is refused with 30 and this code."""
    for command in EVERYTHING:
        said = program(*command)
        assert (said.status, said.last["code"]) == (30, code), command


def kept(home):
    return shutil.copytree(home.vault, home.folder / "kept")


def put_back(home, copy, *names):
    for name in names:
        for path in home.vault.glob(f"{name}*"):
            path.unlink()
        for path in copy.glob(f"{name}*"):
            shutil.copy(path, home.vault / path.name)


@pytest.mark.parametrize("names", [("vault.db",), ("vault.db", "keystore.db")], ids=["vault", "both"])
def test_databases_from_before_a_withdrawal(names, ingested, home, program, leave):
    """Who was withdrawn does not come back with an older database, with or without its keystore."""
    copy = kept(home)
    leave(ingested.consents["ada"])
    put_back(home, copy, *names)
    refused(program, "ROLLED_BACK")


def test_the_keystore_alone_from_before_a_withdrawal_opens_nobody(ingested, home, program, leave):
    """The older keystore holds the destroyed keys again, but the anchor names them and the vault knows who is gone."""
    copy = kept(home)
    leave(ingested.consents["ada"])
    put_back(home, copy, "keystore.db")
    refused(program, "KEYSTORE_ROLLED_BACK")


def test_the_databases_from_before_a_training(trained, ingested, home, program, ok):
    """A budget that was spent is not refunded by an older database."""
    copy = kept(home)
    plan = ok("train", "plan", "--epsilon", "2", "--delta", "1e-2", "--steps", "5")["plan_id"]
    ok("train", "run", "--plan", plan)
    put_back(home, copy, "vault.db", "keystore.db")
    refused(program, "ROLLED_BACK")


def test_the_clock_set_back(ingested, home, program, later, ok, consent_of):
    """A year passes, something is done, and the clock is set back to when every consent held: nothing is answered."""
    later(timedelta(days=366))
    ok(*consent_of("dan@example.org"))
    later(timedelta())
    refused(program, "CLOCK_BACK")


def test_the_anchor_taken_away(ingested, home, program):
    """Without the anchor nothing can be told, so nothing is done, and none is made."""
    home.vault.with_name("vault.anchor").unlink()
    refused(program, "ANCHOR_MISSING")
    assert program("init").last["code"] == "ANCHOR_MISSING"
    assert not home.vault.with_name("vault.anchor").exists()


def test_a_vault_and_its_anchor_move_together(ingested, home, program, ok):
    """Brought along, under another name, the vault opens as before."""
    moved = home.folder / "moved"
    for path in home.folder.glob("vault*"):
        path.rename(home.folder / path.name.replace("vault", "moved", 1))
    with open_site(Place(root=moved, key_file=home.key), load().settings) as site, site.work() as work:
        work.log("test.act", facts={})
    assert ok("audit", "verify", "--vault", str(moved))["ok"] is True
