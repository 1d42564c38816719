"""``policy``: who may do what."""

from typing import Annotated

import typer

from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, DryRun, KeyFile, Vault, noun, opened
from fabnet_secure.commands.output import Output, print_json

commands = noun("Roles of the accounts on this machine.", example="fabnet-secure policy roles")

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


def _set(
    vault: Vault, key_file: KeyFile, account: str, wanted: tuple[str, ...], *, as_json: bool, dry_run: bool
) -> None:
    from fabnet_secure.pipeline.roles import set_roles

    with opened(vault, key_file) as site:
        row = set_roles(site, account, wanted, dry_run=dry_run)
    fields = {"name": row.name, "os_user": row.os_user, "roles": list(row.roles), "dry_run": dry_run}
    line = f"{row.os_user}: {' '.join(row.roles) or 'no roles'}"
    Output(as_json=as_json).result("principal", fields, [line + ("  (dry run: nothing changed)" if dry_run else "")])
