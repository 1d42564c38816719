"""The program: its nouns, its global options, and the one place where errors become exit statuses."""

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import Abort, Exit, TyperException

from fabnet_secure import __version__
from fabnet_secure.commands import (
    approval,
    audit,
    backup,
    budget,
    consent,
    demo,
    doctor,
    ingest,
    init,
    keys,
    model,
    policy,
    quarantine,
    query,
    report,
    settings,
    subject,
    track,
    train,
)
from fabnet_secure.commands.asking import take_from
from fabnet_secure.commands.options import EXIT_STATUS, noun
from fabnet_secure.commands.output import print_error
from fabnet_secure.errors import ExitCode, FabnetError, Interrupted, StorageFailed, UsageError
from fabnet_secure.logs import configure

_PIPELINE, _GOVERN, _OPERATE = "Pipeline", "Govern", "Operate"


def build() -> typer.Typer:
    """Assemble every command under its noun."""
    program = noun(
        "Learn facial attributes from video on your own machines: consented, private, provable.",
        example="fabnet-secure demo",
        completion=True,
    )
    program.callback()(_root)
    program.command("init", rich_help_panel=_PIPELINE, epilog=EXIT_STATUS)(init.init)
    program.add_typer(consent.commands, name="consent", rich_help_panel=_GOVERN)
    program.command(
        "ingest", cls=ingest.WithWatch, no_args_is_help=True, rich_help_panel=_PIPELINE, epilog=EXIT_STATUS
    )(ingest.ingest)
    program.add_typer(track.commands, name="track", rich_help_panel=_PIPELINE)
    program.add_typer(quarantine.commands, name="quarantine", rich_help_panel=_PIPELINE)
    program.add_typer(train.commands, name="train", rich_help_panel=_PIPELINE)
    program.add_typer(model.commands, name="model", rich_help_panel=_PIPELINE)
    program.command("embed", rich_help_panel=_PIPELINE, epilog=EXIT_STATUS)(model.embed)
    program.add_typer(query.commands, name="query", rich_help_panel=_PIPELINE)
    program.add_typer(subject.commands, name="subject", rich_help_panel=_GOVERN)
    program.add_typer(policy.commands, name="policy", rich_help_panel=_GOVERN)
    program.add_typer(approval.commands, name="approval", rich_help_panel=_GOVERN)
    program.add_typer(budget.commands, name="budget", rich_help_panel=_GOVERN)
    program.add_typer(keys.commands, name="keys", rich_help_panel=_GOVERN)
    program.command("report", rich_help_panel=_GOVERN, epilog=EXIT_STATUS)(report.report)
    program.add_typer(audit.commands, name="audit", rich_help_panel=_GOVERN)
    program.add_typer(backup.commands, name="backup", rich_help_panel=_OPERATE)
    program.add_typer(settings.commands, name="config", rich_help_panel=_OPERATE)
    program.command("doctor", rich_help_panel=_OPERATE, epilog=EXIT_STATUS)(doctor.doctor)
    program.command("demo", rich_help_panel=_OPERATE, epilog=EXIT_STATUS)(demo.demo)
    return program


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; no traceback leaves this function without ``--debug``."""
    as_json, debug = "--json" in arguments, "--debug" in arguments
    configure(debug=debug)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path of any bytes can be named in an error
    try:
        return _status(build()(list(arguments), standalone_mode=False, prog_name="fabnet-secure"))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the one place where errors become statuses
        if type(error).__name__ == "NoArgsIsHelpError":  # the help is printed already
            return ExitCode.USAGE if arguments else ExitCode.OK
        if debug:
            traceback.print_exc()
        known = _known(error)
        print_error(known, as_json=as_json)
        return known.exit_code


def _status(result: object) -> int:
    if result == ExitCode.INTERRUPTED:  # how Typer tells of a Ctrl-C
        raise KeyboardInterrupt
    sys.stdout.flush()  # a reader that went away is told of here, not at the interpreter's end
    return result if isinstance(result, int) else ExitCode.OK


def _known(error: BaseException) -> FabnetError:
    """Turn anything that went wrong into an error with a hint."""
    if isinstance(error, FabnetError):
        return error
    if isinstance(error, KeyboardInterrupt | Abort):
        return Interrupted("interrupted: nothing half done was kept", hint="the same command goes on from there")
    if isinstance(error, TyperException) or hasattr(error, "format_message"):
        hint = "add --help to the command for its options"
        return UsageError(error.format_message(), hint=hint)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FabnetError("the reader of the output went away", code="BROKEN_PIPE")
    if isinstance(error, OSError):
        return _refused_by_system(error)
    return FabnetError(
        f"something unforeseen went wrong ({type(error).__name__})",
        hint="nothing half done was kept; add --debug for the details and report it",
        code="UNFORESEEN",
    )


def _refused_by_system(error: OSError) -> FabnetError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageFailed("the disk is full; nothing of the act was kept", hint="free some space and run it again")
    return FabnetError(f"the system refused: {error.strerror}", hint="add --debug for the details", code="SYSTEM")


def _print_version(*, wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise Exit(0)


def _root(
    *,
    version: Annotated[  # noqa: ARG001  its callback ends the program
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
    passphrase_file: Annotated[
        str | None,
        typer.Option(
            "--passphrase-file",
            envvar="FABNET_PASSPHRASE_FILE",
            metavar="FILE|-",
            help="Where the key file's passphrase or PIN stands: the first line of a private file, or of "
            "standard input (-). Without it a terminal is asked.",
            show_default=False,
        ),
    ] = None,
) -> None:
    take_from(passphrase_file or None)
