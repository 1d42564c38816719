"""``doctor``: is this machine fit, and is this vault sound?"""

from dataclasses import asdict

from fabnet_secure.commands.options import AsJson, Debug, KeyFile, Vault, place
from fabnet_secure.commands.output import Output
from fabnet_secure.errors import ExitCode


def doctor(
    *,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> int:
    """Check versions, codecs, detector, policies, clock, memory, core dumps, swap, and the vault where one is named.

    Example: fabnet-secure doctor

    Exit 1 when a check fails.
    """
    from fabnet_secure.config import load
    from fabnet_secure.pipeline.diagnose import diagnose

    findings = diagnose(None if vault is None else place(vault, key_file), load(vault=vault))
    out = Output(as_json=as_json)
    failed = sum(one.status == "fail" for one in findings)
    out.result("summary", {"checks": [asdict(one) for one in findings], "failed": failed})
    out.table(("check", "status", "found"), [(one.name, one.status, one.detail) for one in findings])
    for one in findings:
        if one.remedy:
            out.say(f"{one.name}: {one.remedy}")
    return ExitCode.FAILED if failed else ExitCode.OK
