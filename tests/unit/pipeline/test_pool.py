"""The parent of worker processes, tried with scripted workers that do what their video's name says."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fabnet_secure.config import load
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.crypto.provider import Unlocked
from fabnet_secure.errors import FabnetError, StorageFailed
from fabnet_secure.pipeline.context import Place
from fabnet_secure.pipeline.pool import Overall, Pool, run_pool
from fabnet_secure.pipeline.source import Source
from fabnet_secure.progress import Silent

SCRIPT = """
import json, os, sys, time
hello = json.loads(sys.stdin.readline())
print(json.dumps({"ready": True}), flush=True)
for order in sys.stdin:
    source = json.loads(order)["source"]
    name = source["path"]
    print(json.dumps({"progress": ["detect", 5, 10]}), flush=True)
    if name.startswith("die"):
        os.kill(os.getpid(), 9)
    if name.startswith("crash"):
        sys.exit(1)
    if name.startswith("hang"):
        time.sleep(600)
    if name.startswith("babble"):
        print("Segmentation fault (core dumped)", flush=True)
    if name.startswith("full"):
        error = {"kind": "StorageFailed", "message": "the disk is full", "hint": "", "code": "STORAGE_FULL"}
        print(json.dumps({"failed": error}), flush=True)
        sys.exit(0)
    if name.startswith("slow"):
        time.sleep(0.4)
    told = {key: 0 for key in ("frames_read", "frames_persisted", "detected", "bound", "dropped", "quarantined")}
    told |= {"status": "ingested", "video_id": str(os.getpid()), "source": source}
    told |= {"disposition": json.dumps(sorted(hello))}
    told |= {"drop_reasons": {}, "track_ids": [], "error": None}
    print(json.dumps({"outcome": told}), flush=True)
"""
WORKER = (sys.executable, "-c", SCRIPT)
LOST = {"die": "WORKER_DIED", "crash": "WORKER_DIED", "babble": "WORKER_DIED", "hang": "WORKER_HUNG"}


def _sources(*names):
    return [Source(path=Path(name), consent_ids=("c",)) for name in names]


@pytest.fixture
def outcomes(site):
    """Run sources through scripted workers."""

    def run(*names, jobs=2, **options):
        options = {"progress": Silent(), "command": WORKER, "silence_s": 20.0} | options
        return list(run_pool(site, _sources(*names), jobs=jobs, **options))

    return run


def test_outcomes_come_in_the_order_of_the_sources(outcomes):
    """Whoever finishes first; and no more workers than jobs or videos."""
    done = outcomes("slow", "b", "c", "slow-d", "e")
    assert [one.source.label for one in done] == ["slow", "b", "c", "slow-d", "e"]
    assert len({one.video_id for one in done}) == 2
    assert len({one.video_id for one in outcomes("a", jobs=8)}) == 1


@pytest.mark.parametrize("fate", LOST)
def test_a_lost_worker_costs_one_video(outcomes, fate, room, site):
    """Killed, crashed, hanging or talking nonsense: that video is refused, and logged so; the others are done."""
    silence_s = 1.0 if fate == "hang" else 20.0
    done = outcomes("a", fate, "b", "c", jobs=1, silence_s=silence_s)
    assert [one.status for one in done] == ["ingested", "refused", "ingested", "ingested"]
    assert (done[1].error.code, bool(done[1].error.hint)) == (LOST[fate], True)
    assert done[0].video_id != done[2].video_id == done[3].video_id
    assert room.acts(site)[-1] == "ingest.refused"


def test_a_dry_run_logs_no_lost_video(outcomes, room, site):
    """Nothing is written at all."""
    before = room.acts(site)
    assert outcomes("die", dry_run=True)[0].error.code == "WORKER_DIED"
    assert room.acts(site) == before


def test_a_slow_video_is_not_a_hanging_one(outcomes):
    """An idle worker and one that tells of progress are left alone, whatever the others do."""
    done = outcomes("slow", *["slow"] * 4, "b", silence_s=1.2)
    assert {one.status for one in done} == {"ingested"}


def test_what_is_no_video_s_fault_ends_the_run(outcomes):
    """A full disk is raised as it was met."""
    with pytest.raises(StorageFailed) as error:
        outcomes("a", "full", "b")
    assert error.value.code == "STORAGE_FULL"


def test_workers_that_cannot_start_are_not_started_forever(outcomes):
    """Three in a row that die before they are ready end the run."""
    with pytest.raises(FabnetError) as error:
        outcomes("a", "b", command=(sys.executable, "-c", "raise SystemExit(1)"))
    assert error.value.code == "WORKER_NOT_STARTED"


def test_leaving_ends_every_worker(room):
    """One that hangs, too."""
    with Pool(
        room.place, load([]).settings, jobs=2, overall=Overall(Silent(), 2), command=WORKER, silence_s=60.0
    ) as pool:
        for source in _sources("hang", "slow"):
            pool.submit(source)
        while not (done := pool.poll(0.2)):
            pass
        pids = [child.process.pid for child in pool._children]
        assert pool.unfinished == 1
    assert [one.status for _, one in done] == ["ingested"]
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_what_crosses_the_pipe(outcomes, monkeypatch, site):
    """Places, settings and ids; the databases' URLs (they hold passwords) go by the environment, never on the line."""
    (done,) = outcomes("a")
    assert json.loads(done.disposition) == ["debug", "dry_run", "key_file", "parent", "root", "settings", "unlocked"]
    echo = (
        "import os, json, sys; hello = sys.stdin.readline(); "
        "url = os.environ.get('FABNET_DATABASE_URL', ''); "
        "error = {'kind': 'FabnetError', 'message': url, 'hint': hello, 'code': 'X'}; "
        "print(json.dumps({'failed': error}), flush=True)"
    )
    place = Place(root=Path("/r"), key_file=Path("/k"), database_url="postgresql://me:secret@h/d")
    with Pool(place, site.settings, jobs=1, overall=Overall(Silent(), 1), command=(sys.executable, "-c", echo)) as pool:
        pool.submit(_sources("a")[0])
        with pytest.raises(FabnetError) as told:
            [pool.poll(0.5) for _ in range(100)]
    assert told.value.message == "postgresql://me:secret@h/d"
    assert "secret" not in told.value.hint


