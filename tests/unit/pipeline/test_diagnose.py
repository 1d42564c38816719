"""Doctor: what is found, and what to do about it."""

import resource
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from fabnet_secure.config import load
from fabnet_secure.pipeline import diagnose
from fabnet_secure.types import is_id

EVERY = {
    "versions",
    "detector",
    "codecs",
    "policies",
    "settings",
    "clock",
    "memory",
    "core dumps",
    "swap",
    "temp directory",
}
VAULT = {"vault", "key access", "database revision", "log head", "disk"}


def _by_name(findings):
    return {one.name: one for one in findings}


def test_a_machine_is_examined_without_a_vault():
    """Every check of the machine is there; whatever is not ok says what to do."""
    found = diagnose.diagnose(None, load([]))
    assert EVERY.isdisjoint(VAULT)
    assert {one.name for one in found} == EVERY
    assert all(one.status == "ok" or one.remedy for one in found)
    assert {one.status for one in found} <= {"ok", "warn", "fail"}


def test_a_sound_vault_is_examined_too(room):
    """With a vault its key, schema, log and disk are checked, too, and none fails."""
    found = _by_name(diagnose.diagnose(room.place, load([])))
    assert set(found) >= VAULT
    assert all(found[name].status != "fail" for name in VAULT)
    assert "0600" in found["key access"].detail


def test_a_bad_key_fails(room):
    """A key file that others can read is a failure with its remedy."""
    room.place.key_file.chmod(0o644)
    found = _by_name(diagnose.diagnose(room.place, load([])))
    assert found["vault"].status == "fail"
    assert "chmod 600" in found["vault"].remedy


def test_a_missing_vault_fails(room, tmp_path):
    """A vault that is not there is a failure, not a crash."""
    found = _by_name(diagnose.diagnose(replace(room.place, root=tmp_path / "nowhere"), load([])))
    assert found["vault"].status == "fail"


def test_an_account_without_roles_cannot_have_the_log_checked(room, stranger):
    """Doctor gives nobody rights: the log head stays unchecked, and the denial is in the log."""
    found = _by_name(diagnose.diagnose(room.place, load([])))
    assert found["log head"].status == "fail"
    assert room.acts(stranger)[-1] == "access.denied"
    assert not is_id(found["log head"].detail)


def test_a_check_that_breaks_is_a_finding(monkeypatch):
    """Whatever goes wrong inside a check is a failed check."""

    def broken():
        raise ZeroDivisionError("very odd")

    monkeypatch.setattr(diagnose, "_versions", broken)
    found = _by_name(diagnose.diagnose(None, load([])))
    assert (found["versions"].status, found["versions"].detail) == ("fail", "ZeroDivisionError: very odd")


def test_core_dumps_that_would_hold_frames(monkeypatch):
    """Core dumps that are on are a warning with the command that turns them off."""
    monkeypatch.setattr(diagnose.resource, "getrlimit", lambda _which: (resource.RLIM_INFINITY,) * 2)
    found = _by_name(diagnose.diagnose(None, load([])))
    assert (found["core dumps"].status, "ulimit -c 0" in found["core dumps"].remedy) == ("warn", True)


@pytest.mark.parametrize(("year", "status"), [(2001, "fail"), (2031, "ok")])
def test_a_clock_before_the_program_was_written(monkeypatch, year, status):
    """A clock in the past fails: consents end by it."""
    moment = datetime(year, 1, 1, tzinfo=UTC)
    monkeypatch.setattr(diagnose, "datetime", SimpleNamespace(now=lambda _zone: moment))
    monkeypatch.setattr(diagnose.time, "time", moment.timestamp)
    assert _by_name(diagnose.diagnose(None, load([])))["clock"].status == status


def test_a_controller_with_a_name(tmp_path):
    """Settings warn until the site says who is responsible."""
    file = tmp_path / "fabnet.toml"
    file.write_text('[site]\ncontroller_name = "Example Ltd"\n', "utf-8")
    assert _by_name(diagnose.diagnose(None, load([])))["settings"].status == "warn"
    assert _by_name(diagnose.diagnose(None, load([file])))["settings"].status == "ok"
