"""Train: reserve a plan's ε for every person, train, attack the result, commit what was spent.

The order is the guarantee: the stored plan and dataset are compared with the log entry that priced them → every
member's consent is required again → ε is reserved against each person's cap in one transaction → only then are crops
opened, into memory → the trainer takes the frozen plan → ε of what ran is computed by a second accountant and the step
audit attacks the noise; either one failing fails the run → weights, card, lineage and ledger are committed with one log
entry. A crash at any point leaves the whole reservation spent.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from fabnet_secure.access.decision import Grant
from fabnet_secure.audit.leaf import read_leaf
from fabnet_secure.audit.verify import check_log
from fabnet_secure.crypto.signing import verify_signature
from fabnet_secure.errors import (
    BudgetExceeded,
    FabnetError,
    IntegrityFailure,
    Interrupted,
    NoEffectiveConsent,
    UsageError,
)
from fabnet_secure.lineage import DatasetVersion, model_card
from fabnet_secure.pipeline.authorize import authorize_purpose, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import Coverage, covering
from fabnet_secure.pipeline.embed import open_tracklet
from fabnet_secure.pipeline.maintain import sweep
from fabnet_secure.pipeline.plan import caps, check_ledger, plan_facts, spends
from fabnet_secure.pipeline.raise_cap import raised
from fabnet_secure.pipeline.spending import reserve
from fabnet_secure.privacy.accountant import (
    agree,
    epsilon_of,
    epsilon_of_steps,
)
from fabnet_secure.privacy.ledger import admits
from fabnet_secure.privacy.plan import DPPlan
from fabnet_secure.progress import Progress
from fabnet_secure.store import ledger, models, tracks
from fabnet_secure.store.database import Connection
from fabnet_secure.store.log_storage import SqlLogStorage, latest_checkpoint
from fabnet_secure.store.states import ModelKind, ModelStatus, RunState
from fabnet_secure.types import (
    ConsentId,
    ModelId,
    PlanId,
    Purpose,
    RunId,
    SubjectId,
    TrackId,
    is_id,
    new_id,
    rfc3339,
)

if TYPE_CHECKING:
    from fabnet_secure.fabnet.train import TrainedModel

_DECISION_WITHIN = timedelta(days=30)  # GDPR Article 12(3): one month


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run produced."""

    run_id: RunId
    model_id: ModelId
    plan: DPPlan
    epsilon: float
    epsilon_check: float
    steps: int
    persons: int
    audit: float
    flagged: int


def run(site: Site, plan_id: str, *, progress: Progress) -> Trained:
    """Train under a stored plan.

    Raises:
        UsageError: there is no such plan, or it was run already.
        NoEffectiveConsent: a member's consent is no longer in force: the plan is stale.
        BudgetExceeded: the price no longer fits under a member's cap.
        IntegrityFailure: the stored plan was changed, or the two accountants disagree about what ran.
    """
    grant = authorize_purpose(site, "train_run", Purpose.TRAIN_MODEL)
    sweep(site)
    with site.reading() as connection:
        made, dataset = _load_plan(site, connection, plan_id)
    run_id = _reserve(site, made, dataset, grant)
    try:
        with _opened(site, dataset) as people:
            trained = _train(site, made, dataset, people, progress)
        agree(_epsilon_ran(made, trained.steps), trained.epsilon_check)
        _withstood(trained)
        return _release(site, run_id, made, dataset, trained)
    except KeyboardInterrupt:
        _fail(site, run_id)
        raise Interrupted(
            "the run was interrupted; its ε stays reserved, and counts as spent, for every person in the plan",
            hint="plan again where the caps allow it; 'fabnet-secure budget show' lists what is left",
        ) from None
    except BaseException:
        _fail(site, run_id)  # the reservation stays spent: noise that was drawn cannot be proven unused
        raise


def rehearse(site: Site, plan_id: str) -> DPPlan:
    """Check everything that a run checks before it spends any ε, and return the plan; nothing is changed.

    Raises:
        UsageError, NoEffectiveConsent, BudgetExceeded, IntegrityFailure: as :func:`run`.
    """
    authorize_purpose(site, "train_run", Purpose.TRAIN_MODEL)
    with site.reading() as connection:
        made, dataset = _load_plan(site, connection, plan_id)
        _admit(site, connection, made, dataset)
    return made


def _withstood(trained: "TrainedModel") -> None:
    if trained.audit.refuted:
        raise IntegrityFailure(
            "the step audit refutes the noise that the plan claims; the model was thrown away",
            hint="report this: the trainer or its random source is broken",
            code="AUDIT_REFUTED",
        )


