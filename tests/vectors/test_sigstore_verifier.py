"""Our checkpoints and inclusion proofs checked by npm's @sigstore/verify (verify.mjs), where it is installed."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

from fabnet_secure.audit.checkpoint import key_id, sign_checkpoint, vkey
from fabnet_secure.audit.cosign import cosign
from fabnet_secure.audit.log import Log
from fabnet_secure.audit.memory import MemoryStorage
from fabnet_secure.audit.proof import HEADER, check_proof
from fabnet_secure.crypto.mldsa import Cosigner
from fabnet_secure.crypto.signing import Signer, verify_signature
from fabnet_secure.errors import FabnetError

SCRIPT = Path(__file__).with_name("verify.mjs")
LOCK = hashlib.sha256(SCRIPT.with_name("npm").joinpath("package-lock.json").read_bytes()).hexdigest()[:16]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fabnet-secure" / f"npm-{LOCK}"
MODULES = Path(os.environ.get("FABNET_TEST_NODE_MODULES") or CACHE / "node_modules")
ORIGIN = "example.org/log"
SIGNER = Signer.from_seed(b"\3" * 32)
THIEF = Signer.from_seed(b"\4" * 32)
ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")
SIZE = 300

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (MODULES / "@sigstore" / "verify").is_dir(),
    reason="needs node and @sigstore/verify (.ci/run installs it from tests/vectors/npm)",
)


def b64(blob):
    return base64.b64encode(blob).decode()


def log_id(public, origin=ORIGIN):
    """Return 32 bytes that begin with the key's id, as sigstore wants a log's id."""
    return hashlib.sha256(f"{origin}\n".encode() + b"\1" + public).digest()


def entries(count=SIZE):
    return [f'{{"act":"test.{i}"}}'.encode() for i in range(count)]


@lru_cache
def log(count=SIZE, reverse=False):
    made = Log(MemoryStorage())
    made.append(entries(count)[::-1] if reverse else entries(count))
    return made


def note(made, signer=SIGNER, origin=ORIGIN, size=None):
    at = made.size if size is None else size
    return sign_checkpoint(origin, at, made.root(at), signer)


def case(index=7, size=SIZE, **changes):
    """Return what verify.mjs is asked: an honest case, with changes."""
    plain = {
        "trusted": {
            "logId": b64(log_id(SIGNER.public)),
            "publicKey": b64(ED25519_SPKI + SIGNER.public),
            "name": ORIGIN,
        },
        "logId": b64(log_id(SIGNER.public)),
        "index": index,
        "size": size,
        "root": b64(log().root(size)),
        "hashes": [b64(one) for one in log().inclusion(index, size)],
        "checkpoint": note(log(), size=size),
        "entry": b64(entries()[index]),
    }
    return plain | changes


def asked(cases, tmp_path):
    """Return the verdicts of @sigstore/verify."""
    (tmp_path / "cases.json").write_text(json.dumps(cases), "utf-8")
    done = subprocess.run(
        ["node", str(SCRIPT), str(MODULES), str(tmp_path / "cases.json")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def ours(one):
    """Return whether we accept the same case, written as a tlog-proof."""
    text = "\n".join([HEADER, f"index {one['index']}", *one["hashes"], "", one["checkpoint"]])
    try:
        check_proof(text, base64.b64decode(one["entry"]), vkey(ORIGIN, SIGNER.public), verify_signature)
    except FabnetError:
        return False
    return True


def flipped(signed):
    head, _, last = signed[:-1].rpartition(" ")
    blob = bytearray(base64.b64decode(last))
    blob[-1] ^= 1
    return f"{head} {b64(blob)}\n"


def hashes(change):
    return {"hashes": change(case()["hashes"])}


FORGERIES = {
    "flipped signature": lambda: {"checkpoint": flipped(note(log()))},
    "no signature": lambda: {"checkpoint": note(log()).partition("\n\n")[0] + "\n\n"},
    "another key": lambda: {"checkpoint": note(log(), THIEF)},
    "another key under our key's id": lambda: {
        "checkpoint": note(log(), THIEF).rpartition(" ")[0]
        + " "
        + b64(key_id(ORIGIN, SIGNER.public) + THIEF.sign(note(log()).partition("\n\n")[0].encode() + b"\n"))
        + "\n"
    },
    "another origin": lambda: {"checkpoint": note(log(), origin="example.net/log")},
    "origin changed": lambda: {"checkpoint": note(log()).replace(f"{ORIGIN}\n", "example.net/log\n", 1)},
    "size changed": lambda: {"checkpoint": note(log()).replace(f"\n{SIZE}\n", f"\n{SIZE - 1}\n")},
    "root changed": lambda: {"checkpoint": note(log()).replace(b64(log().root()), b64(b"\1" * 32))},
    "signed root of other entries": lambda: {"checkpoint": note(log(reverse=True))},
    "stale checkpoint": lambda: {"checkpoint": note(log(), size=280)},
    "entry changed": lambda: {"entry": b64(b'{"act":"nothing"}')},
    "entry of another place": lambda: {"entry": b64(entries()[8])},
    "entry with a byte more": lambda: {"entry": b64(entries()[7] + b" ")},
    "another index": lambda: {"index": 8},
    "index beyond the log": lambda: {"index": SIZE},
    "proof for another index": lambda: {"hashes": [b64(one) for one in log().inclusion(8)]},
    "proof for another size": lambda: {"hashes": [b64(one) for one in log().inclusion(7, 200)]},
    "hash flipped": lambda: hashes(lambda held: [b64(b"\1" * 32), *held[1:]]),
    "hash left out": lambda: hashes(lambda held: held[1:]),
    "hash too many": lambda: hashes(lambda held: [*held, held[-1]]),
    "hashes reordered": lambda: hashes(lambda held: [held[1], held[0], *held[2:]]),
}


def test_sigstore_accepts_our_proofs(tmp_path):
    """Entries at the edges of tiles and trees, at many sizes, with and without a witness's cosignature."""
    places = [(i, n) for n in (1, 2, 3, 128, 255, 256, 257, 299, 300) for i in {0, n // 2, n - 1}]
    cases = [case(i, n) for i, n in places]
    cases.append(case(checkpoint=cosign(note(log()), Cosigner.generate(), 1_800_000_000)))
    assert asked(cases, tmp_path) == ["ok"] * len(cases)
    assert all(map(ours, cases))


def test_sigstore_and_we_refuse_every_forgery(tmp_path):
    """One verdict a forgery, none of them ok; and none is accepted by us."""
    forged = {name: case() | changes() for name, changes in FORGERIES.items()}
    verdicts = dict(zip(forged, asked(list(forged.values()), tmp_path), strict=True))
    assert {name: said for name, said in verdicts.items() if not said.startswith("refused: ")} == {}
    assert [name for name, one in forged.items() if ours(one)] == []
