"""Tables of examples: read line by line, refused when malformed, asked one by one."""

from pathlib import Path

import pytest

from fabnet_secure.access.decision import ACTIONS, ROLES, ConsentClass, PolicySet, Vault
from fabnet_secure.access.examples import read_table, read_tables, run
from fabnet_secure.errors import UsageError
from fabnet_secure.types import Purpose

POLICIES = PolicySet.load(Path(__file__).resolve().parents[3] / "policies" / "access")
CATEGORIES = ("adult", "child")
HEAD = "roles,action,purpose,covers,category,hour,weekday,site,open_hours,decision,policy\n"


@pytest.fixture
def table(tmp_path):
    """Write one table and read it."""

    def read(text, name="one.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_table(tmp_path / name, categories=CATEGORIES)

    return read


def test_a_line_is_an_example(table):
    """Every cell reaches the question; the line is counted as a person counts it, comments and empty lines too."""
    (one,) = table("# who\n\n" + HEAD + "trainer+dpo,embed,embed,embed+query_internal,child,5,7,Basel,22-6,allow,x\n")
    asked = one.request
    assert (one.table, one.line, one.allowed, one.policy_id) == ("one.csv", 4, True, "x")
    assert (asked.principal.roles, asked.action, asked.purpose) == (("trainer", "dpo"), "embed", Purpose.EMBED)
    assert asked.resource == ConsentClass(
        purposes=frozenset({Purpose.EMBED, Purpose.QUERY_INTERNAL}), subject_category="child"
    )
    there = asked.premises.at(asked.at)
    assert (there.hour, there.weekday, there.site, there.open) == (5, 7, "Basel", True)


def test_what_is_left_out(table):
    """Without its cells an example is of an adult whose consent covers just the purpose, on a Monday at noon, open."""
    one, other = table("action,roles,purpose,decision,policy\nembed,trainer,embed,deny,-\ninit,-,,deny,\n")
    there = one.request.premises.at(one.request.at)
    assert one.request.resource == ConsentClass(purposes=frozenset({Purpose.EMBED}))
    assert (there.hour, there.weekday, there.site, there.open) == (12, 1, "", True)
    assert (other.request.principal.roles, other.request.resource, other.policy_id) == ((), Vault(), "")


def test_several_words_are_several_examples(table):
    """A cell of several words makes an example of each, a star one of every word, all of them by one principal."""
    assert len(table(HEAD + "trainer -,train_run embed,embed,,,1 2 3,,,,deny,-\n")) == 2 * 2 * 3
    found = table(HEAD + "* all -,*,emotion_inference,,*,,,,,deny,x\n")
    assert len(found) == (len(ROLES) + 2) * len(ACTIONS) * len(CATEGORIES)
    assert {one.request.principal.roles for one in found} == {*((role,) for role in ROLES), ROLES, ()}
    others = table(HEAD + "dpo,embed,embed -,others -,,,,,,deny,x\n")
    assert [one.request.resource.purposes for one in others] == [
        frozenset(Purpose) - {Purpose.EMBED},
        frozenset(),
        frozenset(Purpose),
        frozenset(),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "one.csv is empty"),
        ("# nothing\n", "one.csv is empty"),
        ("roles,action,decision\n", "line 1: the column 'policy' is missing"),
        ("roles,action,decision,policy,mood\n", "line 1: no such column: 'mood'"),
        ("roles,action,decision,policy,roles\n", "line 1: a column stands there twice"),
        (HEAD + "dpo,withdraw,allow,dpo-consent\n", "line 2: 4 cells under 11 columns"),
        (HEAD + "\n# x\ndop,withdraw,,,,,,,,allow,x\n", "line 4: no such role: 'dop'"),
        (HEAD + "dpo+dop,withdraw,,,,,,,,allow,x\n", "no such role: 'dop'"),
        (HEAD + ",withdraw,,,,,,,,allow,x\n", "no role is named"),
        (HEAD + "dpo,,,,,,,,,allow,x\n", "no action is named"),
        (HEAD + "dpo,uses_consent,,,,,,,,allow,x\n", "no such action: 'uses_consent'"),
        (HEAD + "dpo,-,,,,,,,,allow,x\n", "no such action: '-'"),
        (HEAD + "dpo,embed,fun,,,,,,,allow,x\n", "no such purpose: 'fun'"),
        (HEAD + "dpo,embed,embed,fun,,,,,,allow,x\n", "no such purpose: 'fun'"),
        (HEAD + "dpo,embed,embed,,alien,,,,,allow,x\n", "no such category: 'alien'"),
        (HEAD + "dpo,embed,embed,,,24,,,,allow,x\n", "no number from 0 to 23: '24'"),
        (HEAD + "dpo,embed,embed,,,noon,,,,allow,x\n", "no number from 0 to 23: 'noon'"),
        (HEAD + "dpo,embed,embed,,,٣,,,,allow,x\n", "no number from 0 to 23"),
        (HEAD + "dpo,embed,embed,,,,0,,,allow,x\n", "no number from 1 to 7: '0'"),
        (HEAD + "dpo,embed,embed,,,,,,9,allow,x\n", "open hours are two numbers such as 8-18, not '9'"),
        (HEAD + "dpo,embed,embed,,,,,,9-9,allow,x\n", "always or never"),
        (HEAD + "dpo,embed,embed,,,,,,,maybe,x\n", "a decision is allow or deny, not 'maybe'"),
        (HEAD + '"dpo,embed,embed,,,,,,,allow,x\n', "no line of CSV"),
        (HEAD + "* * * *,* *,*,* *,*,*,*,,,deny,x\n", "one line makes 1 to 10000 examples"),
    ],
)
def test_a_malformed_table_is_refused_with_its_line(table, text, said):
    """A word that is none, a cell too few, a head that is no head: TABLE_INVALID, status 2."""
    with pytest.raises(UsageError) as caught:
        table(text)
    assert (caught.value.code, caught.value.exit_code) == ("TABLE_INVALID", 2)
    assert said in caught.value.message


