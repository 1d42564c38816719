"""What an anchor's lines say and add up to."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabnet_secure.audit.anchor import build, compact, fold, parse
from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.types import canonical_json

START = datetime(2026, 5, 4, tzinfo=UTC)
VAULT = "11111111-2222-4333-8444-555555555555"


def note(size, fill=1):
    return f"example.org/log\n{size}\n{base64.b64encode(bytes([fill]) * 32).decode()}\n\n— example.org/log c2ln\n"


def begun():
    return build("begun", START, vault_id=VAULT, format=1)


def head(size, minutes=1, fill=1, **fields):
    return build("head", START + timedelta(minutes=minutes), checkpoint=note(size, fill), **fields)


def spent(entry_id, minutes=1):
    return build("spent", START + timedelta(minutes=minutes), entry_id=entry_id, epsilon=0.5, delta=1e-6)


def state_of(*lines):
    return fold(parse(b"".join(lines)))


def test_the_newest_head_counts():
    """The largest size wins, whichever process noted it first; the time is the latest of all lines."""
    state = state_of(begun(), head(5, 1), head(9, 3, fill=2), head(7, 2))
    assert (state.vault_id, state.head.size, state.head.root) == (VAULT, 9, b"\2" * 32)
    assert state.latest_at == START + timedelta(minutes=3)


def test_a_fresh_anchor_knows_no_head():
    """The first line alone names the vault and a time."""
    state = state_of(begun())
    assert (state.head, state.floor, state.latest_at, state.owed) == (None, 0, START, frozenset())


def test_two_heads_of_one_size_do_not_go_together():
    """The same size with another root is a second history."""
    with pytest.raises(IntegrityFailure, match="two heads of 5"):
        state_of(begun(), head(5), head(5, fill=2))


def test_spending_is_owed_once_its_commit_is_noted():
    """What no head confirms may have been cut off; what one confirms must be in the ledger."""
    state = state_of(begun(), spent("a"), spent("b"), head(5, spent=["a"]))
    assert (state.owed, state.uncertain) == ({"a"}, {"b"})
    assert (state.spent[0].epsilon, state.spent[0].delta) == (0.5, 1e-6)


def test_a_restore_covers_what_was_spent_before_it():
    """After a restore the log may be as short as what was kept, and the ledger owes only what comes later."""
    restored = build("restored", START, checkpoint_lost=note(9), size_kept=4)
    state = state_of(begun(), spent("a"), head(9, spent=["a"]), restored, spent("b"), head(6, spent=["b"]))
    assert (state.head.size, state.floor, state.owed) == (6, 4, {"b"})
    assert [one.covered for one in state.spent] == [True, False]
    assert (state.restored[0].size_kept, state.restored[0].checkpoint_lost) == (4, note(9))


def test_a_restore_leaves_no_head_until_the_next_act():
    """Between the restore and the first act after it only the floor binds."""
    state = state_of(begun(), head(9), build("restored", START, checkpoint_lost="", size_kept=4))
    assert (state.head, state.floor) == (None, 4)


def test_what_was_used_and_destroyed_is_remembered():
    """In the order of their lines, through compaction."""
    later = START + timedelta(minutes=2)
    used = build("used", later, nonce="ab", act="key_destroy", request="cd")
    lines = parse(b"".join([begun(), head(5), used, build("destroyed", later, video_id="v"), head(6)]))
    state = fold(compact(lines))
    (one,) = state.used
    assert (one.nonce, one.act, one.request, one.at) == ("ab", "key_destroy", "cd", later)
    assert [(gone.video_id, gone.at) for gone in state.destroyed] == [("v", later)]
    with pytest.raises(UsageError):
        build("used", later, nonce="ab")


def test_an_accepted_head_replaces_what_was_remembered():
    """Acceptance sets head and time anew, but forgets no spending."""
    root = base64.b64encode(b"\3" * 32).decode()
    accepted = build("accepted", START + timedelta(minutes=2), size=3, root=root)
    state = state_of(begun(), spent("a"), head(9, 50, spent=["a"]), accepted)
    assert (state.head.size, state.head.root, state.head.note, state.floor) == (3, b"\3" * 32, "", 3)
    assert (state.latest_at, state.owed) == (START + timedelta(minutes=2), {"a"})


def test_withdrawals_are_kept_in_order():
    """Each names its consent and the keys that were to be destroyed."""
    lines = [build("withdrawn", START, consent_id=one, key_ids=("k1", "k2")) for one in ("c1", "c2")]
    state = state_of(begun(), *lines)
    assert [(one.consent_id, one.key_ids, one.at) for one in state.withdrawn] == [
        ("c1", ("k1", "k2"), START),
        ("c2", ("k1", "k2"), START),
    ]


@given(st.integers(1, 400))
def test_a_torn_last_line_is_passed_over(cut):
    """Whatever a crash left of the last line, the lines before it count."""
    whole = begun() + head(5)
    last = head(6)
    torn = last[: min(cut, len(last) - 1)]
    assert fold(parse(whole + torn)).head.size == 5


@given(st.data())
def test_garbage_in_the_middle_is_refused(data):
    """A whole line that is none of ours is refused wherever it stands."""
    lines = [begun(), head(5), spent("a"), head(6)]
    junk = data.draw(st.binary(max_size=40).filter(lambda blob: b"\n" not in blob and b"\r" not in blob)) + b"\n"
    at = data.draw(st.integers(0, len(lines)))
    with pytest.raises(IntegrityFailure) as refused:
        parse(b"".join([*lines[:at], junk, *lines[at:]]))
    assert refused.value.code == "ANCHOR_BROKEN"


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "head", "at": "2026-05-04T00:00:00.000000Z"},
        {"kind": "head", "at": "2026-05-04T00:00:00.000000Z", "checkpoint": "no note"},
        {"kind": "head", "at": "2026-05-04", "checkpoint": note(1)},
        {"kind": "head", "at": "2026-05-04T00:00:00.000000Z", "checkpoint": note(1), "more": 1},
        {"kind": "spent", "at": "2026-05-04T00:00:00.000000Z", "entry_id": "a", "epsilon": -1, "delta": 0},
        {"kind": "spent", "at": "2026-05-04T00:00:00.000000Z", "entry_id": "a", "epsilon": True, "delta": 0},
        {"kind": "restored", "at": "2026-05-04T00:00:00.000000Z", "checkpoint_lost": "", "size_kept": "4"},
        {"kind": "accepted", "at": "2026-05-04T00:00:00.000000Z", "size": 3, "root": "AAAA"},
        {"kind": "withdrawn", "at": "2026-05-04T00:00:00.000000Z", "consent_id": "c", "key_ids": [1]},
        {"kind": "begun", "at": "2026-05-04T00:00:00.000000Z", "vault_id": VAULT, "format": 2},
        {"kind": "other", "at": "2026-05-04T00:00:00.000000Z"},
        ["head"],
    ],
    ids=range(12),
)
def test_a_malformed_line_is_refused(body):
    """A line with a field missing, unknown, or of another type is refused."""
    with pytest.raises(IntegrityFailure, match="line 2 is damaged"):
        parse(begun() + canonical_json(body) + b"\n")


@pytest.mark.parametrize("text", [b"", b"\n", b'{"kind"', head(5)], ids=["empty", "blank", "torn", "no-begin"])
def test_an_anchor_begins_with_its_vault(text):
    """An emptied file, or one whose beginning is gone, is refused."""
    with pytest.raises(IntegrityFailure):
        parse(text)


def test_it_begins_once():
    """Two anchors put together are none."""
    with pytest.raises(IntegrityFailure, match="begins twice"):
        state_of(begun(), begun())


def test_only_lines_that_can_be_read_are_built():
    """Building refuses what reading would refuse."""
    for kind, fields in (("head", {}), ("spent", {"entry_id": "a"}), ("nothing", {}), ("head", {"checkpoint": "x"})):
        with pytest.raises(UsageError) as refused:
            build(kind, START, **fields)
        assert refused.value.code == "ANCHOR_LINE"


steps = st.one_of(
    st.tuples(st.just("head"), st.integers(1, 30), st.lists(st.sampled_from("abcd"), max_size=2)),
    st.tuples(st.just("spent"), st.sampled_from("abcd"), st.none()),
    st.tuples(st.just("restored"), st.integers(0, 30), st.none()),
    st.tuples(st.just("accepted"), st.integers(0, 30), st.none()),
    st.tuples(st.just("withdrawn"), st.sampled_from("xyz"), st.none()),
)


@given(st.lists(steps, max_size=30))
def test_compacting_changes_nothing_that_counts(chosen):
    """Fewer lines, the same state: head, floor, time, withdrawals, spending and what confirms it."""
    lines = [begun()]
    for minute, (kind, value, extra) in enumerate(chosen):
        at = START + timedelta(minutes=minute)
        if kind == "head":
            fields = {"checkpoint": note(value), **({"spent": extra} if extra else {})}
        elif kind == "spent":
            fields = {"entry_id": f"{value}{minute}", "epsilon": 1.0, "delta": 0.0}
        elif kind == "restored":
            fields = {"checkpoint_lost": "", "size_kept": value}
        elif kind == "accepted":
            fields = {"size": value, "root": base64.b64encode(b"\1" * 32).decode()}
        else:
            fields = {"consent_id": value, "key_ids": []}
        lines.append(build(kind, at, **fields))
    read = parse(b"".join(lines))
    fewer = compact(read)
    assert fold(fewer) == fold(read)
    assert len([line for line in fewer if line["kind"] == "head"]) <= 1 + sum(
        kind in ("restored", "accepted") for kind, _, _ in chosen
    )
