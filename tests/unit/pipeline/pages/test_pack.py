"""Packing: waiting pages become larger ones in bundles, and nothing else changes."""

import numpy as np
import pytest

from fabnet_secure.errors import IntegrityFailure, KeyProblem
from fabnet_secure.pipeline import pack as packing
from fabnet_secure.pipeline.pack import pack, pack_if_worthwhile
from fabnet_secure.pipeline.withdraw import withdraw
from fabnet_secure.store import bundles, embeddings, erasures


def count(shelf, consent_id):
    with shelf.site.reading() as connection:
        return embeddings.count(connection, consent_id)


def segments(shelf):
    with shelf.site.reading() as connection:
        return bundles.list_segments(connection)


def test_what_is_packed_opens_as_it_was(shelf):
    """Every vector keeps its person, track and frame; nothing waits any more; the log says what was done."""
    ada, ben = shelf.person("ada", 3, 5), shelf.person("ben", 2)
    done = pack(shelf.site)
    assert (done.waiting, done.pages, done.bundles, done.embeddings) == (3, 2, 1, 10)
    assert shelf.rows(shelf.unlock()) == shelf.of()
    assert [count(shelf, one) for one in (ada, ben)] == [8, 2]
    with shelf.site.reading() as connection:
        assert embeddings.count_waiting(connection) == 0
        assert embeddings.embedded_tracks(connection, shelf.model_id) == {track for _, track, *_ in shelf.kept}
        assert embeddings.models_of_track(connection, shelf.kept[0][1]) == [shelf.model_id]
    facts = shelf.room.facts(shelf.site, "embeddings.packed")
    assert facts == {"waiting": 3, "pages": 2, "embeddings": 10, "moved": 0}


def test_nothing_waits_nothing_is_done(lite):
    """Without a waiting page no transaction is begun."""
    before = lite.room.acts(lite.site)
    assert pack(lite.site).waiting == 0
    assert pack_if_worthwhile(lite.site).waiting == 0
    assert lite.room.acts(lite.site) == before


def test_a_page_that_is_not_full_takes_more(lite):
    """A person's later tracks go into the page that has room, with what was in it."""
    ada = lite.person("ada", 3)
    pack(lite.site)
    (first,) = segments(lite)
    lite.page(ada, 4)
    pack(lite.site)
    (second,) = segments(lite)
    assert (first.n, second.n) == (3, 7)
    assert first.page_id != second.page_id
    assert lite.rows(lite.unlock()) == lite.of()


def test_large_subjects_have_several_pages_and_bundles(lite, monkeypatch):
    """A page and a bundle have their sizes; a track may lie in two pages."""
    monkeypatch.setattr(packing, "PAGE_BYTES", 10 * 32)
    monkeypatch.setattr(bundles, "BUNDLE_BYTES", 1000)
    lite.person("ada", 4, 19)
    assert pack(lite.site).pages == 3
    assert [segment.n for segment in segments(lite)] == [10, 10, 3]
    assert len({segment.bundle_id for segment in segments(lite)}) == 2
    assert lite.rows(lite.unlock()) == lite.of()
    assert len(lite.unlock().of_track(lite.kept[-1][1])) in {2, 3}


def test_models_are_packed_apart(lite):
    """Pages of two models share neither page nor bundle."""
    other = lite.model()
    ada = lite.person("ada", 3)
    lite.page(ada, 2, model_id=other, dim=8)
    pack(lite.site)
    assert {(segment.model_id, segment.n, segment.dim) for segment in segments(lite)} == {
        (lite.model_id, 3, 16),
        (other, 2, 8),
    }
    assert len({segment.bundle_id for segment in segments(lite)}) == 2
    assert lite.rows(lite.unlock(ada)) == [one for one in lite.of() if len(one[3]) == 32]


def test_ended_consents_are_not_packed(lite):
    """What expired since it was written stays as it is until it is swept."""
    lite.person("ada", 3)
    lite.room.clock.forward(days=400)
    ben = lite.person("ben", 2)
    assert pack(lite.site).waiting == 1
    assert {segment.consent_id for segment in segments(lite)} == {ben}


def test_many_batches_end_in_the_same(lite, monkeypatch):
    """However small a transaction is, everything is packed."""
    monkeypatch.setattr(packing, "BATCH", 2)
    for ref in "abc":
        lite.person(ref, 1, 2)
    news = []

    class Told:
        def advance(self, stage, done, total=None):
            news.append((stage, done, total))

    assert pack(lite.site, progress=Told()).waiting == 6
    assert news == [("pages packed", done, 6) for done in (2, 4, 6)]
    assert lite.rows(lite.unlock()) == lite.of()


def test_worthwhile_is_a_number_of_pages(lite, monkeypatch):
    """A few waiting pages are opened one by one; many are packed first."""
    lite.person("ada", 1, 1)
    assert pack_if_worthwhile(lite.site).waiting == 0
    monkeypatch.setattr(packing, "WORTH_IT", 2)
    assert pack_if_worthwhile(lite.site).waiting == 2


