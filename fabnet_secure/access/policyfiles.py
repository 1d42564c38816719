"""Reads a directory of Cedar policies, or refuses it as a whole.

Guarantees: what is returned parses, validates strictly against the directory's own schema, holds no template, and every
policy has an ``@id`` of its own and a ``@title``. Does not judge whether the policies are wise.

Source: Cedar (Cutler et al. 2024, "Cedar: A New Language for Expressive, Fast, Safe, and Analyzable Authorization").
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cedarpy

from fabnet_secure.errors import Gap
from fabnet_secure.types import canonical_json

SCHEMA_FILE: Final = "schema.cedarschema"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy, as its annotations name it.

    Args:
        rank: its place among all policies: files by name, then by place in the file, from 0.
        policy_id: its ``@id``.
        title: its ``@title``, a sentence without a full stop.
        forbids: whether it forbids (else it permits).
    """

    rank: int
    policy_id: str
    title: str
    forbids: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A policy directory, parsed.

    Args:
        policies: Cedar's handle on all policies.
        schema: Cedar's handle on the schema.
        by_cedar_id: Cedar's own name of each policy (``policy0``…) → the policy.
        sha256: hex digest over the names and contents of all files, the schema's too.
    """

    policies: cedarpy.PolicySet
    schema: cedarpy.Schema
    by_cedar_id: Mapping[str, Policy]
    sha256: str


def load_directory(directory: Path) -> Loaded:
    """Read, parse and validate every ``*.cedar`` file of ``directory`` against its ``schema.cedarschema``.

    Raises:
        Gap: (POLICY_INVALID) anything at all is wrong with them.
    """
    texts = {path.name: _read(path) for path in sorted(directory.glob("*.cedar"))}
    if not texts:
        raise invalid(f"no access policies in {directory}")
    schema_text = _read(directory / SCHEMA_FILE)
    try:
        schema = cedarpy.Schema.from_str(schema_text)
    except ValueError as error:
        raise invalid(f"{SCHEMA_FILE} does not parse", str(error)) from error
    for name, text in texts.items():  # one by one, so that the refusal names the file
        _validate(name, text, schema)
    joined = "\n".join(texts.values())
    return Loaded(
        policies=cedarpy.PolicySet.from_str(joined),
        schema=schema,
        by_cedar_id=_described(json.loads(cedarpy.policies_to_json_str(joined))),
        sha256=_digest({**texts, SCHEMA_FILE: schema_text}),
    )


def invalid(message: str, detail: str = "") -> Gap:
    """Return the one error for policies that cannot be used; without them nothing is permitted."""
    return Gap(message, hint=detail or "give a directory of Cedar policies and their schema", code="POLICY_INVALID")


def _read(path: Path) -> str:
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


def _described(parsed: dict[str, Any]) -> dict[str, Policy]:
    """Read the annotations of every policy; each must have an ``@id`` that no other has, and a ``@title``."""
    if parsed["templates"]:
        raise invalid("the access policies hold a template (?principal or ?resource)", "write a plain policy for each")
    described = {
        cedar_id: Policy(
            rank=int(cedar_id.removeprefix("policy")),  # Cedar numbers policies by their place in the text
            policy_id=_annotation(policy, "id"),
            title=_annotation(policy, "title"),
            forbids=policy["effect"] == "forbid",
        )
        for cedar_id, policy in parsed["staticPolicies"].items()
    }
    twice = [name for name, count in Counter(policy.policy_id for policy in described.values()).items() if count > 1]
    if twice:
        raise invalid(f"several access policies have the @id {twice[0]!r}")
    if not described:
        raise invalid("the access policy files hold no policy")
    return described


def _annotation(policy: dict[str, Any], name: str) -> str:
    value = str(policy.get("annotations", {}).get(name) or "").strip()
    if not value:
        known = policy.get("annotations", {}).get("id") or "without @id"
        raise invalid(f"an access policy ({known}) has no @{name}", 'write @id("…") @title("…") before each policy')
    return value


def _digest(texts: Mapping[str, str]) -> str:
    each = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    return hashlib.sha256(canonical_json(each)).hexdigest()
