"""``budget``: ε spent, reserved and promised."""

from pathlib import Path
from typing import Annotated

import typer

from fabnet_secure.commands.approval import Approvals
from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, DryRun, KeyFile, Quiet, Vault, noun, opened
from fabnet_secure.commands.output import Output, pairs, print_json

commands = noun("The privacy budget of each person.", example="fabnet-secure budget show")


@commands.command(epilog=EXIT_STATUS)
def show(
    *,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Show ε spent, reserved and the cap, per person (by pseudonym) and for the site's policy; and your own answers.

    Example: fabnet-secure budget show
    """
    from fabnet_secure.pipeline.query_budget import allowance
    from fabnet_secure.pipeline.registers import budgets

    with opened(vault, key_file) as site:
        found, policy = budgets(site)
        with site.reading() as connection:
            answers = allowance(site, connection).to_json()
    if as_json:
        for fields in found:
            print_json("budget", fields)
        print_json("summary", {"persons": found, "policy": policy, "answers": answers})
    out = Output(as_json=as_json, quiet=quiet)
    out.ids(str(fields["subject_id"]) for fields in found)
    out.table(
        ("person", "spent", "reserved", "cap"),
        [(one["subject_id"], one["spent"], one["reserved"], one["cap"]) for one in found],
    )
    out.say(f"{answers['left']} of {answers['daily_budget']} answers to queries are left for you in 24 hours")


@commands.command("raise", epilog=EXIT_STATUS)
def raise_one(
    consent_id: Annotated[str, typer.Argument(help="The consent's id.")],
    *,
    cap: Annotated[float, typer.Option("--cap", help="The new cap on ε, above the present one.")],
    evidence: Annotated[Path, typer.Option("--evidence", help="What shows that the person agreed to it.")],
    confirm: Annotated[
        str | None, typer.Option("--confirm", help="The same id again: a promise is changed.", show_default=False)
    ] = None,
    approval: Approvals = None,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    r"""Raise the ε that a person was promised at most: by their own fresh evidence, and by two people.

    Example: fabnet-secure budget raise 4dd1… --cap 12 --evidence form.pdf --confirm 4dd1… \
      --approval a.approval --approval b.approval
    """
    from fabnet_secure.pipeline.raise_cap import raise_cap

    with opened(vault, key_file) as site:
        done = raise_cap(
            site,
            consent_id,
            cap=cap,
            evidence=evidence,
            confirm=confirm,
            approvals=approval or [],
            dry_run=dry_run,
        )
    fields = {
        "consent_id": done.consent_id,
        "before": done.before,
        "cap": done.cap,
        "evidence_sha256": done.evidence_sha256,
        "dry_run": dry_run,
    }
    lines = pairs({key: value for key, value in fields.items() if key != "dry_run"})
    Output(as_json=as_json).result("cap", fields, [*lines, *(["dry run: nothing changed"] if dry_run else [])])