def test_another_process_was_faster(lite, monkeypatch):
    """Pages that were packed between the look and the transaction are not packed twice."""
    lite.person("ada", 3)
    look = embeddings.waiting_by_consent

    def slow(connection):
        found = look(connection)
        monkeypatch.setattr(embeddings, "waiting_by_consent", look)
        pack(lite.site)
        return found

    monkeypatch.setattr(embeddings, "waiting_by_consent", slow)
    assert pack(lite.site).waiting == 0
    assert lite.rows(lite.unlock()) == lite.of()


@pytest.mark.parametrize("step", ["remove_waiting", "add_bundles"])
def test_a_crash_leaves_the_one_form_or_the_other(lite, monkeypatch, step):
    """An error at any step undoes the whole exchange."""
    lite.person("ada", 3)
    owner = embeddings if step == "remove_waiting" else bundles
    work = getattr(owner, step)

    def broken(*arguments):
        work(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, step, broken)
    with pytest.raises(KeyboardInterrupt):
        pack(lite.site)
    monkeypatch.undo()
    assert segments(lite) == []
    assert lite.rows(lite.unlock()) == lite.of()
    assert pack(lite.site).waiting == 1


def test_who_opens_no_embeddings_packs_none(lite, monkeypatch):
    """A keyring without the domain is told so when it is asked to, and is passed by on the way to a question."""
    lite.person("ada", 3)
    monkeypatch.setattr(packing, "WORTH_IT", 1)
    monkeypatch.setattr(type(lite.site.keyring), "opens", lambda *_: False)
    assert pack_if_worthwhile(lite.site).waiting == 0

    def shut(*_):
        raise KeyProblem("no", code="KEY_DOMAIN")

    monkeypatch.setattr(type(lite.site.keyring), "unwrap_many", shut)
    with pytest.raises(KeyProblem):
        pack(lite.site)


def test_a_damaged_page_is_not_packed(lite):
    """Nothing is exchanged when one of the pages does not open."""
    lite.person("ada", 3)
    lite.change("UPDATE embedding_page SET sealed = sealed || x'00'")
    with pytest.raises(IntegrityFailure):
        pack(lite.site)
    assert segments(lite) == []


def test_withdrawal_empties_a_persons_part_of_a_bundle(shelf):
    """The others' pages stay as they are; of the person's not a byte is left, and the counts say so."""
    ada, ben = shelf.person("ada", 3), shelf.person("ben", 2)
    pack(shelf.site)
    (bundle,) = shelf.change("SELECT sealed FROM embedding_bundle")
    gone = next(segment for segment in segments(shelf) if segment.consent_id == ada)
    assert withdraw(shelf.site, ada, confirm=ada).outcome == "complete"
    (after,) = shelf.change("SELECT sealed FROM embedding_bundle")
    place = slice(gone.start, gone.start + gone.length)
    before, after = bytearray(bundle.sealed), bytes(after.sealed)
    assert any(before[place])
    before[place] = bytes(gone.length)
    assert after == before
    assert [segment.consent_id for segment in segments(shelf)] == [ben]
    assert shelf.rows(shelf.unlock()) == shelf.of(ben)
    with shelf.site.reading() as connection:
        assert not any(erasures.remaining(connection, ada).values())
    assert withdraw(shelf.site, ben, confirm=ben).outcome == "complete"
    assert shelf.change("SELECT 1 FROM embedding_bundle") == []


def test_a_withdrawal_waits_for_no_repair(lite):
    """Erasure goes on where pages lack or the census was changed, and questions stay refused."""
    ada, ben = lite.person("ada", 3), lite.person("ben", 2)
    pack(lite.site)
    lite.change("UPDATE meta SET value = '' WHERE key = 'embeddings'")
    assert withdraw(lite.site, ada, confirm=ada).outcome == "complete"
    lite.change("DELETE FROM embedding_bundle")
    assert withdraw(lite.site, ben, confirm=ben).outcome == "complete"
    with pytest.raises(IntegrityFailure):
        lite.unlock()


def test_bundles_that_are_mostly_erased_are_joined(lite, monkeypatch):
    """What is left of them moves together, unopened; whoever asks finds the same."""
    monkeypatch.setattr(bundles, "BUNDLE_BYTES", 1500)
    people = [lite.person(f"p{number}", 10) for number in range(6)]
    pack(lite.site)
    before = {segment.page_id: segment for segment in segments(lite)}
    assert len({segment.bundle_id for segment in before.values()}) == 3
    for first in {segment.bundle_id: segment.consent_id for segment in before.values()}.values():
        withdraw(lite.site, first, confirm=first)
        people.remove(first)
    lite.page(people[0], 30)
    people.append(lite.person("late", 1))
    lite.change("SELECT 1")
    for left in people[1:2]:
        lite.page(left, 1)
    pack(lite.site)
    assert lite.rows(lite.unlock(*people)) == lite.of(*people)


def test_packed_vectors_are_bitwise_the_same(lite):
    """Not a number, infinity and denormals come back as they were."""
    odd = np.array([[np.nan, np.inf, -np.inf, 6e-8] + [0] * 12], np.float16)
    lite.rng = type("Fixed", (), {"standard_normal": staticmethod(lambda _: odd)})()
    lite.person("ada", 1)
    assert lite.rows(lite.unlock()) == lite.of()
    pack(lite.site)
    assert lite.rows(lite.unlock()) == lite.of()
