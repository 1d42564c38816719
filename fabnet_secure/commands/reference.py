"""Write ``docs/cli.md`` from the program itself: ``python -m fabnet_secure.commands.reference``."""

import sys
from collections.abc import Iterator
from typing import Any

import typer.main
from typer.core import TyperGroup

from fabnet_secure.commands.options import EXIT_STATUS
from fabnet_secure.commands.program import build


def reference() -> str:
    """Return the whole command line as Markdown."""
    root = typer.main.get_command(build())
    parts = [
        "# The command line",
        "",
        "Written by `make docs` from the program; a test compares the two.",
        "",
        f"{EXIT_STATUS}.",
        "",
        "`FABNET_VAULT` and `FABNET_KEY_FILE` stand for `--vault` and `--key-file`; `FABNET_DATABASE_URL` moves the",
        "vault's database to PostgreSQL (`postgresql+psycopg://…`), `FABNET_KEYSTORE_URL` the keystore's.",
        "",
    ]
    for path, command in _walk(root, "fabnet-secure"):
        parts += _section(path, command)
    return "\n".join(parts).rstrip() + "\n"


def _walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, child in getattr(command, "commands", {}).items():
        if not isinstance(child, TyperGroup):
            yield f"{path} {name}", child
        yield from _walk(child, f"{path} {name}")


def _section(path: str, command: Any) -> list[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and one.name != "help"]
    usage = " ".join([path, *map(_placeholder, arguments), "[OPTIONS]"])
    lines = [f"## {path}", "", f"`{usage}`", ""]
    for paragraph in (command.help or "").strip().split("\n\n"):
        example = paragraph.removeprefix("Example: ")
        lines += ["```sh", example, "```", ""] if example != paragraph else [paragraph, ""]
    rows = [(_placeholder(one), _said(one)) for one in arguments]
    rows += [(", ".join(one.opts), _said(one)) for one in options]
    return [*lines, "| option | meaning |", "|---|---|", *(f"| `{name}` | {said} |" for name, said in rows), ""]


def _placeholder(argument: Any) -> str:
    name = argument.name.upper() + ("…" if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _said(parameter: Any) -> str:
    said = str(parameter.help or "").replace("|", "\\|")
    if parameter.required:
        return f"{said} *(required)*"
    shown = parameter.show_default and parameter.default not in (None, False, "", [])
    return f"{said} *(default: {parameter.default})*" if shown else said


if __name__ == "__main__":
    sys.stdout.write(reference())
