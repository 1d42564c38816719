"""One worker process, told and heard over its pipes."""

import json
import os
import signal
import subprocess
import sys

import pytest

from fabnet_secure.config import load
from fabnet_secure.crypto.keyfile import load_key_file
from fabnet_secure.errors import VaultLocked
from fabnet_secure.pipeline import worker
from fabnet_secure.pipeline.source import Outcome, Source
from fabnet_secure.synth.clip import write_clip
from fabnet_secure.types import utc_now

RUN = r"""
import re, sys
import fabnet_secure.pipeline.worker as worker
status = worker.main()
print("a library talks to standard output")
mib = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) >> 10  # ru_maxrss is the parent's, too
print(status, "torch" in sys.modules, mib, file=sys.stderr)
"""


@pytest.fixture
def hello(room):
    """What a worker is told first; a worker's clock is the real one."""
    room.clock.now = utc_now()
    return {
        "root": str(room.place.root),
        "key_file": str(room.place.key_file),
        "settings": load([]).settings.model_dump(mode="json"),
        "dry_run": False,
        "debug": False,
        "parent": os.getpid(),
        "unlocked": False,
    }


def _talk(*messages, script=RUN):
    text = "".join(json.dumps(one) + "\n" for one in messages)
    done = subprocess.run([sys.executable, "-c", script], input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr.splitlines()[-1].split()


def test_a_worker_ingests_and_tells(room, site, hello):
    """Ready, progress, one outcome a source, in JSON lines and nothing else; torch is not imported for it."""
    write_clip(room.folder / "ada.mp4", [1], frames=20, width=240, height=180)
    consent_id = room.consent(site)
    sources = [
        Source(path=room.folder / name, consent_ids=(consent_id,)) for name in ("ada.mp4", "gone.mp4", "ada.mp4")
    ]
    told, (status, torch, mib) = _talk(hello, *({"source": one.to_json()} for one in sources))
    assert (status, torch) == ("0", "False")
    assert int(mib) < 400, mib
    assert told[0] == {"ready": True}
    assert {next(iter(one)) for one in told} <= {"ready", "progress", "outcome"}
    outcomes = [Outcome.from_json(one["outcome"]) for one in told if "outcome" in one]
    assert [one.status for one in outcomes] == ["ingested", "refused", "skipped"]
    assert outcomes[0].bound == len(outcomes[0].track_ids) == 1
    assert outcomes[1].error.code == "SOURCE_MISSING"
    acts = [act for act in room.acts(site) if act.startswith("ingest.")]
    assert acts == ["ingest.started", "ingest.completed", "ingest.refused"]


def test_a_key_that_was_unlocked_comes_by_the_pipe(room, site, hello):
    """32 bytes after the first line: the worker opens the vault with them, and needs no key file; fewer are no key."""
    key = load_key_file(room.place.key_file).reveal()
    room.place.key_file.unlink()
    first = json.dumps(hello | {"unlocked": True}).encode() + b"\n"
    for given, said in ((key, {"ready": True}), (key[:31], "KEY_FORMAT"), (bytes(32), "KEY_WRONG")):
        done = subprocess.run([sys.executable, "-c", RUN], input=first + given, capture_output=True, check=True)
        (told,) = map(json.loads, done.stdout.splitlines())
        assert told == said or told["failed"]["code"] == said
        assert key.hex().encode() not in done.stdout + done.stderr


def test_a_dry_run_stores_nothing(room, site, hello):
    """The counts are told, and the vault is as it was."""
    write_clip(room.folder / "ada.mp4", [1], frames=20, width=240, height=180)
    consent_id = room.consent(site)
    before = room.acts(site)
    source = Source(path=room.folder / "ada.mp4", consent_ids=(consent_id,))
    told, _ = _talk(hello | {"dry_run": True}, {"source": source.to_json()})
    assert (told[-1]["outcome"]["status"], told[-1]["outcome"]["bound"]) == ("ingested", 1)
    assert room.acts(site) == before


def test_roles_are_those_in_force_when_a_video_begins(room, site, hello):
    """The vault is opened anew for each video."""
    script = RUN.replace(
        "status =",
        "real, count = worker.open_site, []\n"
        "worker.open_site = lambda *given: (count.append(1), print(len(count), file=sys.stderr), real(*given))[2]\n"
        "status =",
    )
    sources = [{"source": Source(path=room.folder / "gone.mp4", consent_ids=("c",)).to_json()}] * 2
    text = "".join(json.dumps(one) + "\n" for one in (hello, *sources))
    done = subprocess.run([sys.executable, "-c", script], input=text, capture_output=True, text=True, check=True)
    opened = [line for line in done.stderr.splitlines() if line.isdigit()]
    assert opened == ["1", "2", "3"]


def test_what_ends_a_worker(room, hello):
    """A closed pipe, or a parent that is not there any more: without a word, and with status 0."""
    assert _talk()[0] == []
    assert _talk(hello)[0] == [{"ready": True}]
    assert _talk(hello | {"parent": 1})[0] == []


def test_a_vault_that_does_not_open_is_nobody_s_fault(hello):
    """It is told as failed, with its kind and words."""
    told, (status, *_) = _talk(hello | {"root": "/nowhere"})
    assert status == "0"
    assert (told[0]["failed"]["kind"], told[0]["failed"]["code"]) == ("NoVault", "NO_VAULT")


def test_sigterm_unwinds(room, hello):
    """What is open is left in order: a worker ends by an exception, so that buffers are zeroed; Ctrl-C is ignored."""
    script = """
import os, signal, sys
import fabnet_secure.pipeline.worker as worker
def stuck(*given):
    os.kill(os.getpid(), signal.SIGINT)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    finally:
        print("unwound", file=sys.stderr)
worker.open_site = stuck
worker.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(hello) + "\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert "unwound" in done.stderr


def test_a_locked_vault_is_tried_again():
    """Twice; the third time it is told."""
    tries = []

    def act():
        tries.append(1)
        if len(tries) < 3:
            raise VaultLocked("somebody writes")
        return "done"

    assert worker._patiently(act) == "done"
    tries[:] = [1] * -3

    def never():
        tries.append(1)
        raise VaultLocked("somebody writes")

    with pytest.raises(VaultLocked):
        worker._patiently(never)
    assert len(tries) == 3
