"""What crosses to a worker and back: everything that was said, and no password where people read."""

import json
import os
from pathlib import Path

import pytest

from fabnet_secure.errors import FabnetError, Gap, NoEffectiveConsent, UnreadableSource
from fabnet_secure.pipeline.source import BoxClaim, Outcome, Source, error_from_json, error_to_json

SOURCES = [
    Source(path=Path("a.mp4"), consent_ids=("one", "two")),
    Source(path=Path(os.fsdecode(b"/in/\xff\xfe.avi")), consent_ids=(), seats={"left": "one"}, camera="desk"),
    Source(url="rtsp://eye:secret@camera/1", seconds=2.5, consent_ids=("one",)),
    Source(
        path=Path("b.mkv"),
        consent_ids=("one",),
        boxes=(BoxClaim(consent_id="one", frame=7, box=(1.0, 2.5, 30.0, 40.0)),),
        released=True,
    ),
]


@pytest.mark.parametrize("source", SOURCES, ids=["plain", "bytes", "live", "boxes"])
def test_a_source_survives_the_pipe(source):
    """Through JSON and back nothing is lost, not even a name that is no text."""
    assert Source.from_json(json.loads(json.dumps(source.to_json()))) == source


def test_a_label_is_for_people():
    """The file's name without its folders; a URL without its password; something even for a bare root."""
    assert [source.label for source in SOURCES[::2]] == ["a.mp4", "rtsp://camera/1"]
    assert Source(path=Path("/"), consent_ids=()).label == "/"


@pytest.mark.parametrize("kind", [UnreadableSource, NoEffectiveConsent, Gap], ids=lambda kind: kind.__name__)
def test_an_outcome_survives_the_pipe(kind):
    """Counts, ids and the refusal with its kind, and so its exit status."""
    outcome = Outcome(
        source=SOURCES[0],
        status="refused",
        video_id="v",
        frames_read=3,
        detected=2,
        dropped=2,
        drop_reasons={"unbound": 2},
        disposition="keep",
        error=kind("it is so", hint="do this", code="SO"),
    )
    back = Outcome.from_json(json.loads(json.dumps(outcome.to_json())))
    assert back.to_json() == outcome.to_json()
    assert type(back.error) is kind
    assert back.error.exit_code == kind.exit_code


@pytest.mark.parametrize("name", ["ExitCode", "Nothing", "IntEnum", "FabnetError"])
def test_an_unknown_kind_of_error_is_a_plain_one(name):
    """A pipe cannot name any class it likes."""
    told = error_to_json(Gap("m", hint="h", code="C")) | {"kind": name}
    assert type(error_from_json(told)) is FabnetError
