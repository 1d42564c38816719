"""What people and programs read: JSON with one shape, ids alone, data apart from talk, numbers that can be read."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fabnet_secure.commands import output
from fabnet_secure.types import is_id

READS = [
    ("init",),
    ("consent", "list"),
    ("track", "list"),
    ("model", "list"),
    ("budget", "show"),
    ("policy", "roles"),
    ("audit", "verify"),
    ("config", "show"),
    ("doctor",),
]
reads = pytest.mark.parametrize("command", READS, ids="-".join)


def _acts(shell):
    named = shell.named
    consent, track = named["consents"][2], named["tracks"][0]
    return [
        ("consent", "show", consent),
        ("query", "similar", "--track", track, "--purpose", "query_internal", "--top", "3"),
        ("ingest", shell.clip("spare"), "--consent", consent),
        ("train", "plan", "--epsilon", "1", "--delta", "1e-2", "--steps", "1"),
        ("embed", "--model", named["model"]),
        ("subject", "withdraw", consent, "--dry-run"),
        ("report", "dp", "--out", "dp.json"),
        ("report", "verify", "dp.json"),
        ("audit", "export", "log"),
        ("audit", "verify", "--export", "log"),
        ("subject", "withdraw", consent, "--confirm", consent),
        ("subject", "withdraw", consent, "--confirm", consent),
    ]


def _checked(result):
    assert result.status == 0, result.err
    for one in result.objects:
        assert one["schema_version"] == 1
        assert one["message_type"]


@reads
def test_json_lines_have_one_shape(shell, command):
    """Every object on stdout has a schema version and a type, and nothing else is on stdout."""
    _checked(shell.run(*command, "--json"))


def test_json_lines_of_acts_have_one_shape(shell):
    """So do those of commands that change something; the last one is the summary where there are several."""
    for command in _acts(shell):
        result = shell.run(*command, "--json")
        _checked(result)
        assert len(result.objects) == 1 or result.last["message_type"] == "summary"


def _fit_for_people(text):
    assert not re.search(r"\d\.\d{5,}(?!\d*Z)", re.sub(r"T\d\d:\d\d:\d\d\.\d+Z", "", text)), text
    assert not re.search(r"[{}\[\]]|None|True|False|datetime|PosixPath", text), text
    assert "_" not in "".join(re.findall(r"^([a-z_ ]+?)  ", text, re.MULTILINE)), text


@reads
def test_people_read_words(shell, command):
    """Without --json: no Python and no JSON notation, no long floats, and a screen of 100 columns is wide enough."""
    result = shell.run(*command)
    assert result.status == 0, result.err
    _fit_for_people(result.out)
    if command not in {("init",), ("doctor",), ("audit", "verify")}:  # keys, paths and roots are as long as they are
        assert max(map(len, result.out.splitlines())) <= 100


def test_people_read_words_of_acts(shell):
    """The same for commands that change something."""
    for command in _acts(shell):
        result = shell.run(*command)
        assert result.status == 0, result.err
        _fit_for_people(result.out)
        assert max(map(len, result.out.splitlines())) <= 100, result.out


@pytest.mark.parametrize("command", [("consent", "list"), ("track", "list"), ("model", "list"), ("budget", "show")])
def test_quiet_lists_print_ids_alone(shell, command):
    """-q prints one id a line and says nothing on stderr."""
    result = shell.run(*command, "-q")
    assert result.out.splitlines()
    assert all(is_id(line) for line in result.out.splitlines())
    assert result.err == ""


def test_quiet_acts_print_the_id_of_what_they_made(shell):
    """-q of an act prints the id that the next command needs, and nothing else."""
    papers = ("--notice", "notice.txt", "--evidence", "evidence.txt")
    add = ("consent", "add", "--subject-ref", "late", "--purpose", "train_model", "--valid-for", "P1Y", *papers)
    consent = shell.run(*add, "-q").out.strip()
    track = shell.run("ingest", shell.clip("spare"), "--consent", consent, "-q").out.strip()
    plan = shell.run("train", "plan", "--epsilon", "1", "--delta", "1e-2", "--steps", "1", "-q").out.strip()
    assert all(map(is_id, (consent, track, plan)))
    assert shell.json("consent", "show", consent)["state"] == "given"
    assert track in shell.run("track", "list", "-q").out


def test_warnings_are_talk(shell):
    """A warning goes to stderr; stdout holds the data alone."""
    result = shell.run("train", "plan", "--epsilon", "1", "--delta", "1e-2", "--steps", "1", "--json")
    assert "warning: 3 people are few" in result.err
    assert len(result.objects) == 1


def test_json_keeps_every_digit(shell):
    """Rounding is for people: --json has the whole number."""
    people = shell.run("model", "list").out
    exact = shell.run("model", "list", "--json").objects[0]["epsilon"]
    assert str(exact) not in people
    assert f"{exact:.4g}" in people


def test_a_traceback_needs_debug(shell, monkeypatch):
    """An unforeseen failure is one sentence without --debug and a traceback with it, with the same status."""
    from fabnet_secure.pipeline import registers

    def broken(_site):
        raise ZeroDivisionError("Jane Doe")

    monkeypatch.setattr(registers, "list_models", broken)
    plain, debug = shell.run("model", "list", "--json"), shell.run("model", "list", "--json", "--debug")
    assert plain.status == debug.status == 1
    assert plain.last["code"] == "UNFORESEEN"
    assert "Jane" not in plain.out + plain.err
    assert "Traceback" not in plain.err
    assert "Traceback" in debug.err
    assert debug.err.splitlines()[-1] == "[UNFORESEEN]"


def test_a_foreseen_error_with_debug_keeps_its_status(shell):
    """--debug adds a traceback to a refusal and changes nothing else about it."""
    result = shell.run("consent", "show", "x", "--debug", "--json")
    assert (result.status, result.last["exit_code"]) == (20, 20)
    assert "Traceback" in result.err


def test_interrupted(shell, monkeypatch):
    """Ctrl-C: status 130, words on stderr, and with --json an exit_error."""
    from fabnet_secure.pipeline import registers

    def stopped(_site):
        raise KeyboardInterrupt

    monkeypatch.setattr(registers, "list_models", stopped)
    said = shell.refused("model", "list", status=130, code="INTERRUPTED")
    assert said["hint"]


def test_ctrl_c_stops_a_process_cleanly(bare):
    """A real SIGINT in the middle of the demo: status 130, no traceback, and its folder is gone."""
    running = bare.start("demo", env={"PYTHONUNBUFFERED": "1", "TMPDIR": str(bare.folder)})
    with running:
        assert running.stdout.readline()  # it is at work
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "[INTERRUPTED]"
    assert list(bare.folder.iterdir()) == []


def test_a_reader_that_goes_away(shell):
    """A pipe closed early ends without a traceback and without noise."""
    with shell.start("consent", "list") as running:
        running.stdout.close()
        err = running.stderr.read()
    assert "Traceback" not in err
    assert "Exception ignored" not in err


def test_a_terminal_gets_wrapped_tables(shell):
    """On a terminal of 100 columns no line of 'doctor' is longer; through a pipe nothing is wrapped."""
    reader, writer = pty.openpty()
    command = [sys.executable, str(shell.program), "doctor"]
    env = os.environ | shell.env | {"COLUMNS": "100"}
    done = subprocess.run(command, env=env, cwd=shell.folder, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    shown = b""
    while chunk := _read(reader):
        shown += chunk
    os.close(reader)
    lines = shown.decode().splitlines()
    assert done.returncode == 0, done.stderr
    assert max(map(len, lines)) <= 100
    assert max(map(len, shell.run("doctor").out.splitlines())) > 100


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def test_no_name_reaches_any_output(shell):
    """The reference given once is never printed again, by any command, in either form."""
    papers = ("--notice", "notice.txt", "--evidence", "evidence.txt")
    given = ("--subject-ref", "Grace Hopper", "--purpose", "embed", "--valid-for", "P1Y")
    said = shell.run("consent", "add", *given, *papers)
    consent = said.out.split()[1]
    commands = [*READS, ("consent", "show", consent), ("report", "all", "--out", "reports"), ("audit", "export", "log")]
    for command in commands:
        for form in ((), ("--json",)):
            if form and command[-1] in {"reports", "log"}:
                continue
            result = shell.run(*command, *form)
            assert "Hopper" not in result.out + result.err
    written = [path for folder in ("reports", "log") for path in Path(folder).rglob("*") if path.is_file()]
    assert written
    assert not any(b"Hopper" in path.read_bytes() for path in written)
    assert "Hopper" not in said.out + said.err


def _train(talk):
    talk.advance("train", 1, 40, loss=0.5, epsilon=1.0, epsilon_planned=8.0)
    talk.spoken -= 31
    talk.advance("train", 20, 40, loss=0.25)
    talk.advance("train", 21, 40, loss=0.25)
    talk.finish()


def test_progress_off_a_terminal_is_rare_and_holds_no_figure(capsys):
    """Where nobody watches: a line every 30 s, nothing with -q, and never the loss, which is private."""
    _train(output.Talk())
    _train(output.Talk(quiet=True))
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("train: 20/40")
    assert "loss" not in line


def test_progress_on_a_terminal_shows_epsilon_beside_the_loss(capsys, monkeypatch):
    """A person who watches sees the loss, ε spent and ε planned, and an empty line when it is over."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _train(output.Talk())
    shown = capsys.readouterr().err.split("\r\x1b[K")
    assert shown[-2].endswith("loss 0.25  epsilon 1  epsilon planned 8")
    assert shown[-1] == ""


