"""``audit witness|prove|check|anchor`` and ``audit verify --witness``: what outsiders keep, and how a vault answers."""

import json
import os
import shutil

import pytest


@pytest.fixture
def shell_env(shell, tmp_path):
    """Keep the witness's default key out of the account's own configuration."""
    shell.env["XDG_CONFIG_HOME"] = str(shell.folder / "config")
    return shell


def said(shell, *arguments, status=0):
    result = shell.run(*arguments, "--json")
    assert result.status == status, (result.out, result.err)
    return result.last


def test_witness_prove_and_check_go_round(shell_env):
    """A witness cosigns, a proof is made under its checkpoint, and is checked without the vault."""
    shell, folder = shell_env, shell_env.folder
    first = said(shell, "audit", "witness", "--out", folder / "seen", "--key", folder / "w.key")
    assert (first["before"], first["written"]) == (None, [str(folder / "seen")])
    assert (folder / "w.key.pub").read_text("utf-8") == first["witness_vkey"] + "\n"
    again = said(shell, "audit", "witness", "--out", folder / "seen", "--key", folder / "w.key")
    assert (again["before"], again["witness_vkey"]) == (first["size"], first["witness_vkey"])
    held = said(shell, "audit", "verify", "--witness", folder / "seen", "--witness-key", folder / "w.key.pub")
    assert (held["ok"], held["witnessed"]) == (True, first["size"])
    proof = ("audit", "prove", "0", "--out", folder / "0.tlog-proof", "--entry-out", folder / "0.json")
    assert said(shell, *proof, "--witness", folder / "seen")["index"] == 0
    assert json.loads((folder / "0.json").read_text("utf-8"))["act"] == "vault.created"
    vkey = said(shell, "init")["log_vkey"]
    (folder / "site.vkey").write_text(f"{vkey}\n", "utf-8")
    check = ("audit", "check", folder / "0.tlog-proof", "--entry", folder / "0.json", "--vkey", folder / "site.vkey")
    gone = folder / "gone"
    shell.vault.rename(gone)
    done = said(shell, *check, "--witness-key", first["witness_vkey"])
    assert (done["ok"], done["index"], done["act"], len(done["cosigned"])) == (True, 0, "vault.created", 1)
    (folder / "0.json").write_bytes(b"{}")
    assert said(shell, *check, status=30)["code"] == "PROOF_BROKEN"


def test_an_export_is_witnessed_and_proven_without_a_vault(shell_env):
    """A second host needs the folder and the published key, nothing else."""
    shell, folder = shell_env, shell_env.folder
    vkey = said(shell, "init")["log_vkey"]
    size = said(shell, "audit", "export", folder / "log")["size"]
    shell.vault.rename(folder / "gone")
    (folder / "usb").mkdir()
    where = ("--export", folder / "log", "--vkey", vkey)
    dry = said(shell, "audit", "witness", "--out", folder / "usb", *where, "--dry-run")
    assert (dry["size"], dry["before"], list((folder / "usb").iterdir())) == (size, None, [])
    done = said(shell, "audit", "witness", "--out", folder / "usb", *where)
    assert done["written"] == [str(folder / "usb" / f"checkpoint-{size}"), str(folder / "usb" / "latest")]
    assert (folder / "config" / "fabnet-secure" / "witness.key").exists()
    assert said(shell, "audit", "prove", "3", "--out", folder / "3.proof", *where)["entry_out"] is None
    key = folder / "config" / "fabnet-secure" / "witness.key.pub"
    held = said(shell, "audit", "verify", *where, "--witness", folder / "usb", "--witness-key", key)
    assert held["witnessed"] == size


