"""``config``: the settings in force."""

from typing import Annotated

import typer

from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, Vault, noun
from fabnet_secure.commands.output import Output

commands = noun("Look at the settings in force.", example="fabnet-secure config show")


@commands.callback()
def _group() -> None:
    pass


@commands.command(epilog=EXIT_STATUS)
def show(
    *,
    origin: Annotated[bool, typer.Option("--origin", help="Name the file each value came from.")] = False,
    vault: Vault = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Show every setting in force; --json and --origin say where each came from.

    Example: fabnet-secure config show --origin
    """
    from fabnet_secure.config import load

    found = load(vault=vault)
    values = found.settings.model_dump(mode="json")
    cameras = values.pop("camera")
    flat = {f"{section}.{key}": value for section, table in values.items() for key, value in table.items()}
    flat |= {"camera": [one["name"] for one in cameras]} if cameras else {}
    rows = {key: {"value": value, "origin": found.origins[key]} for key, value in flat.items()}
    out = Output(as_json=as_json)
    out.result("config", {"settings": rows})
    if origin:
        out.table(("setting", "value", "from"), [(key, one["value"], one["origin"]) for key, one in rows.items()])
    else:
        out.table(("setting", "value"), [(key, one["value"]) for key, one in rows.items()])
