"""The demo's people: synthetic videos, a notice and an evidence file, all made up and all labelled so."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fabnet_secure.progress import Progress
from fabnet_secure.synth.clip import write_clip
from fabnet_secure.synth.head import load_head

SETTINGS = """[site]
controller_name = "Synthetic Demonstration Ltd"
controller_address = "1 Nowhere Street"
controller_contact = "privacy@example.org"
dpo = "Data Protection Officer (synthetic)"
"""
NOTICE = (
    "SYNTHETIC DEMONSTRATION NOTICE. We record short videos of your face, extract facial features from them, train a "
    "model with differential privacy and keep encrypted embeddings for at most one year. You may withdraw at any time."
)
EVIDENCE = "SYNTHETIC: nobody signed this. The person it stands for was drawn by a computer."


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """The files that the demo works on, in its folder."""

    clips: tuple[Path, ...]
    crowd: Path


def write_cast(folder: Path, *, people: int, frames: int, progress: Progress) -> Cast:
    """Write one clip a synthetic person, and one that shows two of them."""
    load_head()
    (folder / "fabnet.toml").write_text(SETTINGS, "utf-8")
    (folder / "notice.txt").write_text(NOTICE + "\n", "utf-8")
    (folder / "evidence.txt").write_text(EVIDENCE + "\n", "utf-8")
    with (folder / "consents.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("subject_ref", "purpose", "valid_for", "notice", "evidence", "dp_epsilon_cap"))
        for number in range(2, people + 1):
            purposes = "train_model embed query_internal"
            table.writerow((f"Synthetic Person {number}", purposes, "P1Y", "notice.txt", "evidence.txt", "10"))
    clips = tuple(folder / f"person-{number}.mp4" for number in range(1, people + 1))
    for number, clip in enumerate(clips, start=1):
        write_clip(clip, [number], frames=frames, track_seed=number)
        progress.advance("clips drawn", number, people + 1)
    crowd = folder / "two-people.mp4"
    write_clip(crowd, [1, people + 1], frames=frames, track_seed=99)
    return Cast(clips=clips, crowd=crowd)


def write_manifest(folder: Path, clips: Sequence[Path], consent_ids: Sequence[str]) -> None:
    """Write which clip was recorded under which consent."""
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("video", "consent_id"))
        table.writerows(zip((clip.name for clip in clips), consent_ids, strict=True))
