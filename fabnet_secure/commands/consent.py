"""``consent``: record, import, show and list."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, DryRun, KeyFile, Quiet, Vault, noun, opened
from fabnet_secure.commands.output import Output, day, pairs, print_json

if TYPE_CHECKING:
    from fabnet_secure.pipeline.applications import Application
    from fabnet_secure.pipeline.consents import Listed, Recorded
    from fabnet_secure.pipeline.context import Site

commands = noun("Record consents and look them up.", example="fabnet-secure consent list")


@commands.command(epilog=EXIT_STATUS)
def add(
    *,
    subject_ref: Annotated[str, typer.Option("--subject-ref", help="A name or e-mail; stored encrypted only.")],
    purpose: Annotated[list[str], typer.Option("--purpose", help="A purpose; repeat for several.")],
    valid_for: Annotated[str, typer.Option("--valid-for", help="An ISO 8601 duration, such as P1Y.")],
    notice: Annotated[Path, typer.Option("--notice", help="The notice as shown to the person.")],
    evidence: Annotated[Path, typer.Option("--evidence", help="What shows the consent, such as a signed form.")],
    dp_epsilon_cap: Annotated[
        float | None,
        typer.Option("--dp-epsilon-cap", help="The most ε promised to the person.", show_default=False),
    ] = None,
    subject_category: Annotated[
        str, typer.Option("--subject-category", help="adult, child, employee, student, patient, customer …")
    ] = "adult",
    jurisdiction: Annotated[
        list[str] | None, typer.Option("--jurisdiction", help="EU, JP, US-IL …; repeat for several.")
    ] = None,
    indicated_by: Annotated[
        str, typer.Option("--indicated-by", help="Who gave it: subject, guardian or representative.")
    ] = "subject",
    notice_language: Annotated[str, typer.Option("--notice-language", help="The notice's language.")] = "en",
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    r"""Record one consent. The same --subject-ref is the same subject.

    Example: fabnet-secure consent add --subject-ref ada@example.org --valid-for P1Y \
      --purpose train_model --purpose embed --notice notice.txt --evidence form.pdf
    """
    from fabnet_secure.pipeline.applications import Application
    from fabnet_secure.pipeline.consents import add as record

    application = Application(
        subject_ref=subject_ref,
        purposes=tuple(purpose),
        valid_for=valid_for,
        notice=notice,
        evidence=evidence,
        dp_epsilon_cap=dp_epsilon_cap,
        subject_category=subject_category,
        jurisdictions=tuple(jurisdiction or ()),
        notice_language=notice_language,
        indicated_by=indicated_by,
    )
    out = Output(as_json=as_json, quiet=quiet)
    with opened(vault, key_file) as site:
        if dry_run:
            _rehearse(out, site, [application])
            return
        (recorded,) = record(site, [application])
    lines = [f"consent {recorded.consent_id}", f"subject {recorded.subject_id}"]
    out.result("consent", _ids(recorded), lines)
    out.ids([recorded.consent_id])


@commands.command("import", epilog=EXIT_STATUS)
def import_table(
    table: Annotated[Path, typer.Argument(help="A CSV with the options of 'consent add' as columns.")],
    *,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Record every row of a CSV, or none of them.

    Example: fabnet-secure consent import consents.csv

    Columns: subject_ref, purpose (several separated by spaces), valid_for, notice, evidence (relative to the CSV);
    optional: dp_epsilon_cap, subject_category, jurisdiction, indicated_by.
    """
    from fabnet_secure.pipeline.applications import read_table
    from fabnet_secure.pipeline.consents import add as record

    out = Output(as_json=as_json, quiet=quiet)
    with opened(vault, key_file) as site:
        applications = read_table(table, clock=site.clock)
        if dry_run:
            _rehearse(out, site, applications)
            return
        recorded = record(site, applications)
    consents = [_ids(one) for one in recorded]
    lines = [f"imported {len(recorded)} consents, in the order of the rows:", *(one.consent_id for one in recorded)]
    out.result("summary", {"imported": len(recorded), "consents": consents}, lines)
    out.ids(one.consent_id for one in recorded)


@commands.command(epilog=EXIT_STATUS)
def show(
    consent_id: Annotated[str, typer.Argument(help="The consent's id.")],
    *,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Show one consent: its state now, its scope and its events. Never the person's name.

    Example: fabnet-secure consent show 4dd1…
    """
    from fabnet_secure.pipeline.consents import show as find

    with opened(vault, key_file) as site:
        listed = find(site, consent_id)
    fields = _fields(listed)
    events = {
        f"event {number}": f"{one['type']} {one['occurred_at']}" for number, one in enumerate(fields["events"], 1)
    }
    lines = pairs({key: value for key, value in fields.items() if key != "events"} | events)
    Output(as_json=as_json).result("consent", fields, lines)


@commands.command("list", epilog=EXIT_STATUS)
def list_all(
    *,
    subject_ref: Annotated[
        str | None, typer.Option("--subject-ref", help="Only this person's, as you wrote it when you recorded them.")
    ] = None,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """List every consent, or one person's, with its state now.

    Example: fabnet-secure consent list --subject-ref ada@example.org
    """
    from fabnet_secure.pipeline.consents import listing

    with opened(vault, key_file) as site:
        found = [_fields(one) for one in listing(site, subject_ref)]
    out = Output(as_json=as_json, quiet=quiet)
    if as_json:
        for fields in found:
            print_json("consent", fields)
        print_json("summary", {"consents": len(found)})
    out.ids(fields["consent_id"] for fields in found)
    rows = [(one["consent_id"], one["state"], day(one["valid_until"]), one["purposes"]) for one in found]
    out.table(("consent", "state", "valid until", "purposes"), rows)


def _rehearse(out: Output, site: "Site", applications: "Sequence[Application]") -> None:
    from fabnet_secure.pipeline.consents import rehearse

    new = rehearse(site, applications)
    fields = {"consents": len(applications), "new_subjects": new, "dry_run": True}
    out.result("summary", fields, [f"dry run: {len(applications)} consents, {new} new people; nothing changed"])


def _ids(recorded: "Recorded") -> dict[str, str]:
    return {"consent_id": recorded.consent_id, "subject_id": recorded.subject_id}


def _held(listed: "Listed") -> dict[str, Any] | None:
    from fabnet_secure.types import rfc3339

    hold = listed.hold
    if hold is None:
        return None
    return {"ground": str(hold.ground), "until": rfc3339(hold.until) if hold.until else None, "hold_id": hold.hold_id}


def _fields(listed: "Listed") -> dict[str, Any]:
    from fabnet_secure.types import rfc3339

    until = listed.standing.valid_until
    return {
        "consent_id": listed.record.consent_id,
        "subject_id": listed.record.subject_id,
        "state": str(listed.standing.state),
        "valid_until": rfc3339(until) if until else None,
        "purposes": [str(purpose) for purpose in listed.record.purposes],
        "subject_category": str(listed.record.subject_category),
        "jurisdictions": list(listed.record.jurisdictions),
        "notice_sha256": listed.record.notice.sha256,
        "dp_epsilon_caps": {str(scope.purpose): scope.dp_epsilon_cap for scope in listed.record.scopes},
        "raised_epsilon_cap": listed.raised_cap,
        "legal_hold": _held(listed),
        "events": [event.to_json() for event in listed.events],
    }
