"""Models, datasets and the lineage between them."""

from datetime import timedelta

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.store import models
from fabnet_secure.types import new_id


def test_model_round_trips_and_the_newest_is_latest(site, make):
    """A model comes back equal; the newest that is not retired is the latest, by kind if asked."""
    with site.work() as work:
        assert models.latest_model(work.connection) is None
        old = make.model(new_id(), None, kind=models.ModelKind.PUBLIC)
        new = make.model(new_id(), None, kind=models.ModelKind.PUBLIC, created_at=make.at + timedelta(days=1))
        for row in (new, old):
            models.add_model(work.connection, row)
        work.log("test.entry", facts={})
        assert models.get_model(work.connection, old.model_id) == old
        assert models.get_model(work.connection, new_id()) is None
        assert models.list_models(work.connection) == [old, new]
        assert models.latest_model(work.connection) == new
        assert models.latest_model(work.connection, kind=models.ModelKind.DP) is None
        models.decide_model(work.connection, new.model_id, models.ModelStatus.RETIRED)
        assert models.latest_model(work.connection) == old


@pytest.mark.parametrize("kind", list(models.ModelKind))
def test_a_model_of_people_names_its_run_and_no_other_does(site, make, kind):
    """Dp without a run and public with one are both refused by the database."""
    with site.refused() as work:
        subject_id, consent_id = site.enrol(work.connection)
        track_id = site.track(work.connection, subject_id, consent_id)
        _, run_id = site.model(work.connection, [(consent_id, subject_id, track_id)])
        run_of = {models.ModelKind.DP: None, models.ModelKind.PUBLIC: run_id}
        models.add_model(work.connection, make.model(new_id(), run_of[kind], kind=kind))


def test_flag_keeps_the_earliest_date_and_a_decision_clears_it(site, make):
    """A second withdrawal does not put a decision off; deciding clears the date; retired is for good."""
    soon, late = make.at + timedelta(days=3), make.at + timedelta(days=9)
    with site.work() as work:
        row = make.model(new_id(), None, kind=models.ModelKind.PUBLIC)
        models.add_model(work.connection, row)
        work.log("test.entry", facts={})
        for due in (soon, late):
            models.flag_model(work.connection, row.model_id, decision_due=due)
        flagged = models.get_model(work.connection, row.model_id)
        assert (flagged.status, flagged.decision_due) == (models.ModelStatus.FLAGGED, soon)
        models.decide_model(work.connection, row.model_id, models.ModelStatus.ACTIVE)
        assert models.get_model(work.connection, row.model_id) == row
        models.decide_model(work.connection, row.model_id, models.ModelStatus.RETIRED)
        for status in models.ModelStatus:
            with pytest.raises(UsageError):
                models.decide_model(work.connection, row.model_id, status)
        with pytest.raises(UsageError):
            models.flag_model(work.connection, row.model_id, decision_due=soon)


def test_models_of_consent_follows_the_lineage(site):
    """A consent leads to exactly the models whose dataset holds one of its tracks."""
    with site.work() as work:
        people = [site.enrol(work.connection, ref=ref) for ref in ("anna", "ben")]
        held = [(c, s, site.track(work.connection, s, c)) for s, c in people]
        both, _ = site.model(work.connection, held)
        only_ben, _ = site.model(work.connection, held[1:])
        work.log("test.entry", facts={})

        def found(consent_id):
            return {row.model_id for row in models.models_of_consent(work.connection, consent_id)}

        assert found(people[0][1]) == {both}
        assert found(people[1][1]) == {both, only_ben}
        assert found(new_id()) == set()


def test_dataset_and_members_round_trip(site, make):
    """A dataset's body and members come back; a member named twice is refused."""
    dataset_id = new_id()
    with site.work() as work:
        subject_id, consent_id = site.enrol(work.connection)
        member = (consent_id, subject_id, site.track(work.connection, subject_id, consent_id))
        models.add_dataset(work.connection, dataset_id, {"exclusions": {"expired": 2}}, make.at)
        models.add_members(work.connection, dataset_id, [member])
        models.add_members(work.connection, dataset_id, [])
        work.log("test.entry", facts={})
        assert models.get_dataset(work.connection, dataset_id) == {"exclusions": {"expired": 2}}
        assert models.get_dataset(work.connection, new_id()) is None
        assert models.members(work.connection, dataset_id) == [member]
    with site.refused() as work:
        models.add_members(work.connection, dataset_id, [member])
