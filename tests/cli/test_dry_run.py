"""--dry-run says what would happen, with real counts, and changes nothing; the same command without it does that."""

import subprocess

from fabnet_secure.crypto.age import Identity

PAPERS = ("--notice", "notice.txt", "--evidence", "evidence.txt")


def _rehearsed(shell, *command):
    """Run with --dry-run; the vault must be the same to the byte of every row."""
    before, files = shell.rows(), shell.files()
    said = shell.json(*command, "--dry-run")
    assert (shell.rows(), shell.files()) == (before, files)
    assert said.get("dry_run") is True or said["outcome"] == "dry_run"
    people = shell.run(*command, "--dry-run")
    assert "dry run" in people.out
    assert (shell.rows(), shell.files()) == (before, files)
    return said


def test_a_consent_and_a_table_are_rehearsed(shell):
    """How many consents and how many new people it would be; bad input is told as without --dry-run."""
    add = ("consent", "add", "--subject-ref", "person 1", "--purpose", "embed", "--valid-for", "P1Y", *PAPERS)
    said = _rehearsed(shell, *add)
    assert (said["consents"], said["new_subjects"]) == (1, 0)
    table = shell.folder / "people.csv"
    row = ",embed,P1Y,notice.txt,evidence.txt\n"
    table.write_text(f"subject_ref,purpose,valid_for,notice,evidence\nnew{row}new{row}person 2{row}", "utf-8")
    said = _rehearsed(shell, "consent", "import", str(table))
    assert (said["consents"], said["new_subjects"]) == (3, 1)
    assert shell.json("consent", "import", str(table))["imported"] == said["consents"]
    shell.refused(*add[:6], "--valid-for", "x", *PAPERS, "--dry-run", status=2, code="DURATION_INVALID")


def test_an_ingest_is_rehearsed(shell):
    """The tracks that would be bound are counted; nothing is stored or logged."""
    command = ("ingest", shell.clip("spare"), "--consent", shell.named["consents"][1])
    said = _rehearsed(shell, *command)
    done = shell.json(*command)
    assert said["tracks"] == done["tracks"]
    assert said["track_ids"] == []


def test_an_embedding_is_rehearsed(shell):
    """The tracks and frames that wait are counted, as the run then finds them."""
    ingested = shell.json("ingest", shell.clip("spare"), "--consent", shell.named["consents"][1])
    assert ingested["tracks"]["bound"] == 1
    command = ("embed", "--model", shell.named["model"])
    said = _rehearsed(shell, *command)
    done = shell.json(*command)
    assert (said["tracks"], said["embeddings"]) == (done["tracks"], done["embeddings"])
    assert done["tracks"] == 1
    assert done["embeddings"] >= 4
    assert _rehearsed(shell, *command)["tracks"] == 0


def test_a_run_is_rehearsed(shell):
    """A plan that could be run says what it would spend; one that could not is refused as by the run itself."""
    plan = shell.json("train", "plan", "--epsilon", "1", "--delta", "1e-2", "--steps", "2")["plan_id"]
    said = _rehearsed(shell, "train", "run", "--plan", plan)
    assert (said["persons"], said["steps"]) == (3, 2)
    assert 0.9 < said["epsilon"] <= 1
    again = ("train", "run", "--plan", shell.named["plan"], "--dry-run")
    shell.refused(*again, status=2, code="PLAN_USED")
    shell.refused("train", "run", "--epsilon", "1", "--delta", "1e-2", "--dry-run", status=2, code="USAGE")


def test_a_withdrawal_is_rehearsed(shell):
    """What would be erased is counted, without the id twice; then the withdrawal erases just that."""
    consent = shell.named["consents"][0]
    said = _rehearsed(shell, "subject", "withdraw", consent)
    done = shell.json("subject", "withdraw", consent, "--confirm", consent)
    for name in ("keys_destroyed", "embeddings_removed", "tracklets_removed", "models_affected"):
        assert said[name] == done[name]
    assert (done["outcome"], done["already"]) == ("complete", False)
    again = shell.json("subject", "withdraw", consent, "--confirm", consent)
    assert (again["already"], again["certificate"]) == (True, done["certificate"])


def test_roles_are_rehearsed(shell):
    """The roles that an account would have are told; the last operator is kept in a rehearsal, too."""
    from fabnet_secure.pipeline.context import os_account

    said = _rehearsed(shell, "policy", "grant", "bob", "--role", "analyst")
    assert said["roles"] == ["analyst"]
    shell.refused("policy", "revoke", os_account(), "--dry-run", status=2, code="LAST_OPERATOR")


def test_key_acts_are_rehearsed(shell):
    """A grant, a revocation, a renewal and an exchange of the keys: counts as the act itself then tells them."""
    grant = ("keys", "grant", "ana", "--role", "analyst", "--key-file-out", str(shell.folder / "ana.key"))
    assert _rehearsed(shell, *grant)["domains"] == shell.json(*grant)["domains"]
    _rehearsed(shell, "keys", "revoke", "ana", "--rekey")
    assert _rehearsed(shell, "keys", "rekey")["rewrapped"] == shell.json("keys", "rekey")["rewrapped"]
    _rehearsed(shell, "keys", "reencrypt")
    consent = shell.named["consents"][0]
    _rehearsed(shell, "keys", "destroy", "--consent", consent, "--domain", "tracklets")


def test_what_two_people_decide_is_rehearsed(shell):
    """A hold, a key that approves, a request: nothing is written, in the vault or beside it."""
    _rehearsed(shell, "subject", "hold", shell.named["consents"][0], "--ground", "legal_claim")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key"], cwd=shell.folder, check=True)
    shell.json("policy", "grant", "ana", "--role", "analyst")
    _rehearsed(shell, "approval", "enrol", "ana", "--ssh-key", "key.pub")
    out = shell.folder / "asked.json"
    track = ("--param", f"track={shell.named['tracks'][0]}", "--param", "purpose=query_internal")
    _rehearsed(shell, "approval", "request", "vector_export", *track, "--out", str(out))
    assert not out.exists()


def test_copies_that_leave_the_vault_are_rehearsed(shell):
    """A backup and a witness's file: sizes are told, no file is made."""
    out = shell.folder.parent / "out"
    out.mkdir()
    recipient = Identity.generate().recipient.text
    said = _rehearsed(shell, "backup", "create", "--out", str(out), "--recipient", recipient)
    assert said["bytes_estimate"]
    _rehearsed(shell, "audit", "witness", "--out", str(out))
    assert list(out.iterdir()) == []