def test_what_is_no_text_and_what_is_not_there(tmp_path):
    """Bytes, a folder in a table's place, a folder without tables: TABLE_INVALID."""
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe")
    (tmp_path / "none").mkdir()
    (tmp_path / "deep" / "folder.csv").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "none", tmp_path / "nowhere", tmp_path / "deep"):
        with pytest.raises(UsageError) as caught:
            read_tables(folder, categories=CATEGORIES)
        assert caught.value.code == "TABLE_INVALID"


def test_a_failing_example_says_what_it_got(table):
    """A wrong decision and a wrong policy both fail; the right ones do not."""
    examples = table(
        HEAD
        + "dpo,withdraw,,,,,,,,allow,dpo-consent\n"
        + "dpo,withdraw,,,,,,,,deny,-\n"
        + "dpo,withdraw,,,,,,,,allow,dpo-read\n"
        + "trainer,withdraw,,,,,,,,deny,dpo-read\n"
    )
    verdict = run(POLICIES, examples)
    assert verdict.examples == 4
    assert [one.example.line for one in verdict.failures] == [3, 4, 5]
    assert {one.decision.policy_id for one in verdict.failures} == {"dpo-consent", ""}


def test_what_examples_leave_out_is_told(table):
    """Policies that no example names, and acts and roles that none puts together."""
    verdict = run(POLICIES, table(HEAD + "dpo,withdraw,,,,,,,,allow,dpo-consent\n"))
    assert "dpo-consent" not in verdict.untested
    assert len(verdict.untested) == verdict.rules - 1
    assert "withdraw by trainer" in verdict.unasked
    assert "withdraw by dpo" not in verdict.unasked
    assert len(verdict.unasked) == len(ACTIONS) * len(ROLES) - 1


def test_an_error_fails_the_example_that_expects_a_denial(tmp_path, table):
    """A denial because a policy did not evaluate is not the denial that a table means."""
    (tmp_path / "faulty.cedar").write_text(
        '@id("faulty") @title("Faulty")\npermit (principal, action, resource)\n'
        "when { principal.uid + 9223372036854775807 + 1 > 0 };\n",
        encoding="utf-8",
    )
    shipped = Path(__file__).resolve().parents[3] / "policies" / "access"
    examples = table(HEAD + "trainer,withdraw,,,,,,,,deny,-\n")
    assert run(POLICIES, examples).failures == ()
    assert len(run(PolicySet.load(shipped, tmp_path), examples).failures) == 1


def test_a_later_directory_answers_in_place_of_an_earlier(tmp_path):
    """A site's table says what its own policies change; what it does not ask stays as the shipped tables say."""
    for name, rows in (
        ("shipped", "dpo,withdraw,,,,,,,,allow,a\ndpo,init,,,,,,,,deny,-\n"),
        ("site", "dpo,withdraw,,,,,,,,deny,b\n"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.csv").write_text(HEAD + rows, encoding="utf-8")
    found = read_tables(tmp_path / "shipped", tmp_path / "site", categories=CATEGORIES)
    assert [(one.request.action, one.policy_id) for one in found] == [("init", ""), ("withdraw", "b")]
