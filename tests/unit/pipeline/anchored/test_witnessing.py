"""A witness stops a vault that was put back together with its anchor, and watches from another host as well."""

from datetime import timedelta

import pytest

from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.pipeline.auditing import export
from fabnet_secure.pipeline.reanchor import accept
from fabnet_secure.pipeline.witnessing import check as check_one
from fabnet_secure.pipeline.witnessing import of_folder, of_vault, prove, verify_against, witness


def test_a_witness_stops_a_vault_whose_anchor_was_put_back_too(room, act, refusal, opened, kept, put_back, witnessed):
    """Databases and anchor together are an honest older vault to everybody but the witness."""
    copy = kept(room)
    anchor = room.place.anchor_file.read_bytes()
    with opened(room) as site:
        act(site)
    witnessed(room, room.folder / "seen")
    put_back(room, copy)
    room.place.anchor_file.write_bytes(anchor)
    with opened(room):
        pass
    assert refusal(room, witnesses=[room.folder / "seen"]) == "ROLLED_BACK"


def test_a_witness_that_cannot_be_read_stops_the_vault(room, refusal):
    """A configured witness that is not there is not passed over."""
    assert refusal(room, witnesses=[room.folder / "gone"]) == "WITNESS_MISSING"


def test_an_accepted_head_does_not_outvote_a_witness(room, act, opened, kept, put_back, head_of, witnessed):
    """A person's word does not undo what a witness saw."""
    copy = kept(room)
    with opened(room) as site:
        act(site)
    witnessed(room, room.folder / "seen")
    put_back(room, copy)
    head, vault_id = head_of(room)
    with (
        opened(room, witnesses=[room.folder / "seen"], anchored=False) as site,
        pytest.raises(IntegrityFailure) as refused,
    ):
        accept(site, head, confirm=vault_id)
    assert refused.value.code == "ROLLED_BACK"


def test_a_witness_on_another_host_needs_no_key_of_ours(room, act, opened, witnessed):
    """An exported folder and the published key are enough; the vault's own witness then goes on from there."""
    with opened(room) as site:
        export(site, room.folder / "log")
        vkey = site.log_vkey
    log = of_folder(room.folder / "log", vkey)
    done, _ = witness(log, out=room.folder / "seen", key_file=room.folder / "far.key", now=room.clock)
    again, _ = witnessed(room, room.folder / "seen")
    assert (again.before, again.size) == (done.size, done.size)
    with opened(room) as site:
        act(site)
    assert witnessed(room, room.folder / "seen")[0].before == done.size


def test_a_witness_keeps_nothing_inside_what_it_watches(room, opened):
    """Neither its key nor its memory lies in the vault."""
    for out, key in (("vault/seen", "w.key"), ("seen", "vault/w.key")):
        with (
            opened(room) as site,
            of_vault(site, "audit_witness") as log,
            pytest.raises(UsageError) as refused,
        ):
            witness(
                log,
                out=room.folder / out,
                key_file=room.folder / key,
                now=room.clock,
                forbidden=[room.place.root],
            )
        assert refused.value.code == "WITNESS_INSIDE"


def test_a_refused_witness_makes_no_key(room, act, opened, kept, put_back, witnessed):
    """A log that does not continue costs the witness nothing."""
    copy = kept(room)
    with opened(room) as site:
        act(site)
    witnessed(room, room.folder / "seen")
    (room.folder / "witness.key").unlink()
    put_back(room, copy)
    with (
        opened(room, anchored=False) as site,
        of_vault(site, "audit_witness") as log,
        pytest.raises(IntegrityFailure),
    ):
        witness(log, out=room.folder / "seen", key_file=room.folder / "witness.key", now=room.clock)
    assert not (room.folder / "witness.key").exists()


def test_a_proof_under_a_witnessed_checkpoint_is_checked_with_its_key(room, act, opened, witnessed):
    """The cosignature travels with the proof; without the witness's line it is refused."""
    _, key = witnessed(room, room.folder / "seen")
    room.clock.now += timedelta(seconds=1)
    with opened(room) as site:
        act(site)
        with of_vault(site, "audit_prove") as log:
            text, entry = prove(log, 0, under=room.folder / "seen")
            plain, _ = prove(log, 0)
            assert verify_against(log, room.folder / "seen", [key]) == log.storage.size() - 1
    done = check_one(text, entry, site.log_vkey, [key])
    assert (done.act, done.proven.index, len(done.cosigned)) == ("vault.created", 0, 1)
    assert check_one(plain, entry, site.log_vkey).cosigned == []
    with pytest.raises(IntegrityFailure) as refused:
        check_one(plain, entry, site.log_vkey, [key])
    assert refused.value.code == "COSIGNATURE_BROKEN"
