"""Reads Cedar policies, the shipped ones and what a site adds to them, or refuses them as a whole.

Guarantees: what is returned parses, validates strictly against the shipped schema, holds no template, and every policy
has an ``@id`` of its own and a ``@title``. A site's files only ever add: a policy of theirs that has a shipped policy's
``@id`` is refused, and so is a schema. Does not judge whether the policies are wise: a site that permits everything has
permitted it (what no ``forbid`` forbids). :mod:`fabnet_secure.access.examples` tests what they say.

Source: Cedar (Cutler et al. 2024, "Cedar: A New Language for Expressive, Fast, Safe, and Analyzable Authorization").
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cedarpy

from fabnet_secure.errors import Gap
from fabnet_secure.types import canonical_json

SCHEMA_FILE: Final = "schema.cedarschema"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}\Z")
_RAW_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LONGEST_TITLE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy, as its annotations name it.

    Args:
        rank: its place among all policies: the shipped before a site's, files by name, then its place in the file.
        policy_id: its ``@id``.
        title: its ``@title``, a sentence without a full stop.
        forbids: whether it forbids (else it permits).
        source: the file it stands in; a site's as ``site/NAME``.
    """

    rank: int
    policy_id: str
    title: str
    forbids: bool
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Policies, parsed. Cedar knows each by its ``@id``.

    Args:
        policies: Cedar's handle on all policies.
        permits: its handle on those that permit.
        forbids: its handle on those that forbid.
        schema: Cedar's handle on the schema.
        by_id: ``@id`` → the policy.
        sha256: hex digest over the names and contents of all files, the schema's too.
    """

    policies: cedarpy.PolicySet
    permits: cedarpy.PolicySet
    forbids: cedarpy.PolicySet
    schema: cedarpy.Schema
    by_id: Mapping[str, Policy]
    sha256: str


def load_directories(shipped: Path, *sites: Path) -> Loaded:
    """Read, parse and validate every ``*.cedar`` file of ``shipped`` and ``sites`` against the shipped schema.

    Args:
        shipped: a directory of policies with their ``schema.cedarschema``.
        sites: directories of a site's own policies, which may be empty of them but must be there.

    Raises:
        Gap: (POLICY_INVALID) anything at all is wrong with them.
    """
    texts = read_texts(shipped)
    if not texts:
        raise invalid(f"no access policies in {shipped}")
    for number, site in enumerate(sites, start=1):
        if not site.is_dir():
            raise invalid(f"the site's policies are not there: {site}", "give back what was adopted, or adopt anew")
        if (site / SCHEMA_FILE).exists():
            raise invalid(f"{site} holds a {SCHEMA_FILE}", "a site adds policies; the words are the program's own")
        folder = "site" if number == 1 else f"site{number}"
        texts |= {f"{folder}/{name}": text for name, text in read_texts(site).items()}
    return parse(texts, _read(shipped / SCHEMA_FILE))


def read_texts(directory: Path) -> dict[str, str]:
    """Return the name and text of every ``*.cedar`` file of ``directory``, by name.

    Raises:
        Gap: (POLICY_INVALID) one of them cannot be read, or is no text.
    """
    return {path.name: _read(path) for path in sorted(directory.glob("*.cedar"))}


def parse(texts: Mapping[str, str], schema_text: str) -> Loaded:
    """Parse and validate policies, each file by itself, so that a refusal names the file.

    Args:
        texts: the files, in order of rank: name → Cedar text.
        schema_text: the schema (Cedar's own syntax).

    Raises:
        Gap: (POLICY_INVALID) anything at all is wrong with them.
    """
    try:
        schema = cedarpy.Schema.from_str(schema_text)
    except ValueError as error:
        raise invalid(f"{SCHEMA_FILE} does not parse", str(error)) from error
    bodies: dict[str, dict[str, Any]] = {}
    found: list[Policy] = []
    for name, text in texts.items():
        _validate(name, text, schema)
        for body in _bodies(name, text):
            found.append(_described(body, rank=len(found), source=name))
            bodies[found[-1].policy_id] = body
    _check_ids(found)
    return Loaded(
        policies=_handle(bodies),
        permits=_handle({name: body for name, body in bodies.items() if body["effect"] == "permit"}),
        forbids=_handle({name: body for name, body in bodies.items() if body["effect"] == "forbid"}),
        schema=schema,
        by_id={policy.policy_id: policy for policy in found},
        sha256=_digest({**texts, SCHEMA_FILE: schema_text}),
    )


def invalid(message: str, detail: str = "") -> Gap:
    """Return the one error for policies that cannot be used; without them nothing is permitted."""
    return Gap(message, hint=detail or "give a directory of Cedar policies and their schema", code="POLICY_INVALID")


def _read(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise invalid(f"{path} is not a file")
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise invalid(f"{path} cannot be read", str(error.strerror)) from error
    except UnicodeDecodeError as error:
        raise invalid(f"{path} is not UTF-8 text") from error


def _validate(name: str, text: str, schema: cedarpy.Schema) -> None:
    result = cedarpy.validate_policies(text, schema)
    if not result.validation_passed:
        raise invalid(f"{name} does not validate against {SCHEMA_FILE}", "; ".join(map(str, result.errors[:3])))


def _bodies(name: str, text: str) -> list[dict[str, Any]]:
    """Return the policies of a file in Cedar's JSON form, in their order in the text."""
    parsed = json.loads(cedarpy.policies_to_json_str(text))
    if parsed["templates"]:
        raise invalid(f"{name} holds a template (?principal or ?resource)", "write a plain policy for each")
    # Cedar names policies by their place in the text: policy0, policy1…
    order = sorted(parsed["staticPolicies"], key=lambda cedar_id: int(cedar_id.removeprefix("policy")))
    return [parsed["staticPolicies"][cedar_id] for cedar_id in order]


def _described(body: dict[str, Any], *, rank: int, source: str) -> Policy:
    policy_id, title = _annotation(body, "id", source), _annotation(body, "title", source)
    if not _ID.match(policy_id) or _RAW_ID.search(policy_id):  # the log, which names it, refuses raw identifiers
        raise invalid(f"the @id {policy_id[:64]!r} in {source} is no id", "words of letters, digits and . _ : -")
    if len(title) > _LONGEST_TITLE or not title.isprintable():
        raise invalid(f"the @title of {policy_id!r} is not one line of at most {_LONGEST_TITLE} characters")
    return Policy(rank=rank, policy_id=policy_id, title=title, forbids=body["effect"] == "forbid", source=source)


def _annotation(body: dict[str, Any], name: str, source: str) -> str:
    value = str(body.get("annotations", {}).get(name) or "").strip()
    if not value:
        known = body.get("annotations", {}).get("id") or "without @id"
        raise invalid(f"a policy in {source} ({known}) has no @{name}", 'write @id("…") @title("…") before each policy')
    return value


def _check_ids(found: Sequence[Policy]) -> None:
    if not found:
        raise invalid("the access policy files hold no policy")
    twice = [name for name, count in Counter(policy.policy_id for policy in found).items() if count > 1]
    if twice:
        where = " and ".join(sorted({policy.source for policy in found if policy.policy_id == twice[0]}))
        raise invalid(
            f"several access policies have the @id {twice[0]!r} ({where})", "every policy has an @id of its own"
        )


def _handle(bodies: Mapping[str, dict[str, Any]]) -> cedarpy.PolicySet:
    whole = {"staticPolicies": dict(bodies), "templates": {}, "templateLinks": []}
    return cedarpy.PolicySet.from_json_str(json.dumps(whole))


def _digest(texts: Mapping[str, str]) -> str:
    each = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    return hashlib.sha256(canonical_json(each)).hexdigest()
