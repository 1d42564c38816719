"""An account without roles may do nothing with the vault: status 21 each time, and each denial is in the log."""

import json
import subprocess

import pytest

from fabnet_secure.crypto.age import Identity
from fabnet_secure.pipeline import context

PAPERS = ("--purpose", "embed", "--valid-for", "P1Y", "--notice", "notice.txt", "--evidence", "evidence.txt")
OUT = ("--out", "made")
RECIPIENT = Identity.generate().recipient.text
ARCHIVES = ("--vault-archive", "v.age", "--keystore-archive", "k.age", "--identity", "i.key")


def _commands(shell):
    named = shell.named
    consent, track = named["consents"][0], named["tracks"][0]
    vault_id = json.loads((shell.vault / "vault.json").read_text("utf-8"))["vault_id"]
    (shell.folder / "witness").mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key"], cwd=shell.folder, check=True)
    (shell.folder / "people.csv").write_text(
        "subject_ref,purpose,valid_for,notice,evidence\nx,embed,P1Y,notice.txt,evidence.txt\n", "utf-8"
    )
    return [
        ("consent", "add", "--subject-ref", "late", *PAPERS),
        ("consent", "import", "people.csv"),
        ("consent", "show", consent),
        ("consent", "show", "nobody"),
        ("consent", "list"),
        ("ingest", shell.clip("spare"), "--consent", consent),
        ("ingest", "nowhere.mp4", "--consent", "nobody"),
        ("track", "list"),
        ("quarantine", "list"),
        ("quarantine", "release", "nothing", "--dry-run"),
        ("quarantine", "destroy", "nothing", "--dry-run"),
        ("train", "plan", "--epsilon", "1", "--delta", "1e-2"),
        ("train", "run", "--plan", named["plan"]),
        ("embed", "--model", named["model"]),
        ("embed", "--model", "nothing"),
        ("model", "list"),
        ("query", "similar", "--track", track, "--purpose", "query_internal"),
        ("query", "similar", "--track", track, "--purpose", "emotion_inference"),
        ("query", "similar", "--track", "nothing", "--purpose", "query_internal"),
        ("query", "similar", "--clip", "nothing", "--purpose", "query_internal"),
        ("query", "stats", "--purpose", "query_internal", "--count", "people", "--epsilon", "0.5"),
        ("query", "stats", "--purpose", "query_internal", "--count", "people", "--epsilon", "0.5", "--dry-run"),
        ("subject", "withdraw", consent, "--confirm", consent),
        ("subject", "withdraw", consent, "--dry-run"),
        ("subject", "withdraw", "nobody"),
        ("budget", "show"),
        ("policy", "roles"),
        ("policy", "grant", "stranger", "--role", "operator"),
        ("policy", "revoke", "root"),
        ("policy", "adopt", "--none", "--dry-run"),
        ("policy", "test"),
        ("policy", "explain", "embed", "--account", "root"),
        ("audit", "verify"),
        ("audit", "export", "log"),
        ("audit", "witness", "--out", "witness"),
        ("audit", "witness", "--out", "witness", "--dry-run"),
        ("audit", "prove", "0", "--out", "proof"),
        ("audit", "anchor"),
        ("keys", "list"),
        ("keys", "grant", "stranger", "--role", "dpo", "--key-file-out", "new.key"),
        ("keys", "revoke", "stranger"),
        ("keys", "rekey"),
        ("keys", "rekey", "--dry-run"),
        ("keys", "reencrypt"),
        ("keys", "reencrypt", "--dry-run"),
        ("keys", "split", "--shares", "3", "--threshold", "2", "--confirm", vault_id),
        ("keys", "split", "--shares", "3", "--threshold", "2", "--dry-run"),
        ("keys", "destroy", "--consent", consent, "--domain", "tracklets", "--confirm", consent),
        ("keys", "destroy", "--consent", consent, "--domain", "tracklets", "--dry-run"),
        ("approval", "keys"),
        ("approval", "enrol", "root", "--ssh-key", "key.pub"),
        ("approval", "remove", "root"),
        ("approval", "request", "vector_export", "--param", f"track={track}", "--param", "purpose=embed", *OUT),
        ("subject", "hold", consent, "--ground", "legal_claim"),
        ("subject", "holds"),
        ("subject", "release-hold", consent, "--confirm", consent),
        ("budget", "raise", consent, "--cap", "90", "--evidence", "evidence.txt", "--confirm", consent),
        ("query", "export", "--track", track, "--confirm", track, *OUT),
        ("backup", "create", "--out", str(shell.folder.parent / "backups"), "--recipient", RECIPIENT),
        ("backup", "create", "--out", str(shell.folder.parent / "backups"), "--recipient", RECIPIENT, "--dry-run"),
        ("backup", "verify", *ARCHIVES),
        ("report", "ropa", "--out", "ropa.json"),
        ("report", "ingest", "--out", "ingest.json"),
        ("report", "all", "--out", "reports"),
    ]


