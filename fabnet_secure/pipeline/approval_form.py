"""A request for approval, and an approval of it, as files that people pass around.

A *request* is one line of canonical JSON (RFC 8785) and a newline: what is to be done, with which values, in which
vault, until when, and how far the vault's log had come. An *approval* is that very line followed by an SSH signature
over it, so ``cat request.json request.json.sig > alice.approval`` makes one from what plain ``ssh-keygen`` wrote.

Guarantees that what is read has exactly one written form, so that two people who approve the same request signed the
same bytes. Does not check a signature, nor whether the request may be believed: ``approvals.py`` does.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fabnet_secure.crypto.digest import sha256_bytes
from fabnet_secure.crypto.sshsig import ARMOUR, MAX_SIGNATURE, broken
from fabnet_secure.errors import FabnetError, IntegrityFailure, UsageError
from fabnet_secure.types import Json, canonical_json, is_id, parse_rfc3339, rfc3339

SCHEMA: Final = "fabnet-secure/approval/v1"
MAX_REQUEST: Final = 16_384

_FIELDS: Final = frozenset(
    {"schema", "act", "params", "vault", "nonce", "requested_by", "created", "expires", "log", "policies"}
)
_HEX: Final = re.compile(r"[0-9a-f]{64}\Z")
_NUMBERS: Final = frozenset({"cap"})

SENTENCES: Final[Mapping[str, tuple[frozenset[str], str]]] = {
    "vector_export": (
        frozenset({"track", "purpose"}),
        "take the embeddings of track {track} out of the vault, unencrypted, for the purpose {purpose}",
    ),
    "hold_release": (
        frozenset({"consent", "hold"}),
        "end the legal hold {hold} on consent {consent}; an erasure that waits for it is carried out at once",
    ),
    "budget_raise": (
        frozenset({"consent", "cap", "evidence"}),
        "raise the ε promised at most under consent {consent} to {cap}, by the evidence with SHA-256 {evidence}",
    ),
    "policy_change": (
        frozenset({"policies"}),
        "put the access policies with SHA-256 {policies} beside the shipped ones ('none': the shipped ones alone)",
    ),
    "key_destroy": (
        frozenset({"consent", "domain"}),
        "destroy the {domain} key of consent {consent} although nobody withdrew it: what it opens is lost for ever",
    ),
}
"""What each act that needs two people is told of (its parameters), and the sentence that a person approves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One request.

    Attributes:
        act: the access action, such as ``budget_raise``.
        params: exactly what it is to be done with.
        vault_id: where.
        nonce: 32 random bytes in hex: it is done once.
        requested_by: the account that asked.
        created, expires: from when until when it may be done.
        log_size, log_root: how far the vault's log had come (entries, root hash in hex).
        policies: the SHA-256 of the access policies in force.
    """

    act: str
    params: Mapping[str, Json]
    vault_id: str
    nonce: str
    requested_by: str
    created: datetime
    expires: datetime
    log_size: int
    log_root: str
    policies: str

    def to_bytes(self) -> bytes:
        """Return the request's one written form: what is signed."""
        body: dict[str, Json] = {
            "schema": SCHEMA,
            "act": self.act,
            "params": self.params,
            "vault": self.vault_id,
            "nonce": self.nonce,
            "requested_by": self.requested_by,
            "created": rfc3339(self.created),
            "expires": rfc3339(self.expires),
            "log": {"size": self.log_size, "root": self.log_root},
            "policies": self.policies,
        }
        return canonical_json(body) + b"\n"

    @property
    def sha256(self) -> str:
        """The digest of the written form: how the log names the request."""
        return sha256_bytes(self.to_bytes())

    @property
    def sentence(self) -> str:
        """What would be done, in words."""
        return sentence(self.act, self.params)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """An approval as a file holds it: nothing of it is checked but its form."""

    form: Form
    signature: bytes


def read_file(path: Path) -> tuple[Form, bytes]:
    """Read a request or an approval: the request, and the signature (b"" where there is none).

    Raises:
        UsageError: code ``FILE_UNREADABLE``.
        IntegrityFailure: code ``APPROVAL_BROKEN``: it is neither, or not in its one written form.
    """
    try:
        with path.open("rb") as stream:
            blob = stream.read(MAX_REQUEST + MAX_SIGNATURE + 1)
    except OSError as error:
        raise UsageError("the approval cannot be read", hint=str(error.strerror), code="FILE_UNREADABLE") from error
    if len(blob) > MAX_REQUEST + MAX_SIGNATURE:
        raise broken("the file is too large")
    line, mark, rest = blob.partition(ARMOUR)
    if not line:
        raise UsageError(
            "this is a signature alone: an approval is the request with the signature after it",
            hint="cat request.json request.json.sig > name.approval",
            code="SIGNATURE_ALONE",
        )
    return parse(line), mark + rest


