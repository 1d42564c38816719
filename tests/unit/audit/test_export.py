"""Exports: exactly the specified files, whole or not at all, and every wrong file is found."""

import os
import shutil

import pytest

from fabnet_secure.audit.checkpoint import sign_checkpoint
from fabnet_secure.audit.export import check_export, export_log
from fabnet_secure.audit.verify import Verified
from fabnet_secure.errors import IntegrityFailure, StorageFailed, UsageError


def files(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir())


def exported(made, directory):
    export_log(made.storage, made.checkpoint(), made.vkey, directory)
    return directory


def refuse(directory, verify, **options):
    with pytest.raises(IntegrityFailure) as caught:
        check_export(directory, verify, **options)
    return caught.value


@pytest.mark.parametrize("size", [0, 1, 256, 257, 1100])
def test_an_export_checks_from_its_files_alone(site, tmp_path, verify, size):
    """What was exported verifies to the same head, pinned or not."""
    made = site(size)
    assert export_log(made.storage, made.checkpoint(), made.vkey, tmp_path / "deep" / "out") == size
    verified = Verified(size=size, root=made.log.root(), origin=made.origin, vkey=made.vkey)
    assert check_export(tmp_path / "deep" / "out", verify) == verified
    assert check_export(tmp_path / "deep" / "out", verify, vkey=made.vkey) == verified


