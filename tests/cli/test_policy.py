"""``policy explain`` and ``policy test``: what they print, how they end, and that they change nothing."""

import pytest

from fabnet_secure.pipeline import context

HEAD = "roles,action,purpose,decision,policy\n"


@pytest.fixture
def tables(tmp_path):
    """Write a folder with one table."""

    def write(text):
        folder = tmp_path / "tables"
        folder.mkdir(exist_ok=True)
        (folder / "mine.csv").write_text(text, "utf-8")
        return folder

    return write


def test_the_shipped_tables_without_a_vault(bare):
    """No vault, no key: the shipped policies are tested, and hold."""
    result = bare.run("policy", "test", "--json")
    assert (result.status, len(result.objects)) == (0, 1)
    said = result.last
    assert said["message_type"] == "summary"
    assert (said["failed"], said["untested"], said["unasked"], said["policies"]) == (0, [], 0, "shipped")
    assert said["rules"] > 30
    assert said["examples"] > 2000
    assert "there is no vault" in result.err
    words = bare.run("policy", "test", FABNET_VAULT="", FABNET_KEY_FILE="")
    assert words.out.strip() == f"{said['rules']} policies, {said['examples']} examples, 0 failed"


def test_with_a_vault_its_policies_are_tested(shell):
    """A vault's own policies are those in force there; nothing of it changes."""
    before = shell.rows()
    said = shell.json("policy", "test")
    assert (said["failed"], said["policies"]) == (0, "vault")
    assert shell.rows() == before


def test_a_failing_example_ends_with_findings(bare, tables):
    """Status 3; each failing example with its table and line, what was expected and what was answered."""
    folder = tables(HEAD + "analyst,query_similar,query_internal,allow,analyst-query\n\ndpo,withdraw,,deny,-\n")
    result = bare.run("policy", "test", "--tables", str(folder), "--json")
    assert result.status == 3
    failed, said = result.objects
    assert (failed["message_type"], failed["table"], failed["line"]) == ("failed_example", "mine.csv", 4)
    assert (failed["expected"], failed["answered"]) == ("deny by no policy", "allow by dpo-consent")
    assert (said["examples"], said["failed"]) == (2, 1)
    words = bare.run("policy", "test", "--tables", str(folder))
    assert "mine.csv:4: dpo, withdraw: expected deny by no policy, got allow by dpo-consent" in words.out
    assert "1 failed" in words.out


@pytest.mark.parametrize(
    "text", ["", "roles,action\n", HEAD + "king,init,,allow,x\n", HEAD + "dpo,init\n", HEAD + "dpo,init,,perhaps,x\n"]
)
def test_a_malformed_table_is_a_mistake_of_use(bare, tables, text):
    """Status 2 and the line, whatever else the table says."""
    result = bare.run("policy", "test", "--tables", str(tables(text)), "--json")
    assert (result.status, result.last["code"]) == (2, "TABLE_INVALID")
    assert "mine.csv" in result.last["message"]


def test_policies_are_tried_without_a_vault(bare, tables):
    """A site's own policies, before they are adopted: with their own table the whole holds, without it 3."""
    folder = tables("roles,action,purpose,decision,policy\n* all -,withdraw,,deny,no-withdrawing\n")
    (folder / "own.cedar").write_text(
        '@id("no-withdrawing") @title("Nobody withdraws")\n'
        'forbid (principal, action == Action::"withdraw", resource);\n',
        "utf-8",
    )
    named = ("policy", "test", "--policies", str(folder), "--json")
    said = bare.run(*named, "--tables", "shipped", "--tables", str(folder))
    assert (said.last["failed"], said.last["policies"]) == (1, "tried")  # hours.csv asks for a withdrawal at night
    assert [one["table"] for one in said.objects[:-1]] == ["hours.csv"]
    assert bare.run(*named, "--tables", str(folder)).status == 0
    (folder / "own.cedar").write_text("forbid (", "utf-8")
    result = bare.run(*named)
    assert (result.status, result.last["code"]) == (23, "POLICY_INVALID")


