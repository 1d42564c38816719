"""A process killed at any point (SIGKILL: nothing is tidied up) leaves a vault that the same command brings to its end.

Each command is run in a process of its own that kills itself right before or after a named function of the program;
then the same command is run again and the vault compared with one in which nothing went wrong.
"""

import shutil
import signal
import subprocess

import pytest

DRIVER = """
import importlib, os, signal, sys

place, when, count, *arguments = sys.argv[1:]
module, _, path = place.partition(":")
owner = importlib.import_module(module)
*outer, name = path.split(".")
for one in outer:
    owner = getattr(owner, one)
real, calls = getattr(owner, name), 0

def doomed(*given, **named):
    global calls
    calls += 1
    if calls == int(count) and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = real(*given, **named)
    if calls == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

setattr(owner, name, doomed)
from fabnet_secure.commands.program import main
sys.exit(main(arguments))
"""
CREATE, INGEST, KEEP, WITHDRAW = (
    f"fabnet_secure.pipeline.{name}:" for name in ("create", "ingest", "keep", "withdraw")
)
FINISH = "fabnet_secure.store.database:Work.finish"
COMMIT = "fabnet_secure.store.database:allow_commit"


@pytest.fixture
def twin(home_in, tmp_path, trained_template):
    """A second copy of the trained site, with the same ids."""
    return home_in(shutil.copytree(trained_template, tmp_path / "twin"))


@pytest.fixture
def killed(home, python):
    """Return a function that runs the program in a process that kills itself before or after a function's n-th call."""

    def kill(place, when, *arguments, count=1):
        done = subprocess.run(
            [python, "-c", DRIVER, place, when, str(count), *arguments],
            cwd=home.folder,
            env=home.surroundings(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, (done.returncode, done.stdout, done.stderr)

    return kill


@pytest.mark.parametrize(
    ("place", "when", "count"),
    [
        ("fabnet_secure.crypto.provider:create_key", "after", 1),
        (CREATE + "migrate", "after", 1),
        (CREATE + "_first_keys", "after", 1),
        (FINISH, "after", 1),
        (CREATE + "_first_rows", "after", 1),
        (CREATE + "_write_card", "after", 1),
    ],
)
def test_an_init_that_was_killed_is_finished_by_another(place, when, count, home, killed, ok, tmp_path):
    """Whatever was there already, the vault that the second run makes is whole, and like any other."""
    killed(place, when, "init", count=count)
    ok("init")
    assert ok("audit", "verify")["size"] == 1
    whole = type(home)(tmp_path / "whole")
    whole.folder.mkdir()
    ok("init", "--vault", str(whole.vault), "--key-file", str(whole.key))
    for aside in home.vault.glob("set-aside-*"):  # what the cut-off run left is kept, out of the way
        shutil.rmtree(aside)
    assert home.state() == whole.state()
    assert home.key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("place", "when"),
    [
        (INGEST + "observe", "after"),
        (INGEST + "bind", "after"),
        (KEEP + "record_grant", "after"),
        (INGEST + "keep", "after"),
    ],
)
def test_an_ingest_that_was_killed_is_finished_by_another(place, when, ingested, home, clips, killed, ok):
    """Before the commit nothing of the video is there; after it, the second run finds it done."""
    before = home.state()
    command = ("ingest", str(clips / "dan.mp4"), "--consent", ingested.consents["ben"])
    killed(place, when, *command)
    ok("audit", "verify")
    committed = place.endswith(":keep")
    if not committed:
        openings = home.state()["log_opening"]
        assert home.state() == before | {"log_opening": openings}
    done = ok(*command)
    assert done["videos"]["skipped" if committed else "ingested"] == 1
    after = home.state()
    assert after["video"] == before["video"] + 1
    assert after["tracklet"] == before["tracklet"] + 1
    assert after["track"]["bound"] == before["track"]["bound"] + 1
    ok("audit", "verify")


@pytest.mark.parametrize(
    ("place", "when", "count"),
    [("fabnet_secure.fabnet.train:_step", "after", 2), ("fabnet_secure.fabnet.weights:save", "after", 1)],
)
def test_a_training_run_that_was_killed_leaves_its_reservation_spent(
    place, when, count, ingested, home, killed, ok, program
):
    """Noise that was drawn cannot be proven unused: ε stays reserved, the plan is used up, and no model is there."""
    killed(place, when, "train", "run", "--plan", ingested.plan, count=count)
    ok("audit", "verify")
    people = program("budget", "show").objects[:-1]
    assert [one["spent"] for one in people] == [0, 0, 0]
    assert all(7.5 < one["reserved"] <= 8 for one in people)
    assert program("model", "list").last["models"] == 0
    again = program("train", "run", "--plan", ingested.plan)
    assert (again.status, again.last["code"]) == (2, "PLAN_USED")
    dear = program("train", "plan", "--epsilon", "13", "--delta", "1e-2")  # 8 of 20 are gone
    assert (dear.status, dear.last["code"]) == (22, "BUDGET_EXCEEDED")
    assert home.rows("SELECT state FROM run") == [("running",)]


@pytest.mark.parametrize(
    ("place", "when", "count"),
    [
        (FINISH, "after", 1),  # the consent ended, not committed
        (WITHDRAW + "_announce", "after", 1),
        (FINISH, "after", 2),  # rows deleted, not committed
        (WITHDRAW + "keystore_work", "before", 1),
        (WITHDRAW + "checkpoint_wal", "before", 1),  # keys destroyed
        (WITHDRAW + "_certificate", "after", 1),
        (FINISH, "after", 3),  # the certificate, not committed
        (WITHDRAW + "_withdrawn", "before", 1),
    ],
)
def test_a_withdrawal_that_was_killed_is_finished_by_another(
    place, when, count, trained, home, twin, killed, ok, program
):
    """The second run says the same as one that was never cut off, and leaves the same vault."""
    ben = trained.consents["ben"]
    command = ("subject", "withdraw", ben, "--confirm", ben)
    with twin.entered():
        told = _comparable(ok(*command))
    killed(place, when, *command, count=count)
    ok("audit", "verify")
    if home.rows("SELECT count(*) FROM erasure") == [(1,)]:  # announced: nothing is done under the consent any more
        asked = program("query", "similar", "--track", trained.tracks["ben"][0], "--purpose", "query_internal")
        assert (asked.status, asked.last["code"]) == (20, "CONSENT_WITHDRAWN")
    assert _comparable(ok(*command)) == told
    assert home.state() == twin.state()
    ok("audit", "verify")
    assert ok(*command)["already"] is True


def _comparable(done):
    """Return what a withdrawal says, without ids, times and whether it was said before."""
    (erased,) = done["certificate"]["evidence"]["body"]["facts"]["erasures"]
    stores = {one["store"]: (one["before"], one["after"]) for one in erased["stores"]}
    names = ("outcome", "keys_destroyed", "embeddings_removed", "tracklets_removed", "models_affected")
    return {name: done[name] for name in names} | {"stores": stores}
