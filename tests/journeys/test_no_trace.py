"""After the whole path, no file of the site holds a pixel, a vector or a name: searched byte by byte.

The program runs in processes of its own whose every folder lies in one place. The first one is ended without closing
anything, so that the write-ahead log is there to be searched. The needles are the very bytes that the program handled:
frames as decoded, crops and vectors as opened from the vault again.
"""

import base64
import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from fabnet_secure.config import load
from fabnet_secure.crypto.envelope import unseal
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.pipeline.embed import data_key, open_tracklet, page_context
from fabnet_secure.store import embeddings, tracks
from fabnet_secure.synth.clip import write_clip
from fabnet_secure.types import Domain
from fabnet_secure.video.reader import open_video

NAMES = ("Zaphod Quillfeather", "髙﨑 さくら")
STAMP = 60  # rows at the top of every frame, hair and forehead under it

DRIVER = """
import io, json, os, sqlite3, sys
from contextlib import redirect_stdout
from fabnet_secure.commands.program import main

said = []
def run(*words):
    out = io.StringIO()
    with redirect_stdout(out):
        status = main([*words, "--json"])
    said.append(out.getvalue())
    assert status == 0, (words[:2], status)
    return json.loads(out.getvalue().splitlines()[-1])

names, clips = json.load(open(sys.argv[1], encoding="utf-8"))
run("init")
held = sqlite3.connect(os.environ["FABNET_VAULT"] + "/vault.db")  # keeps the write-ahead log from being removed
held.execute("SELECT count(*) FROM meta").fetchall()
both = []
for name, clip in zip(names, clips):
    consent = run("consent", "add", "--subject-ref", name, "--valid-for", "P1Y", "--purpose", "train_model",
                  "--purpose", "embed", "--purpose", "query_internal", "--notice", "notice.txt",
                  "--evidence", "evidence.txt")
    both.append((consent["consent_id"], run("ingest", clip, "--consent", consent["consent_id"])["track_ids"][0]))
model = run("train", "run", "--epsilon", "8", "--delta", "1e-2", "--steps", "3")["model_id"]
run("embed", "--model", model)
run("query", "similar", "--track", both[0][1], "--purpose", "query_internal")
run("consent", "list"), run("track", "list"), run("budget", "show"), run("model", "list")
run("report", "all", "--out", "reports")
run("audit", "export", "log")
open("said.txt", "w", encoding="utf-8").write("".join(said))
json.dump({"consents": [one for one, _ in both], "model": model}, open("left.json", "w"))
os._exit(0)
"""
LEAVING = """
import os, sqlite3, sys
from fabnet_secure.commands.program import main
held = sqlite3.connect(os.environ["FABNET_VAULT"] + "/vault.db")
held.execute("SELECT count(*) FROM meta").fetchall()
status = main(["subject", "withdraw", sys.argv[1], "--confirm", sys.argv[1], "--json"])
sys.stdout.flush()
os._exit(status)
"""


