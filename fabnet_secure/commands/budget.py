"""``budget``: ε spent, reserved and promised."""

from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, KeyFile, Quiet, Vault, noun, opened
from fabnet_secure.commands.output import Output, print_json

commands = noun("Look at the privacy budget of each person.", example="fabnet-secure budget show")


@commands.command(epilog=EXIT_STATUS)
def show(
    *,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Show ε spent, reserved and the cap, per person (by pseudonym) and for the site's policy.

    Example: fabnet-secure budget show
    """
    from fabnet_secure.pipeline.registers import budgets

    with opened(vault, key_file) as site:
        found, policy = budgets(site)
    if as_json:
        for fields in found:
            print_json("budget", fields)
        print_json("summary", {"persons": found, "policy": policy})
    out = Output(as_json=as_json, quiet=quiet)
    out.ids(str(fields["subject_id"]) for fields in found)
    out.table(
        ("person", "spent", "reserved", "cap"),
        [(one["subject_id"], one["spent"], one["reserved"], one["cap"]) for one in found],
    )
