"""Registers: ids, states and counts."""

from fabnet_secure.lineage import DatasetVersion, Member, model_card
from fabnet_secure.pipeline.registers import budgets, list_models, list_tracks
from fabnet_secure.store import ledger, models
from fabnet_secure.store.states import ModelKind, ModelStatus, RunState
from fabnet_secure.types import new_id, rfc3339


def _run(room, site, consent_id, track_id, *, epsilon, committed):
    """Add a plan, a run and its ledger entry for one person; return the run's id and its dataset."""
    plan_id, run_id = new_id(), new_id()
    with site.work() as work:
        from fabnet_secure.pipeline.coverage import find_consent

        record, _ = find_consent(work.connection, consent_id)
        member = Member(consent_id=consent_id, subject_id=record.subject_id, track_id=track_id)
        dataset = DatasetVersion(
            dataset_id=new_id(),
            created_at=room.clock(),
            members=(member,),
            consent_snapshot_sha256="ab" * 32,
            exclusions={},
        )
        models.add_dataset(work.connection, dataset.dataset_id, dataset.to_json(), room.clock())
        models.add_members(work.connection, dataset.dataset_id, [(consent_id, record.subject_id, track_id)])
        ledger.add_plan(
            work.connection,
            ledger.PlanRow(plan_id=plan_id, dataset_id=dataset.dataset_id, body={}, created_at=room.clock()),
        )
        ledger.add_run(
            work.connection,
            ledger.RunRow(
                run_id=run_id,
                plan_id=plan_id,
                state=RunState.RUNNING,
                steps_done=0,
                started_at=room.clock(),
                ended_at=None,
            ),
        )
        ledger.reserve(
            work.connection,
            entry_id=run_id,
            run_id=run_id,
            dp_event="{}",
            epsilon=epsilon,
            delta=0.01,
            created_at=room.clock(),
            subject_ids=[record.subject_id],
        )
        if committed:
            ledger.commit_entry(work.connection, run_id)
        work.log("test.run", facts={})
    return run_id, dataset, record.subject_id


def test_the_budget_of_each_person(room, site):
    """Committed is spent, a reservation is reserved; the cap is the smallest promised, or the site's own."""
    capped, plain = room.consent(site, dp_epsilon_cap=5.0), room.consent(site, subject_ref="bob")
    room.consent(site, dp_epsilon_cap=7.0)
    track = room.track(site, capped)
    _run(room, site, capped, track, epsilon=1.5, committed=True)
    _, _, subject = _run(room, site, capped, track, epsilon=2.0, committed=False)
    persons, policy = budgets(site)
    found = {one["subject_id"]: one for one in persons}
    assert found[subject] == {"subject_id": subject, "spent": 1.5, "reserved": 2.0, "cap": 5.0}
    (other,) = (one for one in persons if one["subject_id"] != subject)
    assert (other["spent"], other["reserved"], other["cap"]) == (0.0, 0.0, policy["default_cap"])
    assert plain


def test_a_model_is_listed_with_its_figures(room, site):
    """Persons, ε and δ come from the card; a decision that is due is told."""
    consent = room.consent(site)
    run_id, dataset, _ = _run(room, site, consent, room.track(site, consent), epsilon=2.5, committed=True)
    card = model_card(
        model_id="m",
        run_id=run_id,
        plan={"delta": 0.01},
        dataset=dataset,
        epsilon=2.5,
        epsilon_check=2.51,
        steps=4,
        audit={},
        weights_sha256="cd" * 32,
        created_at=rfc3339(room.clock()),
    )
    row = models.ModelRow(
        model_id=new_id(),
        kind=ModelKind.DP,
        run_id=run_id,
        weights_sha256="cd" * 32,
        card=card,
        created_at=room.clock(),
        status=ModelStatus.FLAGGED,
        decision_due=room.clock(),
    )
    with site.work() as work:
        models.add_model(work.connection, row)
        work.log("test.model", facts={})
    (listed,) = list_models(site)
    assert (listed["model_id"], listed["epsilon"], listed["delta"], listed["persons"]) == (row.model_id, 2.5, 0.01, 1)
    assert (listed["status"], listed["decision_due"]) == ("flagged", rfc3339(room.clock()))


def test_an_empty_vault_has_empty_registers(site):
    """Nothing is there before anything was done."""
    assert list_tracks(site) == []
    assert list_models(site) == []
    assert budgets(site)[0] == []


def test_a_listed_track_shows_no_picture_and_no_name(room, site):
    """A track is ids, a state and counts, and nothing else."""
    track = room.track(site, room.consent(site))
    (row,) = list_tracks(site)
    assert row["track_id"] == track
    assert set(row) == {
        "track_id", "video_id", "subject_id", "consent_id", "frames", "status", "reason", "expires_at",
    }  # fmt: skip
