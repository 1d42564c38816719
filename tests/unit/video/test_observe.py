"""One pass: every frame is seen or covered, squares are few, varied and free of neighbours, and nothing else stays."""

import math

import numpy as np
import pytest

from fabnet_secure.errors import UnreadableSource, UsageError
from fabnet_secure.video import observe as module
from fabnet_secure.video.detect import Look
from fabnet_secure.video.observe import Observation, ObserveSettings, boxes_near, observe
from fabnet_secure.video.reader import Frame
from fabnet_secure.video.track import Track, iou

GREY = np.full((120, 160, 3), 90, np.uint8)
SMALL = {"crop_size": 16, "tracklet_bytes": 8 * 768, "video_bytes": 100 * 768}


class FakeStream:
    """Frames made by ``paint(index)``; remembers which were converted."""

    def __init__(self, frames, paint=lambda _index: GREY, fps=25.0, times=None):
        self.height, self.width = paint(0).shape[:2]
        self.fps, self.expected, self.frames_read, self.locked = fps, frames, 0, True
        self.paint, self.times, self.converted = paint, times or (lambda index: 40.0 * index), []

    def grab(self):
        if self.frames_read == self.expected:
            return False
        self.frames_read += 1
        return True

    @property
    def time_ms(self):
        return self.times(self.frames_read - 1)

    def frame(self):
        index = self.frames_read - 1
        self.converted.append(index)
        pixels = self.paint(index).view()
        pixels.flags.writeable = False
        return Frame(pixels=pixels, index=index, time_ms=self.times(index))


