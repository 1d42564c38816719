"""Help everywhere, at once, the same in the program and in docs/cli.md."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from fabnet_secure.commands.program import build
from fabnet_secure.commands.reference import reference
from fabnet_secure.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "cv2", "sqlalchemy", "cryptography", "numpy", "scipy", "opacus", "cedarpy", "jinja2", "dp_accounting")


def _paths(command, path=()):
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from _paths(child, (*path, name))


PATHS = list(_paths(typer.main.get_command(build())))
NOUNS = [path for path in PATHS if any(len(other) == len(path) + 1 and other[: len(path)] == path for other in PATHS)]
everywhere = pytest.mark.parametrize("path", PATHS, ids=lambda path: " ".join(path) or "fabnet-secure")


@everywhere
def test_help_has_an_example_and_the_statuses(bare, path):
    """-h and --help print the same, on stdout, with status 0: an example first, then options, then EXIT STATUS."""
    long, short = bare.run(*path, "--help"), bare.run(*path, "-h")
    assert (long.status, short.status) == (0, 0)
    assert long.out == short.out
    assert long.err == short.err == ""
    places = [long.out.index(part) for part in ("Usage:", f"Example: fabnet-secure {' '.join(path)}".rstrip())]
    places += [long.out.index("Options"), long.out.index("EXIT STATUS")]
    assert places == sorted(places)
    for status in ExitCode:
        assert f" {int(status)} " in " ".join(long.out.split()), status
    assert max(map(len, long.out.splitlines())) <= 100


@pytest.mark.parametrize("path", NOUNS, ids=lambda path: " ".join(path) or "fabnet-secure")
def test_no_arguments_give_short_help(bare, path):
    """The program alone prints its help with status 0, a noun alone with status 2: the verb is missing."""
    result = bare.run(*path)
    assert "Usage:" in result.out
    assert result.err == ""
    assert result.status == (ExitCode.USAGE if path else ExitCode.OK)


def test_every_option_is_explained(bare):
    """No option of any command stands without a sentence."""
    root = typer.main.get_command(build())
    for path in PATHS:
        command = root
        for name in path:
            command = command.commands[name]
        silent = [one.name for one in command.params if not getattr(one, "help", None) and one.name != "account"]
        assert silent == [], path


@pytest.mark.parametrize("wrong", [("consnet",), ("consent", "lst"), ("consent", "list", "--jsn"), ("--nonsense",)])
def test_a_word_that_is_no_command(bare, wrong):
    """A mistyped command or option: status 2, named in the error."""
    result = bare.run(*wrong)
    assert result.status == 2
    assert wrong[-1] in result.err
    assert result.err.splitlines()[-1] == "[USAGE]"


def test_the_version(bare):
    """--version prints the version alone."""
    from fabnet_secure import __version__

    result = bare.run("--version")
    assert (result.status, result.out.strip(), result.err) == (0, __version__, "")


def test_help_answers_at_once():
    """Help, of the program and of every noun's commands, imports no engine."""
    script = f"""
import sys
from fabnet_secure.commands.program import main
for path in {PATHS!r}:
    assert main([*path, "--help"]) == 0
print("\\n" + ",".join(name for name in {HEAVY!r} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_the_reference_is_what_the_program_says():
    """docs/cli.md is the output of 'python -m fabnet_secure.commands.reference' ('make docs')."""
    assert (ROOT / "docs" / "cli.md").read_text("utf-8") == reference()


def test_the_reference_names_every_command_and_option():
    """Each command has its section, and each option its line in it."""
    text = reference()
    for path in PATHS:
        if path not in NOUNS:
            assert f"\n## fabnet-secure {' '.join(path)}\n" in text
    for option in ("--dp-epsilon-cap", "--dry-run", "--origin", "--public-key"):
        assert f"`{option}" in text


def test_completion_completes(bare):
    """The shell's completion offers nouns and verbs."""
    words = {"_FABNET_SECURE_COMPLETE": "complete_bash", "COMP_WORDS": "fabnet-secure consent ", "COMP_CWORD": "2"}
    with bare.start(env=words) as asked:
        out, _ = asked.communicate(timeout=60)
    assert {"add", "import", "show", "list"} <= set(out.split())
