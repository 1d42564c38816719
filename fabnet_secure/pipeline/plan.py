"""Plan: freeze who takes part, and price ε before any is spent.

A plan and its dataset are stored as they were priced; running one reads them back, and what was changed meanwhile is
found. A person whose cap is too small for the price is left out and counted.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from fabnet_secure.audit.leaf import Entry, read_leaf
from fabnet_secure.consent.record import ConsentRecord
from fabnet_secure.crypto.digest import sha256_bytes
from fabnet_secure.errors import BudgetExceeded, IntegrityFailure, NoEffectiveConsent, UsageError
from fabnet_secure.lineage import DatasetVersion, Member
from fabnet_secure.pipeline import spending
from fabnet_secure.pipeline.authorize import allowed, authorize_purpose, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import covering
from fabnet_secure.pipeline.maintain import living_tracks, sweep
from fabnet_secure.pipeline.raise_cap import cap_of, raised
from fabnet_secure.privacy.accountant import (
    agree,
    check_delta,
    check_epsilon,
    check_schedule,
)
from fabnet_secure.privacy.ledger import Spend, admits
from fabnet_secure.privacy.plan import DPPlan, make_plan
from fabnet_secure.store import consents, ledger, models, tracks
from fabnet_secure.store.database import Connection, Work
from fabnet_secure.store.log_storage import SqlLogStorage
from fabnet_secure.store.states import LedgerState
from fabnet_secure.types import (
    ConsentId,
    DatasetId,
    PlanId,
    Purpose,
    SubjectId,
    new_id,
)

_DECISION_WITHIN = timedelta(days=30)  # GDPR Article 12(3): one month


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the caller asks of a plan; None takes the site's setting."""

    epsilon: float
    delta: float
    steps: int | None = None
    sampling_probability: float | None = None
    tuples_per_person: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A stored plan with its price."""

    plan: DPPlan
    epsilon_check: float
    seconds_estimate: float
    excluded: Mapping[str, int]


def plan(site: Site, terms: Terms) -> Priced:
    """Freeze the people who consent to training now and price ε; nothing is spent.

    Raises:
        UsageError: ε, δ, the steps or the sampling cannot be used, or fewer than two people take part.
        NoEffectiveConsent: nobody consents to training, or no crops are there.
        BudgetExceeded: the price is above everybody's cap.
    """
    grant = authorize_purpose(site, "train_plan", Purpose.TRAIN_MODEL)
    check_epsilon(terms.epsilon)
    check_delta(terms.delta, 2)  # before anything is counted: the loosest bound that any plan can meet
    _check_schedule(terms)
    sweep(site)
    with site.reading() as connection:
        check_ledger(connection)
        dataset = _freeze(site, connection, terms)
    made = _priced(site, terms, dataset)
    check = _second_opinion(made)
    agree(made.epsilon, check)
    seconds = _estimate(made)
    with site.work() as work:
        _store_plan(work, dataset, made, site)
        work.log("train.planned", facts=plan_facts(made, dataset))
        record_grant(site, work, grant, rows=made.persons)
    return Priced(plan=made, epsilon_check=check, seconds_estimate=seconds, excluded=dict(dataset.exclusions))


def _check_schedule(terms: Terms) -> None:
    check_schedule(
        1.0 if terms.sampling_probability is None else terms.sampling_probability,
        1 if terms.steps is None else terms.steps,
    )
    if terms.tuples_per_person is not None and not 1 <= terms.tuples_per_person <= 1024:
        raise UsageError("the tuples per person must lie between 1 and 1024", code="TUPLES_INVALID")


def spends(rows: Sequence[ledger.LedgerRow], state: LedgerState | None = None) -> tuple[Spend, ...]:
    """Return what the ledger's rows (in one state, or in any) cost one person."""
    return tuple(Spend(epsilon=row.epsilon, delta=row.delta) for row in rows if state in (None, row.state))


