"""Loading policies: all of them good, or none."""

import shutil
from pathlib import Path

import pytest

from fabnet_secure.access.decision import PolicySet
from fabnet_secure.access.policyfiles import load_directories
from fabnet_secure.errors import Gap

POLICIES = Path(__file__).resolve().parents[3] / "policies" / "access"
GOOD = '@id("good") @title("All may look")\npermit (principal, action == Action::"model_read", resource);\n'


@pytest.fixture
def directory(tmp_path):
    """A copy of the shipped policies."""
    return Path(shutil.copytree(POLICIES, tmp_path / "access"))


def refusal(directory):
    with pytest.raises(Gap) as caught:
        PolicySet.load(directory)
    assert (caught.value.code, caught.value.exit_code) == ("POLICY_INVALID", 23)
    return f"{caught.value.message} {caught.value.hint}"


def test_the_shipped_policies_load():
    """They parse, validate, and each has an id and a title."""
    policies = PolicySet.load(POLICIES).policies
    assert len(policies) > 30
    assert all(policy.policy_id and policy.title for policy in policies)
    assert [policy.rank for policy in policies] == list(range(len(policies)))
    assert {policy.policy_id for policy in policies if policy.forbids} >= {"consent-covers-purpose", "closed-hours"}
    assert {policy.source for policy in policies} == {path.name for path in POLICIES.glob("*.cedar")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("permit (", "site.cedar"),
        ('@title("No id")\npermit (principal, action, resource);', "@id"),
        ('@id("no-title")\npermit (principal, action, resource);', "no-title"),
        ('@id("") @title("Empty id")\npermit (principal, action, resource);', "@id"),
        ('@id @title("Bare id")\npermit (principal, action, resource);', "@id"),
        ('@id("x") @title(" ")\npermit (principal, action, resource);', "@title"),
        (GOOD + GOOD, "good"),
        (GOOD.replace("good", "two words"), "two words"),
        (GOOD.replace("good", "x" * 65), "xxx"),
        (GOOD.replace("good", "4dd1b6b0-0000-4000-8000-000000000000"), "4dd1b6b0"),
        (GOOD.replace("All may look", "All\\nmay look"), "@title"),
        (GOOD.replace("All may look", "x" * 201), "@title"),
        (GOOD.replace("good", "dpo-read"), "dpo-read"),
        (GOOD.replace("model_read", "model_reed"), "model_reed"),
        (GOOD.replace("(principal,", '(principal in Role::"trainr",'), "trainr"),
        (GOOD.replace(";", ' when { context.purpose == Purpose::"embed" };'), "optional"),
        (GOOD.replace(";", ' when { context has purpose && context.purpose == Purpose::"fun" };'), "fun"),
        (GOOD.replace(";", " when { resource.owner == 1 };"), "owner"),
        (GOOD.replace("(principal,", "(principal == ?principal,"), "template"),
    ],
)
def test_a_faulty_file_refuses_the_whole_set(directory, text, said):
    """Syntax, missing or repeated ids, missing titles, misspelt words, unsafe conditions, templates: POLICY_INVALID."""
    (directory / "site.cedar").write_text(text, encoding="utf-8")
    assert said in refusal(directory)


def test_a_good_file_is_added(directory):
    """A site's own file is read along with the shipped ones."""
    (directory / "site.cedar").write_text(GOOD, encoding="utf-8")
    assert "good" in {policy.policy_id for policy in PolicySet.load(directory).policies}


def test_a_file_cannot_reach_into_the_next(directory):
    """An unfinished policy or comment in one file is that file's fault and swallows no other file's policies."""
    (directory / "a.cedar").write_text('@id("half") @title("Half")\npermit (principal, action, resource)', "utf-8")
    assert "a.cedar" in refusal(directory)
    (directory / "a.cedar").write_text(GOOD + "// no newline at the end", "utf-8")
    assert len(PolicySet.load(directory).policies) == len(PolicySet.load(POLICIES).policies) + 1


def test_missing_unreadable_and_empty_are_refused(directory, tmp_path):
    """No directory, no policies, no schema, a schema that does not parse, bytes that are no text: POLICY_INVALID."""
    assert "no access policies" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no access policies" in refusal(tmp_path / "empty")
    (tmp_path / "empty" / "none.cedar").write_text("// nothing\n", encoding="utf-8")
    assert "schema.cedarschema" in refusal(tmp_path / "empty")
    shutil.copy(POLICIES / "schema.cedarschema", tmp_path / "empty")
    assert "no policy" in refusal(tmp_path / "empty")
    (directory / "bytes.cedar").write_bytes(b"\xff\xfe")
    assert "UTF-8" in refusal(directory)
    (directory / "bytes.cedar").unlink()
    (directory / "schema.cedarschema").write_text("entity", encoding="utf-8")
    assert "schema.cedarschema does not parse" in refusal(directory)


