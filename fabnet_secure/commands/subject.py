"""``subject``: a person's rights."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from fabnet_secure.commands import hold
from fabnet_secure.commands.options import (
    EXIT_STATUS,
    AsJson,
    Debug,
    DryRun,
    KeyFile,
    Quiet,
    Vault,
    noun,
    opened,
)
from fabnet_secure.commands.output import Output
from fabnet_secure.errors import ExitCode

commands = noun("Act on a person's request.", example="fabnet-secure subject withdraw 4dd1… --dry-run")


@commands.command(epilog=EXIT_STATUS)
def withdraw(
    consent_id: Annotated[str, typer.Argument(help="The consent's id.")],
    *,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", help="The same id again: this cannot be undone.", show_default=False),
    ] = None,
    indicated_by: Annotated[
        str,
        typer.Option("--indicated-by", help="Who asked: subject, guardian, representative, controller, authority."),
    ] = "subject",
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> int:
    """Withdraw a consent: it ends at once, its data is erased, its keys are destroyed, and a certificate says so.

    Example: fabnet-secure subject withdraw 4dd1… --confirm 4dd1…

    A run that was cut off is finished by running it again.
    """
    from fabnet_secure.pipeline.withdraw import withdraw as end

    with opened(vault, key_file, finishing=True) as site:
        done = end(site, consent_id, confirm=confirm, indicated_by=indicated_by, dry_run=dry_run)
    fields = {
        "outcome": done.outcome,
        "certificate": done.certificate,
        "certificate_id": done.erasure_id,
        "keys_destroyed": done.keys_destroyed,
        "embeddings_removed": done.embeddings_removed,
        "tracklets_removed": done.tracklets_removed,
        "models_affected": list(done.models_affected),
        "already": done.already,
    }
    lines = [
        f"outcome             {_outcome(done.outcome, already=done.already)}",
        *(
            f"{key.replace('_', ' '):20}{fields[key]}"
            for key in ("keys_destroyed", "embeddings_removed", "tracklets_removed")
        ),
        *(f"model affected      {model_id}  (decide within 30 days)" for model_id in done.models_affected),
        *([f"legal hold          keeps what is stored ({ground})"] if (ground := _held(done.certificate)) else []),
        *([f"certificate         {done.erasure_id}  ('report erasure' has it)"] if done.erasure_id else []),
    ]
    out = Output(as_json=as_json, quiet=quiet)
    out.result("summary", fields, lines)
    out.ids([done.erasure_id] if done.erasure_id else [])
    return ExitCode.PARTIAL if done.outcome == "partial" else ExitCode.OK


def _held(certificate: Mapping[str, Any]) -> str:
    """Return the ground of a legal hold that kept what was to be erased; "" where there was none."""
    body = certificate.get("evidence", {}).get("body", {})
    told = [item for one in body.get("facts", {}).get("erasures", []) for item in one.get("retained", [])]
    return next((str(item["ground"]) for item in told if item["item"] == "legal_hold"), "")


def _outcome(outcome: str, *, already: bool) -> str:
    if outcome == "dry_run":
        return "dry run: this is what would go; nothing changed"
    return f"{outcome}  (was done before; nothing changed)" if already else outcome


hold.register(commands)