def read_signed(path: Path) -> Signed:
    """Read an approval.

    Raises:
        UsageError: code ``FILE_UNREADABLE``, or ``NOT_SIGNED``: it is a request that nobody signed.
        IntegrityFailure: code ``APPROVAL_BROKEN``.
    """
    form, signature = read_file(path)
    if not signature:
        hint = "sign it: fabnet-secure approval sign request.json --key ~/.ssh/id_ed25519 --out name.approval"
        raise UsageError("this is a request that nobody signed, not an approval", hint=hint, code="NOT_SIGNED")
    return Signed(form=form, signature=signature)


def parse(line: bytes) -> Form:
    """Read what :meth:`Form.to_bytes` wrote, and nothing else.

    Raises:
        IntegrityFailure: code ``APPROVAL_BROKEN``.
    """
    try:
        body = json.loads(line.decode("utf-8"))
        form = _form(body)
        if form.to_bytes() != line:
            raise broken("the request is not in its one written form")
    except IntegrityFailure:
        raise
    except (FabnetError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise broken("the request cannot be read") from error
    return form


def read_params(act: str, pairs: Mapping[str, str]) -> dict[str, Json]:
    """Give the values of a request (as typed) the form that the act compares them in.

    Raises:
        UsageError: code ``ACT_UNKNOWN`` or ``PARAM_INVALID``.
    """
    if act not in SENTENCES:
        hint = "one of: " + ", ".join(SENTENCES)
        raise UsageError(f"no act that needs two people is called {act[:40]!r}", hint=hint, code="ACT_UNKNOWN")
    wanted, _ = SENTENCES[act]
    if set(pairs) != wanted:
        hint = " ".join(f"--param {name}=…" for name in sorted(wanted))
        raise UsageError("these are not the parameters of the act", hint=f"give {hint}", code="PARAM_INVALID")
    return {name: _number(text) if name in _NUMBERS else text for name, text in pairs.items()}


def same(one: Mapping[str, Json], other: Mapping[str, Json]) -> bool:
    """Tell whether two sets of parameters are one in canonical form (8 and 8.0 are)."""
    return canonical_json(one) == canonical_json(other)


def sentence(act: str, params: Mapping[str, Json]) -> str:
    """Say in words what an act with these parameters does."""
    _, words = SENTENCES.get(act, (frozenset(), act))
    try:
        return words.format(**params)
    except (KeyError, IndexError):
        return f"{act}: {canonical_json(params).decode()}"


def command_for(act: str, params: Mapping[str, Json]) -> str:
    """Return the command that asks for what is missing."""
    typed = " ".join(f"--param {name}={_plain(params[name])}" for name in sorted(params))
    return f"fabnet-secure approval request {act} {typed} --out request.json"


def _plain(value: Json) -> str:
    return value if isinstance(value, str) else canonical_json(value).decode()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"not a number: {text[:20]!r}", code="PARAM_INVALID") from None


def _form(body: dict[str, Any]) -> Form:
    if set(body) != _FIELDS or body["schema"] != SCHEMA or set(body["log"]) != {"size", "root"}:
        raise broken("the request is of another kind or version")
    form = Form(
        act=body["act"],
        params=body["params"],
        vault_id=body["vault"],
        nonce=body["nonce"],
        requested_by=body["requested_by"],
        created=parse_rfc3339(body["created"]),
        expires=parse_rfc3339(body["expires"]),
        log_size=body["log"]["size"],
        log_root=body["log"]["root"],
        policies=body["policies"],
    )
    words = (form.act, form.requested_by, form.vault_id)
    digests = (form.nonce, form.log_root, form.policies)
    if (
        not all(isinstance(one, str) for one in words)
        or not all(_HEX.match(one) for one in digests)
        or not is_id(form.vault_id)
        or type(form.log_size) is not int
        or not isinstance(form.params, Mapping)
    ):
        raise broken("a field of the request is malformed")
    return form