def test_the_digest_covers_every_file_and_name(directory):
    """The same files have the same digest; any change of a policy, the schema, or a name has another."""
    digests = [load_directories(POLICIES).sha256]
    assert load_directories(directory).sha256 == digests[0]
    for change in (
        lambda: (directory / "dpo.cedar").write_text((directory / "dpo.cedar").read_text() + "\n"),
        lambda: (directory / "dpo.cedar").rename(directory / "officer.cedar"),
        lambda: (directory / "site.cedar").write_text(GOOD),
        lambda: (directory / "schema.cedarschema").write_text((POLICIES / "schema.cedarschema").read_text() + "// x\n"),
        (directory / "auditor.cedar").unlink,
    ):
        change()
        digests.append(load_directories(directory).sha256)
    assert len(set(digests)) == 6


def test_there_is_a_file_for_every_role_and_one_for_the_purposes():
    """One role, one file, of its name; one for the purposes, one for the hours."""
    names = {path.stem for path in POLICIES.glob("*.cedar")}
    assert names == {"ingestor", "trainer", "analyst", "dpo", "auditor", "operator", "purposes", "working-hours"}


# --- a site's own


@pytest.fixture
def own(tmp_path):
    """An empty directory for a site's own policies."""
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


def test_a_site_adds_policies_of_its_own(own):
    """They rank after the shipped ones, say where they stand, change the digest; an empty directory adds nothing."""
    shipped = PolicySet.load(POLICIES)
    assert PolicySet.load(POLICIES, own).sha256 == shipped.sha256
    (own / "analyst.cedar").write_text(GOOD, encoding="utf-8")  # a shipped file's name takes nothing from that file
    both = PolicySet.load(POLICIES, own)
    assert both.policies[:-1] == shipped.policies
    assert (both.policies[-1].policy_id, both.policies[-1].source) == ("good", "site/analyst.cedar")
    assert both.sha256 != shipped.sha256
    (own / "analyst.cedar").rename(own / "other.cedar")
    assert PolicySet.load(POLICIES, own).sha256 not in {both.sha256, shipped.sha256}


def test_a_site_takes_nothing_away(own):
    """A site's policy with a shipped one's @id, a schema of its own, a directory that went missing: refused."""

    def refused(*sites):
        with pytest.raises(Gap) as caught:
            PolicySet.load(POLICIES, *sites)
        assert caught.value.code == "POLICY_INVALID"
        return f"{caught.value.message} {caught.value.hint}"

    (own / "mine.cedar").write_text(GOOD.replace("good", "no-emotion-inference"), encoding="utf-8")
    assert "purposes.cedar and site/mine.cedar" in refused(own)
    (own / "mine.cedar").write_text("permit (", encoding="utf-8")
    assert "site/mine.cedar" in refused(own)
    (own / "mine.cedar").unlink()
    (own / "schema.cedarschema").write_text("", encoding="utf-8")
    assert "a site adds policies" in refused(own)
    assert "not there" in refused(own / "gone")
    (own / "schema.cedarschema").unlink()
    (own / "pipe.cedar").mkdir()
    assert "is not a file" in refused(own)


def test_two_directories_of_a_site_stay_apart(own, tmp_path):
    """A file's name counts with the directory that it stands in."""
    (tmp_path / "more").mkdir()
    (own / "a.cedar").write_text(GOOD, encoding="utf-8")
    (tmp_path / "more" / "a.cedar").write_text(GOOD.replace("good", "better"), encoding="utf-8")
    found = PolicySet.load(POLICIES, own, tmp_path / "more").policies[-2:]
    assert [policy.source for policy in found] == ["site/a.cedar", "site2/a.cedar"]


def test_cedar_knows_a_policy_by_its_id():
    """The policies that Cedar holds are those of the text: both forms validate to the same set of ids and effects."""
    loaded = load_directories(POLICIES)
    permits = {name for name, policy in loaded.by_id.items() if not policy.forbids}
    assert all(f'@id("{name}")' in str(loaded.permits) for name in permits)
    assert all(f'@id("{name}")' in str(loaded.forbids) for name in loaded.by_id.keys() - permits)
