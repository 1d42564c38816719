"""``policy``: who may do what, and why."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabnet_secure.commands import adopt
from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, DryRun, KeyFile, Vault, noun, opened
from fabnet_secure.commands.output import Output, pairs, print_json
from fabnet_secure.errors import ExitCode
from fabnet_secure.types import rfc3339

if TYPE_CHECKING:
    from fabnet_secure.access.examples import Failure, Verdict
    from fabnet_secure.access.explanation import Explanation

commands = noun(
    "Who may do what on this machine, by which policy, and why.", example="fabnet-secure policy explain query_similar"
)

Account = Annotated[str, typer.Argument(help="The operating-system account.")]
Roles = Annotated[list[str], typer.Option("--role", help="A role; repeat for several.")]


@commands.command(epilog=EXIT_STATUS)
def roles(
    *,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """List the accounts and their roles.

    Example: fabnet-secure policy roles
    """
    from fabnet_secure.pipeline.roles import listing

    with opened(vault, key_file) as site:
        found = listing(site)
    if as_json:
        for row in found:
            print_json("principal", {"name": row.name, "os_user": row.os_user, "roles": list(row.roles)})
        print_json("summary", {"principals": len(found)})
    Output(as_json=as_json).table(("account", "roles"), [(row.os_user, " ".join(row.roles) or "-") for row in found])


@commands.command(epilog=EXIT_STATUS)
def grant(
    account: Account,
    *,
    role: Roles,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Give an account exactly these roles (in place of those it has).

    Example: fabnet-secure policy grant alice --role analyst
    """
    _set(vault, key_file, account, tuple(role), as_json=as_json, dry_run=dry_run)


@commands.command(epilog=EXIT_STATUS)
def revoke(
    account: Account,
    *,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Take every role from an account.

    Example: fabnet-secure policy revoke alice
    """
    _set(vault, key_file, account, (), as_json=as_json, dry_run=dry_run)


@commands.command(epilog=EXIT_STATUS)
def explain(
    action: Annotated[str, typer.Argument(help="The act, such as query_similar.")],
    *,
    account: Annotated[str | None, typer.Option("--account", help="Whose act; your own by default.")] = None,
    role: Annotated[list[str] | None, typer.Option("--role", help="Somebody with this role; repeat it.")] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", help="The purpose of the act.")] = None,
    consents: Annotated[
        str | None,
        typer.Option("--class", help="What the consents cover and whom they come from: PURPOSE,…,CATEGORY."),
    ] = None,
    at: Annotated[str | None, typer.Option("--at", help="When, such as 2026-01-31T23:00:00Z; now by default.")] = None,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Say which policy decides an act and why, and what would have to be different. The act is not done.

    Example: fabnet-secure policy explain query_scores --role analyst --purpose query_internal
    """
    from fabnet_secure.pipeline import explain as pipeline

    asked = pipeline.Asked(
        action=action, account=account, roles=tuple(role or ()), purpose=purpose, consents=consents, at=at
    )
    with opened(vault, key_file) as site:
        found = pipeline.explain(site, asked)
        sha256 = site.policies.sha256
    fields = _explained(found) | {"policies_sha256": sha256}
    lines = [found.sentence(), *([found.otherwise()] if not found.decision.allowed else []), ""]
    shown = ("roles", "purpose", "hour", "weekday", "site", "open", "permits", "forbids", "failed")
    Output(as_json=as_json).result("explanation", fields, [*lines, *pairs({name: fields[name] for name in shown})])


@commands.command("test", epilog=EXIT_STATUS)
def run_tables(
    *,
    tables: Annotated[
        list[str] | None,
        typer.Option("--tables", help="A folder of .csv tables, or 'shipped'; repeat it, and later answers hold."),
    ] = None,
    policies: Annotated[
        Path | None,
        typer.Option("--policies", help="Try this folder's policies beside the shipped ones, without a vault."),
    ] = None,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> int:
    """Ask the policies every example of the tables. Without a vault, the policies that the program brings.

    Example: fabnet-secure policy test --policies our-policies --tables shipped --tables our-tables
    """
    from fabnet_secure.pipeline.explain import check_tables

    out = Output(as_json=as_json)
    if policies is None and vault is not None and (vault / "vault.json").exists():
        asked = "vault"
        with opened(vault, key_file) as site:
            found = check_tables(site, tables or ())
    else:
        asked = "shipped" if policies is None else "tried"
        missing = f": there is no vault at {vault}" if policies is None and vault is not None else ""
        if policies is None:
            out.say(f"these are the policies that the program brings{missing}")
        found = check_tables(None, tables or (), own=policies)
    for failure in found.failures:
        one = _failed(failure)
        if as_json:
            print_json("failed_example", one)
        else:
            print(f"{one['table']}:{one['line']}: {one['roles'] or '-'}, {one['action']}: {one['told']}")
    out.result("summary", _tested(found) | {"policies": asked}, _words(found))
    return ExitCode.PARTIAL if found.failures else ExitCode.OK


def _explained(found: "Explanation") -> dict[str, Any]:
    request, decision, there = found.request, found.decision, found.request.premises.at(found.request.at)
    return {
        "action": request.action,
        "roles": list(request.principal.roles),
        "purpose": request.purpose or "",
        "at": rfc3339(request.at),
        "hour": there.hour,
        "weekday": there.weekday,
        "site": there.site,
        "open": there.open,
        "allowed": decision.allowed,
        "policy_id": decision.policy_id,
        "sentence": found.sentence(),
        "otherwise": found.otherwise(),
        "ways": [[{"change": change.what, "value": change.value} for change in way] for way in found.ways],
        "permits": [policy.policy_id for policy in found.matches.permits],
        "forbids": [policy.policy_id for policy in found.matches.forbids],
        "failed": list(found.matches.failed),
        "two_people": found.two_people,
    }


def _failed(failure: "Failure") -> dict[str, Any]:
    example, decision = failure.example, failure.decision
    words = {True: "allow", False: "deny"}
    expected = f"{words[example.allowed]} by {example.policy_id or 'no policy'}"
    answered = f"{words[decision.allowed]} by {decision.policy_id or 'no policy'}"
    return {
        "table": example.table,
        "line": example.line,
        "roles": "+".join(example.request.principal.roles),
        "action": example.request.action,
        "purpose": example.request.purpose or "",
        "expected": expected,
        "answered": answered,
        "reason": decision.reason,
        "told": f"expected {expected}, got {answered}",
    }


def _tested(found: "Verdict") -> dict[str, Any]:
    return {
        "rules": found.rules,
        "examples": found.examples,
        "failed": len(found.failures),
        "untested": list(found.untested),
        "unasked": len(found.unasked),
    }


def _words(found: "Verdict") -> list[str]:
    lines = [f"{found.rules} policies, {found.examples} examples, {len(found.failures)} failed"]
    if found.untested:
        lines.append("no example names: " + ", ".join(found.untested))
    return lines


def _set(
    vault: Vault, key_file: KeyFile, account: str, wanted: tuple[str, ...], *, as_json: bool, dry_run: bool
) -> None:
    from fabnet_secure.pipeline.roles import set_roles

    with opened(vault, key_file) as site:
        row = set_roles(site, account, wanted, dry_run=dry_run)
    fields = {"name": row.name, "os_user": row.os_user, "roles": list(row.roles), "dry_run": dry_run}
    line = f"{row.os_user}: {' '.join(row.roles) or 'no roles'}"
    Output(as_json=as_json).result("principal", fields, [line + ("  (dry run: nothing changed)" if dry_run else "")])


adopt.register(commands)
