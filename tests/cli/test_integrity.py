"""What was stored or signed and then changed is found: status 30."""

import json
import sqlite3
from contextlib import closing

import pytest


def _change(shell, statement, *values):
    with closing(sqlite3.connect(shell.vault / "vault.db")) as database, database:
        assert database.execute(statement, values).rowcount > 0


def test_a_changed_log_entry(shell):
    """One byte of one entry: 'audit verify' ends with 30 and nothing more can be written on top of the edge."""
    _change(
        shell,
        "UPDATE log_entry SET body = CAST(replace(body, 'train_model', 'train_modem') AS BLOB) WHERE leaf_index = 1",
    )
    shell.refused("audit", "verify", status=30, code="LOG_BROKEN")
    assert shell.run("doctor").status == 1


def test_a_lost_log_entry(shell):
    """The last entry gone: reading and the next act both end with 30."""
    with closing(sqlite3.connect(shell.vault / "vault.db")) as database, database:
        database.execute("DELETE FROM log_entry WHERE leaf_index = (SELECT max(leaf_index) FROM log_entry)")
    result = shell.run("audit", "verify", "--json")
    assert (result.status, result.last["code"]) == (30, "LOG_BROKEN")


def test_an_export_is_checked_from_its_files(shell):
    """A fresh export holds; with one byte changed, one file lost or one added it does not: status 30."""
    shell.json("audit", "export", "log")
    checked = shell.json("audit", "verify", "--export", "log")
    assert (checked["size"], checked["ok"]) == (len(shell.acts()), True)
    bundle = next(path for path in (shell.folder / "log" / "tile" / "entries").rglob("*") if path.is_file())
    good = bundle.read_bytes()
    bundle.write_bytes(good[:40] + bytes([good[40] ^ 1]) + good[41:])
    shell.refused("audit", "verify", "--export", "log", status=30, code="LOG_BROKEN")
    bundle.unlink()
    assert shell.run("audit", "verify", "--export", "log").status == 30
    bundle.write_bytes(good)
    (shell.folder / "log" / "surplus").touch()
    assert shell.run("audit", "verify", "--export", "log").status == 30


def test_an_export_needs_a_place_of_its_own(shell):
    """A folder that is used, or a file: status 2, and the log does not say that it was exported."""
    shell.refused("audit", "export", ".", status=2, code="EXPORT_EXISTS")
    shell.refused("audit", "export", "notice.txt", status=2, code="EXPORT_EXISTS")


@pytest.mark.parametrize("form", ["json", "html"])
def test_a_changed_report(shell, form):
    """A report holds as written; one changed word of it does not: status 30; without a vault, too."""
    out = shell.folder / f"dp.{form}"
    shell.json("report", "dp", "--format", form, "--out", str(out))
    assert shell.run("report", "verify", str(out), FABNET_VAULT="", FABNET_KEY_FILE="").status == 0
    text = out.read_text("utf-8")
    assert "person" in text
    out.write_text(text.replace("person", "persan", 1), "utf-8")
    shell.refused("report", "verify", str(out), status=30, code="REPORT_BROKEN")


def test_a_report_of_another_site(shell):
    """With the site's public key named, a report by any other key is refused: status 30."""
    public = shell.json("init")["report_public_key"]
    shell.json("report", "ropa", "--out", "ropa.json")
    assert shell.json("report", "verify", "ropa.json", "--public-key", public)["pinned"] is True
    shell.refused("report", "verify", "ropa.json", "--public-key", "00" * 32, status=30, code="REPORT_SIGNER")
    shell.refused("report", "verify", "ropa.json", "--public-key", "word", status=2, code="KEY_INVALID")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("weather", "--out", "x.json"), "REPORT_UNKNOWN"),
        (("dp", "--format", "docx", "--out", "x.docx"), "REPORT_UNKNOWN"),
        (("dp", "--lang", "tlh", "--out", "x.json"), "REPORT_UNKNOWN"),
        (("dp", "--out", "nowhere/x.json"), "OUT_UNWRITABLE"),
        (("dp", "--out", "."), "OUT_UNWRITABLE"),
        (("all", "--out", "."), "OUT_EXISTS"),
        (("dp",), "USAGE"),
        (("dp", "file.json", "--out", "x.json"), "USAGE"),
        (("verify",), "USAGE"),
        (("verify", "nowhere.json"), "FILE_UNREADABLE"),
        ((), "USAGE"),
    ],
)
def test_a_report_that_cannot_be_written(shell, arguments, code):
    """An unknown report, form, language or place: status 2, nothing written, and no entry says it was."""
    shell.refused("report", *arguments, status=2, code=code)
    assert not (shell.folder / "x.json").exists()


def test_changed_or_lost_weights(shell):
    """Weights that are not the registered ones: status 30, nothing embedded."""
    path = shell.vault / "models" / f"{shell.named['model']}.safetensors"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    shell.refused("embed", "--model", shell.named["model"], status=30, code="WEIGHTS_DIGEST")
    path.unlink()
    result = shell.run("embed", "--model", shell.named["model"], "--json")
    assert result.status == 30, result.err


def test_a_changed_plan(shell):
    """A stored plan that was made cheaper after it was priced: status 30, nothing reserved."""
    plan = shell.json("train", "plan", "--epsilon", "1", "--delta", "1e-2", "--steps", "1")["plan_id"]
    with closing(sqlite3.connect(shell.vault / "vault.db")) as database, database:
        (body,) = database.execute("SELECT body FROM plan WHERE plan_id = ?", (plan,)).fetchone()
        cheaper = json.dumps(json.loads(body) | {"epsilon": 0.01})
        database.execute("UPDATE plan SET body = ? WHERE plan_id = ?", (cheaper, plan))
    shell.refused("train", "run", "--plan", plan, status=30, code="PLAN_BROKEN")


def test_crops_moved_to_another_person(shell):
    """One person's sealed crops put in another's row do not open: the run ends with 30 and makes no model."""
    plan = shell.json("train", "plan", "--epsilon", "1", "--delta", "1e-2", "--steps", "1")["plan_id"]
    first, second, _ = shell.named["tracks"]
    _change(
        shell,
        "UPDATE tracklet SET sealed = (SELECT sealed FROM tracklet WHERE track_id = ?) WHERE track_id = ?",
        first,
        second,
    )
    result = shell.run("train", "run", "--plan", plan, "--json")
    assert (result.status, result.last["code"]) == (30, "SEAL_BROKEN")
    assert len(shell.rows()["model"]) == 1
    assert shell.acts()[-1] == "train.failed"


def test_a_lost_key(shell):
    """A person's key gone from the keystore while the consent holds: status 30, told as such."""
    with closing(sqlite3.connect(shell.vault / "keystore.db")) as database, database:
        database.execute("DELETE FROM data_key WHERE domain = 'embeddings'")
    question = ("query", "similar", "--track", shell.named["tracks"][0], "--purpose", "query_internal")
    shell.refused(*question, status=30, code="KEY_LOST")