def test_the_files_are_the_specification_s(site, tmp_path):
    """A log of 300 entries is these seven files, and nothing is left beside them."""
    exported(site(300), tmp_path / "out")
    assert files(tmp_path / "out") == [
        "checkpoint",
        "tile/0/000",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/44",
        "vkey",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_directory_is_filled(site, tmp_path, verify):
    """A directory made beforehand will do when nothing is in it."""
    (tmp_path / "out").mkdir()
    assert check_export(exported(site(3), tmp_path / "out"), verify).size == 3


@pytest.mark.parametrize("kind", ["file", "full", "link"])
def test_a_place_in_use_is_refused_and_left_alone(site, tmp_path, kind):
    """Nothing is ever overwritten: not a file, not a full directory, not a link."""
    target = tmp_path / "out"
    if kind == "file":
        target.write_text("kept")
    elif kind == "full":
        target.mkdir()
        (target / "kept").write_text("kept")
    else:
        (tmp_path / "elsewhere").mkdir()
        target.symlink_to(tmp_path / "elsewhere")
    before = files(tmp_path)
    with pytest.raises(UsageError) as caught:
        exported(site(3), target)
    assert caught.value.code == "EXPORT_EXISTS"
    assert files(tmp_path) == before


def test_a_failed_export_leaves_nothing(site, tmp_path):
    """A log that lacks an entry half-way leaves neither the target nor a staging directory."""
    made = site(300)
    text = made.checkpoint()
    made.storage.entries.pop()
    with pytest.raises(IntegrityFailure):
        export_log(made.storage, text, made.vkey, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(site, tmp_path, monkeypatch):
    """An I/O error becomes a sentence with a code; no half export stays."""

    def full(*_):
        raise OSError(28, "No space left on device")

    made = site(3)
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(StorageFailed, match="No space left") as caught:
        exported(made, tmp_path / "out")
    assert caught.value.code == "EXPORT_FAILED"
    assert list(tmp_path.iterdir()) == []


def test_an_export_appears_all_at_once(site, tmp_path, monkeypatch):
    """The target comes into being by one rename of a finished directory, or not at all."""
    seen = []

    def refuse_rename(staging, target):
        seen.append((files(staging), target.exists()))
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pathlib.Path.rename", refuse_rename)
    with pytest.raises(StorageFailed):
        exported(site(1), tmp_path / "out")
    assert seen == [(["checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1", "vkey"], False)]
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_file_is_told(site, tmp_path, verify, monkeypatch):
    """A file that the system will not read makes the export broken, not the program."""
    out = exported(site(1), tmp_path / "out")

    def refuse_open(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse_open)
    assert "cannot be read" in str(refuse(out, verify))


def test_a_log_with_a_torn_tile_is_not_exported(site, tmp_path):
    """A full tile that was cut is found while exporting, although the edge still gives the root."""
    made = site(300)
    text = made.checkpoint()
    made.storage.tiles[0, 0] = made.storage.tiles[0, 0][:-1]
    with pytest.raises(IntegrityFailure, match="tile/0/000"):
        export_log(made.storage, text, made.vkey, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_another_log_is_not_exported(site, tmp_path):
    """Log and checkpoint must agree before a file is written."""
    made = site(3)
    wrong_size = site(4).checkpoint()
    wrong_root = sign_checkpoint(made.origin, 3, b"\1" * 32, made.signer)
    for text in (wrong_size, wrong_root):
        with pytest.raises(IntegrityFailure):
            export_log(made.storage, text, made.vkey, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_missing_file_is_found(site, tmp_path, verify):
    """Without any one of its files an export does not check."""
    made = site(300)
    whole = exported(made, tmp_path / "whole")
    for number, name in enumerate(files(whole)):
        copy = shutil.copytree(whole, tmp_path / f"copy{number}")
        (copy / name).unlink()
        refuse(copy, verify)


@pytest.mark.parametrize(
    "extra",
    ["extra", "tile/extra", "tile/0/001", "tile/0/000.p/255", "tile/2/000.p/1", "tile/entries/002.p/1", ".hidden"],
)
def test_every_extra_file_is_found(site, tmp_path, verify, extra):
    """A file that the size does not demand is refused, however plausible its name."""
    out = exported(site(300), tmp_path / "out")
    (out / extra).parent.mkdir(parents=True, exist_ok=True)
    (out / extra).write_bytes(b"")
    refuse(out, verify)


def test_an_extra_empty_directory_is_found(site, tmp_path, verify):
    """Even a directory without files is refused."""
    out = exported(site(3), tmp_path / "out")
    (out / "tile" / "9").mkdir()
    assert "too many" in str(refuse(out, verify))


def test_endless_directories_are_refused_not_followed(site, tmp_path, verify):
    """A hundred nested directories end the walk with a refusal."""
    out = exported(site(3), tmp_path / "out")
    (out / "/".join(["d"] * 100)).mkdir(parents=True)
    assert "without end" in str(refuse(out, verify))


def test_every_symlinked_file_is_found(site, tmp_path, verify):
    """A link is refused in place of any file, even when it leads to the very same bytes."""
    whole = exported(site(300), tmp_path / "whole")
    for number, name in enumerate(files(whole)):
        copy = shutil.copytree(whole, tmp_path / f"copy{number}")
        (copy / name).unlink()
        (copy / name).symlink_to(whole / name)
        assert "link" in str(refuse(copy, verify))


def test_a_symlinked_directory_and_a_pipe_are_found(site, tmp_path, verify):
    """Links to directories and other non-files are refused without being opened."""
    whole = exported(site(300), tmp_path / "whole")
    linked = shutil.copytree(whole, tmp_path / "linked")
    shutil.rmtree(linked / "tile")
    (linked / "tile").symlink_to(whole / "tile")
    refuse(linked, verify)
    piped = shutil.copytree(whole, tmp_path / "piped")
    (piped / "checkpoint").unlink()
    os.mkfifo(piped / "checkpoint")
    refuse(piped, verify)


def test_a_lengthened_file_is_found(site, tmp_path, verify):
    """A byte after the end of any file is refused."""
    whole = exported(site(300), tmp_path / "whole")
    for number, name in enumerate(files(whole)):
        copy = shutil.copytree(whole, tmp_path / f"copy{number}")
        with (copy / name).open("ab") as file:
            file.write(b"\n")
        refuse(copy, verify)


def test_an_oversized_note_is_not_read_whole(site, tmp_path, verify):
    """A checkpoint of a megabyte is refused by its length."""
    out = exported(site(3), tmp_path / "out")
    (out / "checkpoint").write_bytes(b"x" * (1 << 20))
    assert "too long" in str(refuse(out, verify))


@pytest.mark.parametrize("name", ["checkpoint", "vkey"])
def test_a_note_that_is_no_text_is_found(site, tmp_path, verify, name):
    """Bytes that are not UTF-8 are damage, not a crash."""
    out = exported(site(3), tmp_path / "out")
    (out / name).write_bytes(b"\xff\xfe")
    refuse(out, verify)


def test_a_whole_forgery_passes_only_unpinned(site, tmp_path, verify):
    """An export re-signed with a forger's key agrees with itself; the key known beforehand exposes it."""
    honest, forger = site(3), site(3, signer_byte=2)
    out = exported(forger, tmp_path / "out")
    assert check_export(out, verify).vkey == forger.vkey
    assert "another key" in str(refuse(out, verify, vkey=honest.vkey))


def test_an_absurd_signed_size_is_refused_at_once(site, tmp_path, verify):
    """A checkpoint that claims 10^18 entries is refused by counting, not by listing them."""
    made = site(3)
    out = exported(made, tmp_path / "out")
    (out / "checkpoint").write_text(sign_checkpoint(made.origin, 10**18, b"\1" * 32, made.signer))
    refuse(out, verify)


def test_no_directory_is_no_export(tmp_path, verify):
    """A missing directory or a file is the caller's mistake."""
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(UsageError) as caught:
            check_export(wrong, verify)
        assert caught.value.code == "EXPORT_MISSING"


def test_an_empty_directory_is_a_broken_export(tmp_path, verify):
    """Without checkpoint and key nothing holds."""
    (tmp_path / "out").mkdir()
    refuse(tmp_path / "out", verify)
