"""Key files under a passphrase or a token, and their recovery, as they are typed."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fabnet_secure.crypto import passphrase

WORDS = "correct horse battery"
MODULES = (Path("/usr/lib/softhsm/libsofthsm2.so"), *Path("/usr/lib").glob("*-linux-gnu/softhsm/libsofthsm2.so"))
MODULE = next((one for one in MODULES if one.exists()), None)


@pytest.fixture(autouse=True)
def _cheap(monkeypatch):
    """The least work that a file may ask for: what it costs in truth is tested in tests/unit/crypto."""
    monkeypatch.setitem(passphrase._COST, "memory_kib", 64 * 1024)


def keep(shell, words=WORDS, name="words"):
    """Write a private passphrase file beside the vault; return its path."""
    path = shell.folder / name
    path.touch(mode=0o600)
    path.write_text(words + "\n", "utf-8")
    return str(path)


@pytest.fixture
def locked(shell):
    """The vault of ``shell``, its key file under a passphrase."""
    done = shell.run("--passphrase-file", keep(shell), "keys", "protect", str(shell.key), "--protect", "passphrase")
    assert done.status == 0, done.err
    return shell


# --- a passphrase


def test_without_a_passphrase_nothing_happens(locked):
    """A machine without terminal and file: status 12 and how to go on, for every kind of act; nothing changes."""
    papers = ("--notice", "notice.txt", "--evidence", "evidence.txt")
    for command in (
        ("consent", "list"),
        ("consent", "add", "--subject-ref", "late", "--purpose", "embed", "--valid-for", "P1Y", *papers),
        ("ingest", locked.clip("spare"), "--consent", locked.named["consents"][0]),
        ("keys", "split", "--confirm", "x"),
        ("init",),
    ):
        said = locked.refused(*command, status=12, code="NO_PASSPHRASE")
        assert "--passphrase-file" in said["hint"]


def test_a_process_without_a_terminal(locked):
    """The real program, started as one, asks nobody, whatever stands on its standard input."""
    result = locked.process("consent", "list", stdin=subprocess.DEVNULL, start_new_session=True)
    assert (result.status, result.out) == (12, "")
    assert result.err.splitlines()[-1] == "[NO_PASSPHRASE]"


def test_a_wrong_passphrase(locked):
    """Status 12, its own code, nothing changed, no byte of it shown."""
    wrong = keep(locked, "hunter2 hunter2 hunter2", "wrong")
    said = locked.refused("--passphrase-file", wrong, "consent", "list", status=12, code="PASSPHRASE_WRONG")
    assert "hunter2" not in json.dumps(said)
    assert locked.run("--passphrase-file", keep(locked), "consent", "list").status == 0


def test_the_file_may_be_named_by_a_variable(locked):
    """FABNET_PASSPHRASE_FILE names a path; a file that others could read is refused."""
    words = keep(locked)
    assert locked.run("consent", "list", FABNET_PASSPHRASE_FILE=words).status == 0
    Path(words).chmod(0o644)
    result = locked.run("consent", "list", "--json", FABNET_PASSPHRASE_FILE=words)
    assert (result.status, result.last["code"]) == (12, "PASSPHRASE_MODE")


def test_a_passphrase_is_no_flag(locked):
    """What is given as a path is only ever a path."""
    result = locked.run("--passphrase-file", WORDS, "consent", "list", "--json")
    assert (result.status, result.last["code"]) == (12, "PASSPHRASE_MISSING")


def test_standard_input_gives_the_passphrase(locked):
    """``-`` reads the first line of standard input, in a process of its own."""
    with locked.start(
        "--passphrase-file", "-", "consent", "list", "--json", stdin=subprocess.PIPE, start_new_session=True
    ) as running:
        out, err = running.communicate(WORDS + "\n", timeout=60)
    assert running.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["message_type"] == "summary"


def test_two_workers_share_what_was_unlocked(locked):
    """``ingest --jobs 2``: the parent reads the passphrase once, from a pipe; the workers open the vault without it."""
    shutil.copy(locked.clip("two-people"), locked.folder / "other.avi")
    command = ("ingest", locked.clip("spare"), "other.avi", "--consent", locked.named["consents"][0], "--jobs", "2")
    start = ("--passphrase-file", "-", *command, "--json")
    with locked.start(*start, stdin=subprocess.PIPE, start_new_session=True) as running:
        out, err = running.communicate(WORDS + "\n", timeout=120)
    videos = json.loads(out.splitlines()[-1])["videos"]
    assert running.returncode in {0, 3}, err
    assert (videos["refused"], videos["ingested"] + videos["quarantined"]) == (0, 2), err


def test_a_new_vault_under_a_passphrase(bare):
    """``init --protect passphrase``: the vault opens with it and says so; a second run asks for it again."""
    named = ("--passphrase-file", keep(bare))
    assert bare.json(*named, "init", "--protect", "passphrase")["created"] is True
    assert bare.key.read_bytes().startswith(b"FABNET-SECURE-KEY-ARGON2ID-1\n")
    assert bare.json(*named, "init")["created"] is False
    assert bare.json(*named, "audit", "verify")["ok"] is True
    assert bare.run("audit", "verify").status == 12


def test_init_without_a_passphrase_makes_nothing(bare):
    """No terminal and no file, or too short a passphrase: status 12, no vault and no key file."""
    result = bare.run("init", "--protect", "passphrase", "--json")
    assert (result.status, result.last["code"]) == (12, "NO_PASSPHRASE")
    result = bare.run("--passphrase-file", keep(bare, "short"), "init", "--protect", "passphrase", "--json")
    assert (result.status, result.last["code"]) == (12, "PASSPHRASE_SHORT")
    assert not bare.vault.exists()
    assert not bare.key.exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--protect", "magic"),
        ("--protect", "pkcs11"),
        ("--protect", "pkcs11", "--pkcs11-token", "t"),
        ("--protect", "passphrase", "--pkcs11-token", "t"),
    ],
    ids=" ".join,
)
def test_a_protection_that_is_none(bare, options):
    """An unknown one, or options that do not fit: status 2, nothing made."""
    result = bare.run("init", *options, "--json")
    assert (result.status, result.last["code"]) == (2, "PROTECTION_INVALID")
    assert not bare.key.exists()


def test_init_does_not_change_a_key_that_is_there(shell):
    """A plain key file is not left plain under ``--protect passphrase``: it says how to change it."""
    said = shell.refused("init", "--protect", "passphrase", status=2, code="PROTECTION_INVALID")
    assert "keys protect" in said["hint"]


# --- keys new, public, protect


def test_a_key_of_ones_own(bare):
    """``keys new`` prints the public key that ``keys public`` prints; a rehearsal makes nothing."""
    mine = str(bare.folder / "mine.key")
    assert bare.json("keys", "new", mine, "--dry-run")["public_key"] is None
    assert not Path(mine).exists()
    made = bare.json("keys", "new", mine)
    assert len(bytes.fromhex(made["public_key"])) == 32
    assert (made["message_type"], made["protect"]) == ("key_file", "file")
    assert bare.json("keys", "public", mine)["public_key"] == made["public_key"]
    assert bare.run("keys", "public", mine, "-q").out.strip() == made["public_key"]
    assert Path(mine).stat().st_mode & 0o777 == 0o600
    result = bare.run("keys", "new", mine, "--json")
    assert (result.status, result.last["code"]) == (12, "KEY_EXISTS")


def test_a_passphrase_is_changed(bare):
    """Old and new from files of their own; the key stays, the old passphrase does not."""
    mine, old, new = str(bare.folder / "mine.key"), keep(bare), keep(bare, "six other words in a row", "new")
    made = bare.json("--passphrase-file", old, "keys", "new", mine, "--protect", "passphrase")
    change = ("keys", "protect", mine, "--protect", "passphrase", "--new-passphrase-file", new)
    before = Path(mine).read_bytes()
    assert bare.json("--passphrase-file", old, *change, "--dry-run")["dry_run"] is True
    assert Path(mine).read_bytes() == before
    done = bare.run("--passphrase-file", old, *change)
    assert done.status == 0, done.err
    assert "backups keep older copies" in done.err
    assert bare.json("--passphrase-file", new, "keys", "public", mine)["public_key"] == made["public_key"]
    result = bare.run("--passphrase-file", old, "keys", "public", mine, "--json")
    assert (result.status, result.last["code"]) == (12, "PASSPHRASE_WRONG")
    assert bare.run("keys", "protect", mine, "--json").status == 2
    both = ("--passphrase-file", "-", "keys", "protect", mine, "--protect", "passphrase", "--new-passphrase-file", "-")
    with bare.start(*both, stdin=subprocess.PIPE, start_new_session=True) as running:
        _, err = running.communicate("six other words in a row\n" + WORDS + "\n", timeout=60)
    assert running.returncode == 0, err
    assert bare.json("--passphrase-file", old, "keys", "public", mine)["public_key"] == made["public_key"]


# --- shares


def test_shares_open_the_vault_again(shell):
    """Any two of three make the key file again, after a proof; the words are printed once, and only when confirmed."""
    said = shell.refused("keys", "split", status=2, code="NOT_CONFIRMED")
    vault_id = said["hint"].split()[-1]
    assert shell.json("keys", "split", "--dry-run")["made"] == 0
    result = shell.run("keys", "split", "--shares", "3", "--threshold", "2", "--confirm", vault_id, "--json")
    *shares, summary = result.objects
    assert [one["number"] for one in shares] == [1, 2, 3]
    assert (summary["shares"], summary["threshold"]) == (3, 2)
    assert shell.acts()[-2] == "keys.split"
    for number, share in enumerate(shares):
        (shell.folder / f"share-{number}").write_text(share["words"] + "\n", "utf-8")
    shell.key.unlink()
    one, three = (str(shell.folder / f"share-{number}") for number in (0, 2))
    alone = shell.run("keys", "combine", str(shell.key), "--from", one, "--json")
    assert (alone.status, alone.last["code"]) == (12, "SHARES_TOO_FEW")
    assert not shell.key.exists()
    done = shell.json("keys", "combine", str(shell.key), "--from", one, "--from", three)
    assert (done["vault_id"], done["protect"]) == (vault_id, "file")
    assert not any(share["words"].split()[5] in json.dumps(done) for share in shares)
    assert shell.json("audit", "verify")["ok"] is True


def test_what_split_prints_is_what_combine_reads(shell):
    """The words for people, with their comments, go through a pipe into a new file under a passphrase."""
    vault_id = shell.json("keys", "split", "--dry-run")["vault_id"]
    printed = shell.run("keys", "split", "--confirm", vault_id)
    assert printed.status == 0, printed.err
    assert "Nothing of this is stored" in printed.err
    made = str(shell.folder / "again.key")
    command = ("--passphrase-file", keep(shell), "keys", "combine", made, "--protect", "passphrase")
    with shell.start(*command, stdin=subprocess.PIPE) as running:
        out, err = running.communicate(printed.out, timeout=60)
    assert running.returncode == 0, err
    assert vault_id in out
    assert shell.run("--passphrase-file", keep(shell), "consent", "list", "--key-file", made).status == 0


def test_shares_that_cannot_be_read(shell):
    """A missing file, an empty one, and prose: status 2 and 12, and no key file."""
    made = str(shell.folder / "again.key")
    (shell.folder / "empty").touch()
    (shell.folder / "prose").write_bytes(b"dear \xff\xfe diary\n")
    for name, status, code in (
        ("gone", 2, "FILE_UNREADABLE"),
        ("empty", 12, "SHARE_INVALID"),
        ("prose", 12, "SHARE_INVALID"),
    ):
        shell.refused("keys", "combine", made, "--from", str(shell.folder / name), status=status, code=code)
    assert not Path(made).exists()


# --- a token


@pytest.mark.skipif(
    MODULE is None or shutil.which("softhsm2-util") is None,
    reason="SoftHSM2 IS NOT INSTALLED: PKCS#11 key files are not tested (apt-get install softhsm2)",
)
def test_a_vault_under_a_token(bare):
    """``init --protect pkcs11``, then work with the PIN from a file, in processes of their own; workers too."""
    (bare.folder / "tokens").mkdir()
    config = bare.folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {bare.folder}/tokens\n", "utf-8")
    bare.env |= {"SOFTHSM2_CONF": str(config), "FABNET_PASSPHRASE_FILE": keep(bare, "8417")}
    make = ("--init-token", "--free", "--label", "vault", "--pin", "8417", "--so-pin", "so-pin")
    subprocess.run(["softhsm2-util", *make], check=True, capture_output=True, env=os.environ | bare.env)
    named = ("--protect", "pkcs11", "--pkcs11-module", str(MODULE), "--pkcs11-token", "vault")
    made = bare.process("init", *named)
    assert made.status == 0, made.err
    assert bare.key.read_bytes().startswith(b"FABNET-SECURE-KEY-PKCS11-1\n")
    done = bare.process("audit", "verify", "--json")
    assert done.last["ok"] is True
    for env, code in (
        ({"FABNET_PASSPHRASE_FILE": keep(bare, "0000", "wrong")}, "PIN_WRONG"),
        ({"FABNET_PASSPHRASE_FILE": ""}, "NO_PASSPHRASE"),
        ({"FABNET_PKCS11_MODULE": "/nowhere.so"}, "PKCS11_MODULE"),
        ({"SOFTHSM2_CONF": str(_empty(bare))}, "PKCS11_TOKEN"),
    ):
        result = bare.process("audit", "verify", "--json", env=env, stdin=subprocess.DEVNULL, start_new_session=True)
        assert (result.status, result.last["code"]) == (12, code), result.err


def _empty(shell):
    """Return the settings of a SoftHSM without tokens."""
    (shell.folder / "none").mkdir()
    path = shell.folder / "none.conf"
    path.write_text(f"directories.tokendir = {shell.folder}/none\n", "utf-8")
    return path
