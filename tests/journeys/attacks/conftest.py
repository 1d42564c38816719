"""Attacks on a whole vault by somebody who can write to its files and holds no key, or only a lesser one.

Each is refused by exit status 30 or by its own documented code, opens nothing and loses nothing: once what was done is
undone, the vault answers as before. ``test_tamper`` has the changes that one check is made for; in this folder are
those that may come from anywhere: any byte of any sealed value, rows that vanish, pages and files of another time or
another vault, keyrings and policies edited by hand, a clock, a second process, a database that goes away in mid-act.
"""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from fabnet_secure.config import load
from fabnet_secure.errors import FabnetError, IntegrityFailure, KeyProblem
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.pipeline.openable import check_openable
from fabnet_secure.pipeline.pack import pack
from fabnet_secure.store import keystore
from fabnet_secure.store.database import read_only


@pytest.fixture(scope="session")
def people(once) -> Path:
    """A folder with the SSH keys of alice and bob, who approve."""

    def make(folder: Path) -> None:
        for name in ("alice", "bob"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)

    return once("people", make)


@pytest.fixture(scope="session")
def approved(people, ok):
    """Return a function that asks for an act, lets alice and bob sign it, and returns the options the act takes."""

    def ask(folder: Path, act: str, **params: object) -> list[str]:
        asked = folder / f"{act}.json"
        typed = [word for name, value in params.items() for word in ("--param", f"{name}={value}")]
        ok("approval", "request", act, *typed, "--out", str(asked))
        options = []
        for name in ("alice", "bob"):
            signed = folder / f"{act}-{name}.approval"
            ok("approval", "sign", str(asked), "--key", str(people / name), "--out", str(signed))
            options += ["--approval", str(signed)]
        return options

    return ask


@pytest.fixture(scope="session")
def crowded_template(once, home_in, program, ok, consent_of, trained_template, clips, people, approved) -> Path:
    """The trained site with a row in every table; ``ids.json`` names ``video``, too.

    Dan withdrew, a film of two waits in quarantine, alice and bob approve, cleo's data is held and her cap raised, ana
    holds an analyst's keyring, and every page is packed but eve's.
    """

    def build(folder: Path) -> None:
        shutil.copytree(trained_template, folder, dirs_exist_ok=True)
        ids = json.loads((folder / "ids.json").read_text("utf-8"))
        home = home_in(folder)
        with home.entered():
            for name in ("alice", "bob"):
                ok("policy", "grant", name, "--role", "dpo", "--role", "operator", "--role", "analyst")
                ok("approval", "enrol", name, "--ssh-key", f"{people / name}.pub")
            with open_site(Place(root=home.vault, key_file=home.key), load().settings) as site:
                pack(site)
            for name in ("dan", "eve"):
                added = ok(*consent_of(f"{name}@example.org"))
                ids["consents"][name], ids["subjects"][name] = added["consent_id"], added["subject_id"]
                done = ok("ingest", str(clips / f"{name}.mp4"), "--consent", added["consent_id"])
                ids["tracks"][name] = done["track_ids"]
            ok("embed", "--model", ids["model"])
            ok("subject", "withdraw", ids["consents"]["dan"], "--confirm", ids["consents"]["dan"])
            both = (word for name in ("ada", "eve") for word in ("--consent", ids["consents"][name]))
            assert program("ingest", str(clips / "two.mp4"), *both).status == 3
            (ids["video"],) = [row["video_id"] for row in program("quarantine", "list").objects[:-1]]
            cleo = ids["consents"]["cleo"]
            ok("subject", "hold", cleo, "--ground", "legal_claim")
            paper = folder / "raise.txt"
            paper.write_text("signed: more, a made-up person\n", "utf-8")
            evidence = hashlib.sha256(paper.read_bytes()).hexdigest()
            signed = approved(folder, "budget_raise", consent=cleo, cap=25, evidence=evidence)
            raised = ("budget", "raise", cleo, "--cap", "25", "--evidence", paper.name, "--confirm", cleo)
            ok(*raised, *signed)
            ok("policy", "grant", "ana", "--role", "analyst")
            ok("keys", "grant", "ana", "--role", "analyst", "--key-file-out", "ana.key")
        (folder / "ids.json").write_text(json.dumps(ids), "utf-8")

    return once("crowded", build)


@pytest.fixture
def crowded(move_in, crowded_template) -> SimpleNamespace:
    """A copy of the site with a row in every table in ``home``; its ids, and ``video``, the one in quarantine."""
    return move_in(crowded_template)


@pytest.fixture(scope="session")
def asked():
    """Return the question that opens every embedding: ``asked(ids)``."""

    def question(ids, name="ada"):
        return ("query", "similar", "--track", ids.tracks[name][0], "--top", "40", "--purpose", "query_internal")

    return question


@pytest.fixture(scope="session")
def answer():
    """Return a function that tells the status and what was found, without what differs from time to time."""

    def found(program, command):
        said = program(*command)
        body = said.last if said.objects else {}
        return said.status, {key: body[key] for key in ("results", "consents", "tracks") if key in body}

    return found


@pytest.fixture(scope="session")
def opened_by_trial():
    """Return a function that opens every sealed row, as ``backup verify`` does; what refuses is the answer's code."""

    def trial(home):
        try:
            with open_site(Place(root=home.vault, key_file=home.key), load().settings) as site:
                check_openable(site)
                with read_only(site.keystore) as connection:
                    site.keyring.unwrap_many(keystore.list_keys(connection))
        except FabnetError as refusal:
            return refusal.exit_code if isinstance(refusal, IntegrityFailure | KeyProblem) else 1
        return 0

    return trial


@pytest.fixture(scope="session")
def settled():
    """Return a function that empties the write-ahead logs into the files, so that a file is all there is."""

    def settle(home):
        for name in ("vault.db", "keystore.db"):
            home.rows("PRAGMA wal_checkpoint(TRUNCATE)", file=name)

    return settle


@pytest.fixture(scope="session")
def kept(settled):
    """Return a function that copies the files of the site: vault, anchor and epoch file."""

    def keep(home, folder):
        settled(home)
        shutil.copytree(home.folder, folder, ignore=shutil.ignore_patterns("*-wal", "*-shm"))
        return folder

    return keep


@pytest.fixture(scope="session")
def put_back():
    """Return a function that brings the copied files back, as if nothing had been done since."""

    def bring(home, folder):
        shutil.rmtree(home.vault)
        shutil.copytree(folder / "vault", home.vault)
        for name in ("vault.anchor", "vault.epoch"):
            shutil.copy(folder / name, home.folder / name)

    return bring
