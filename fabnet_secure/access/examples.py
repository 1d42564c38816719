"""Tables of examples: who asks for what, and what the policies must answer.

A table is a CSV file with a line for each example or group of examples; lines that start with ``#`` and empty lines
say nothing to the program. Cells that hold several words stand for an example of each; ``*`` stands for every word,
``-`` for none.

============  ========================================================================================================
column        meaning
============  ========================================================================================================
roles         the principal's role; ``a+b`` is one principal with both; ``all`` one with all, ``-`` one with none
action        what is asked for
purpose       the purpose of the act; ``-`` (and empty) is none
covers        what the consents cover: empty (or ``own``) is the act's purpose, ``others`` all but that, ``a+b`` both
category      whom the consents come from; empty is ``adult``
hour          0 to 23; empty is 12
weekday       1 (Monday) to 7; empty is 1
site          the site's name; empty is none
open_hours    the site's open hours, such as ``8-18``; empty is always
decision      ``allow`` or ``deny``
policy        the ``@id`` of the deciding policy; ``-`` (and empty) where none decides
============  ========================================================================================================

Guarantees: a table with a word that the program does not know is refused (a misspelt role would be denied everything,
and an example that expects a denial would pass for nothing). Does not say that a set of examples is enough; :func:`run`
lists what they leave out.
"""

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Final, TypeAlias

from fabnet_secure.access.decision import ACTIONS, CONSENT_ACTIONS, ROLES, ConsentClass, Decision, PolicySet
from fabnet_secure.access.premises import ALWAYS, Premises
from fabnet_secure.access.question import Principal, Request, Resource, Vault
from fabnet_secure.errors import UsageError
from fabnet_secure.types import Purpose

NEEDED: Final = ("roles", "action", "decision", "policy")
COLUMNS: Final = (*NEEDED, "purpose", "covers", "category", "hour", "weekday", "site", "open_hours")
_ANSWERS: Final = {"allow": True, "deny": False}
_MONDAY: Final = datetime(2026, 1, 5, tzinfo=UTC)
_MOST_OF_A_LINE: Final = 10_000
_ITS_OWN, _OTHERS, _ALL = "own", "others", "all"
_HOURS: Final = tuple(map(str, range(24)))
_WEEKDAYS: Final = tuple(map(str, range(1, 8)))
_PURPOSES: Final = tuple(Purpose)
_COVERS: Final = (*_PURPOSES, _ITS_OWN, _OTHERS)
_HINT: Final = "docs/access.md says what each column means"

Question: TypeAlias = tuple[tuple[str, ...], str, Purpose | None, Resource, datetime, Premises]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One question and the answer it must get.

    Args:
        table: the name of the file.
        line: its line, from 1.
        request: the question.
        allowed: whether it must be allowed.
        policy_id: the ``@id`` that must decide; "" for none.
    """

    table: str
    line: int
    request: Request
    allowed: bool
    policy_id: str

    @property
    def question(self) -> Question:
        """What makes two examples the same question, whoever wrote them down."""
        asked = self.request
        return (asked.principal.roles, asked.action, asked.purpose, asked.resource, asked.at, asked.premises)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An example that got another answer than the one it expects."""

    example: Example
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of all examples.

    Args:
        rules: how many policies there are.
        examples: how many examples were asked.
        failures: those that failed, in their order.
        untested: the ``@id`` of policies that no example expects to decide.
        unasked: acts and roles that no example puts together, as ``action by role``.
    """

    rules: int
    examples: int
    failures: tuple[Failure, ...]
    untested: tuple[str, ...]
    unasked: tuple[str, ...]


def run(policies: PolicySet, examples: Sequence[Example]) -> Verdict:
    """Put every example to the policies (0.1 ms each); decides nothing and records nothing."""
    answered = [(example, policies.decide(example.request)) for example in examples]
    expected = {example.policy_id for example in examples}
    asked = {(example.request.action, role) for example in examples for role in example.request.principal.roles}
    return Verdict(
        rules=len(policies.policies),
        examples=len(examples),
        failures=tuple(
            Failure(example=example, decision=decision)
            for example, decision in answered
            if (decision.allowed, decision.policy_id) != (example.allowed, example.policy_id) or decision.errors
        ),
        untested=tuple(policy.policy_id for policy in policies.policies if policy.policy_id not in expected),
        unasked=tuple(f"{action} by {role}" for action, role in product(ACTIONS, ROLES) if (action, role) not in asked),
    )


def read_tables(*directories: Path, categories: Collection[str]) -> tuple[Example, ...]:
    """Read every ``*.csv`` file of the directories; of two answers to a question the later directory's holds.

    Args:
        directories: where the tables are: the shipped ones first, then a site's.
        categories: the words for whom consents come from.

    Raises:
        UsageError: (TABLE_INVALID) a table cannot be read or is malformed, or there is none at all.
    """
    found: list[Example] = []
    for directory in directories:
        here = [one for path in sorted(directory.glob("*.csv")) for one in read_table(path, categories=categories)]
        known = {one.question for one in here}
        found = [one for one in found if one.question not in known] + here
    if not found:
        named = ", ".join(map(str, directories))
        raise UsageError(f"no examples in {named}", hint="give a directory of .csv tables", code="TABLE_INVALID")
    return tuple(found)


def read_table(path: Path, *, categories: Collection[str]) -> tuple[Example, ...]:
    """Read one table.

    Raises:
        UsageError: (TABLE_INVALID) it cannot be read or is malformed; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as text", code="TABLE_INVALID") from error
    head: list[str] = []
    found: list[Example] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            cells = _split(line)
            if head:
                found += _examples(_row(head, cells), path.name, number, categories)
            else:
                head = _head(cells)
        except (ValueError, UsageError) as error:
            raise UsageError(f"{path.name}, line {number}: {error}", hint=_HINT, code="TABLE_INVALID") from error
    if not head:
        raise UsageError(f"{path.name} is empty", hint=_HINT, code="TABLE_INVALID")
    return tuple(found)


