"""The archive: what goes in comes out, and nothing else ever does."""

import hashlib
import io
import json
import os
import tarfile
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabnet_secure.crypto.age import Identity, decrypting, encrypting
from fabnet_secure.errors import FabnetError
from fabnet_secure.pipeline import archive
from fabnet_secure.pipeline.archive import Entry, Manifest, describe, may_hold, read_archive, write_archive
from fabnet_secure.types import canonical_json

OURS = Identity.generate()


def _manifest(kind="vault", **changes):
    told = Manifest(
        kind=kind,
        vault_id="v",
        log_origin="o",
        log_size=3,
        log_root="cm9vdA==",
        checkpoint="note",
        epoch=1,
        schema="vault_0005",
        database="sqlite",
        created_at="2026-01-02T03:04:05.000006Z",
        files=(),
    )
    return replace(told, **changes)


def _parts(folder, **contents):
    folder.mkdir()
    found = {}
    for name, blob in contents.items():
        (folder / name).write_bytes(blob)
        found[{"db": "vault.db", "card": "vault.json"}.get(name, f"models/{name}.safetensors")] = folder / name
    return found


@pytest.fixture
def written(tmp_path):
    """An archive of three files, and where it is."""
    parts = _parts(tmp_path / "parts", db=os.urandom(3_000_000), card=b"{}", m=b"")
    manifest = _manifest(files=describe(parts))
    path = tmp_path / "a.age"
    write_archive(path, manifest, parts, recipients=[OURS.recipient], sign=lambda blob: hashlib.sha256(blob).digest())
    return path, manifest, parts


def _read(path, into, kind="vault"):
    into.mkdir(exist_ok=True)
    return read_archive(path, (OURS,), kind=kind, into=into)


def _refused(path, into, kind="vault"):
    with pytest.raises(FabnetError) as refused:
        _read(path, into, kind)
    return refused.value.code


def test_what_was_written_is_read(written, tmp_path):
    """Every file with its bytes, private to its owner; the list, its signature and the digest of the whole."""
    path, manifest, parts = written
    got = _read(path, tmp_path / "into")
    assert got.manifest == manifest
    assert got.signature == hashlib.sha256(manifest.to_sign()).digest()
    assert (got.sha256, got.size) == (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
    for name, source in parts.items():
        assert (tmp_path / "into" / name).read_bytes() == source.read_bytes()
        assert (tmp_path / "into" / name).stat().st_mode & 0o777 == 0o600
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_inside_is_a_plain_tar(written):
    """Any age and any tar open it: nothing of ours is needed to get at a backup."""
    path, _, parts = written
    with path.open("rb") as source, decrypting(source, (OURS,)) as tar:
        blob = tar.read()
    with tarfile.open(fileobj=io.BytesIO(blob)) as inside:
        assert inside.getnames() == ["manifest.json", *sorted(parts)]
        assert {(one.mtime, one.uid, one.gid, one.mode) for one in inside} == {(0, 0, 0, 0o600)}


def test_the_order_does_not_depend_on_the_caller(tmp_path):
    """The same files give the same list."""
    parts = _parts(tmp_path / "p", b=b"2", a=b"1", db=b"3")
    assert describe(parts) == describe(dict(reversed(parts.items())))


def test_nothing_is_overwritten(written):
    """A file that has the name stays as it is, and no part is left."""
    path, manifest, parts = written
    before = path.read_bytes()
    with pytest.raises(FabnetError) as refused:
        write_archive(path, manifest, parts, recipients=[OURS.recipient], sign=lambda _: b"")
    assert refused.value.code == "ARCHIVE_EXISTS"
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".*"))


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path):
    """What was measured is what is written, or nothing is."""
    parts = _parts(tmp_path / "p", db=b"before")
    manifest = _manifest(files=describe(parts))
    parts["vault.db"].write_bytes(b"after!")
    with pytest.raises(FabnetError) as refused:
        write_archive(tmp_path / "a.age", manifest, parts, recipients=[OURS.recipient], sign=lambda _: b"")
    assert refused.value.code == "FILE_CHANGED"
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    """No archive, no part of one."""
    parts = _parts(tmp_path / "p", db=b"x" * 500_000)

    def full(descriptor):
        del descriptor
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_archive(
            tmp_path / "a.age", _manifest(files=describe(parts)), parts, recipients=[OURS.recipient], sign=lambda _: b""
        )
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_the_other_archive_is_told_apart(written, tmp_path):
    """A vault's archive where the keystore's belongs is a mistake of the caller's."""
    assert _refused(written[0], tmp_path / "into", "keystore") == "ARCHIVE_KIND"


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused(share, bit, tmp_path_factory):
    """Wherever it is."""
    folder = tmp_path_factory.mktemp("flip")
    parts = _parts(folder / "parts", db=b"x" * 70_000)
    path = folder / "a.age"
    write_archive(path, _manifest(files=describe(parts)), parts, recipients=[OURS.recipient], sign=lambda _: b"s")
    blob = bytearray(path.read_bytes())
    blob[int(share * len(blob))] ^= 1 << bit
    path.write_bytes(blob)
    assert _refused(path, folder / "into") in {"ARCHIVE_DAMAGED", "IDENTITY_WRONG"}


