"""Query by a clip: one person on a video is encoded on the fly and searched by, and nothing of the clip is kept.

**Whose consent.** The person in the clip is a data subject like any other: reading their face, making an embedding
of it and comparing that is processing, however short it lasts (GDPR 4(2), 9(1)). So a clip is refused without
``--consent ID`` of the person it shows, and that one consent has to cover both what is done: ``embed`` (the face is
encoded) and the purpose of the question. It is required before the file is opened and again in the transaction that
answers. Nobody else may be on the clip: their consent is not at hand, so a second face, or one that cannot be told to
be the same person's, refuses the whole clip (``CLIP_NOT_ONE_PERSON``) instead of being ignored; faces below the
policy's size or length are nobody's, as at ingest. Nobody is recognised: that the person is the one who consented is
the word of whoever asks, as at ingest.

**What is kept.** The decision, the answer's log entry (frames read, frames persisted: 0, a salted commitment to the
consent) and nothing else: no row of a video or track, no page, no file, no digest of the clip; nobody can tell later
whether two questions were asked by one clip. Frames and candidates lie in locked memory as at ingest and are zeroed,
the embedding too. Not wiped: copies that FFmpeg, torch or NumPy made on the way (docs/threat-model.md).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fabnet_secure.consent.state import EffectiveConsent
from fabnet_secure.errors import Gap, NoEffectiveConsent, UnreadableSource, UsageError
from fabnet_secure.pipeline.authorize import authorize_purpose, permitted, record_refusal
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import require_consent
from fabnet_secure.pipeline.discard import require_memory_stays, require_none, watch_writes
from fabnet_secure.pipeline.embed import Encoder, current_encoder, load_encoder
from fabnet_secure.pipeline.filters import chosen_tracks
from fabnet_secure.pipeline.ingest import binding_policy, load_detector, observing, smallest_face_of
from fabnet_secure.pipeline.nearest import Scope, nearest_to_vector
from fabnet_secure.pipeline.query import Answer, Asked, Probe, answer, check_asked, decide
from fabnet_secure.pipeline.query_budget import cost_of, refusals_logged, require_answers
from fabnet_secure.progress import Progress
from fabnet_secure.types import Purpose, SubjectId
from fabnet_secure.video.bind import Scene, bind
from fabnet_secure.video.detect import Detector
from fabnet_secure.video.observe import Observation, observe
from fabnet_secure.video.reader import open_video

_HARMLESS = ("too_short", "too_small")
_ACTION = "query_clip"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipAnswer:
    """The results for a clip, and what was read of it: nothing of it is kept."""

    answer: Answer
    frames_read: int
    frames_persisted: int


def similar_to_clip(site: Site, clip: Path, *, consent_id: str, asked: Asked, progress: Progress) -> ClipAnswer:
    """Rank stored frames by cosine similarity to the one person on a clip.

    Args:
        site: an open vault.
        clip: a video file that shows one person.
        consent_id: that person's consent; it covers ``embed`` and the question's purpose.
        asked: how; ``model`` None takes the newest model in use.
        progress: told of frames read.

    Raises:
        UsageError: the purpose, the number, a date, a place or the model cannot be used.
        NoEffectiveConsent: the person's consent does not cover the purpose, or embedding, now.
        AccessDenied: the principal may not query by clips, or may not see scores.
        BudgetExceeded: code ``QUERY_BUDGET``.
        UnreadableSource: no video, or no face on it (``NO_FACE``).
        Gap: code ``CLIP_NOT_ONE_PERSON``, or ``SWAP_IN_THE_CLEAR``.
    """
    authorize_purpose(site, _ACTION, Purpose.QUERY_INTERNAL)
    purpose = check_asked(asked)
    needed = (Purpose.EMBED, purpose)
    person = _required(site, consent_id, needed)
    permit = decide(site, _ACTION, purpose, [person], scores=asked.scores)
    encoder = _encoder(site, asked.model)
    cost = cost_of(1, scores=asked.scores)
    require_memory_stays(site)
    with refusals_logged(site, _ACTION, purpose):
        with site.reading() as connection:
            require_answers(site, connection, cost)  # before anything is read
            chosen = chosen_tracks(site, connection, asked.filters)
        scope = Scope(model_id=encoder.model_id, consents=permitted(permit.verdicts), tracks=chosen)
        with _encoded(site, clip, person.subject_id, encoder, progress) as seen:
            found = nearest_to_vector(site, seen.vector, scope, asked.top)
        probe = Probe(
            consents={person.consent_id: needed},
            facts={"kind": "clip", "frames_read": seen.frames_read, "frames_persisted": seen.writes},
        )
        (told,) = answer(site, permit, probe, [found], cost=cost, filters=asked.filters)
    return ClipAnswer(answer=told, frames_read=seen.frames_read, frames_persisted=seen.writes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    vector: np.ndarray
    frames_read: int
    writes: int


def _required(site: Site, consent_id: str, purposes: tuple[Purpose, ...]) -> EffectiveConsent:
    """Require one consent for every purpose; a refusal is logged and finds nothing."""
    if not consent_id:
        raise NoEffectiveConsent(
            "a clip shows a person, and no consent of theirs was named",
            hint="give --consent ID of the person on the clip; it has to cover embed and the purpose of the question",
            code="CONSENT_MISSING",
        )
    try:
        with site.reading() as connection:
            return [require_consent(site, connection, consent_id, purpose) for purpose in purposes][-1]
    except NoEffectiveConsent as refusal:
        refusal.fields["results"] = []
        record_refusal(site, _ACTION, purposes[-1], refusal.code)
        raise


def _encoder(site: Site, model_id: str | None) -> Encoder:
    found = current_encoder(site) if model_id is None else load_encoder(site, model_id)
    if found is None:
        hint = "run 'fabnet-secure train run', then 'fabnet-secure embed --model ID'"
        raise UsageError("there is no model in use to encode the clip with", hint=hint, code="MODEL_UNKNOWN")
    return found


@contextmanager
def _encoded(site: Site, clip: Path, subject: SubjectId, encoder: Encoder, progress: Progress) -> Iterator[_Seen]:
    """Read a clip and encode its one person; whatever happens, frames, crops and embedding are zeroed at the end."""
    detector = load_detector(site)
    with watch_writes(ours=site.anchor.path) as writes, open_video(clip) as stream:
        observation = observe(
            stream, detector, observing(site, smallest_face_of(site, detector, stream)), progress=progress
        )
        try:
            vector = _mean(encoder, _crops(site, observation, subject, detector))
        finally:
            observation.wipe()
    require_none(writes)
    try:
        yield _Seen(vector=vector, frames_read=observation.frames_read, writes=writes.count)
    finally:
        vector.fill(0)


def _crops(site: Site, observation: Observation, subject: SubjectId, detector: Detector) -> list[np.ndarray]:
    """Return the crops of the one person, a block a fragment of their track.

    Raises:
        UnreadableSource: code ``NO_FACE``.
        Gap: code ``CLIP_NOT_ONE_PERSON``.
    """
    scene = Scene(persons=(subject,), width=observation.width, height=observation.height, known_camera=True)
    policy = replace(binding_policy(site, observation, detector), primary_track="quarantine")
    binding = bind(observation.tracks, scene, policy)
    if binding.video_quarantined or any(reason not in _HARMLESS for _, reason in binding.dropped):
        raise Gap(
            "the clip does not show one person alone, and there is no consent of anybody else on it",
            hint="give a clip on which one person alone is seen; ingest takes videos of several people",
            code="CLIP_NOT_ONE_PERSON",
        )
    blocks = [observation.crops(track.number)[1] for track, _ in binding.bound]
    if not any(len(block) for block in blocks):
        raise UnreadableSource(
            "no face was found in the clip",
            hint="check the recording, or lower ingest.detector_score or ingest.min_face_px in fabnet.toml",
            code="NO_FACE",
        )
    return [block for block in blocks if len(block)]


def _mean(encoder: Encoder, blocks: list[np.ndarray]) -> np.ndarray:
    """Encode crops (n, size, size, 3) and return the mean embedding (dim,) float32; the single ones are zeroed."""
    vectors = [encoder.encode(block) for block in blocks]
    together = np.concatenate(vectors).astype(np.float32)
    mean: np.ndarray = together.mean(axis=0)
    for one in (*vectors, together):
        one.fill(0)
    return mean