def _split(line: str) -> list[str]:
    try:
        (cells,) = csv.reader([line], strict=True)
    except csv.Error as error:
        raise ValueError(f"no line of CSV ({error})") from error
    return [cell.strip() for cell in cells]


def _head(cells: Sequence[str]) -> list[str]:
    strange = [name for name in cells if name not in COLUMNS]
    if strange:
        raise ValueError(f"no such column: {strange[0][:40]!r}")
    missing = [name for name in NEEDED if name not in cells]
    if missing or len(set(cells)) != len(cells):
        raise ValueError(f"the column {missing[0]!r} is missing" if missing else "a column stands there twice")
    return list(cells)


def _row(head: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    if len(cells) != len(head):
        raise ValueError(f"{len(cells)} cells under {len(head)} columns")
    return dict.fromkeys(COLUMNS, "") | dict(zip(head, cells, strict=True))


def _examples(row: Mapping[str, str], table: str, line: int, categories: Collection[str]) -> list[Example]:
    """Return an example for each combination of the words of a line."""
    if row["decision"] not in _ANSWERS:
        raise ValueError(f"a decision is allow or deny, not {row['decision'][:40]!r}")
    policy_id = "" if row["policy"] == "-" else row["policy"]
    cells = (
        [_together(word, ROLES, "role") for word in _words(row["roles"], ROLES, "role")],
        [_known(word, ACTIONS, "action") for word in _words(row["action"], ACTIONS, "action")],
        [_purpose(word) for word in _words(row["purpose"] or "-", _PURPOSES, "purpose")],
        [_together(word, _COVERS, "purpose") for word in _words(row["covers"] or _ITS_OWN, _PURPOSES, "purpose")],
        [_known(word, categories, "category") for word in _words(row["category"] or "adult", categories, "category")],
        [_number(word, 0, 23) for word in _words(row["hour"] or "12", _HOURS, "hour")],
        [_number(word, 1, 7) for word in _words(row["weekday"] or "1", _WEEKDAYS, "weekday")],
    )
    if not 0 < math.prod(len(cell) for cell in cells) <= _MOST_OF_A_LINE:
        raise ValueError(f"one line makes 1 to {_MOST_OF_A_LINE} examples")
    premises = Premises(site=row["site"], open_hours=_hours(row["open_hours"]), zone=UTC)
    return [
        Example(
            table=table,
            line=line,
            request=Request(
                principal=Principal(name="example", uid=0, roles=roles),
                action=action,
                purpose=purpose,
                resource=_resource(action, purpose, covers, category),
                at=_MONDAY + timedelta(days=weekday - 1, hours=hour),
                premises=premises,
            ),
            allowed=_ANSWERS[row["decision"]],
            policy_id=policy_id,
        )
        for roles, action, purpose, covers, category, hour, weekday in product(*cells)
    ]


def _words(cell: str, every: Collection[str], kind: str) -> list[str]:
    """Return the words of a cell; ``*`` is every one there is."""
    found = [str(one) for word in cell.split() for one in (every if word == "*" else (word,))]
    if not found:
        raise ValueError(f"no {kind} is named")
    return found


def _known(word: str, known: Collection[str], kind: str) -> str:
    if word not in known:
        raise ValueError(f"no such {kind}: {word[:40]!r}")
    return word


def _together(word: str, known: Collection[str], kind: str) -> tuple[str, ...]:
    """Read ``a+b``; ``all`` is every word together, ``-`` none."""
    if word == _ALL:
        return tuple(one for one in known if one not in (_ITS_OWN, _OTHERS))
    return () if word == "-" else tuple(_known(one, known, kind) for one in word.split("+"))


def _purpose(word: str) -> Purpose | None:
    return None if word == "-" else Purpose(_known(word, _PURPOSES, "purpose"))


def _resource(action: str, purpose: Purpose | None, covers: tuple[str, ...], category: str) -> Resource:
    if action not in CONSENT_ACTIONS:
        return Vault()
    own = frozenset() if purpose is None else frozenset({purpose})
    if covers == (_ITS_OWN,):
        purposes = own
    elif covers == (_OTHERS,):
        purposes = frozenset(Purpose) - own
    else:
        purposes = frozenset(map(Purpose, covers))
    return ConsentClass(purposes=purposes, subject_category=category)


def _number(word: str, least: int, most: int) -> int:
    if not (word.isascii() and word.isdigit() and least <= int(word) <= most):
        raise ValueError(f"no number from {least} to {most}: {word[:40]!r}")
    return int(word)


def _hours(cell: str) -> tuple[int, int]:
    if not cell:
        return ALWAYS
    start, dash, end = cell.partition("-")
    if not dash:
        raise ValueError(f"open hours are two numbers such as 8-18, not {cell[:40]!r}")
    return _number(start, 0, 23), _number(end, 0, 24)