def test_a_folder_without_tables(bare):
    """An empty or a missing folder tests nothing, and says so with status 2."""
    for folder in (bare.folder, bare.folder / "nowhere"):
        result = bare.run("policy", "test", "--tables", str(folder), "--json")
        assert (result.status, result.last["code"]) == (2, "TABLE_INVALID")


def test_an_explanation(shell):
    """The policy, the sentence, the other policies that matched, and what would have to be different."""
    said = shell.json("policy", "explain", "query_similar", "--role", "trainer", "--purpose", "embed")
    assert said["message_type"] == "explanation"
    assert (said["allowed"], said["policy_id"]) == (False, "query-for-its-purpose")
    assert said["forbids"] == ["query-for-its-purpose"]
    assert said["permits"] == []
    assert said["ways"] == [
        [{"change": "role", "value": "analyst"}, {"change": "purpose", "value": "query_internal"}],
    ]
    assert said["otherwise"] == "it would be allowed with the role analyst and for the purpose query_internal"
    words = shell.run("policy", "explain", "query_scores", "--role", "analyst", "--purpose", "query_internal").out
    assert words.splitlines()[0] == "no policy permits query_scores for a principal with these roles: analyst"


def test_an_explanation_does_not_do_the_act(shell):
    """Severe acts are explained without a row or a file changing."""
    before, files = shell.rows(), shell.files()
    for action in ("withdraw", "key_destroy", "vector_export", "policy_change"):
        said = shell.json("policy", "explain", action)
        assert said["allowed"]
        assert said["two_people"] == (action != "withdraw")
    assert (shell.rows(), shell.files()) == (before, files)


def test_hours_and_classes_from_the_settings(shell):
    """The site's name and hours come from the vault's fabnet.toml; a class and a time from the command."""
    table = '[access]\nsite = "Basel"\nopen_hours = [8, 18]\n'
    (shell.vault / "fabnet.toml").write_text(table, "utf-8")
    said = shell.json(
        "policy", "explain", "embed", "--purpose", "embed", "--class", "embed,employee", "--at", "2026-01-04T23:30:00Z"
    )
    assert said["site"] == "Basel"
    assert said["open"] == (8 <= said["hour"] < 18)
    assert said["allowed"] == said["open"]
    (shell.vault / "fabnet.toml").write_text("[access]\nopen_hours = [8, 8]\n", "utf-8")  # always, or never?
    shell.refused("policy", "explain", "embed", status=2, code="CONFIG_INVALID")


def test_who_may_ask(shell, monkeypatch):
    """One's own act is explained to anybody; another's only to who may read the policies: 21, logged."""
    monkeypatch.setattr(context, "os_account", lambda: "stranger")
    said = shell.json("policy", "explain", "init")
    assert (said["allowed"], said["roles"], said["otherwise"]) == (
        False, [], "it would be allowed with the role operator",
    )  # fmt: skip
    for others in (("--account", "root"), ("--role", "dpo")):
        shell.refused("policy", "explain", "init", *others, status=21, code="ACCESS_DENIED", logs=("access.denied",))
    shell.refused("policy", "test", status=21, code="ACCESS_DENIED", logs=("access.denied",))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("fly",), "ACTION_UNKNOWN"),
        (("init", "--role", "king"), "ROLE_UNKNOWN"),
        (("embed", "--purpose", "fun"), "PURPOSE_INVALID"),
        (("embed", "--class", "fun"), "CLASS_INVALID"),
        (("embed", "--at", "noon"), "USAGE"),
        ((), "USAGE"),
    ],
)
def test_questions_that_make_no_sense(shell, arguments, code):
    """A word that is none: status 2, with the words there are, and nothing written down."""
    shell.refused("policy", "explain", *arguments, status=2, code=code)
