"""Exports and proofs checked by Go's own transparency-log packages (verify.go), where Go is installed."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fabnet_secure.audit.checkpoint import sign_checkpoint, vkey
from fabnet_secure.audit.export import export_log
from fabnet_secure.audit.log import Log
from fabnet_secure.audit.memory import MemoryStorage

GOPATH = Path("/usr/share/gocode")
SOURCE = Path(__file__).with_name("verify.go")
ORIGIN = "example.org/log"

pytestmark = pytest.mark.skipif(
    shutil.which("go") is None or not (GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir(),
    reason="needs go and golang.org/x/mod (Debian: golang-go, golang-golang-x-mod-dev)",
)


class Signer:
    """A fixed Ed25519 key."""

    def __init__(self):
        self._key = Ed25519PrivateKey.from_private_bytes(b"\3" * 32)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, message):
        return self._key.sign(message)


SIGNER = Signer()


@pytest.fixture(scope="module")
def verifier(tmp_path_factory):
    """Build verify.go once, without the network and outside the source tree."""
    folder = tmp_path_factory.mktemp("go")
    program = folder / "verify"
    environment = os.environ | {
        "GO111MODULE": "off",
        "GOPATH": str(GOPATH),
        "GOCACHE": str(folder / "cache"),
        "CGO_ENABLED": "0",
    }
    subprocess.run(["go", "build", "-o", str(program), str(SOURCE)], check=True, env=environment, cwd=folder)
    return lambda *arguments: subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def exported(size, directory):
    storage = MemoryStorage()
    log = Log(storage)
    log.append([f"entry {i}".encode() * (i % 5) for i in range(size)])
    text = sign_checkpoint(ORIGIN, size, log.root(), SIGNER)
    export_log(storage, text, vkey(ORIGIN, SIGNER.public), directory)
    return log


def b64(blob):
    return base64.b64encode(blob).decode()


def proofs(log, indices, sizes):
    inclusion = [
        {"Index": i, "Size": n, "Root": b64(log.root(n)), "Path": list(map(b64, log.inclusion(i, n)))}
        for n in sizes
        for i in indices
        if i < n
    ]
    consistency = [
        {
            "Old": old,
            "New": new,
            "OldRoot": b64(log.root(old)),
            "NewRoot": b64(log.root(new)),
            "Path": list(map(b64, log.consistency(old, new))),
        }
        for old in sizes
        for new in sizes
        if 0 < old <= new
    ]
    return {"Inclusion": inclusion, "Consistency": consistency}


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 1000, 66_000])
def test_go_accepts_what_we_export(verifier, tmp_path, size):
    """The note, every entry, every tile and proofs derived from the tiles hold under Go's rules."""
    log = exported(size, tmp_path / "out")
    done = verifier(tmp_path / "out")
    assert done.stdout == f"OK size={size} root={b64(log.root())}\n", done.stdout
    assert done.returncode == 0


def test_go_accepts_our_proofs(verifier, tmp_path):
    """Inclusion and consistency proofs between many sizes hold under Go's CheckRecord and CheckTree."""
    log = exported(700, tmp_path / "out")
    given = proofs(log, [0, 1, 100, 255, 256, 511, 699], [1, 2, 3, 5, 128, 255, 256, 257, 512, 600, 700])
    (tmp_path / "proofs.json").write_text(json.dumps(given))
    done = verifier(tmp_path / "out", tmp_path / "proofs.json")
    assert done.returncode == 0, done.stdout
    assert f"inclusion={len(given['Inclusion'])} consistency={len(given['Consistency'])}" in done.stdout


@pytest.mark.parametrize("kind", ["Inclusion", "Consistency"])
def test_go_refuses_a_changed_proof(verifier, tmp_path, kind):
    """The Go side really looks: a proof with one hash changed is refused."""
    log = exported(300, tmp_path / "out")
    given = proofs(log, [7], [100, 300])
    given[kind][1]["Path"][0] = b64(b"\1" * 32)
    (tmp_path / "proofs.json").write_text(json.dumps(given))
    done = verifier(tmp_path / "out", tmp_path / "proofs.json")
    assert done.returncode == 1
    assert "FAIL" in done.stdout


@pytest.mark.parametrize(
    "name",
    [
        "checkpoint",
        "vkey",
        "tile/0/000",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/44",
    ],
)
def test_go_refuses_what_we_refuse(verifier, tmp_path, name):
    """A flipped bit in the middle of any file makes Go refuse the export too."""
    exported(300, tmp_path / "out")
    path = tmp_path / "out" / name
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)
    done = verifier(tmp_path / "out")
    assert done.returncode == 1, done.stdout
    assert done.stdout.startswith("FAIL")
