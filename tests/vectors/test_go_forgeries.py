"""A list of forgeries: each is refused by Go's sumdb packages (verify.go) and by us; what is honest by neither."""

import base64
import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

from fabnet_secure.audit.checkpoint import sign_checkpoint, vkey
from fabnet_secure.audit.export import check_export, export_log, open_export
from fabnet_secure.audit.log import Log
from fabnet_secure.audit.memory import MemoryStorage
from fabnet_secure.audit.proof import check_proof, make_proof
from fabnet_secure.audit.tiles import pack_entries, unpack_entries
from fabnet_secure.audit.witness import check_continues
from fabnet_secure.crypto.signing import Signer, verify_signature
from fabnet_secure.errors import FabnetError

GOPATH = Path("/usr/share/gocode")
SOURCE = Path(__file__).with_name("verify.go")
ORIGIN = "example.org/log"
SIZE = 300
KNOWN = 280

pytestmark = pytest.mark.skipif(
    shutil.which("go") is None or not (GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir(),
    reason="needs go and golang.org/x/mod (Debian: golang-go, golang-golang-x-mod-dev)",
)
SIGNER = Signer.from_seed(b"\3" * 32)
THIEF = Signer.from_seed(b"\4" * 32)
VKEY = vkey(ORIGIN, SIGNER.public)


@pytest.fixture(scope="module")
def go(tmp_path_factory):
    """Build verify.go once, without the network and outside the source tree; return whether it accepts."""
    folder = tmp_path_factory.mktemp("go")
    program = folder / "verify"
    environment = os.environ | {
        "GO111MODULE": "off",
        "GOPATH": str(GOPATH),
        "GOCACHE": str(folder / "cache"),
        "CGO_ENABLED": "0",
    }
    subprocess.run(["go", "build", "-o", str(program), str(SOURCE)], check=True, env=environment, cwd=folder)

    def accepts(*arguments):
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.stdout.startswith("OK" if done.returncode == 0 else "FAIL"), done.stdout + done.stderr
        return done.returncode == 0

    return accepts


def log_of(entries):
    storage = MemoryStorage()
    Log(storage).append(entries)
    return storage


def entries(count=SIZE):
    return [f'{{"act":"test.{i}"}}'.encode() for i in range(count)]


def note(storage, signer=SIGNER, origin=ORIGIN, size=None):
    at = storage.size() if size is None else size
    return sign_checkpoint(origin, at, Log(storage).root(at), signer)


@lru_cache
def honest():
    storage = log_of(entries())
    return storage, note(storage)


def exported(storage, text, folder, key=VKEY):
    export_log(storage, text, key, folder)


def rewrite(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


def bundle(change):
    """Return a forgery that changes the entries of the first bundle."""

    def forge(folder):
        rewrite(folder, "tile/entries/000", lambda blob: pack_entries(change(unpack_entries(blob, 256))))

    return forge


def text(change):
    return lambda folder: rewrite(folder, "checkpoint", lambda blob: change(blob.decode()).encode())


def again(storage=None, *, signer=SIGNER, origin=ORIGIN, body=None):
    """Return a forgery that puts an export of another log (or by another key) in place of the honest one."""

    def forge(folder):
        made = storage() if storage else log_of(entries())
        shutil.rmtree(folder)
        signed = note(made, signer, origin) if body is None else body(made)
        if body is None:
            exported(made, signed, folder, vkey(origin, signer.public))
        else:
            exported(made, note(made), folder)
            (folder / "checkpoint").write_text(signed, "utf-8")

    return forge


def flip_signature(signed):
    head, _, last = signed[:-1].rpartition(" ")
    blob = bytearray(base64.b64decode(last))
    blob[-1] ^= 1
    return f"{head} {base64.b64encode(blob).decode()}\n"


def changed(at, entry):
    return lambda: log_of([*entries()[:at], entry, *entries()[at + 1 :]])


FORGERIES = {
    "flipped signature": text(flip_signature),
    "signature cut short": text(lambda signed: signed[:-6] + "\n"),
    "no signature": text(lambda signed: signed.partition("\n\n")[0] + "\n\n"),
    "signature line of another name": text(lambda signed: signed.replace(f"— {ORIGIN}", "— example.net/log")),
    "other key": again(signer=THIEF),
    "other key under our name": again(body=lambda made: note(made, THIEF)),
    "other origin": again(origin="example.net/log"),
    "origin changed": text(lambda signed: signed.replace(f"{ORIGIN}\n", "example.net/log\n", 1)),
    "size changed": text(lambda signed: signed.replace(f"\n{SIZE}\n", f"\n{SIZE - 1}\n")),
    "size with a zero before it": text(lambda signed: signed.replace(f"\n{SIZE}\n", f"\n0{SIZE}\n")),
    "root changed": text(lambda signed: signed.replace(signed.split("\n")[2], base64.b64encode(b"\1" * 32).decode())),
    "signed root of other entries": again(body=lambda _: note(log_of(entries()[::-1]))),
    "signed size of fewer entries": again(body=lambda made: note(made, size=SIZE - 1)),
    "signed size of more entries": again(body=lambda _: note(log_of(entries(SIZE + 1)))),
    "entry changed": bundle(lambda held: [held[0], b'{"act":"nothing"}', *held[2:]]),
    "entry removed": bundle(lambda held: held[:100] + held[101:]),
    "entry added": bundle(lambda held: [*held, b"more"]),
    "entries reordered": bundle(lambda held: [held[1], held[0], *held[2:]]),
    "entry twice": bundle(lambda held: [held[0], held[0], *held[2:]]),
    "bundle cut short": lambda folder: rewrite(folder, "tile/entries/001.p/44", lambda blob: blob[:-1]),
    "bundle too long": lambda folder: rewrite(folder, "tile/entries/001.p/44", lambda blob: blob + b"\0"),
    "bundle gone": lambda folder: (folder / "tile/entries/000").unlink(),
    "bundle of the other": lambda folder: shutil.copy(folder / "tile/entries/000", folder / "tile/entries/001.p/44"),
    "tile changed": lambda folder: rewrite(folder, "tile/0/000", lambda blob: blob[:-1] + bytes([blob[-1] ^ 1])),
    "tile cut short": lambda folder: rewrite(folder, "tile/0/001.p/44", lambda blob: blob[:-32]),
    "tile's hashes swapped": lambda folder: rewrite(
        folder, "tile/0/000", lambda blob: blob[32:64] + blob[:32] + blob[64:]
    ),
    "upper tile changed": lambda folder: rewrite(folder, "tile/1/000.p/1", lambda _: bytes(32)),
    "tile gone": lambda folder: (folder / "tile/1/000.p/1").unlink(),
    "checkpoint gone": lambda folder: (folder / "checkpoint").unlink(),
    "stale checkpoint": again(lambda: log_of(entries(KNOWN - 1))),
    "another history, honestly signed": again(changed(7, b"rewritten")),
    "another history of more entries": again(lambda: log_of([b"rewritten", *entries(SIZE + 50)[1:]])),
    "an old entry removed, honestly signed": again(lambda: log_of(entries()[1:])),
}


def ours_accepts(folder, known):
    try:
        check_export(folder, verify_signature, vkey=VKEY)
        storage, _ = open_export(folder, verify_signature, vkey=VKEY)
        check_continues(storage, known.read_text("utf-8"), VKEY, verify_signature)
    except FabnetError:
        return False
    return True


@pytest.fixture
def known(tmp_path):
    """What a witness remembers: an earlier checkpoint."""
    path = tmp_path / "known"
    path.write_text(note(honest()[0], size=KNOWN), "utf-8")
    return path


@pytest.fixture
def folder(tmp_path):
    """An honest export."""
    exported(*honest(), tmp_path / "out")
    return tmp_path / "out"


def test_the_honest_export_is_accepted_by_both(go, folder, known):
    """Without this the list below would prove nothing."""
    assert go("-vkey", VKEY, "-known", known, folder)
    assert ours_accepts(folder, known)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_export_is_refused_by_both(go, folder, known, name):
    """Neither Go nor we accept it, under the published key and after what was known."""
    FORGERIES[name](folder)
    assert not go("-vkey", VKEY, "-known", known, folder)
    assert not ours_accepts(folder, known)


def reproved(signed):
    """Return a forgery that puts another checkpoint under the same path."""
    return lambda proof, entry: (proof.partition("\n\n")[0] + "\n\n" + signed(), entry)


def line(number, change):
    def forge(proof, entry):
        lines = proof.split("\n")
        lines[number] = change(lines[number])
        return "\n".join(lines), entry

    return forge


PROOF_FORGERIES = {
    "another entry": lambda proof, _: (proof, b'{"act":"nothing"}'),
    "the neighbour's entry": lambda proof, _: (proof, entries()[8]),
    "empty entry": lambda proof, _: (proof, b""),
    "another index": line(1, lambda _: "index 8"),
    "index beyond the log": line(1, lambda _: f"index {SIZE}"),
    "index below zero": line(1, lambda _: "index -1"),
    "no index": line(1, lambda _: "index"),
    "hash flipped": line(2, lambda _: base64.b64encode(b"\1" * 32).decode()),
    "hash cut short": line(2, lambda _: base64.b64encode(b"\1" * 31).decode()),
    "hash left out": lambda proof, entry: ("\n".join([*proof.split("\n")[:2], *proof.split("\n")[3:]]), entry),
    "hash too many": line(2, lambda text: f"{text}\n{text}"),
    "hashes swapped": lambda proof, entry: (
        "\n".join([*(lines := proof.split("\n"))[:2], lines[3], lines[2], *lines[4:]]),
        entry,
    ),
    "header of another version": line(0, lambda text: text.replace("v1", "v2")),
    "flipped signature": lambda proof, entry: (flip_signature(proof), entry),
    "an older checkpoint": reproved(lambda: note(honest()[0], size=KNOWN)),
    "a checkpoint by another key": reproved(lambda: note(honest()[0], THIEF)),
    "a checkpoint of another log": reproved(lambda: note(honest()[0], origin="example.net/log")),
    "the root of other entries": reproved(lambda: note(log_of(entries()[::-1]))),
    "no checkpoint": lambda proof, entry: (proof.partition("\n\n")[0] + "\n", entry),
    "a proof for another entry": lambda _, entry: (make_proof(honest()[0], 8, honest()[1]), entry),
}


def ours_accepts_proof(proof, entry):
    try:
        check_proof(proof, entry, VKEY, verify_signature)
    except FabnetError:
        return False
    return True


@pytest.mark.parametrize("index", [0, 7, 255, 256, SIZE - 1])
def test_an_honest_proof_is_accepted_by_both(go, tmp_path, index):
    """A tlog-proof of ours holds under Go's CheckRecord."""
    proof, entry = make_proof(honest()[0], index, honest()[1], extra=b"x" * (index % 2)), entries()[index]
    (tmp_path / "proof").write_text(proof, "utf-8")
    (tmp_path / "entry").write_bytes(entry)
    assert go("-vkey", VKEY, "-proof", tmp_path / "proof", "-entry", tmp_path / "entry")
    assert ours_accepts_proof(proof, entry)


@pytest.mark.parametrize("name", PROOF_FORGERIES)
def test_a_forged_proof_is_refused_by_both(go, tmp_path, name):
    """Neither Go nor we accept it."""
    proof, entry = PROOF_FORGERIES[name](make_proof(honest()[0], 7, honest()[1]), entries()[7])
    (tmp_path / "proof").write_text(proof, "utf-8")
    (tmp_path / "entry").write_bytes(entry)
    assert not go("-vkey", VKEY, "-proof", tmp_path / "proof", "-entry", tmp_path / "entry")
    assert not ours_accepts_proof(proof, entry)


def test_a_witness_s_cosignature_does_not_disturb_go(go, folder, known):
    """Go passes over the ML-DSA-44 line, as the specification asks, and still checks the log's own."""
    from fabnet_secure.audit.cosign import cosign
    from fabnet_secure.crypto.mldsa import Cosigner

    storage, signed = honest()
    cosigned = cosign(signed, Cosigner.generate(), 1_800_000_000)
    (folder / "checkpoint").write_text(cosigned, "utf-8")
    assert go("-vkey", VKEY, "-known", known, folder)
    (folder / "checkpoint").write_text(flip_signature(signed) + cosigned.removeprefix(signed), "utf-8")
    assert not go("-vkey", VKEY, "-known", known, folder)
    assert check_continues(storage, cosigned, VKEY, verify_signature).size == SIZE