def test_a_cut_archive_is_refused(written, tmp_path):
    """At any length."""
    path, *_ = written
    blob = path.read_bytes()
    for number, share in enumerate((0.0, 0.2, 0.6, 0.999)):
        path.write_bytes(blob[: int(share * len(blob))])
        assert _refused(path, tmp_path / str(number)) == "ARCHIVE_DAMAGED"


# --- made by somebody who knows the public key and the format


def _forge(path, members, listed=None, end=bytes(1024)):
    """Write an archive of these (TarInfo, bytes), with a list of our choice."""
    files = (
        listed
        if listed is not None
        else [Entry(name=one.name, size=one.size, sha256=hashlib.sha256(blob).hexdigest()) for one, blob in members]
    )
    told = {"manifest": json.loads(_manifest(files=tuple(files)).to_bytes()), "signature": ""}
    blob = canonical_json(told)
    first = tarfile.TarInfo("manifest.json")
    first.size = len(blob)
    with path.open("wb") as target, encrypting(target, [OURS.recipient]) as tar:
        for one, body in [(first, blob), *members]:
            tar.write(one.tobuf(tarfile.GNU_FORMAT) + body + bytes(-len(body) % 512))
        tar.write(end)


def _member(name, blob=b"", kind=tarfile.REGTYPE, size=None, link=""):
    one = tarfile.TarInfo(name)
    one.type, one.size, one.linkname = kind, len(blob) if size is None else size, link
    return one, blob


NAMES = ["../evil", "/etc/evil", "models/../../evil", "models/..", "vault.db/../x", "keystore.db", "evil", ".ssh/x", ""]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leads_elsewhere_is_refused(name, tmp_path):
    """In the list, and in the tar behind an honest list."""
    _forge(tmp_path / "listed.age", [_member(name, b"x")])
    assert _refused(tmp_path / "listed.age", tmp_path / "into") == "ARCHIVE_UNSAFE"
    honest = [Entry(name="vault.db", size=1, sha256=hashlib.sha256(b"x").hexdigest())]
    _forge(tmp_path / "hidden.age", [_member(name or "x", b"x")], honest)
    assert _refused(tmp_path / "hidden.age", tmp_path / "into2") in {"ARCHIVE_UNSAFE", "ARCHIVE_FORMAT"}
    assert not list((tmp_path / "into").iterdir()) + list((tmp_path / "into2").iterdir())
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_only_plain_files_are_written(kind, tmp_path):
    """No link, device, folder or sparse file (which would be larger than its archive)."""
    _forge(tmp_path / "a.age", [_member("vault.db", b"", kind, link="/etc/passwd")])
    assert _refused(tmp_path / "a.age", tmp_path / "into") == "ARCHIVE_UNSAFE"
    assert not list((tmp_path / "into").iterdir())