@pytest.fixture
def stamped(tmp_path):
    """Two clips with a coloured pattern across the top of every frame."""
    rng = np.random.default_rng(5)
    pattern = np.kron(rng.integers(0, 256, (STAMP // 6, 40, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    clips = [tmp_path / f"{name}.avi" for name in ("first", "second")]
    for seed, clip in enumerate(clips, start=1):
        write_clip(clip, [seed], frames=20, width=240, height=180, stamp=pattern)
    return clips


@pytest.fixture
def lived(home, stamped, tmp_path, python):
    """The site after the whole path, as a process left it that closed nothing; the ids that it made."""
    told = tmp_path / "told.json"
    told.write_text(json.dumps([NAMES, [str(clip) for clip in stamped]], ensure_ascii=False), "utf-8")
    _run(home, python, DRIVER, str(told))
    return json.loads((home.folder / "left.json").read_text("utf-8"))


def test_no_pixel_vector_or_name_is_in_any_file(home, lived, stamped, python):
    """Needles of every kind are found nowhere, before and after a withdrawal; planted ones are."""
    left = type(home)(shutil.copytree(home.folder, home.folder.with_name("left")))  # before a reader tidies up
    crops, vectors, sealed, keys = _opened(home, lived)
    needles = {"frame": _frame_needles(stamped), "crop": crops, "vector": vectors, "name": _name_needles()}
    assert all(len(some) >= 8 for some in needles.values())
    files = _files(left)
    names = {path.name for path in files}
    assert {"vault.db", "vault.db-wal", "keystore.db", "said.txt", "dp.ja.html", "checkpoint"} <= names
    assert {"vault.anchor", "vault.epoch"} <= names  # what the program keeps beside the vault is searched, too
    assert (left.vault / "vault.db-wal").stat().st_size > 100_000
    for kind, some in needles.items():
        assert _search(files, some) == [], kind
        _plant_and_find(left, some)

    leaver = lived["consents"][0]
    assert _search(files, sealed[leaver]), "the search finds what is there"
    assert _search(files, keys[leaver])
    done = json.loads(_run(home, python, LEAVING, leaver))
    assert done["outcome"] == "complete"
    files = _files(home)
    for kind, some in needles.items():
        assert _search(files, some) == [], kind
    assert _search(files, sealed[leaver]) == [], "ciphertext of a withdrawn consent is gone from the files too"
    assert _search(files, keys[leaver]) == []
    assert _search(files, sealed[lived["consents"][1]])


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_ingest_opens_nothing_for_writing_outside_the_vault(jobs, home, ingested, clips, python, tmp_path):
    """The system's own record of every file opened for writing, by any library or worker: the vault and its anchor."""
    trace = tmp_path / "trace.txt"
    calls = (
        "open,openat,openat2,creat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mknod,mknodat,memfd_create"
    )
    program = [
        python,
        "-c",
        "import sys; from fabnet_secure.commands.program import main; sys.exit(main(sys.argv[1:]))",
    ]
    done = subprocess.run(
        [
            *("strace", "-f", "-y", "-qq", "-s", "4096", "-e", f"trace={calls}", "-o", str(trace)),
            *(*program, "ingest", str(clips / "dan.mp4"), str(clips / "eve.mp4"), "--jobs", jobs),
            *("--consent", ingested.consents["ben"]),
        ],
        cwd=home.folder,
        env=home.surroundings(),
        capture_output=True,
        text=True,
        check=False,
    )
    if "PTRACE" in done.stderr or "ptrace" in done.stderr:
        pytest.skip("this machine forbids tracing")
    assert done.returncode == 0, done.stderr
    written = _written(trace.read_text("utf-8"), home.folder)
    assert home.vault / "vault.db" in written  # the trace sees what is written
    outside = {path for path in written if not path.is_relative_to(home.vault)}
    anchor = home.vault.with_name("vault.anchor")
    assert anchor in outside
    outside -= {anchor}  # by its exact path: lines about the log's head, and nothing of a person
    lines = [json.loads(line) for line in anchor.read_text("utf-8").splitlines()]
    assert {line["kind"] for line in lines} == {"begun", "head"}
    held = [set(line) for line in lines[1:]]
    assert all(names <= {"kind", "at", "checkpoint", "spent"} for names in held)
    notes = [line["checkpoint"].splitlines() for line in lines[1:]]
    origin = json.loads((home.vault / "vault.json").read_text("utf-8"))["log_origin"]
    assert all(note[0] == origin and note[1].isdigit() and len(note[2]) == 44 for note in notes)  # size, root
    assert all(note[3] == "" and note[4].startswith(f"— {origin} ") and len(note) == 5 for note in notes)
    assert {path for path in outside if not path.is_relative_to("/dev") and not path.is_relative_to("/proc")} == set()
    assert {path.name for path in written if path.is_relative_to(home.vault)} <= {
        *("vault.db", "vault.db-wal", "vault.db-shm"),
        *("keystore.db", "keystore.db-wal", "keystore.db-shm"),
    }


def _run(home, python, code, *arguments):
    """Run code in a process of its own and return what it printed."""
    done = subprocess.run(
        [python, "-c", code, *arguments],
        cwd=home.folder,
        env=home.surroundings(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (home.folder / "talk.txt").write_text(done.stdout + done.stderr, "utf-8")
    return done.stdout


def _frame_needles(clips):
    """Runs of pixels as decoded, in both orders of colour: from the pattern and from the face."""
    needles = set()
    for clip in clips:
        with open_video(clip) as stream:
            for frame in stream:
                if frame.index in (0, 7, 19):
                    for rows in (frame.pixels[4:STAMP:9], frame.pixels[70:130:12]):
                        for row in rows:
                            needles |= _runs(row[96:144]) | _runs(row[96:144, ::-1])
    return needles


def _runs(row):
    """Return the row's pixels in pieces of 8 that vary enough to be nobody else's."""
    pieces = (row[at : at + 8].tobytes() for at in range(0, len(row) - 8, 8))
    return {piece for piece in pieces if len(set(piece)) >= 10}


def _opened(home, lived):
    """Open what is stored: needles of crops and vectors; and by consent the ciphertexts and wrapped keys."""
    crops, vectors, sealed = set(), set(), {one: set() for one in lived["consents"]}
    with open_site(Place(root=home.vault, key_file=home.key), load().settings) as site, site.reading() as connection:
        for row in tracks.list_tracks(connection):
            tracklet = tracks.get_tracklet(connection, row.track_id)
            pixels = open_tracklet(site, row, tracklet)
            assert _colourful(pixels[:, :6]) > 2 * _colourful(pixels[:, 40:46]), "the pattern lies inside the crops"
            for crop in pixels:
                for line in (*crop[1:8:3], *crop[24:60:9]):
                    crops |= _runs(line) | _runs(line[:, ::-1])
            sealed[row.consent_id] |= _pieces(tracklet.sealed.blob)
        for page in embeddings.list_pages(connection):
            row = tracks.get_track(connection, page.track_id)
            context = page_context(page.subject_id, page.consent_id, page.track_id, page.model_id, (page.n, page.dim))
            plain = unseal(data_key(site, row, Domain.EMBEDDINGS), context, page.sealed)
            for vector in np.frombuffer(plain, np.float16).reshape(page.n, page.dim):
                vectors |= {vector[:16].tobytes(), vector[40:56].astype(np.float32).tobytes()}
            sealed[page.consent_id] |= _pieces(page.sealed.blob)
    keys = {
        one: {
            blob for (blob,) in home.rows("SELECT wrapped FROM data_key WHERE consent_id = ?", one, file="keystore.db")
        }
        for one in lived["consents"]
    }
    return crops, vectors, sealed, keys


def _colourful(pixels):
    """Return how far the colour channels lie apart, on the mean."""
    return float(np.ptp(pixels.astype(int), axis=-1).mean())


def _pieces(blob):
    """Return pieces of a ciphertext that are short enough to lie whole on a database page."""
    return {blob[at : at + 32] for at in range(64, len(blob) - 32, 1009)}


def _name_needles():
    """Return every word of the names, in the ways a file may hold it."""
    needles = set()
    for name in NAMES:
        for word in (name, *name.split()):
            ways = [word.encode(), word.encode("utf-16-le"), word.encode("utf-16-be"), quote(word).encode()]
            ways += [json.dumps(word)[1:-1].encode(), word.encode().hex().encode()]
            ways += [base64.b64encode(b"." * pad + word.encode())[4 : -4 - pad] for pad in (0, 1, 2)]
            needles |= {way for way in ways if len(way) >= 6}
    return needles | {needle.lower() for needle in needles}


def _files(home):
    """Return every file of the site but what the site was given: notice, evidence, settings."""
    given = {"notice.txt", "evidence.txt", "fabnet.toml"}
    return sorted(path for path in home.folder.rglob("*") if path.is_file() and path.name not in given)


def _search(files, needles):
    """Return the names of the files that hold any of the needles, at any place."""
    return [path.name for path in files if _holds(path.read_bytes(), needles)]


def _holds(blob, needles):
    if len(needles) < 200:
        lower = blob.lower()  # a name may have been folded
        return any(needle in blob or needle in lower for needle in needles)
    heads = defaultdict(list)
    for needle in needles:
        heads[needle[:8]].append(needle)
    wanted = np.frombuffer(b"".join(heads), "<u8")
    for shift in range(8):  # every eight bytes of the file, at every offset
        windows = np.frombuffer(blob[shift : shift + (len(blob) - shift) // 8 * 8], "<u8")
        for at in np.flatnonzero(np.isin(windows, wanted)):
            start = shift + 8 * int(at)
            if blob.startswith(tuple(heads[blob[start : start + 8]]), start):
                return True
    return False


def _plant_and_find(home, needles):
    """Prove the search: a needle in the middle of a file, and in a row of a copy of the database, is found."""
    needle = sorted(needles)[len(needles) // 2]
    planted, database = home.folder / "tmp" / "planted.bin", home.folder / "cache" / "planted.db"
    planted.write_bytes(os.urandom(5000) + needle + os.urandom(5000))
    shutil.copy(home.vault / "vault.db", database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE planted (cell BLOB)")
        connection.execute("INSERT INTO planted VALUES (?)", (os.urandom(100) + needle,))
    assert {"planted.bin", "planted.db"} <= set(_search(_files(home), needles))
    for path in home.folder.rglob("planted*"):
        path.unlink()


def _written(trace, folder):
    """Read from strace's lines which paths were opened for writing, made, linked or renamed."""
    found = set()
    for line in trace.splitlines():
        call = re.match(r"\d+ +(\w+)\((.*)", line)
        if not call or "= -1 " in line:
            continue
        name, rest = call.groups()
        writes = re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE", rest)
        if name in ("open", "openat", "openat2") and not writes:
            continue
        base = re.match(r"(?:AT_FDCWD|\d+)<([^>]*)>", rest)
        for path in re.findall(r'"([^"]*)"', rest):
            found.add(Path(os.path.normpath(Path(base.group(1) if base else folder) / path)))
    return found