def _names(shell):
    """Return the name of every file at hand; SQLite's side files come and go."""
    names = sorted(path.name for path in shell.folder.parent.rglob("*"))
    return [name for name in names if not name.endswith(("-wal", "-shm"))]


def test_an_account_without_roles_is_denied_everything(shell, monkeypatch):
    """Every command that opens the vault: 21, one denial in the log, no row changed, no file written."""
    monkeypatch.setattr(context, "os_account", lambda: "stranger")
    commands = _commands(shell)
    before = _names(shell)
    for command in commands:
        said = shell.refused(*command, status=21, code="ACCESS_DENIED", logs=("access.denied",))
        assert said["hint"]
    assert _names(shell) == before


def test_an_environment_variable_is_no_identity(shell, monkeypatch):
    """USER and LOGNAME do not make somebody else of an account."""
    monkeypatch.setattr(context, "os_account", lambda: "stranger")
    result = shell.run("consent", "list", "--json", USER="root", LOGNAME="root")
    assert result.status == 21


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("ingestor", ("track", "list"), ("consent", "list")),
        ("ingestor", ("quarantine", "list"), ("quarantine", "destroy", "nothing")),
        ("dpo", ("quarantine", "list"), ("quarantine", "release", "nothing", "--dry-run")),
        ("analyst", ("model", "list"), ("budget", "show")),
        ("trainer", ("budget", "show"), ("audit", "verify")),
        ("auditor", ("audit", "verify"), ("track", "list")),
        ("operator", ("policy", "roles"), ("consent", "list")),
        ("dpo", ("consent", "list"), ("policy", "roles")),
    ],
)
def test_a_role_opens_what_is_its_own(shell, monkeypatch, role, may, may_not):
    """One role allows its own acts and no other role's."""
    shell.run("policy", "grant", "stranger", "--role", role)
    monkeypatch.setattr(context, "os_account", lambda: "stranger")
    assert shell.run(*may).status == 0
    shell.refused(*may_not, status=21, code="ACCESS_DENIED", logs=("access.denied",))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("grant", "bob", "--role", "king"), "ROLE_UNKNOWN"),
        (("grant", "Bob; rm", "--role", "analyst"), "ACCOUNT_INVALID"),
        (("grant", "../bob", "--role", "analyst"), "ACCOUNT_INVALID"),
        (("grant", "bob\n", "--role", "analyst"), "ACCOUNT_INVALID"),
        (("grant", "", "--role", "analyst"), "ACCOUNT_INVALID"),
        (("grant", "😀", "--role", "analyst"), "ACCOUNT_INVALID"),
        (("grant", "bob"), "USAGE"),
    ],
)
def test_roles_that_cannot_be_given(shell, arguments, code):
    """An unknown role or a name that is no account's: status 2, nothing changed."""
    shell.refused("policy", *arguments, status=2, code=code)


def test_the_last_operator_stays(shell):
    """Nobody can take the last operator's role: status 2; with a second operator it can be done."""
    me = context.os_account()
    shell.refused("policy", "revoke", me, status=2, code="LAST_OPERATOR")
    shell.refused("policy", "grant", me, "--role", "dpo", status=2, code="LAST_OPERATOR")
    shell.json("policy", "grant", "deputy", "--role", "operator")
    assert shell.json("policy", "revoke", me)["roles"] == []
    shell.refused("policy", "roles", status=21, code="ACCESS_DENIED", logs=("access.denied",))