def _epsilon_ran(made: DPPlan, steps: int) -> float:
    return epsilon_of_steps(
        noise_multiplier=made.noise_multiplier,
        sampling_probability=made.sampling_probability,
        steps=steps,
        delta=made.delta,
    )


def _load_plan(site: Site, connection: Connection, plan_id: str) -> tuple[DPPlan, DatasetVersion]:
    row = ledger.get_plan(connection, PlanId(plan_id)) if is_id(plan_id) else None
    if row is None:
        hint = "run 'fabnet-secure train plan' first"
        raise UsageError(f"no plan has the id {plan_id[:60]!r}", hint=hint, code="PLAN_UNKNOWN")
    try:
        made = DPPlan.from_json(row.body)
        dataset = DatasetVersion.from_json(models.get_dataset(connection, made.dataset_id) or {})
    except (FabnetError, KeyError, TypeError, ValueError) as error:
        raise IntegrityFailure("the stored plan cannot be read", code="PLAN_BROKEN") from error
    priced = made.plan_id == plan_id and len(dataset.subjects) == made.persons
    # The log is asked first: accounting for a changed plan (hardly any noise) would take hours.
    if not priced or not _logged(site, connection, made, dataset) or not _priced_right(made):
        raise IntegrityFailure("the stored plan is not the one that was priced", code="PLAN_BROKEN")
    return made, dataset


def _priced_right(made: DPPlan) -> bool:
    return abs(epsilon_of(made.dp_event(), made.delta) - made.epsilon) <= 0.01 * made.epsilon


def _logged(site: Site, connection: Connection, made: DPPlan, dataset: DatasetVersion) -> bool:
    """Tell whether the log, whole and signed, holds the entry that priced exactly this plan over this dataset."""
    storage = SqlLogStorage(connection)
    check_log(storage, latest_checkpoint(connection), site.log_vkey, verify_signature)
    wanted = {"plan": made.sha256(), "dataset": dataset.sha256()}
    entries = (read_leaf(blob) for blob in storage.read_entries(0, storage.size()))
    return any(entry.act == "train.planned" and wanted.items() <= entry.facts.items() for entry in entries)


def _reserve(site: Site, made: DPPlan, dataset: DatasetVersion, grant: Grant) -> RunId:
    """Reserve the plan's ε for every member at once, or for nobody."""
    run_id = RunId(new_id())
    with site.work() as work:
        _admit(site, work.connection, made, dataset)
        row = ledger.RunRow(
            run_id=run_id,
            plan_id=made.plan_id,
            state=RunState.RUNNING,
            steps_done=0,
            started_at=site.clock(),
            ended_at=None,
        )
        ledger.add_run(work.connection, row)
        reserve(
            site,
            work,
            run_id=run_id,
            dp_event=made.dp_event(),
            epsilon=made.epsilon,
            delta=made.delta,
            subject_ids=sorted(dataset.subjects),
        )
        work.log("budget.reserved", facts=plan_facts(made, dataset))
        record_grant(site, work, grant, rows=made.persons)
    return run_id


def _admit(site: Site, connection: Connection, made: DPPlan, dataset: DatasetVersion) -> None:
    """Refuse a plan that was run, whose members' consents or crops are gone, or whose price no longer fits."""
    if any(row.plan_id == made.plan_id for row in ledger.list_runs(connection)):
        hint = "plan again: every run draws its own reservation"
        raise UsageError("this plan was run already", hint=hint, code="PLAN_USED")
    coverage = covering(site, connection, Purpose.TRAIN_MODEL)
    _still_fresh(dataset, coverage, tracks.count_crops(connection))
    check_ledger(connection)
    limits = caps(coverage.records(), raised(site, connection))
    entries = ledger.entries_of(connection, sorted(dataset.subjects))
    for subject in dataset.subjects:
        if not admits(spends(entries[subject]), made.epsilon, made.delta, limits[subject]):
            raise BudgetExceeded(
                "the plan no longer fits under a member's cap",
                hint="plan again; 'fabnet-secure budget show' lists what is left",
            )


def _still_fresh(dataset: DatasetVersion, coverage: Coverage, crops: Mapping[TrackId, int]) -> None:
    gone = {member.consent_id for member in dataset.members} - set(coverage.effective)
    if gone:
        raise NoEffectiveConsent(
            f"{len(gone)} consents in this plan are no longer in force",
            hint="plan again: the new plan leaves them out",
            code="PLAN_STALE",
        )
    if any(member.track_id not in crops for member in dataset.members):
        raise NoEffectiveConsent("crops of this plan have expired", hint="plan again", code="PLAN_STALE")


