"""``subject hold``, ``subject release-hold``, ``subject holds``: data that must be kept although its erasure is due."""

from typing import Annotated, Any

import typer

from fabnet_secure.commands.approval import Approvals
from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, DryRun, KeyFile, Quiet, Vault, opened
from fabnet_secure.commands.output import Output, day, pairs, print_json
from fabnet_secure.errors import ExitCode

ConsentArgument = Annotated[str, typer.Argument(help="The consent's id.")]


def register(commands: typer.Typer) -> None:
    """Add these commands to the noun ``subject``."""
    commands.command("hold", epilog=EXIT_STATUS)(hold)
    commands.command("release-hold", epilog=EXIT_STATUS)(release_hold)
    commands.command("holds", epilog=EXIT_STATUS)(list_all)


def hold(
    consent_id: ConsentArgument,
    *,
    ground: Annotated[
        str, typer.Option("--ground", help="legal_claim, legal_obligation, authority_order or subject_request.")
    ],
    until: Annotated[
        str | None, typer.Option("--until", help="When it ends by itself, such as 2027-01-31.", show_default=False)
    ] = None,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Keep what is stored under a consent from erasure (GDPR 17(3), 18). Nothing more may be done with it for that.

    Example: fabnet-secure subject hold 4dd1… --ground legal_claim --until 2027-01-31
    """
    from fabnet_secure.pipeline.holds import place

    with opened(vault, key_file) as site:
        row = place(site, consent_id, ground=ground, until=until, dry_run=dry_run)
    fields = _fields(row) | {"dry_run": dry_run}
    out = Output(as_json=as_json, quiet=quiet)
    lines = pairs({key: value for key, value in fields.items() if key not in ("dry_run", "released_at")})
    out.result("hold", fields, [*lines, *(["dry run: nothing changed"] if dry_run else [])])
    out.ids([] if dry_run else [row.hold_id])


def release_hold(
    consent_id: ConsentArgument,
    *,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", help="The same id again: what waited to be erased is erased.", show_default=False),
    ] = None,
    approval: Approvals = None,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> int:
    """End a hold, by two people; a withdrawal or expiry that waited for it is carried through at once.

    Example: fabnet-secure subject release-hold 4dd1… --confirm 4dd1… --approval a.approval --approval b.approval
    """
    from fabnet_secure.pipeline.hold_release import release

    with opened(vault, key_file) as site:
        done = release(site, consent_id, confirm=confirm, approvals=approval or [], dry_run=dry_run)
    fields = _fields(done.hold) | {"erasure": done.erasure or None, "dry_run": dry_run}
    lines = [f"hold     {'would be released' if dry_run else 'released'}", f"erasure  {done.erasure or 'none waited'}"]
    Output(as_json=as_json).result("hold", fields, lines)
    return ExitCode.PARTIAL if done.erasure == "partial" else ExitCode.OK


def list_all(
    *,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """List every hold, ended ones too, each held against the log.

    Example: fabnet-secure subject holds
    """
    from fabnet_secure.pipeline.holds import listing

    with opened(vault, key_file) as site:
        now = site.clock()
        found = [_fields(row) | {"in_force": row.holds(now)} for row in listing(site)]
    out = Output(as_json=as_json, quiet=quiet)
    held = [one for one in found if one["in_force"]]
    if as_json:
        for fields in found:
            print_json("hold", fields)
        print_json("summary", {"holds": len(found), "in_force": len(held)})
    out.ids(str(one["consent_id"]) for one in held)
    rows = [
        (one["consent_id"], "held" if one["in_force"] else "ended", one["ground"], day(one["until"])) for one in found
    ]
    out.table(("consent", "state", "ground", "until"), rows)


def _fields(row: Any) -> dict[str, Any]:
    from fabnet_secure.types import rfc3339

    return {
        "hold_id": row.hold_id,
        "consent_id": row.consent_id,
        "ground": str(row.ground),
        "placed_at": rfc3339(row.placed_at),
        "until": rfc3339(row.until) if row.until else None,
        "released_at": rfc3339(row.released_at) if row.released_at else None,
    }
