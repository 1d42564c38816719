"""``approval``: what needs two people is asked for, signed and looked at; and whose keys sign."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, DryRun, KeyFile, Quiet, Vault, noun, opened
from fabnet_secure.commands.output import Output, day, one_line, pairs, print_json
from fabnet_secure.errors import StorageFailed, UsageError

if TYPE_CHECKING:
    from fabnet_secure.pipeline.approval_form import Form

commands = noun(
    "Two people for what is dangerous: ask, sign with an SSH key, look at what would be approved.",
    example="fabnet-secure approval show request.json",
)
Account = Annotated[str, typer.Argument(help="The operating-system account; it has a role already.")]
Approvals = Annotated[
    list[Path] | None,
    typer.Option("--approval", help="An approval ('approval sign' makes it); two people's are needed: give it twice."),
]
"""The option of every act that takes two people."""


@commands.command(epilog=EXIT_STATUS)
def enrol(
    account: Account,
    *,
    ssh_key: Annotated[Path, typer.Option("--ssh-key", help="The person's public key, such as id_ed25519.pub.")],
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Let a person approve with this SSH key from now on, in place of any other of theirs.

    Example: fabnet-secure approval enrol alice --ssh-key alice.pub
    """
    from fabnet_secure.pipeline.approvers import enrol as let

    with opened(vault, key_file) as site:
        done = let(site, account, ssh_key, dry_run=dry_run)
    fields = {"account": account, "fingerprint": done.fingerprint, "replaced": done.replaced or None}
    what = "enrolled already" if done.already else "enrolled"
    _tell(as_json, fields | {"already": done.already, "dry_run": dry_run}, f"{account}: {done.fingerprint} {what}")


