"""A watched inbox: every file is taken once, under the right consent, and ends where its outcome says, crash or not."""

import json
import shutil
import signal
import subprocess
import time

import pytest

from fabnet_secure.pipeline.quarantine import open_held

SETTLE = "inbox_settle_seconds = 0.2\n"


@pytest.fixture
def consent_id(home, ok, consent_of):
    """A vault whose inbox settles fast, and a consent."""
    home.settle(SETTLE)
    ok("init")
    return ok(*consent_of("ada@example.org"))["consent_id"]


@pytest.fixture
def inbox(home):
    folder = home.folder / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def drop(inbox, clips):
    """Put clips into the inbox, under other names if wanted."""

    def put(*names, **renamed):
        for target, name in ({f"{name}.mp4": name for name in names} | renamed).items():
            (inbox / target).parent.mkdir(exist_ok=True)
            shutil.copy(clips / f"{name}.mp4", inbox / target)

    return put


@pytest.fixture
def start(home, python):
    """Start a watcher in a process of its own."""
    started = []

    def run(*arguments):
        script = "import sys; from fabnet_secure.commands.program import main; sys.exit(main(sys.argv[1:]))"
        process = subprocess.Popen(
            [python, "-c", script, "ingest", "watch", "inbox", "--json", *arguments],
            cwd=home.folder,
            env=home.surroundings(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def _below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _wait(true, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _fates(said):
    return {one["video"]: one["status"] for one in said.objects[:-1]}


def test_every_file_goes_where_its_outcome_says(inbox, drop, consent_id, program, site):
    """Ingested and known ones into .done, refused ones into .refused; a quarantined one stays where the vault says."""
    drop("ada", "two", **{"copy.mp4": "ada"})
    (inbox / "letter.mp4").write_text("not a video")
    (inbox / "coming.mp4.part").write_text("half a video")
    said = program("ingest", "watch", "inbox", "--once", "--consent", consent_id)
    assert said.status == 3
    assert _fates(said) == {
        "ada.mp4": "ingested", "copy.mp4": "skipped", "letter.mp4": "refused", "two.mp4": "quarantined",
    }  # fmt: skip
    assert _below(inbox / ".done") == ["ada.mp4", "copy.mp4"]
    assert _below(inbox / ".refused") == ["letter.mp4"]
    (held,) = (inbox / ".taken").rglob("two.mp4")
    (video_id,) = (one["video_id"] for one in said.objects if one.get("status") == "quarantined")
    assert open_held(site, video_id).source.path == held
    assert (inbox / "coming.mp4.part").exists()
    again = program("ingest", "watch", "inbox", "--once", "--consent", consent_id)
    assert (again.status, len(again.objects)) == (0, 1)
    assert held.exists()


def test_a_quarantined_file_is_put_away_when_its_wait_is_over(inbox, drop, consent_id, program, ok):
    """Destroyed or past its deadline: into .refused, at the next start."""
    drop("two")
    said = program("ingest", "watch", "inbox", "--once", "--consent", consent_id)
    video_id = said.objects[0]["video_id"]
    ok("quarantine", "destroy", video_id, "--confirm", video_id)
    ok("ingest", "watch", "inbox", "--once", "--consent", consent_id)
    assert _below(inbox) == [".refused/two.mp4"]


def test_the_policy_deletes_what_was_ingested(home, inbox, drop, consent_id, program):
    """source_disposition = "delete": nothing of it is left; what was refused is kept for a person to look at."""
    home.settle(SETTLE + 'source_disposition = "delete"\n')
    drop("ada")
    (inbox / "letter.mp4").write_text("not a video")
    said = program("ingest", "watch", "inbox", "--once", "--consent", consent_id)
    assert _fates(said) == {"ada.mp4": "ingested", "letter.mp4": "refused"}
    assert _below(inbox) == [".refused/letter.mp4"]
    assert said.objects[0]["disposition"] == "deleted"


def test_whose_consent_a_file_has(home, inbox, drop, consent_id, program, ok, consent_of):
    """The manifest's word, else the sub-folder's name; without either a file waits; a withdrawn consent refuses."""
    ben, gone = (ok(*consent_of(f"{name}@example.org"))["consent_id"] for name in ("ben", "gone"))
    ok("subject", "withdraw", gone, "--confirm", gone)
    drop(**{f"{ben}/b.mp4": "ben", f"{gone}/c.mp4": "cleo", "d.mp4": "dan", "e.mp4": "eve"})
    (inbox / "manifest.csv").write_text(f"video,consent_id\nd.mp4,{consent_id}\n")
    said = program("ingest", "watch", "inbox", "--once")
    assert _fates(said) == {"b.mp4": "ingested", "c.mp4": "refused", "d.mp4": "ingested"}
    assert "e.mp4 waits" in said.err
    assert sorted(home.rows("SELECT consent_id FROM track WHERE status = 'bound'")) == sorted([(ben,), (consent_id,)])
    assert _below(inbox) == sorted(
        [f".done/{ben}/b.mp4", ".done/d.mp4", f".refused/{gone}/c.mp4", "e.mp4", "manifest.csv"]
    )


@pytest.mark.parametrize("when", ["claimed", "committed"])
def test_a_watcher_that_was_killed_is_followed_by_another(home, inbox, drop, consent_id, start, program, ok, when):
    """SIGKILL at any point: the next one takes its claims up, under their consents, and the vault is whole."""
    drop("ada", "ben", "cleo", "dan")
    watcher = start("--consent", consent_id, "--jobs", "2")
    if when == "claimed":
        _wait(lambda: list((inbox / ".taken").rglob("*.mp4")))
    else:
        _wait(lambda: home.rows("SELECT count(*) FROM video")[0][0] >= 2)
    watcher.kill()
    watcher.wait()
    ok("audit", "verify")
    kept = home.rows("SELECT count(*) FROM video")[0][0]
    said = program("ingest", "watch", "inbox", "--once", "--consent", consent_id)
    assert said.status == 0
    assert said.last["videos"]["ingested"] == 4 - kept
    assert _below(inbox) == [f".done/{name}.mp4" for name in ("ada", "ben", "cleo", "dan")]
    assert home.rows("SELECT count(*) FROM video") == [(4,)]
    assert list((inbox / ".taken").iterdir()) == []
    ok("audit", "verify")


def test_two_watchers_share_an_inbox(home, inbox, drop, consent_id, start):
    """Each file is taken by one of them, once; each is told by the one that took it."""
    names = ("ada", "ada-again", "ben", "cleo", "dan", "eve")
    watchers = [start("--consent", consent_id, "--for", "600") for _ in range(2)]
    drop(*names)
    _wait(lambda: len(_below(inbox / ".done")) == len(names))
    told = []
    for watcher in watchers:
        watcher.send_signal(signal.SIGTERM)
        out, err = watcher.communicate(timeout=30)
        assert watcher.returncode == 0, err
        objects = [json.loads(line) for line in out.splitlines()]
        assert objects[-1]["message_type"] == "summary"
        told += [one["video"] for one in objects[:-1]]
    assert sorted(told) == sorted(f"{name}.mp4" for name in names)
    assert home.rows("SELECT count(*) FROM video") == [(len(names),)]
    assert list((inbox / ".taken").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_watcher_with_a_summary(inbox, drop, consent_id, start, program, number):
    """Status 0 while a file is read; it is taken up by the next watcher, and that was no try."""
    drop("ada")
    watcher = start("--consent", consent_id)
    _wait(lambda: list((inbox / ".taken").rglob("*.mp4")))
    watcher.send_signal(number)
    out, err = watcher.communicate(timeout=30)
    assert watcher.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["message_type"] == "summary"
    if not out.count('"ingested"') > 1:  # it was faster than the signal
        (card,) = (inbox / ".taken").rglob("*.json")
        assert json.loads(card.read_text())["tries"] == 0
    program("ingest", "watch", "inbox", "--once", "--consent", consent_id)
    assert _below(inbox) == [".done/ada.mp4"]


def test_a_watcher_ends_when_its_time_is_over(inbox, drop, consent_id, program):
    """What it reads is finished first."""
    drop("ada")
    said = program("ingest", "watch", "inbox", "--for", "PT1S", "--consent", consent_id)
    assert said.status == 0
    assert _below(inbox) in ([".done/ada.mp4"], ["ada.mp4"])
    assert _fates(said) in ({"ada.mp4": "ingested"}, {})


def test_a_file_that_ends_its_watcher_again_and_again_is_given_up(inbox, drop, consent_id, start, program):
    """Three watchers that died over one file are enough."""
    drop("ada")
    watcher = start("--consent", consent_id)
    _wait(lambda: list((inbox / ".taken").rglob("*.mp4")))
    watcher.kill()
    watcher.wait()
    (card,) = (inbox / ".taken").rglob("*.json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"tries": 3}))
    said = program("ingest", "watch", "inbox", "--once", "--consent", consent_id)
    assert [one["code"] for one in said.objects[:-1]] == ["TRIED_TOO_OFTEN"]
    assert _below(inbox) == [".refused/ada.mp4"]