class ScriptedEye:
    """Finds in frame i what script(i) says; the stream tells which frame it is."""

    def __init__(self, stream, script):
        self.stream, self.script = stream, script

    def look(self, pixels):
        small = pixels[:: max(1, pixels.shape[0] // 18), :: max(1, pixels.shape[1] // 32)][:18, :32]
        return Look(detections=self.script(self.stream.frames_read - 1), thumbnail=np.ascontiguousarray(small))


def watch(frames, script, *, interval=1, tracker=None, progress=None, settings=None, **stream):
    """Observe a fake stream; return it beside the observation."""
    source = FakeStream(frames, **stream)
    chosen = settings or ObserveSettings(interval=interval, **SMALL)
    return observe(source, ScriptedEye(source, script), chosen, tracker=tracker, progress=progress), source


class Recorder:
    """Progress that keeps what it is told."""

    def __init__(self):
        self.told = []

    def advance(self, stage, done, total=None, **_figures):
        self.told.append((stage, done, total))


def test_a_face_is_followed_through_a_clip(make_detection):
    """Tracks, frames, size and fps are those of the stream; progress is told up to the last frame."""
    news = Recorder()
    seen, _ = watch(9, lambda _i: [make_detection()], progress=news)
    assert [(track.first, track.last) for track in seen.tracks] == [(0, 8)]
    assert (seen.frames_read, seen.frames_detected, seen.width, seen.height, seen.fps) == (9, 9, 160, 120, 25.0)
    assert (seen.scenes, seen.locked) == (1, True)
    assert news.told[0] == ("detect", 1, 9)
    assert news.told[-1] == ("detect", 9, 9)


def test_a_steady_face_is_looked_at_every_interval_and_covered_between(make_detection):
    """After one look to find it and three to be sure, every fifth frame is converted, the others only grabbed."""
    seen, stream = watch(30, lambda _i: [make_detection()], interval=5)
    assert stream.converted == [0, 1, 2, 3, 8, 13, 18, 23, 28]
    assert seen.frames_detected == 9
    assert [(track.frames, track.seen) for track in seen.tracks] == [(29, 9)]


def test_without_a_face_every_frame_is_looked_at():
    """Nothing covers a frame without a track."""
    assert watch(30, lambda _i: [], interval=5)[1].converted == list(range(30))


def test_anything_new_or_lost_brings_the_detector_back(make_detection):
    """A second face, or the loss of the first, and each frame is looked at until all is steady again."""
    one, two = [make_detection()], [make_detection(), make_detection(x=90.0, size=30.0)]
    stream = watch(30, lambda i: two if i >= 13 else one, interval=5)[1]
    assert stream.converted[4:11] == [8, 13, 14, 15, 16, 21, 26]
    stream = watch(30, lambda i: one if i < 13 else [], interval=5)[1]
    assert stream.converted[5:] == list(range(13, 30))


def test_a_restless_picture_brings_the_detector_back(make_detection):
    """Much movement around a steady face, too little for a cut: every frame is looked at for a while."""
    noise = np.random.default_rng(0).integers(40, 200, (18, 32, 3), np.uint8).repeat(6, axis=0).repeat(5, axis=1)
    moved = noise.copy()
    moved[:18] = moved[:18, ::-1]
    seen, stream = watch(30, lambda _: [make_detection()], interval=5, paint=lambda i: noise if i < 10 else moved)
    assert stream.converted[4:10] == [8, 13, 14, 15, 16, 21]
    assert (seen.scenes, len(seen.tracks)) == (1, 1)


@pytest.mark.parametrize(("fps", "steps"), [(25.0, 5), (12.5, 3), (4.0, 1), (0.0, 1), (100.0, 5)], ids=str)
def test_a_low_or_unknown_frame_rate_shortens_the_interval(make_detection, fps, steps):
    """The detector never looks away for longer than a quarter of a second, nor where nobody knows how long it is."""
    stream = watch(30, lambda _i: [make_detection()], interval=5, fps=fps)[1]
    assert max(np.diff(stream.converted)) == steps


@pytest.mark.parametrize("interval", [1, 5])
def test_a_scene_cut_splits_a_face_that_stays_in_place(make_detection, interval):
    """From dark to bright is a cut: two tracks, two scenes, also when frames are left out between."""
    bright = np.full_like(GREY, 190)
    seen, _ = watch(30, lambda _i: [make_detection()], interval=interval, paint=lambda i: GREY if i < 15 else bright)
    assert [(track.scene, track.split) for track in seen.tracks] == [(0, "cut"), (1, "end")]
    assert seen.scenes == 2


def test_candidates_come_at_most_so_often(make_detection):
    """Two seconds at five a second are ten candidates; at 25 looks a second as at 8."""
    for interval in (1, 3):
        settings = ObserveSettings(interval=interval, crop_size=16, crops_per_second=5.0)
        seen, _ = watch(50, lambda _i: [make_detection()], settings=settings)
        found = seen.candidates(0)
        assert len(found) == 10
        assert len({int(candidate.time_ms * 5 / 1000) for candidate in found}) == 10


@pytest.mark.parametrize(
    "times",
    [lambda _i: 0.0, lambda _i: math.nan, lambda i: -1000.0 * i, lambda i: 1e300 if i == 3 else 40.0 * i],
    ids=["stuck", "nan", "backwards", "absurd"],
)
def test_times_that_do_not_rise_are_counted_on(make_detection, times):
    """A file whose times are nonsense has the usual number of candidates, in order."""
    seen, _ = watch(50, lambda _i: [make_detection()], times=times)
    for track in seen.tracks:
        moments = [candidate.time_ms for candidate in seen.candidates(track.number)]
        assert moments == sorted(moments)
    assert sum(len(seen.candidates(track.number)) for track in seen.tracks) in range(7, 12)


def test_a_candidate_is_its_frame(make_detection):
    """Index, time and box are the frame's; the crop shows it, and its quality is measured."""

    def paint(index):
        return np.full_like(GREY, 60 + index)

    seen, _ = watch(26, lambda i: [make_detection(x=20.0 + i)], paint=paint)
    candidates, (indices, crops) = seen.candidates(0), seen.crops(0)
    assert indices == tuple(candidate.index for candidate in candidates) == (0, 5, 10, 15, 20, 25)
    assert [candidate.box[0] for candidate in candidates] == [20.0 + index for index in indices]
    assert [candidate.time_ms for candidate in candidates] == [40.0 * index for index in indices]
    assert crops[:, 8, 8, 0].tolist() == [60 + index for index in indices]
    assert all(candidate.quality.size_px == 50 and candidate.quality.exposure == 1 for candidate in candidates)


def test_a_track_keeps_within_its_budget(make_detection):
    """However long the video, a track holds no more than its share, spread over it."""
    seen, _ = watch(1000, lambda _i: [make_detection()])
    indices = seen.crops(0)[0]
    assert len(indices) == 8
    assert max(np.diff(indices)) < 350


def test_a_short_track_gives_up_its_candidates_at_once(make_detection):
    """A face seen for four frames holds no pixel from the moment its track ends."""
    slots = []

    def script(index):
        slots.append(index)
        return [make_detection()] if index < 4 else []

    source = FakeStream(30)
    kept = module.Store
    stores = []
    try:
        module.Store = lambda **sizes: stores.append(kept(**sizes)) or stores[0]
        seen = observe(source, ScriptedEye(source, script), ObserveSettings(**SMALL))
    finally:
        module.Store = kept
    assert [track.frames for track in seen.tracks] == [4]
    assert seen.candidates(0) == ()
    assert stores[0]._slab._chunks
    assert not any(chunk.any() for chunk in stores[0]._slab._chunks)


def test_a_face_below_the_smallest_is_followed_but_not_cut_out(make_detection):
    """Too small a face counts, and leaves no pixel."""
    settings = ObserveSettings(**SMALL, smallest_face=48.0)
    seen, _ = watch(20, lambda _i: [make_detection(size=47.0)], settings=settings)
    assert [track.frames for track in seen.tracks] == [20]
    assert seen.candidates(0) == ()


def paint_two(index):
    """A red face at (30, 30), 40 wide, and a blue one beside it, at 76."""
    frame = GREY.copy()
    frame[30:70, 30:70] = (0, 0, 220)
    frame[30:70, 76:116] = (220, 0, 0)
    return frame


def bluest(seen, number=0):
    """Say how blue the bluest pixel of a track's crops is, frame by frame."""
    indices, crops = seen.crops(number)
    cut = crops.astype(int)
    return dict(zip(indices, (cut[..., 2] - cut[..., 0]).max(axis=(1, 2)).tolist(), strict=True))


def test_a_neighbour_in_the_same_frame_is_painted_over_before_anything_is_computed(make_detection, monkeypatch):
    """The candidate's own pixels, what its quality is taken from, never show the neighbour."""
    red, blue = make_detection(x=30.0, y=30.0, size=40.0), make_detection(x=76.0, y=30.0, size=40.0)
    offered = []
    monkeypatch.setattr(
        module.Store, "offer", lambda _self, n, _c, picture, _m: offered.append((n, picture.astype(int)))
    )
    watch(20, lambda _i: [red], paint=paint_two)
    assert max((picture[..., 2] - picture[..., 0]).max() for _, picture in offered) > 150
    offered.clear()
    watch(20, lambda _i: [red, blue], paint=paint_two)
    assert max((picture[..., 2] - picture[..., 0]).max() for n, picture in offered if n == 0) < 60


def test_a_neighbour_that_was_just_lost_is_painted_over(make_detection):
    """For five frames after its last box the neighbour is thought to be where it was."""
    red, blue = make_detection(x=30.0, y=30.0, size=40.0), make_detection(x=76.0, y=30.0, size=40.0)
    settings = ObserveSettings(**SMALL, crops_per_second=25.0, frames_per_tracklet=8, min_track_frames=1)
    seen, _ = watch(8, lambda i: [red, blue] if i < 2 else [red], paint=paint_two, settings=settings)
    assert [index for index, blueness in bluest(seen).items() if blueness > 150] == [7]
    stored = {candidate.index: picture.astype(int) for candidate, picture in seen.store.candidates(0)}
    assert [i for i, cut in stored.items() if (cut[..., 2] - cut[..., 0]).max() > 150] == [7], "at once, not in the end"


def test_a_neighbour_first_seen_later_is_painted_over_in_the_end(make_detection):
    """A face that the detector missed at first is gone from the frames just before it was found."""
    red, blue = make_detection(x=30.0, y=30.0, size=40.0), make_detection(x=76.0, y=30.0, size=40.0)
    settings = ObserveSettings(**SMALL, crops_per_second=25.0, frames_per_tracklet=8, min_track_frames=1)
    seen, _ = watch(8, lambda i: [red, blue] if i >= 7 else [red], paint=paint_two, settings=settings)
    shown = bluest(seen)
    assert [index for index, blueness in shown.items() if blueness > 150] == [0, 1]
    stored = [picture.astype(int) for _, picture in seen.store.candidates(0)]
    assert max((picture[..., 2] - picture[..., 0]).max() for picture in stored) > 150, "known only in the end"


def test_crops_are_the_same_again_until_released(make_detection):
    """Asking twice gives the same; release zeroes what was given and leaves nothing; other tracks stay."""
    left, right = make_detection(x=5.0), make_detection(x=100.0)
    seen, _ = watch(20, lambda _i: [left, right])
    first, second = seen.crops(0)[1], seen.crops(0)[1]
    assert np.array_equal(first, second)
    assert first.any()
    seen.release(0)
    seen.release(0)
    assert not first.any()
    assert not second.any()
    assert (seen.candidates(0), seen.crops(0)[0], seen.crops(0)[1].shape) == ((), (), (0, 16, 16, 3))
    other = seen.crops(1)[1]
    assert other.any()
    seen.wipe()
    seen.wipe()
    assert not other.any()
    assert seen.candidates(1) == ()


def test_a_stream_that_fails_leaves_no_pixel(make_detection, monkeypatch):
    """When the stream breaks in the middle all candidates and buffers are zeroed, and its error comes through."""
    stores, cutters = [], []
    monkeypatch.setattr(module, "Store", lambda kind=module.Store, **s: stores.append(kind(**s)) or stores[0])
    monkeypatch.setattr(module, "Cutter", lambda size, kind=module.Cutter: cutters.append(kind(size)) or cutters[0])
    source = FakeStream(50)

    def script(index):
        if index == 30:
            assert any(chunk.any() for chunk in stores[0]._slab._chunks)
            raise UnreadableSource("gone", code="LIVE_LOST")
        return [make_detection()]

    with pytest.raises(UnreadableSource):
        observe(source, ScriptedEye(source, script), ObserveSettings(**SMALL))
    assert not any(chunk.any() for chunk in stores[0]._slab._chunks)
    assert not cutters[0]._scaled.any()


def test_memory_is_flat_over_a_long_video_of_fragments(make_detection):
    """A thousand short tracks hold no more than the video's budget, and only the longest hold anything."""

    def script(index):
        return [make_detection(x=float(60 * (index // 8 % 2)))] if index % 8 < 6 else []

    settings = ObserveSettings(crop_size=16, crops_per_second=25.0, video_bytes=40 * 768, tracklet_bytes=8 * 768)
    seen, _ = watch(8000, script, settings=settings)
    assert len(seen.tracks) == 1000
    assert sum(len(seen.candidates(track.number)) for track in seen.tracks) <= 40
    assert sum(chunk.nbytes for chunk in seen.store._slab._chunks) <= 40 * 768


@pytest.mark.parametrize(
    "wrong",
    [
        {"interval": 0},
        {"steady_after": 0},
        {"crops_per_second": 0.0},
        {"tracklet_bytes": 1000},
        {"video_bytes": 1000},
        {"frames_per_tracklet": 1},
    ],
    ids=str,
)
def test_settings_that_mean_nothing_are_refused(wrong):
    """Zero, or a budget that holds not even two crops: POLICY_INVALID."""
    with pytest.raises(UsageError) as caught:
        ObserveSettings(**wrong)
    assert caught.value.code == "POLICY_INVALID"


def test_an_observation_shows_no_pixels():
    """Printed in a log, an observation tells numbers only; without a store it answers all the same."""
    seen = Observation(tracks=(), frames_read=1, frames_detected=1, width=2, height=2, fps=0.0, scenes=1)
    assert "store" not in repr(seen)
    assert seen.crops(0)[0] == ()


@pytest.mark.parametrize(
    ("index", "boxes"), [(4, 0), (5, 1), (9, 1), (10, 1), (12, 1), (13, 2), (15, 1), (25, 1), (26, 0)], ids=str
)
def test_a_neighbour_is_thought_to_be_where_it_was(make_track, index, boxes):
    """Seen: its box. In a gap: both sides. Five frames before and after: the end's box. Else nothing."""
    early, late = make_track(0, 10, 12), make_track(0, 14, 20, x=60)
    track = Track(number=0, boxes=early.boxes + late.boxes)
    assert len(boxes_near(track, index, (500.0, 500.0, 50.0, 50.0))) == boxes


def test_a_guessed_neighbour_never_hides_the_face_itself(make_track):
    """Where the subject is seen, a fragment that ended in that very place is not a neighbour."""
    before, own = make_track(0, 0, 3), make_track(1, 4, 20).boxes[0].detection.box
    assert iou(before.boxes[-1].detection.box, own) == 1
    assert boxes_near(before, 4, own) == ()
    assert boxes_near(before, 3, own) != ()


def test_frames_that_come_slower_than_the_container_says_are_not_left_out(make_detection):
    """The rate is an average: where each frame lasts a second, the detector sees every one of them."""
    fast = 60
    stream = FakeStream(90, fps=25.0, times=lambda index: 40.0 * min(index, fast) + 1000.0 * max(0, index - fast))
    eye = ScriptedEye(stream, lambda _index: [make_detection()])
    observe(stream, eye, ObserveSettings(interval=5))
    assert set(range(fast + 1, 90)) <= set(stream.converted)
    assert len(set(range(fast)) & set(stream.converted)) < fast // 2
