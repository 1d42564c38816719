"""The whole ingest is fed damaged videos: each is ingested, skipped, quarantined or refused in words; the vault holds.

One child process with limits on memory, processor and time ingests every case into one real vault. After each case this
process opens the vault beside it and checks every row against the log; nothing may be left in any folder. A case
follows from a format's name and a number alone.
"""

import importlib.util
import json
import os
import queue
import subprocess
import sys
import threading
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fabnet_secure.pipeline.source import BoxClaim, Outcome, Source

REPOSITORY = Path(__file__).resolve().parents[3]
CASES = 44
SLOW_CASES = 480
MEMORY = 3 * 1024**3
CPU_SECONDS = 600
WAIT_SECONDS = 30
CHILD = """
import json, resource, sys, traceback
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]),) * 2)
from pathlib import Path
from fabnet_secure.config import load
from fabnet_secure.pipeline import ingest
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.pipeline.ingest import ingest
from fabnet_secure.pipeline.source import Source
from fabnet_secure.progress import Silent
with open_site(Place(root=Path(sys.argv[3]), key_file=Path(sys.argv[4])), load([]).settings) as site:
    for line in sys.stdin:
        try:
            (outcome,) = ingest(site, [Source.from_json(json.loads(line))], progress=Silent())
            told = outcome.to_json()
        except BaseException:
            told = {"unforeseen": traceback.format_exc()[-1500:]}
        print(json.dumps(told), flush=True)
"""


def _damage():
    """Load the damages of the reader's own fuzz test."""
    spec = importlib.util.spec_from_file_location("reader_damage", Path(__file__).parents[1] / "test_fuzz.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Child:
    """A process that ingests one source after another into one vault."""

    def __init__(self, vault):
        self.complaints = vault.folder / "stderr.txt"
        here = vault.outside
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(MEMORY), str(CPU_SECONDS), vault.place.root, vault.place.key_file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints.open("a"),
            text=True,
            cwd=here / "here",
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(REPOSITORY),
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOME": str(here / "account"),
                "XDG_CACHE_HOME": str(here / "cache"),
                "TMPDIR": str(here / "tmp"),
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
            },
        )
        self._lines = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def ingest(self, source):
        """Return the outcome, or a text that says how the child failed."""
        try:
            self._process.stdin.write(json.dumps(source.to_json()) + "\n")
            self._process.stdin.flush()
            told = json.loads(self._lines.get(timeout=WAIT_SECONDS))
        except queue.Empty:
            return "HANG"
        except (ValueError, BrokenPipeError):
            self.close()
            return f"DIED({self._process.returncode}): {self.complaints.read_text('utf-8', 'replace')[-600:]}"
        return told.get("unforeseen") or Outcome.from_json(told)

    def close(self):
        """End the process."""
        self._process.kill()
        self._process.wait(10)

    def _listen(self):
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")  # not JSON: it is over


def cases(vault, films, count):
    """Yield (file name, its bytes, source): in turn under one consent, several, a box's, a withdrawn one's."""
    damages, names, of = _damage(), sorted(films), vault.consents
    for turn in range(count):
        name = names[turn % len(names)]
        rng = np.random.default_rng([zlib.crc32(name.encode()), turn])
        data = bytearray(films[name])
        if turn % 3 == 0:
            data = damages.damaged(data, name, turn)
        else:  # a scratch in the pictures: most of these are ingested
            for place in rng.integers(len(data) // 3, len(data), rng.integers(1, 5)):
                data[place] = rng.integers(256)
        path = vault.film(f"{turn}-{name}")
        person = "ben" if name.startswith("1") else "ada"
        plain = Source(path=path, consent_ids=(of[person],))
        box = BoxClaim(consent_id=of[person], frame=int(rng.integers(12)), box=(70.0, 40.0, 60.0, 80.0))
        kinds = (
            plain,
            plain,
            Source(path=path, consent_ids=(of["ada"], of["ben"])),
            Source(path=path, consent_ids=(), boxes=(box,)),
            plain,
            Source(path=path, consent_ids=(of["cleo"],) if turn % 2 else (of["cleo"], of[person])),
        )
        yield path, bytes(data), kinds[int(rng.integers(len(kinds)))]


def fuzz(vault, films, count):
    """Ingest every case; check the vault after each; return how often each end was met."""
    ends, child, broken = Counter(), Child(vault), {}
    with vault.open() as site:
        before = vault.books(site)
        for turn, (path, data, source) in enumerate(cases(vault, films, count)):
            path.write_bytes(data)
            for _ in range(1 + (turn % 7 == 0)):  # now and then twice: the second time tells the same, or skips
                outcome = child.ingest(source)
                if isinstance(outcome, str):
                    broken[path.name] = outcome
                    child.close()
                    child = Child(vault)
                    before = vault.books(site, before)
                    continue
                assert outcome.source == source
                before = vault.assert_sound(site, outcome, before)
                ends[outcome.error.code if outcome.error else outcome.status] += 1
            if turn % (1 + count // 100) == 0 or turn == count - 1:
                vault.assert_log_verifies(site, before)
            assert path.read_bytes() == data
            path.unlink()
    child.close()
    assert broken == {}, f"{len(broken)} of {count}"
    assert vault.told_nowhere(child.complaints)
    return ends


def test_damaged_videos_never_hurt_the_vault(vault, films):
    """Every end of an ingest is met; each is told in words and booked whole, by one process that lives on."""
    ends = fuzz(vault, films, CASES)
    assert ends["ingested"] >= 5
    assert ends["quarantined"] >= 3
    assert ends["skipped"] >= 1
    assert ends["CONSENT_WITHDRAWN"] >= 2
    assert sum(count for end, count in ends.items() if end.startswith("SOURCE_")) >= 3


@pytest.mark.slow
def test_many_more_damaged_videos_never_hurt_the_vault(vault, films):
    """The same with several hundred."""
    ends = fuzz(vault, films, SLOW_CASES)
    assert len(ends) >= 8