def test_a_bomb_is_refused_before_anything_is_written(tmp_path):
    """An archive cannot promise more than it holds."""
    big = [Entry(name="vault.db", size=1 << 50, sha256="0" * 64)]
    _forge(tmp_path / "a.age", [_member("vault.db", b"x")], big)
    assert _refused(tmp_path / "a.age", tmp_path / "into") == "ARCHIVE_TOO_LARGE"
    assert not list((tmp_path / "into").iterdir())


@pytest.mark.parametrize(
    ("size", "digest", "end"),
    [
        (2, "a", bytes(1024)),
        (1, "b", bytes(1024)),
        (1, "a", bytes(512)),
        (1, "a", bytes(4096)),
        (1, "a", b"more" * 256),
    ],
    ids=["size", "digest", "short end", "long end", "more"],
)
def test_what_is_not_as_listed_is_refused(size, digest, end, tmp_path):
    """Another size, other bytes, another end."""
    real = hashlib.sha256(b"x").hexdigest()
    listed = [Entry(name="vault.db", size=size, sha256=real if digest == "a" else "0" * 64)]
    _forge(tmp_path / "a.age", [_member("vault.db", b"x")], listed, end)
    assert _refused(tmp_path / "a.age", tmp_path / "into") == "ARCHIVE_FORMAT"


@pytest.mark.parametrize(
    "change",
    [
        {"files": 3},
        {"log_size": -1},
        {"epoch": True},
        {"kind": "both"},
        {"vault_id": None},
        {"extra": 1},
        {"format": "1"},
    ],
    ids=str,
)
def test_a_list_that_is_none_is_refused(change, tmp_path):
    """Wrong types, unknown fields, twice the same file."""
    told = json.loads(_manifest().to_bytes()) | change
    blob = json.dumps({"manifest": told, "signature": ""}).encode()
    one, _ = _member("manifest.json", blob)
    with (tmp_path / "a.age").open("wb") as target, encrypting(target, [OURS.recipient]) as tar:
        tar.write(one.tobuf() + blob + bytes(-len(blob) % 512) + bytes(1024))
    assert _refused(tmp_path / "a.age", tmp_path / "into") in {"ARCHIVE_FORMAT", "VAULT_NEWER"}


def test_something_that_is_no_archive_is_refused(tmp_path):
    """A file of anything, an age file of anything, no file."""
    (tmp_path / "junk").write_bytes(b"junk" * 5000)
    assert _refused(tmp_path / "junk", tmp_path / "into") == "ARCHIVE_DAMAGED"
    with (tmp_path / "age").open("wb") as target, encrypting(target, [OURS.recipient]) as tar:
        tar.write(b"junk" * 5000)
    assert _refused(tmp_path / "age", tmp_path / "into") == "ARCHIVE_FORMAT"
    assert _refused(tmp_path / "none", tmp_path / "into") == "ARCHIVE_MISSING"


@given(st.text(max_size=120))
def test_names_never_leave_the_folder(name):
    """Whatever text is called a name: what is let in stays inside and is plain."""
    if may_hold("vault", name):
        assert not name.startswith("/")
        assert ".." not in name.split("/")
        assert name.isascii()
        assert name.isprintable()


def test_long_names_are_kept(tmp_path):
    """An adopted policy lies under its digest; its own name may be long."""
    name = f"policies/{'a' * 64}/{'long name-' * 9}.cedar"
    assert may_hold("vault", name)
    (tmp_path / "one").write_bytes(b"permit")
    manifest = _manifest(files=describe({name: tmp_path / "one"}))
    written = write_archive(
        tmp_path / "a.age", manifest, {name: tmp_path / "one"}, recipients=[OURS.recipient], sign=lambda _: b""
    )
    _read(written.path, tmp_path / "into")
    assert (tmp_path / "into" / name).read_bytes() == b"permit"


def test_a_name_that_could_not_be_restored_is_not_backed_up(tmp_path):
    """Better now than when it is needed."""
    (tmp_path / "one").write_bytes(b"")
    with pytest.raises(FabnetError) as refused:
        describe({"policies/ab/規則.cedar": tmp_path / "one"})
    assert refused.value.code == "BACKUP_NAME"