def _freeze(site: Site, connection: Connection, terms: Terms) -> DatasetVersion:
    """Choose the members: effective consent, living crops of two frames or more, and room under the cap."""
    coverage = covering(site, connection, Purpose.TRAIN_MODEL)
    excluded: Counter[str] = Counter(coverage.reasons())
    members: list[Member] = []
    permitted = allowed(site, "train_plan", Purpose.TRAIN_MODEL, coverage.effective)
    crops = tracks.count_crops(connection)
    for row in living_tracks(site, connection):
        if row.consent_id is None or row.consent_id not in permitted:
            continue
        if crops[row.track_id] < 2:
            excluded["too_few_frames"] += 1
            continue
        members.append(
            Member(consent_id=row.consent_id, subject_id=SubjectId(str(row.subject_id)), track_id=row.track_id)
        )
    if not members:
        raise NoEffectiveConsent(
            "no crops of anybody who consents to training are in the vault",
            hint="ingest videos under consents that cover train_model",
            code="NOBODY_TO_TRAIN_ON",
            excluded=dict(excluded),
        )
    limits = caps(coverage.records(), raised(site, connection))
    over = _over_cap(connection, limits, members, terms)
    excluded["budget"] += len(over)
    kept = tuple(member for member in members if member.subject_id not in over)
    _enough(kept, excluded)
    snapshot = "".join(sorted(member.consent_id for member in kept))
    return DatasetVersion(
        dataset_id=DatasetId(new_id()),
        created_at=site.clock(),
        members=kept,
        consent_snapshot_sha256=sha256_bytes(snapshot.encode()),
        exclusions={reason: count for reason, count in sorted(excluded.items()) if count},
    )


def _enough(members: tuple[Member, ...], excluded: Counter[str]) -> None:
    persons = len({member.subject_id for member in members})
    if persons >= 2:
        return
    if excluded["budget"]:
        raise BudgetExceeded(
            f"ε is above the cap of {excluded['budget']} people; {persons} would be left",
            hint="plan with a smaller ε; 'fabnet-secure budget show' lists what is left",
            excluded=dict(excluded),
        )
    raise UsageError(
        f"a plan needs two people at least; {persons} can take part",
        hint="record more consents for train_model and ingest their videos",
        code="TOO_FEW_PERSONS",
        excluded=dict(excluded),
    )


def caps(records: Iterable[ConsentRecord], raises: Mapping[ConsentId, float]) -> dict[SubjectId, float]:
    """Return the smallest ε cap promised to each person in any of these consents that covers training.

    A record that names no cap promises nothing that could be spent: its cap is 0. A cap that was raised since
    (``raise_cap.raised``) counts in place of the record's.
    """
    smallest: dict[SubjectId, float] = {}
    for record in records:
        cap = cap_of(record, raises)
        if cap is None:
            continue
        smallest[record.subject_id] = min(cap, smallest.get(record.subject_id, cap))
    return smallest


def promised(site: Site, connection: Connection) -> dict[SubjectId, float]:
    """Return the cap that binds each person: of the consents in force, else of those that were."""
    raises = raised(site, connection)
    ever = caps((record for record, _ in consents.list_consents(connection)), raises)
    return ever | caps(covering(site, connection, Purpose.TRAIN_MODEL).records(), raises)


def check_ledger(connection: Connection) -> None:
    """Compare the ledger with the log: every reservation that was logged must still be there, for the same people.

    Raises:
        IntegrityFailure: code ``LEDGER_BROKEN``: spent budget was taken out of the ledger, or changed.
    """
    storage = SqlLogStorage(connection)
    leaves = (read_leaf(blob) for blob in storage.read_entries(0, storage.size()))
    logged = Counter(_spending(leaf) for leaf in leaves if leaf.act in ("budget.reserved", spending.ACT))
    if logged - Counter(_kept(connection, row) for row in ledger.list_entries(connection)):
        raise IntegrityFailure(
            "the privacy ledger no longer holds every reservation that the log records",
            hint="restore the database; nothing is trained on a budget that cannot be trusted",
            code="LEDGER_BROKEN",
        )


