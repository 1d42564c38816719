"""A real vault with one person's consent, made in a temporary folder, and the whole ingest of a clip into it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fabnet_secure.config import load
from fabnet_secure.pipeline.applications import Application
from fabnet_secure.pipeline.consents import add
from fabnet_secure.pipeline.context import Place, Site, open_site
from fabnet_secure.pipeline.create import create_vault
from fabnet_secure.pipeline.ingest import ingest
from fabnet_secure.pipeline.source import Outcome, Source
from fabnet_secure.progress import Progress, Silent

_PURPOSES = ("train_model", "embed", "query_internal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A folder that holds a vault, its key, its settings and the consent of one made-up person."""

    folder: Path
    consent_id: str

    @property
    def place(self) -> Place:
        """Where the vault and its key are."""
        return place_in(self.folder)

    @contextmanager
    def opened(self) -> Iterator[Site]:
        """Open the vault under the settings in the folder."""
        with open_site(self.place, load([self.folder / "fabnet.toml"], vault=self.place.root).settings) as site:
            yield site


def place_in(folder: Path) -> Place:
    """Say where a home's vault and key are."""
    return Place(root=folder / "vault", key_file=folder / "site.key")


def build_home(folder: Path, **policy: float) -> Home:
    """Make a vault in a new folder, with ``policy`` as its ``[ingest]`` settings, and one consent in it."""
    folder.mkdir(parents=True)
    rules = "".join(f"{name} = {value}\n" for name, value in policy.items())
    (folder / "fabnet.toml").write_text(f"[ingest]\n{rules}", "utf-8")
    paper = folder / "paper.txt"
    paper.write_text("SYNTHETIC: nobody signed this; nobody is filmed.\n", "utf-8")
    settings = load([folder / "fabnet.toml"]).settings
    create_vault(place_in(folder), settings)
    with open_site(place_in(folder), settings) as site:
        (recorded,) = add(site, [_application(paper)])
    return Home(folder=folder, consent_id=recorded.consent_id)


def _application(paper: Path) -> Application:
    return Application(
        subject_ref="Synthetic Person 1",
        purposes=_PURPOSES,
        valid_for="P1Y",
        notice=paper,
        evidence=paper,
        dp_epsilon_cap=10.0,
    )


def take_in(site: Site, consent_id: str, clips: list[Path], progress: Progress | None = None) -> float:
    """Ingest the clips and return the seconds of the whole journey, the detector's loading included.

    Raises:
        RuntimeError: a clip was not ingested, or not bound to the one person: then no figure would mean anything.
    """
    sources = [Source(path=clip, consent_ids=(consent_id,)) for clip in clips]
    start = time.perf_counter()
    outcomes = ingest(site, sources, progress=progress or Silent())
    seconds = time.perf_counter() - start
    for outcome in outcomes:
        require_taken(outcome)
    return seconds


def require_taken(outcome: Outcome) -> None:
    """Stop where a clip was refused, skipped, quarantined or bound to nobody."""
    if outcome.status != "ingested" or not outcome.bound:
        reason = "" if outcome.error is None else f" ({outcome.error.code}: {outcome.error})"
        raise RuntimeError(f"{outcome.source.label} was {outcome.status}, {outcome.bound} tracks bound{reason}")