def test_an_unlocked_key_crosses_by_the_pipe_alone(site):
    """A worker reads its 32 bytes after the first line; they are in neither its arguments nor its environment."""
    echo = (
        "import os, json, sys; hello = json.loads(sys.stdin.buffer.readline()); key = sys.stdin.buffer.read(32); "
        "elsewhere = repr(dict(os.environ)) + repr(open('/proc/self/cmdline', 'rb').read()) + repr(hello); "
        "leaks = [one for one in (repr(key), key.hex()) if one in elsewhere]; "
        "error = {'kind': 'FabnetError', 'message': key.hex(), 'hint': repr(leaks), 'code': str(hello['unlocked'])}; "
        "print(json.dumps({'failed': error}), flush=True)"
    )
    root = RootKey.generate()
    place = Place(root=Path("/r"), key_file=Path("/k"), unlocked=Unlocked(root))
    with Pool(place, site.settings, jobs=1, overall=Overall(Silent(), 1), command=(sys.executable, "-c", echo)) as pool:
        pool.submit(_sources("a")[0])
        with pytest.raises(FabnetError) as told:
            [pool.poll(0.5) for _ in range(100)]
    assert (told.value.message, told.value.hint, told.value.code) == (root.reveal().hex(), "[]", "True")


class _Heard(Silent):
    def __init__(self):
        self.news = []

    def advance(self, stage, done, total=None, **figures):
        self.news.append((stage, done, total, figures))


def test_progress_is_told_of_all_together():
    """Videos done of all, frames of all, and the part of those under way that is done."""
    heard = _Heard()
    overall = Overall(heard, 3)
    overall.news(0, 50, 100)
    overall.news(1, 20, 80)
    overall.finished(0)
    overall.news(2, 5, None)
    assert heard.news == [
        ("videos", 0, 3, {"frames": 50, "underway": 0.5}),
        ("videos", 0, 3, {"frames": 70, "underway": 0.75}),
        ("videos", 1, 3, {"frames": 70, "underway": 0.25}),
        ("videos", 1, 3, {"frames": 75, "underway": 0.25}),
    ]


def test_progress_of_one_after_the_other():
    """The same for a run in this process, which tells of frames and then of a video."""
    heard = _Heard()
    overall = Overall(heard, 2)
    overall.advance("detect", 10, 20)
    overall.advance("videos", 1, 2)
    overall.advance("detect", 4, 8)
    assert heard.news[-1] == ("videos", 1, 2, {"frames": 14, "underway": 0.5})


PARENT = """
import sys
from pathlib import Path
from fabnet_secure.config import load
from fabnet_secure.pipeline.context import Place
from fabnet_secure.pipeline.pool import Overall, Pool
from fabnet_secure.pipeline.source import Source
from fabnet_secure.progress import Silent

place = Place(root=Path(sys.argv[1]), key_file=Path(sys.argv[2]))
with Pool(place, load([]).settings, jobs=2, overall=Overall(Silent(), 2)) as pool:
    for name in ("a", "b"):
        pool.submit(Source(path=Path(name), consent_ids=("c",)))
    while sum(child.ready for child in pool._children) < 2 and not pool.poll(0.05):
        pass
    print(*[child.process.pid for child in pool._children], flush=True)
    sys.stdin.read()
"""


def _gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text("ascii").split()[2] == "Z"  # dead; whoever inherited it has yet to ask


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_parent(room, number):
    """However the parent ends."""
    command = [sys.executable, "-c", PARENT, str(room.place.root), str(room.place.key_file)]
    parent = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    with parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(number)
        parent.wait(20)
    deadline = time.monotonic() + 10
    while not all(map(_gone, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