@contextmanager
def _opened(site: Site, dataset: DatasetVersion) -> Iterator[dict[SubjectId, list[np.ndarray]]]:
    """Open every member's crops into memory, and zero them whatever happens."""
    people: defaultdict[SubjectId, list[np.ndarray]] = defaultdict(list)
    try:
        with site.reading() as connection:
            for member in dataset.members:
                row = tracks.get_track(connection, member.track_id)
                tracklet = tracks.get_tracklet(connection, member.track_id)
                if row is None or tracklet is None:
                    raise NoEffectiveConsent("crops of this plan have expired", hint="plan again", code="PLAN_STALE")
                people[member.subject_id].append(open_tracklet(site, row, tracklet))
        yield dict(people)
    finally:
        for crops in people.values():
            for one in crops:
                one.fill(0)


def _train(
    site: Site,
    made: DPPlan,
    dataset: DatasetVersion,
    people: Mapping[SubjectId, list[np.ndarray]],
    progress: Progress,
) -> "TrainedModel":
    from fabnet_secure.fabnet.train import train

    consents_of: dict[SubjectId, set[ConsentId]] = defaultdict(set)
    for member in dataset.members:
        consents_of[member.subject_id].add(member.consent_id)

    def still_covered(subjects: frozenset[SubjectId]) -> frozenset[SubjectId]:
        with site.reading() as connection:
            effective = set(covering(site, connection, Purpose.TRAIN_MODEL).effective)
        return frozenset(subject for subject in subjects if consents_of[subject] <= effective)

    return train(made, people, progress=progress, still_covered=still_covered)


def _release(site: Site, run_id: RunId, made: DPPlan, dataset: DatasetVersion, trained: "TrainedModel") -> Trained:
    """Write the weights, then commit ledger, model, lineage and entry together; without the entry the weights go."""
    from fabnet_secure.fabnet.weights import save

    model_id = ModelId(new_id())
    path = site.models / f"{model_id}.safetensors"
    digest = save(trained.model, path, {"plan": made.sha256(), "run": str(run_id)})
    try:
        with site.work() as work:
            gone = {member.consent_id for member in dataset.members} - set(
                covering(site, work.connection, Purpose.TRAIN_MODEL).effective
            )
            card = model_card(
                model_id=model_id,
                run_id=run_id,
                plan=made.to_json(),
                dataset=dataset,
                epsilon=made.epsilon,
                epsilon_check=trained.epsilon_check,
                steps=trained.steps,
                audit=trained.audit.to_json(),
                weights_sha256=digest,
                created_at=rfc3339(site.clock()),
                withdrawn_since=len(gone),
            )
            models.add_model(
                work.connection,
                models.ModelRow(
                    model_id=model_id,
                    kind=ModelKind.DP,
                    run_id=run_id,
                    weights_sha256=digest,
                    card=card,
                    created_at=site.clock(),
                    status=ModelStatus.FLAGGED if gone else ModelStatus.ACTIVE,
                    decision_due=site.clock() + _DECISION_WITHIN if gone else None,
                ),
            )
            ledger.commit_entry(work.connection, run_id)
            ledger.set_run_state(
                work.connection, run_id, state=RunState.COMPLETE, steps_done=trained.steps, ended_at=site.clock()
            )
            work.log("train.completed", facts=_release_facts(made, trained, digest))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Trained(
        run_id=run_id,
        model_id=model_id,
        plan=made,
        epsilon=made.epsilon,
        epsilon_check=trained.epsilon_check,
        steps=trained.steps,
        persons=made.persons,
        audit=trained.audit.epsilon_lower,
        flagged=len(gone),
    )


def _release_facts(made: DPPlan, trained: "TrainedModel", digest: str) -> dict[str, str | int | float | bool]:
    return {
        "plan": made.sha256(),
        "weights": digest,
        "epsilon": made.epsilon,
        "epsilon_check": trained.epsilon_check,
        "delta": made.delta,
        "steps": trained.steps,
        "audit_epsilon_lower": trained.audit.epsilon_lower,
    }


def _fail(site: Site, run_id: RunId) -> None:
    """Mark the run failed; where even that cannot be written, the reservation stands all the same."""
    with suppress(FabnetError), site.work() as work:
        ledger.set_run_state(work.connection, run_id, state=RunState.FAILED, steps_done=0, ended_at=site.clock())
        work.log("train.failed", facts={"reservation": "kept as spent"})
