"""The vault's root as shares: made for whoever may, made into a key file only where they open the vault."""

from dataclasses import replace

import pytest

from fabnet_secure.config import load
from fabnet_secure.crypto import shares as slip39
from fabnet_secure.crypto.keyfile import RootKey, load_key_file
from fabnet_secure.errors import AccessDenied, KeyProblem, UsageError
from fabnet_secure.pipeline import recovery
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.store.database import Work


def split(site, **changes):
    return recovery.split(site, **{"shares": 3, "threshold": 2, "confirm": site.vault_id} | changes)


def combine(room, texts, name="again.key", **named):
    place = Place(root=room.place.root, key_file=room.folder / name)
    return recovery.combine(place, load([]).settings, texts, clock=room.clock, **named)


def code_of(kind, act, *arguments, **named):
    with pytest.raises(kind) as caught:
        act(*arguments, **named)
    return caught.value.code


@pytest.mark.parametrize("chosen", [(0, 1), (0, 2), (2, 1)])
def test_any_two_of_three_open_the_vault(room, site, chosen):
    """The new key file is the vault's key, private, and opens it; the log says what was done, with counts only."""
    made = split(site)
    assert room.facts(site, "keys.split") == {"shares": 3, "threshold": 2}
    assert combine(room, [made[one] for one in chosen]) == site.vault_id
    path = room.folder / "again.key"
    assert load_key_file(path) == load_key_file(room.place.key_file)
    assert path.stat().st_mode & 0o777 == 0o600
    with open_site(Place(root=room.place.root, key_file=path), load([]).settings, clock=room.clock) as again:
        assert room.facts(again, "keys.combined") == {"protection": "file"}
    logged = str(room.facts(site, "keys.split")) + str(room.acts(site))
    assert not any(" ".join(made[0].split()[at : at + 2]) in logged for at in range(31))


def test_one_does_not(room, site):
    """One share alone: nothing is written, nothing logged."""
    made = split(site)
    before = room.acts(site)
    assert code_of(KeyProblem, combine, room, made[:1]) == "SHARES_TOO_FEW"
    assert not (room.folder / "again.key").exists()
    assert room.acts(site) == before


def test_shares_of_another_key_do_not_open_the_vault(room, site):
    """A whole set of shares that belongs elsewhere: KEY_WRONG, and no key file."""
    other = slip39.split(RootKey.generate(), shares=3, threshold=2)
    before = room.acts(site)
    assert code_of(KeyProblem, combine, room, other) == "KEY_WRONG"
    assert not (room.folder / "again.key").exists()
    assert room.acts(site) == before


def test_splitting_wants_the_vaults_id(room, site):
    """Not confirmed, or another vault's: refused; a rehearsal makes no share and logs nothing."""
    before = room.acts(site)
    for confirm in (None, "", site.vault_id[:8]):
        assert code_of(UsageError, split, site, confirm=confirm) == "NOT_CONFIRMED"
    assert code_of(UsageError, split, site, threshold=1) == "SHARES_INVALID"
    assert split(site, confirm=None, dry_run=True) == ()
    assert room.acts(site) == before


def test_only_who_may_splits_and_combines(room, site, stranger):
    """An account without the role is denied both, and the denial is logged."""
    made = split(site)
    with pytest.raises(AccessDenied):
        split(stranger)
    with pytest.raises(AccessDenied):
        combine(room, made)
    assert room.acts(site).count("access.denied") == 2
    assert not (room.folder / "again.key").exists()


def test_a_principals_own_key_is_not_split(room, site):
    """Opened with a role's key, there is no root to split."""
    assert code_of(KeyProblem, split, replace(site, root_key=None)) == "KEY_NOT_ROOT"
    assert "keys.split" not in room.acts(site)


def test_nothing_is_overwritten_nor_put_into_the_vault(room, site):
    """An existing file, and a path inside the vault, are refused before the shares are looked at."""
    assert code_of(KeyProblem, combine, room, [], "vault.key") == "KEY_EXISTS"
    assert code_of(UsageError, combine, room, [], "vault/again.key") == "KEY_INSIDE_VAULT"


def test_a_rehearsal_proves_and_writes_nothing(room, site):
    """The shares are proven against the vault; no file, no entry."""
    made = split(site)
    before = room.acts(site)
    assert combine(room, made[:2], dry_run=True) == site.vault_id
    assert not (room.folder / "again.key").exists()
    assert room.acts(site) == before


def test_a_file_without_its_entry_is_taken_back(room, site, monkeypatch):
    """Where the log cannot be written, no key file is left."""
    made = split(site)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Work, "finish", full)
    with pytest.raises(OSError, match="No space"):
        combine(room, made[:2])
    assert not (room.folder / "again.key").exists()
