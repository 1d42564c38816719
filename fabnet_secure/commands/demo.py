"""``demo``: the whole story on synthetic people, each command printed so that it can be repeated."""

import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabnet_secure.commands.options import Debug
from fabnet_secure.commands.output import Talk, overhearing
from fabnet_secure.errors import ExitCode, FabnetError, UsageError

if TYPE_CHECKING:
    from fabnet_secure.pipeline.demonstrate import Cast

_PEOPLE = 6
_FRAMES = 60


def demo(
    *,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Keep everything in this new folder.", show_default=False)
    ] = None,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Run the whole story offline on synthetic people: one to two minutes.

    Example: fabnet-secure demo --keep ./demo
    """
    started = time.monotonic()
    with _folder(keep) as folder, _environment(folder):
        _story(folder)
    print(f"\nThe demo took {time.monotonic() - started:.0f} s.")
    if keep is not None:
        print(f"Everything is in {keep}: go on there with the two variables above.")


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise UsageError(f"{keep} is there already", hint="name a new or empty folder")
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="fabnet-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """Point the commands at the demo's own vault, whatever the surroundings say."""
    mine = {"FABNET_VAULT": str(folder / "vault"), "FABNET_KEY_FILE": str(folder / "vault.key")}
    names = (*mine, "FABNET_DATABASE_URL", "FABNET_KEYSTORE_URL")
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ.update(mine)
    print(f"$ cd {folder}")
    print(f"$ export FABNET_VAULT={mine['FABNET_VAULT']} FABNET_KEY_FILE={mine['FABNET_KEY_FILE']}")
    try:
        with chdir(folder):
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _story(folder: Path) -> None:
    cast, made = _open(folder)
    consents = _consent()
    tracks = _ingest(folder, cast, consents)
    _learn()
    _withdraw(consents, tracks)
    _prove(made)


def _open(folder: Path) -> "tuple[Cast, dict[str, Any]]":
    from fabnet_secure.pipeline.demonstrate import write_cast

    _chapter("People who do not exist, and a vault")
    talk = Talk()
    cast = write_cast(folder, people=_PEOPLE, frames=_FRAMES, progress=talk)
    talk.finish()
    print(f"drew {len(cast.clips)} clips of one synthetic person each, and one of two people, in {folder}")
    return cast, _run("init")


def _consent() -> list[str]:
    _chapter("Everybody consents, for two purposes beside training")
    first = _run(
        *("consent", "add", "--subject-ref", "Synthetic Person 1", "--valid-for", "P1Y", "--dp-epsilon-cap", "10"),
        *("--purpose", "train_model", "--purpose", "embed", "--purpose", "query_internal"),
        *("--notice", "notice.txt", "--evidence", "evidence.txt"),
    )["consent_id"]
    rest = [one["consent_id"] for one in _run("consent", "import", "consents.csv")["consents"]]
    _run("consent", "list")
    return [first, *rest]


def _ingest(folder: Path, cast: "Cast", consents: list[str]) -> list[str]:
    from fabnet_secure.pipeline.demonstrate import write_manifest

    _chapter("Ingest: faces are cropped and sealed, frames are thrown away")
    tracks = _run("ingest", cast.clips[0].name, "--consent", consents[0])["track_ids"]
    write_manifest(folder, cast.clips[1:], consents[1:])
    tracks += _run("ingest", "--manifest", "manifest.csv")["track_ids"]
    print("\n# two people in one video, one consent: quarantined, nothing of it is kept")
    _run("ingest", cast.crowd.name, "--consent", consents[0], expect=ExitCode.PARTIAL)
    return list(tracks)


def _learn() -> None:
    _chapter("Train with differential privacy: priced first, then run and attacked")
    plan_id = _run("train", "plan", "--epsilon", "8", "--delta", "1e-2")["plan_id"]
    model_id = _run("train", "run", "--plan", plan_id)["model_id"]
    _run("embed", "--model", model_id)


def _withdraw(consents: list[str], tracks: list[str]) -> None:
    _chapter("Ask: ranks only, under a purpose")
    ask = ("query", "similar", "--track", tracks[0], "--top", "8", "--purpose")
    before = _run(*ask, "query_internal")
    _run(*ask, "emotion_inference", expect=ExitCode.NO_CONSENT)

    _chapter("One person withdraws: what was theirs is gone, provably")
    leaver = tracks.index(before["results"][0]["track_id"])
    print(f"# {_named(before, tracks[leaver])} of the results above are frames of consent {consents[leaver]}")
    _run("subject", "withdraw", consents[leaver], "--confirm", consents[leaver])
    found = _named(_run(*ask, "query_internal"), tracks[leaver])
    print(f"# the same question now finds {found} frames of that person")
    if found:
        raise FabnetError("a withdrawn person was found", code="DEMO_FAILED")
    print("\n# a copy of both databases made before now still holds that person's keys: end their epoch")
    _run("keys", "rekey")


def _prove(made: dict[str, Any]) -> None:
    _chapter("Reports and a log that anyone can verify")
    _run("report", "all", "--out", "reports")
    for page in ("dp.en.html", "erasure.ja.html"):
        _run("report", "verify", f"reports/{page}", "--public-key", made["report_public_key"])
    _run("audit", "verify")
    _run("audit", "witness", "--out", "witnessed.txt")
    _run("audit", "export", "log")
    _run("audit", "verify", "--export", "log", "--vkey", made["log_vkey"])
    _run("budget", "show")


def _chapter(title: str) -> None:
    print(f"\n## {title}")


def _named(answer: dict[str, Any], track_id: str) -> int:
    return sum(one["track_id"] == track_id for one in answer["results"])


def _run(*arguments: str, expect: ExitCode = ExitCode.OK) -> dict[str, Any]:
    """Print one command, run it as a person would, and return the fields of what it printed last."""
    from fabnet_secure.commands.program import main

    print(f"\n$ fabnet-secure {shlex.join(arguments)}", flush=True)
    with overhearing() as heard, redirect_stderr(sys.stdout):
        status = main(arguments)
    if status != expect:
        raise FabnetError(f"the demo's step ended with status {status}, not {int(expect)}", code="DEMO_FAILED")
    if status:
        print(f"(exit status {status}, as it should be)")
    return heard[-1] if heard else {}
