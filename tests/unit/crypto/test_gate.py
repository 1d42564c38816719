"""The gate of an epoch: on disk before it is used, gone when the epoch is."""

import os
import stat

import pytest

from fabnet_secure.crypto import gate as gates
from fabnet_secure.crypto.gate import Gate, prepare_gate, read_gates, settle_gate
from fabnet_secure.errors import IntegrityFailure, KeyProblem


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vault.epoch"


def code_of(error, act, *arguments):
    with pytest.raises(error) as caught:
        act(*arguments)
    return caught.value.code


def test_a_gate_closes_over_what_it_alone_opens():
    """Another gate, another place or a changed byte does not open it."""
    gate = Gate.generate()
    outer = gate.close(b"place", b"inner")
    assert gate.open(b"place", outer) == b"inner"
    for one, bound, blob in (
        (Gate.generate(), b"place", outer),
        (gate, b"elsewhere", outer),
        (gate, b"place", outer[:-1]),
        (gate, b"place", b""),
        (gate, b"place", b"inner"),
    ):
        assert code_of(IntegrityFailure, one.open, bound, blob) == "EPOCH_BROKEN"


def test_a_prepared_gate_is_there_at_once_and_settles(path):
    """Its file is its owner's alone; after settling, one file with one gate is left."""
    first = prepare_gate(path, 1)
    assert read_gates(path) == {1: first}
    assert settle_gate(path, 1) == ()
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_gates(path) == {1: first}
    assert [one.name for one in path.parent.iterdir()] == ["vault.epoch"]


def test_while_an_epoch_is_made_both_gates_are_there(path):
    """Then the old one is destroyed, by name and by content, and its epoch is named."""
    first = prepare_gate(path, 1)
    settle_gate(path, 1)
    second = prepare_gate(path, 2)
    assert read_gates(path) == {1: first, 2: second}
    assert settle_gate(path, 2) == (1,)
    assert settle_gate(path, 2) == ()
    assert read_gates(path) == {2: second}


def test_the_old_gates_bytes_are_overwritten_where_they_lay(path, tmp_path):
    """A second name of the same file shows it: unlinking alone would have left them."""
    prepare_gate(path, 1)
    settle_gate(path, 1)
    held = path.read_bytes()
    prepare_gate(path, 2)
    os.link(path, tmp_path / "another-name")
    settle_gate(path, 2)
    assert (tmp_path / "another-name").read_bytes() == bytes(len(held))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda path, away: (path.rename(away), path.symlink_to(away)), "GATE_LINKED"),
        (os.link, "GATE_LINKED"),
        (lambda path, _: path.chmod(0o660), "GATE_MODE"),
    ],
    ids=["symlink", "second_name", "group_may_write"],
)
def test_a_gate_that_could_not_be_destroyed_alone_is_refused_before_the_next_is_made(path, tmp_path, spoil, code):
    """Nothing is written; what is there still opens."""
    first = prepare_gate(path, 1)
    settle_gate(path, 1)
    spoil(path, tmp_path / "away")
    assert code_of(KeyProblem, prepare_gate, path, 2) == code
    assert read_gates(path) == {1: first}
    assert not path.with_name("vault.epoch.next").exists()


def test_a_gate_that_was_prepared_in_vain_is_overwritten_by_the_next(path, tmp_path):
    """An attempt that was cut off leaves nothing to mistake."""
    first = prepare_gate(path, 1)
    settle_gate(path, 1)
    prepare_gate(path, 2)
    os.link(path.with_name("vault.epoch.next"), tmp_path / "another-name")
    (tmp_path / "vault.epoch.next.part").write_text("half a ga")
    again = prepare_gate(path, 2)
    assert read_gates(path) == {1: first, 2: again}
    assert not (tmp_path / "another-name").read_bytes().strip(b"\0")


@pytest.mark.parametrize("step", ["_overwrite", "sync_directory"])
def test_settling_that_was_cut_off_is_finished_by_another(path, monkeypatch, step):
    """At no point is the living epoch's gate not readable."""
    prepare_gate(path, 1)
    settle_gate(path, 1)
    second = prepare_gate(path, 2)
    real = getattr(gates, step)

    def cut(*arguments):
        real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(gates, step, cut)
    with pytest.raises(KeyboardInterrupt):
        settle_gate(path, 2)
    monkeypatch.undo()
    assert read_gates(path)[2] == second
    settle_gate(path, 2)
    assert read_gates(path) == {2: second}
    assert [one.name for one in path.parent.iterdir()] == ["vault.epoch"]


def test_settling_on_a_gate_that_is_not_there_destroys_nothing(path):
    """Whatever is asked, the only gate is not overwritten for one that does not exist."""
    first = prepare_gate(path, 1)
    settle_gate(path, 1)
    assert code_of(KeyProblem, settle_gate, path, 2) == "GATE_MISSING"
    assert read_gates(path) == {1: first}


def test_no_file_is_no_gate(path):
    """What that means is the caller's to say."""
    assert read_gates(path) == {}


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 80, b"FABNET-SECURE-EPOCH-1\nx\nAAAA\n", b"FABNET-SECURE-EPOCH-1\n1\nAAAA\n", b"other\n1\n\n"],
    ids=["empty", "overwritten", "no_number", "short", "other"],
)
def test_what_is_no_epoch_file_is_refused(path, content):
    """An overwritten or empty one is none at all; anything else is said."""
    path.write_bytes(content)
    path.chmod(0o600)
    if content.strip(b"\0"):
        assert code_of(KeyProblem, read_gates, path) == "GATE_FORMAT"
    else:
        assert read_gates(path) == {}


def test_a_gate_open_to_everybody_is_refused(path):
    """Its copies could not be destroyed with it; a group may share it."""
    gate = prepare_gate(path, 1)
    settle_gate(path, 1)
    path.chmod(0o640)
    assert read_gates(path) == {1: gate}
    path.chmod(0o604)
    assert code_of(KeyProblem, read_gates, path) == "GATE_MODE"


def test_what_is_no_plain_file_is_refused(path):
    """A directory or a FIFO neither opens nor makes the program wait."""
    os.mkfifo(path, 0o600)
    assert code_of(KeyProblem, read_gates, path) == "GATE_FORMAT"
    path.unlink()
    path.mkdir()
    assert code_of(KeyProblem, read_gates, path) in ("GATE_FORMAT", "GATE_UNREADABLE")


def test_where_it_cannot_be_written_nothing_is_lost(path):
    """The present gate stays, and the failure says which file."""
    assert code_of(KeyProblem, prepare_gate, path.parent / "nowhere" / "vault.epoch", 1) == "GATE_NOT_WRITTEN"


def test_a_group_that_reads_the_gate_reads_the_next_one(tmp_path):
    """A vault that several accounts share opens for them after a rekey too; a private one stays private."""
    for mode in (0o600, 0o640):
        path = tmp_path / f"{mode:o}.epoch"
        prepare_gate(path, 1)
        settle_gate(path, 1)
        path.chmod(mode)
        prepare_gate(path, 2)
        settle_gate(path, 2)
        assert stat.S_IMODE(path.stat().st_mode) == mode