def test_a_log_that_does_not_continue_is_refused_and_the_memory_stays(shell_env):
    """Exit 30; not a byte of what the witness remembers changes."""
    shell, folder = shell_env, shell_env.folder
    vkey = said(shell, "init")["log_vkey"]
    said(shell, "audit", "export", folder / "old")
    said(shell, "audit", "export", folder / "new")
    at = ("--vkey", vkey, "--out", folder / "seen")
    said(shell, "audit", "witness", "--export", folder / "new", *at)
    before = (folder / "seen").read_bytes()
    assert said(shell, "audit", "witness", "--export", folder / "old", *at, status=30)["code"] == "ROLLED_BACK"
    assert (folder / "seen").read_bytes() == before
    stale = ("audit", "verify", "--export", folder / "old", "--vkey", vkey, "--witness", folder / "seen")
    assert said(shell, *stale, status=30)["code"] == "ROLLED_BACK"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("witness", "--out", "seen", "--vkey", "a+b+c"), "VKEY_UNUSED"),
        (("witness", "--out", "vault/seen"), "WITNESS_INSIDE"),
        (("prove", "999999", "--out", "p"), "LOG_RANGE"),
        (("prove", "0", "--out", "vault.key"), "OUT_EXISTS"),
        (("check", "none", "--entry", "vault.key", "--vkey", "a+b+c"), "PROOF_UNREADABLE"),
        (("check", "vault.key", "--entry", "none", "--vkey", "a+b+c"), "ENTRY_UNREADABLE"),
        (("check", "fabnet.toml", "--entry", "fabnet.toml", "--vkey", "none"), "VKEY_INVALID"),
        (("verify", "--witness-key", "a+b+c"), "WITNESS_UNNAMED"),
        (("anchor", "--confirm", "x"), "CONFIRM"),
        (("anchor", "--accept", "5:x", "--confirm", "x"), "HEAD_INVALID"),
    ],
)
def test_what_cannot_be_done_is_said(shell_env, arguments, code, monkeypatch):
    """Exit 2 and a code of its own; no file appears."""
    shell = shell_env
    monkeypatch.chdir(shell.folder)
    before = sorted(shell.folder.iterdir())
    assert said(shell, "audit", *arguments, status=2)["code"] == code
    assert [one for one in sorted(shell.folder.iterdir()) if one.name != "config"] == before


def test_the_anchor_is_shown_and_a_lost_one_is_accepted(shell_env):
    """Exit 0 and the head when all is well; exit 30 when it is gone; --accept with the id opens the vault again."""
    shell = shell_env
    anchor = shell.vault.with_name("vault.anchor")
    shown = said(shell, "audit", "anchor")
    assert (shown["ok"], shown["remembered"], shown["code"]) == (True, shown["size"], None)
    anchor.unlink()
    assert said(shell, "audit", "verify", status=30)["code"] == "ANCHOR_MISSING"
    shown = said(shell, "audit", "anchor", status=30)
    assert (shown["ok"], shown["remembered"], shown["code"]) == (False, None, "ANCHOR_MISSING")
    head = f"{shown['size']}:{shown['root']}"
    accept = ("audit", "anchor", "--accept", head)
    assert said(shell, *accept, status=2)["code"] == "CONFIRM"
    assert said(shell, *accept, "--confirm", shown["vault_id"], "--dry-run")["accepted"] is False
    assert not anchor.exists()
    assert said(shell, *accept, "--confirm", shown["vault_id"])["accepted"] is True
    assert said(shell, "audit", "verify")["ok"] is True


def test_doctor_looks_at_anchor_and_witness(shell_env):
    """Without a witness or with an old one a warning; with a new one ok; with one that is gone no vault opens."""
    shell, folder = shell_env, shell_env.folder

    def checks():
        return {one["name"]: one["status"] for one in shell.run("doctor", "--json").last["checks"]}

    found = checks()
    assert (found["anchor"], found["witness"]) == ("ok", "warn")
    said(shell, "audit", "witness", "--out", folder / "seen")
    settings = shell.vault / "fabnet.toml"
    settings.write_text(f'[audit]\nwitness = ["{folder / "seen"}"]\n', "utf-8")
    assert checks()["witness"] == "ok"
    shutil.copy(folder / "seen", folder / "old")
    os.utime(folder / "old", (0, 0))
    settings.write_text(f'[audit]\nwitness = ["{folder / "old"}"]\n', "utf-8")
    assert checks()["witness"] == "warn"
    settings.write_text(f'[audit]\nwitness = ["{folder / "old"}", "{folder / "seen"}"]\n', "utf-8")
    assert checks()["witness"] == "ok"
    (folder / "seen").unlink()
    assert checks()["vault"] == "fail"
    assert said(shell, "audit", "verify", status=30)["code"] == "WITNESS_MISSING"


def test_an_old_copy_of_the_vault_s_folder_is_refused(shell_env):
    """The folder put back as it was yesterday; the anchor beside it knows better."""
    shell = shell_env
    copy = shutil.copytree(shell.vault, shell.folder / "yesterday")
    said(shell, "audit", "export", shell.folder / "log")  # an act that is logged
    shutil.rmtree(shell.vault)
    copy.rename(shell.vault)
    assert said(shell, "audit", "verify", status=30)["code"] == "ROLLED_BACK"
    assert said(shell, "consent", "list", status=30)["code"] == "ROLLED_BACK"