def _spending(leaf: Entry) -> tuple[str, str]:
    """Return what names the ledger's entry in the log: a run's plan and dataset, or an entry's own digest."""
    if leaf.act == spending.ACT:
        return str(leaf.facts["entry"]), ""
    return str(leaf.facts["plan"]), str(leaf.facts["dataset"])


def _kept(connection: Connection, row: ledger.LedgerRow) -> tuple[str, str]:
    """Return what a sound entry's log leaf says; what no leaf says where its plan, price or people were changed."""
    if row.run_id is None:
        return spending.kept_digest(connection, row), ""
    run = ledger.get_run(connection, row.run_id)
    stored = ledger.get_plan(connection, run.plan_id) if run else None
    try:
        made = DPPlan.from_json(stored.body if stored else {})
        dataset = DatasetVersion.from_json(models.get_dataset(connection, made.dataset_id) or {})
    except IntegrityFailure:
        return "", ""
    same_people = set(ledger.members_of_entry(connection, row.entry_id)) == dataset.subjects
    sound = same_people and (row.epsilon, row.delta) == (made.epsilon, made.delta)
    return (made.sha256(), dataset.sha256()) if sound else ("", "")


def people_in_ledger(connection: Connection) -> set[SubjectId]:
    """Return everybody whom any ledger entry counts for."""
    return {
        subject
        for row in ledger.list_entries(connection)
        for subject in ledger.members_of_entry(connection, row.entry_id)
    }


def _over_cap(
    connection: Connection, limits: Mapping[SubjectId, float], members: list[Member], terms: Terms
) -> set[SubjectId]:
    subjects = sorted({member.subject_id for member in members})
    entries = ledger.entries_of(connection, subjects)
    return {
        subject
        for subject in subjects
        if not admits(
            spends(entries[subject]),
            terms.epsilon,
            terms.delta,
            limits[subject],
        )
    }


def _priced(site: Site, terms: Terms, dataset: DatasetVersion) -> DPPlan:
    table = site.settings.train
    return make_plan(
        plan_id=PlanId(new_id()),
        dataset_id=dataset.dataset_id,
        persons=len(dataset.subjects),
        epsilon=terms.epsilon,
        delta=terms.delta,
        sampling_probability=terms.sampling_probability,
        steps=terms.steps or table.steps,
        clipping_norm=table.clipping_norm,
        tuples_per_person=terms.tuples_per_person or table.tuples_per_person,
        image_size=table.image_size,
        width=table.width,
        embedding_dim=table.embedding_dim,
        learning_rate=table.learning_rate,
    )


def _second_opinion(made: DPPlan) -> float:
    from fabnet_secure.fabnet.accounting import opacus_epsilon

    return opacus_epsilon(
        noise_multiplier=made.noise_multiplier,
        sampling_probability=made.sampling_probability,
        steps=made.steps,
        delta=made.delta,
    )


def _estimate(made: DPPlan) -> float:
    from fabnet_secure.fabnet.train import estimate_seconds

    return estimate_seconds(made)


def _store_plan(work: Work, dataset: DatasetVersion, made: DPPlan, site: Site) -> None:
    body = dataset.to_json()
    models.add_dataset(work.connection, dataset.dataset_id, body, site.clock())
    rows = [(member.consent_id, member.subject_id, member.track_id) for member in dataset.members]
    models.add_members(work.connection, dataset.dataset_id, rows)
    row = ledger.PlanRow(plan_id=made.plan_id, dataset_id=made.dataset_id, body=made.to_json(), created_at=site.clock())
    ledger.add_plan(work.connection, row)


def plan_facts(made: DPPlan, dataset: DatasetVersion) -> dict[str, str | int | float | dict[str, int]]:
    """Return what the log says of a plan: hashes, counts and the price; no id of a person."""
    return {
        "plan": made.sha256(),
        "persons": made.persons,
        "epsilon": made.epsilon,
        "delta": made.delta,
        "steps": made.steps,
        "excluded": dict(dataset.exclusions),
        "consents": dataset.consent_snapshot_sha256,
        "dataset": dataset.sha256(),
    }
