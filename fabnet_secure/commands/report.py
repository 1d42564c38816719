"""``report``: signed reports, and checking one."""

from pathlib import Path
from typing import Annotated

import typer

from fabnet_secure.commands.options import AsJson, Debug, KeyFile, Vault, opened
from fabnet_secure.commands.output import Output
from fabnet_secure.errors import UsageError


def report(
    name: Annotated[str, typer.Argument(help="ropa, dp, erasure, access, ingest, all, or verify.")],
    file: Annotated[Path | None, typer.Argument(help="For 'verify': the report.", show_default=False)] = None,
    *,
    form: Annotated[str, typer.Option("--format", help="json or html.")] = "json",
    lang: Annotated[str, typer.Option("--lang", help="en or ja.")] = "en",
    out_file: Annotated[
        Path | None,
        typer.Option("--out", help="The file to write ('all': a new folder).", show_default=False),
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option("--public-key", help="For 'verify': the site's report key, in hex.", show_default=False),
    ] = None,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Write a signed report, or verify one.

    Example: fabnet-secure report dp --format html --lang ja --out dp.html

    Example: fabnet-secure report verify dp.html --public-key 3b6a…

    A report is a pure function of its evidence: the same evidence gives the same bytes. 'verify' checks the signature
    and, for HTML, that the page says exactly what its evidence says; it needs no vault. Exit 30 when it does not hold.
    """
    out = Output(as_json=as_json)
    if name == "verify":
        _verify(out, file, public_key)
        return
    if file is not None:
        raise UsageError("only 'report verify' takes a file", hint="write with --out FILE")
    if out_file is None:
        raise UsageError("no file is named", hint="give --out FILE")
    from fabnet_secure.pipeline.report import write_all, write_report

    with opened(vault, key_file) as site:
        written = (
            write_all(site, out_file)
            if name == "all"
            else [write_report(site, name, form=form, lang=lang, out=out_file)]
        )
    fields = {"report": name, "files": [str(path) for path in written]}
    out.result("summary", fields, [f"wrote {path}" for path in written])


def _verify(out: Output, file: Path | None, public_key: str | None) -> None:
    from fabnet_secure.pipeline.report import verify_file

    if file is None:
        raise UsageError("no report is named", hint="fabnet-secure report verify FILE")
    checked = verify_file(file, public_key)
    fields = {
        "ok": True,
        "kind": checked.kind,
        "generated_at": checked.generated_at,
        "public_key": checked.public.hex(),
        "pinned": checked.pinned,
    }
    who = "the key you named" if checked.pinned else "the key below: compare it with the site's"
    lines = [f"ok: {checked.kind}, generated {checked.generated_at}, signed by {who}"]
    out.result("summary", fields, lines if checked.pinned else [*lines, checked.public.hex()])
