"""``backup`` given what cannot be used: each told by its own code and status, with nothing left behind."""

import json

import pytest

from fabnet_secure.crypto.age import Identity

OURS = Identity.generate()
TO = ("--recipient", str(OURS.recipient))


@pytest.fixture
def backed_up(shell):
    """A backup of the small vault; returns the options that name it."""
    path = shell.folder / "backup.key"
    path.write_text(OURS.reveal(), "utf-8")
    path.chmod(0o600)
    made = shell.json("backup", "create", "--out", "out", *TO)["archives"]
    return {
        "--vault-archive": made["vault"]["path"],
        "--keystore-archive": made["keystore"]["path"],
        "--identity": str(path),
    }


def _options(named, **changes):
    return [word for pair in (named | changes).items() for word in pair]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--out", "out"), "NO_RECIPIENTS"),
        (("--out", "out", "--recipient", "age1x"), "RECIPIENT_INVALID"),
        (("--out", "out", "--recipient", OURS.reveal()), "RECIPIENT_SECRET"),
        (("--out", "vault/backup", *TO), "BACKUP_PLACE"),
        (("--out", "notice.txt", *TO), "BACKUP_PLACE"),
        (("--out", "out", "--only", "both", *TO), "ARCHIVE_KIND"),
    ],
    ids=["nobody", "no key", "a secret", "inside", "a file", "both"],
)
def test_what_cannot_be_created(shell, arguments, code):
    """Never unencrypted, never into the vault, and a secret key is not repeated."""
    told = shell.refused("backup", "create", *arguments, status=2, code=code)
    assert OURS.reveal()[20:] not in str(told)
    assert not (shell.folder / "out").exists()


def test_an_identity_that_cannot_be_used(shell, backed_up):
    """Missing, open to others, no key, somebody else's."""
    path = shell.folder / "other.key"
    command = ("backup", "verify", *_options(backed_up, **{"--identity": str(path)}))
    shell.refused(*command, status=12, code="IDENTITY_MISSING")
    path.write_text("hunter2\n", "utf-8")
    path.chmod(0o600)
    shell.refused(*command, status=12, code="IDENTITY_FORMAT")
    path.write_text(Identity.generate().reveal(), "utf-8")
    path.chmod(0o644)
    shell.refused(*command, status=12, code="IDENTITY_MODE")


def _logged(shell, *command, status, code):
    """Run a trial that fails: the vault's log says so, and only it."""
    before = len(shell.acts())
    result = shell.run(*command, "--json")
    assert (result.status, result.last["code"]) == (status, code), result.err
    assert shell.acts()[before:] == ["backup.verify_failed", "access.allowed"]
    assert not list(shell.vault.glob(".backup-*"))


def test_archives_that_cannot_be_used(shell, backed_up):
    """Swapped, cut, missing, of nothing: each verify fails with its own code and is logged."""
    swapped = {
        "--vault-archive": backed_up["--keystore-archive"],
        "--keystore-archive": backed_up["--vault-archive"],
    }
    _logged(shell, "backup", "verify", *_options(backed_up | swapped), status=2, code="ARCHIVE_KIND")
    bad = shell.folder / "bad.age"
    blob = (shell.folder / backed_up["--vault-archive"]).read_bytes()
    bad.write_bytes(blob[:-100])
    _logged(
        shell,
        *("backup", "verify", *_options(backed_up, **{"--vault-archive": str(bad)})),
        status=30,
        code="ARCHIVE_DAMAGED",
    )
    bad.write_bytes(b"")
    _logged(
        shell,
        *("backup", "verify", *_options(backed_up, **{"--vault-archive": str(bad)})),
        status=30,
        code="ARCHIVE_DAMAGED",
    )
    bad.unlink()
    _logged(
        shell,
        *("backup", "verify", *_options(backed_up, **{"--vault-archive": str(bad)})),
        status=2,
        code="ARCHIVE_MISSING",
    )


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        (("--into", "vault"), 2, "RESTORE_PLACE"),
        (("--into", "notice.txt"), 2, "RESTORE_PLACE"),
        (("--into", "new"), 2, "NOT_CONFIRMED"),
        (("--into", "new", "--confirm", "yes"), 2, "NOT_CONFIRMED"),
        (("--into", "new", "--anchor", "nowhere"), 30, "ANCHOR_MISSING"),
        (("--into", "new", "--without-anchor"), 2, "WITHDRAWN_UNKNOWN"),
        (("--into", "new", "--without-anchor", "--withdrawn", "nowhere"), 2, "WITHDRAWN_INVALID"),
        (("--into", "new", "--without-anchor", "--withdrawn", "notice.txt"), 2, "WITHDRAWN_INVALID"),
        (("--into", "new", "--epoch-file", "nowhere"), 12, "GATE_MISSING"),
        (("--into", "new", "--database-url", "mysql://x"), 2, "DATABASE_URL"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_restored(shell, backed_up, more, status, code):
    """Each refusal leaves no place, no part of one, and the vault as it was."""
    confirmed = (
        ()
        if code == "NOT_CONFIRMED"
        else ("--confirm", json.loads((shell.vault / "vault.json").read_text())["vault_id"])
    )
    shell.refused("backup", "restore", *_options(backed_up), *more, *confirmed, status=status, code=code)
    assert not list(shell.folder.glob(".new*")) + list(shell.folder.glob("new*"))


def test_create_and_restore_are_rehearsed(shell, backed_up):
    """--dry-run says what would happen and leaves nothing."""
    before, files = shell.rows(), shell.files()
    assert shell.json("backup", "create", "--out", "elsewhere", *TO, "--dry-run")["dry_run"]
    assert not (shell.folder / "elsewhere").exists()
    assert (shell.rows(), shell.files()) == (before, files)
    said = shell.json("backup", "restore", *_options(backed_up), "--into", "new", "--dry-run")
    assert said["dry_run"]
    assert not list(shell.folder.glob(".new*")) + list(shell.folder.glob("new*"))
    assert "dry run" in shell.run("backup", "restore", *_options(backed_up), "--into", "new", "--dry-run").out


def test_people_are_told_where_archives_belong(shell):
    """The advice goes to stderr; -q prints the paths alone."""
    result = shell.run("backup", "create", "--out", "one", *TO)
    assert "different places" in " ".join(result.err.split())
    quiet = shell.run("backup", "create", "--out", "two", *TO, "-q")
    assert [line.split("/")[-2] for line in quiet.out.split()] == ["vault", "keystore"]
    assert quiet.err == ""