def test_settings_say_where_they_come_from(shell):
    """'config show' lists every setting; --origin and --json name the file each came from."""
    plain = shell.run("config", "show").out
    assert "defaults.toml" not in plain
    shown = shell.run("config", "show", "--origin").out
    assert re.search(r"train\.steps +4 +fabnet\.toml", shown)
    assert re.search(r"train\.clipping_norm +0\.1 +.*defaults\.toml", shown)
    settings = shell.json("config", "show")["settings"]
    assert settings["train.steps"] == {"value": 4, "origin": "fabnet.toml"}
    assert json.dumps(settings)


def test_whoever_asks_does_not_set_the_limits(shell):
    """A table of limits in ./fabnet.toml is refused by every command; in the vault's own it holds, and is shown."""
    limits = "[query]\ndaily_budget = 7\n"
    before = (shell.folder / "fabnet.toml").read_text("utf-8")
    (shell.folder / "fabnet.toml").write_text(before + limits, "utf-8")
    for command in (("consent", "list"), ("budget", "show"), ("config", "show"), ("doctor",), ("init",)):
        said = shell.refused(*command, status=2, code="CONFIG_PLACE")
        assert "[query]" in said["message"]
        assert said["hint"] == f"write it into {shell.vault / 'fabnet.toml'}"
    (shell.folder / "fabnet.toml").write_text(before, "utf-8")
    (shell.vault / "fabnet.toml").write_text(limits, "utf-8")
    assert shell.json("budget", "show")["answers"]["daily_budget"] == 7
    shown = shell.json("config", "show")["settings"]["query.daily_budget"]
    assert shown == {"value": 7, "origin": str(shell.vault / "fabnet.toml")}
    (shell.vault / "fabnet.toml").write_text("[train]\nsteps = 3\n", "utf-8")
    shell.refused("budget", "show", status=2, code="CONFIG_PLACE")


def test_bad_settings_stop_every_command(shell):
    """An unknown key in fabnet.toml: status 2 with its name, whatever the command."""
    (shell.folder / "fabnet.toml").write_text("[ingest]\nface_size = 3\n", "utf-8")
    for command in (("consent", "list"), ("config", "show"), ("doctor",), ("init",)):
        said = shell.refused(*command, status=2, code="CONFIG_INVALID")
        assert "ingest.face_size" in said["message"]
