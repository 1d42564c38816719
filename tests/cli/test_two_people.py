"""Two people at the command line: asked for, signed with plain ssh-keygen or with us, used once, and every refusal."""

import io
import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fabnet_secure.pipeline import export_vectors

OWN = """@id("own-no-lists")
@title("Nobody lists tracks")
forbid (principal, action == Action::"track_list", resource);
"""


@pytest.fixture(scope="session")
def people(tmp_path_factory) -> dict[str, Path]:
    """The SSH keys of alice and bob."""
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("alice", "bob"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    return {name: folder / name for name in ("alice", "bob")}


@pytest.fixture
def desk(shell, people):
    """A vault in which alice and bob can approve."""
    for name, key in people.items():
        shell.json("policy", "grant", name, "--role", "analyst", "--role", "dpo", "--role", "operator")
        shell.json("approval", "enrol", name, "--ssh-key", f"{key}.pub")
    return shell


def approve(desk, people, act, **params) -> tuple[str, ...]:
    """Ask for an act and let both sign it; return the options that an act takes."""
    asked = desk.folder / f"{act}.json"
    asked.unlink(missing_ok=True)
    typed = [word for name, value in params.items() for word in ("--param", f"{name}={value}")]
    desk.json("approval", "request", act, *typed, "--out", asked)
    options = []
    for name, key in people.items():
        signed = desk.folder / f"{act}-{name}.approval"
        signed.unlink(missing_ok=True)
        desk.json("approval", "sign", asked, "--key", key, "--out", signed)
        options += ["--approval", signed]
    return tuple(map(str, options))


def test_a_track_is_exported_by_two_people(desk, people):
    """The file holds the vectors and frames, loads without pickle, is its owner's alone; a second time is refused."""
    track, out = desk.named["tracks"][0], desk.folder / "v.npz"
    options = ("query", "export", "--track", track, "--out", str(out), "--confirm", track)
    signed = approve(desk, people, "vector_export", track=track, purpose="query_internal")
    done = desk.json(*options, *signed)
    assert out.stat().st_mode & 0o777 == 0o600
    with np.load(io.BytesIO(out.read_bytes()), allow_pickle=False) as held:
        assert held["vectors"].shape == (done["vectors"], done["dim"]) == (len(held["frames"]), 16)
        assert held["vectors"].dtype == np.float16
        assert held["vectors"].any()
        assert held["model"].item().decode() == desk.named["model"]
    desk.refused(*options, *signed, status=21, code="APPROVAL_USED", logs=("approval.refused",))
    out.unlink()
    desk.refused(*options, *signed, status=21, code="APPROVAL_USED", logs=("approval.refused",))


def test_an_export_that_may_not_be_leaves_nothing(desk, people):
    """No approval, another purpose, a file in the way, no such folder: nothing is written, the approval is kept."""
    track, out = desk.named["tracks"][0], desk.folder / "v.npz"
    plain = ("query", "export", "--track", track, "--confirm", track)
    desk.refused(*plain, "--out", str(out), status=21, code="APPROVALS_NEEDED", logs=("approval.refused",))
    signed = approve(desk, people, "vector_export", track=track, purpose="query_internal")
    other = ("--purpose", "share_third_party")
    desk.refused(
        *plain, "--out", str(out), *other, *signed, status=20, code="PURPOSE_NOT_COVERED", logs=("access.denied",)
    )
    taken = desk.folder / "taken.npz"
    taken.write_text("mine")
    desk.refused(*plain, "--out", str(taken), *signed, status=2, code="FILE_EXISTS")
    desk.refused(*plain, "--out", str(desk.folder / "none" / "v.npz"), *signed, status=2, code="OUT_UNUSABLE")
    desk.refused("query", "export", "--track", track, "--out", str(out), *signed, status=2, code="NOT_CONFIRMED")
    assert not out.exists()
    assert taken.read_text() == "mine"
    assert desk.json(*plain, "--out", str(out), *signed)["vectors"]


def test_an_export_of_a_withdrawn_person_is_refused(desk, people):
    """Two people cannot give what the person took back."""
    track, consent = desk.named["tracks"][0], desk.named["consents"][0]
    signed = approve(desk, people, "vector_export", track=track, purpose="query_internal")
    desk.json("subject", "withdraw", consent, "--confirm", consent)
    said = desk.run("query", "export", "--track", track, "--out", "v.npz", "--confirm", track, *signed, "--json")
    assert (said.status, said.last["code"]) == (20, "CONSENT_WITHDRAWN")
    assert not (desk.folder / "v.npz").exists()


def test_a_killed_export_leaves_no_file_and_no_part_of_one(desk, people, monkeypatch):
    """Kill -9 after the commit: the log says it, no file has a name, and nothing of the vectors lies in the folder."""
    track = desk.named["tracks"][0]
    signed = approve(desk, people, "vector_export", track=track, purpose="query_internal")
    before = set(desk.folder.iterdir())
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(export_vectors, "_name", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        desk.run("query", "export", "--track", track, "--out", "v.npz", "--confirm", track, *signed)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert set(desk.folder.iterdir()) == before
    assert "vectors.exported" in desk.acts()


def test_plain_ssh_keygen_signs_as_well(desk, people):
    """What 'approval show' says to type is all that another machine needs."""
    track = desk.named["tracks"][0]
    asked = desk.folder / "request.json"
    params = ("--param", f"track={track}", "--param", "purpose=query_internal")
    said = desk.run("approval", "request", "vector_export", *params, "--out", str(asked))
    assert said.status == 0
    assert "ssh-keygen -Y sign" in said.out
    options = []
    for name, key in people.items():
        command = ["ssh-keygen", "-Y", "sign", "-q", "-f", key, "-n", "fabnet-secure-approval"]
        made = subprocess.run(command, input=asked.read_bytes(), capture_output=True, check=True).stdout
        approval = desk.folder / f"{name}.approval"
        approval.write_bytes(asked.read_bytes() + made)
        options += ["--approval", str(approval)]
    done = desk.json("query", "export", "--track", track, "--out", "v.npz", "--confirm", track, *options)
    assert done["vectors"]


def test_what_would_be_approved_is_said_in_words(desk, people):
    """Show and sign tell the act in a sentence, with every value, before anybody signs."""
    consent = desk.named["consents"][0]
    approve(desk, people, "budget_raise", consent=consent, cap=12, evidence="ab" * 32)
    said = desk.run("approval", "show", str(desk.folder / "budget_raise.json"))
    assert said.status == 0
    for word in (consent, "12", "ab" * 32, "raise the ε"):
        assert word in said.out
    told = desk.json("approval", "show", str(desk.folder / "budget_raise-alice.approval"))
    assert told["fingerprint"].startswith("SHA256:")
    assert told["params"]["cap"] == 12
    assert json.loads((desk.folder / "budget_raise.json").read_bytes())["act"] == "budget_raise"


def test_a_hold_at_the_command_line(desk, people):
    """Placed, shown, a withdrawal waits for it (exit 3), doctor says so, two people end it and the data goes."""
    consent = desk.named["consents"][0]
    held = desk.json("subject", "hold", consent, "--ground", "legal_claim")
    assert desk.json("consent", "show", consent)["legal_hold"]["ground"] == "legal_claim"
    ended = desk.run("subject", "withdraw", consent, "--confirm", consent, "--json")
    assert (ended.status, ended.last["outcome"]) == (3, "partial")
    found = {one["name"]: one for one in desk.run("doctor", "--json").last["checks"]}
    assert (found["erasures"]["status"], found["two people"]["status"]) == ("warn", "ok")
    report = desk.run("report", "erasure", "--format", "html", "--lang", "ja", "--out", "e.html")
    assert report.status == 0
    assert "法的保全" in (desk.folder / "e.html").read_text("utf-8")
    signed = approve(desk, people, "hold_release", consent=consent, hold=held["hold_id"])
    done = desk.json("subject", "release-hold", consent, "--confirm", consent, *signed)
    assert done["erasure"] == "complete"
    assert desk.run("subject", "holds", "--json").last["in_force"] == 0


def test_a_cap_is_raised_at_the_command_line(desk, people):
    """The budget's table shows the new cap."""
    from fabnet_secure.crypto.digest import sha256_file

    consent = desk.named["consents"][0]
    paper = desk.folder / "raise.txt"
    paper.write_text("SYNTHETIC: I agree\n")
    signed = approve(desk, people, "budget_raise", consent=consent, cap=14, evidence=sha256_file(paper))
    options = ("budget", "raise", consent, "--cap", "14", "--evidence", str(paper))
    assert desk.json(*options, "--dry-run")["before"] == 10
    done = desk.json(*options, "--confirm", consent, *signed)
    assert (done["before"], done["cap"]) == (10, 14)
    assert 14 in {one["cap"] for one in desk.run("budget", "show", "--json").last["persons"]}


def test_policies_are_adopted_at_the_command_line(desk, people):
    """Said, approved, in force at the next command; --none goes back."""
    own = desk.folder / "own"
    own.mkdir()
    (own / "own.cedar").write_text(OWN)
    digest = desk.json("policy", "adopt", str(own), "--dry-run")["policies"]
    signed = approve(desk, people, "policy_change", policies=digest)
    desk.json("policy", "adopt", str(own), "--confirm", digest, *signed)
    said = desk.run("track", "list", "--json")
    assert (said.status, said.last["policy_id"]) == (21, "own-no-lists")
    signed = approve(desk, people, "policy_change", policies="none")
    desk.json("policy", "adopt", "--none", "--confirm", "none", *signed)
    assert desk.run("track", "list", "--json").status == 0


def test_a_rehearsed_request_is_none(desk, people):
    """Nothing is logged or written by a dry run."""
    params = ("--param", "policies=none", "--out", "request.json")
    before = desk.acts()
    assert desk.json("approval", "request", "policy_change", *params, "--dry-run")["file"] is None
    assert desk.acts() == before
    assert not (desk.folder / "request.json").exists()


def test_keys_of_people_at_the_command_line(desk, people):
    """Listed with their fingerprints; removed; a file that is no key, and a taken name for an output, are refused."""
    listed = desk.run("approval", "keys", "--json")
    assert listed.last["in_use"] == 2
    assert {one["account"] for one in listed.objects[:-1]} == {"alice", "bob"}
    desk.refused("approval", "enrol", "alice", "--ssh-key", "notice.txt", status=2, code="SSH_KEY_INVALID")
    params = ("--param", "policies=none", "--out", "notice.txt")
    desk.refused("approval", "request", "policy_change", *params, status=2, code="FILE_EXISTS")
    desk.json("approval", "remove", "alice")
    after = desk.run("approval", "keys", "--json")
    assert after.last["in_use"] == 1, after