@commands.command(epilog=EXIT_STATUS)
def remove(
    account: Account,
    *,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """End the use of a person's key; that key never comes back.

    Example: fabnet-secure approval remove alice
    """
    from fabnet_secure.pipeline.approvers import remove as end

    with opened(vault, key_file) as site:
        done = end(site, account, dry_run=dry_run)
    fields = {"account": account, "fingerprint": None, "replaced": done.replaced, "already": False, "dry_run": dry_run}
    _tell(as_json, fields, f"{account}: {done.replaced} removed")


@commands.command(epilog=EXIT_STATUS)
def keys(
    *,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """List every key that was ever enrolled, each held against the log.

    Example: fabnet-secure approval keys
    """
    from fabnet_secure.crypto.sshsig import fingerprint_of
    from fabnet_secure.pipeline.approvers import listing
    from fabnet_secure.types import rfc3339

    with opened(vault, key_file) as site:
        found = [
            {
                "account": row.name,
                "fingerprint": fingerprint_of(row.fingerprint),
                "added_at": rfc3339(row.added_at),
                "removed_at": rfc3339(row.removed_at) if row.removed_at else None,
            }
            for row in listing(site)
        ]
    if as_json:
        for fields in found:
            print_json("approver", fields)
        print_json("summary", {"keys": len(found), "in_use": sum(one["removed_at"] is None for one in found)})
    rows = [(one["account"], one["fingerprint"], day(one["added_at"]), day(one["removed_at"])) for one in found]
    Output(as_json=as_json).table(("account", "key", "enrolled", "removed"), rows)


@commands.command(epilog=EXIT_STATUS)
def request(
    act: Annotated[
        str, typer.Argument(help="vector_export, hold_release, budget_raise, policy_change or key_destroy.")
    ],
    *,
    param: Annotated[list[str], typer.Option("--param", help="NAME=VALUE; the act's own refusal lists them all.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write; none is written over.")],
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    r"""Ask for an act that takes two people: writes what they sign, good for this one act and for a short time.

    Example: fabnet-secure approval request budget_raise --param consent=4dd1… --param cap=12 \
      --param evidence=SHA256 --out request.json
    """
    from fabnet_secure.pipeline.approvals import request as ask

    typed = dict(_pair(one) for one in param)
    _refuse_taken(out)
    with opened(vault, key_file) as site:
        form = ask(site, act, typed, dry_run=dry_run)
    if not dry_run:
        _write(out, form.to_bytes())
    shown = Output(as_json=as_json, quiet=quiet)
    after = ["dry run: nothing changed"] if dry_run else _next(out)
    fields = _fields(form) | {"file": None if dry_run else str(out), "dry_run": dry_run}
    shown.result("approval_request", fields, [*_words(form), "", *after])
    shown.ids([] if dry_run else [form.sha256])


@commands.command(epilog=EXIT_STATUS)
def sign(
    file: Annotated[Path, typer.Argument(help="The request.")],
    *,
    key: Annotated[Path, typer.Option("--key", help="Your private SSH key, or the public one if an agent holds it.")],
    out: Annotated[Path, typer.Option("--out", help="The approval to write; none is written over.")],
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Approve a request: says in words what it is, and signs it with your SSH key. Needs no vault.

    Example: fabnet-secure approval sign request.json --key ~/.ssh/id_ed25519 --out alice.approval
    """
    from fabnet_secure.crypto.sshsig import sign as with_key
    from fabnet_secure.crypto.sshsig import signer_of
    from fabnet_secure.pipeline.approval_form import read_file

    form, _ = read_file(file)
    _refuse_taken(out)
    shown = Output(as_json=as_json)
    for line in _words(form):
        shown.say(line)
    asked = form.to_bytes()
    signature = with_key(asked, key)
    _write(out, asked + signature)
    fields = _fields(form) | {"file": str(out), "fingerprint": signer_of(signature).fingerprint}
    shown.result("approval", fields, [f"approved with {fields['fingerprint']}: {out}"])


@commands.command(epilog=EXIT_STATUS)
def show(
    file: Annotated[Path, typer.Argument(help="A request or an approval.")],
    *,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Say in words what would be approved, and how to sign it. Needs no vault; checks no signature.

    Example: fabnet-secure approval show request.json
    """
    from fabnet_secure.crypto.sshsig import signer_of
    from fabnet_secure.pipeline.approval_form import read_file

    form, signature = read_file(file)
    said = signer_of(signature).fingerprint if signature else None
    lines = [*_words(form), *([f"signed by (not checked here)  {said}"] if said else ["", *_next(file)])]
    Output(as_json=as_json).result("approval_request", _fields(form) | {"fingerprint": said}, lines)


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name or not value:
        raise UsageError(f"not a parameter: {text[:60]!r}", hint="write NAME=VALUE", code="PARAM_INVALID")
    return name, value


def _fields(form: "Form") -> dict[str, Any]:
    from fabnet_secure.types import rfc3339

    return {
        "act": form.act,
        "params": dict(form.params),
        "sentence": form.sentence,
        "requested_by": form.requested_by,
        "created": rfc3339(form.created),
        "expires": rfc3339(form.expires),
        "vault_id": form.vault_id,
        "log_size": form.log_size,
        "log_root": form.log_root,
        "policies": form.policies,
        "request_sha256": form.sha256,
    }


def _words(form: "Form") -> list[str]:
    """Say what somebody would sign: the sentence, and every value as it stands."""
    plain = _fields(form)
    told = {"act": form.act} | {f"  {name}": str(value) for name, value in sorted(form.params.items())}
    told |= {name: plain[name] for name in ("requested_by", "created", "expires", "vault_id", "request_sha256")}
    return [f"to {form.sentence}", "", *pairs(told)] if form.sentence else pairs(told)


def _next(path: Path) -> list[str]:
    from fabnet_secure.crypto.sshsig import NAMESPACE

    return [
        "Two people sign it, each on a machine of their own:",
        f"  fabnet-secure approval sign {path} --key ~/.ssh/id_ed25519 --out NAME.approval",
        "or without this program:",
        f"  ssh-keygen -Y sign -f ~/.ssh/id_ed25519 -n {NAMESPACE} {path} && cat {path} {path}.sig > NAME.approval",
    ]


def _refuse_taken(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise UsageError("the file is there already", hint="give --out a new name", code="FILE_EXISTS")


def _write(out: Path, blob: bytes) -> None:
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(blob)
    except FileExistsError:
        _refuse_taken(out)
    except OSError as error:
        raise StorageFailed("the file cannot be written", hint=str(error.strerror), code="OUT_UNUSABLE") from error


def _tell(as_json: bool, fields: dict[str, Any], line: str) -> None:
    ended = line + ("  (dry run: nothing changed)" if fields["dry_run"] else "")
    Output(as_json=as_json).result("approver", fields, [one_line(ended)])
