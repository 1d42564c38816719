"""The tracker's invariants over arbitrary detections, and the one pass's over arbitrary scripts."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fabnet_secure.video.detect import Detection, Look
from fabnet_secure.video.observe import ObserveSettings, observe
from fabnet_secure.video.reader import Frame
from fabnet_secure.video.track import SPLITS, Tracker, TrackerSettings

COORDINATE = st.integers(0, 12).map(lambda step: 10.0 * step)  # a coarse grid, so that boxes often meet
SIZE = st.sampled_from([20.0, 40.0, 60.0])
FRONTAL = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)], np.float32)


def face(x, y, size, turn=0.0):
    """A square face, turned by a share of its box."""
    marks = (FRONTAL + np.array((turn, 0), np.float32)) * np.float32(size) + np.array((x, y), np.float32)
    return Detection(box=(x, y, size, size), score=0.9, landmarks=marks)


@st.composite
def detections(draw):
    """A face on the grid."""
    return face(draw(COORDINATE), draw(COORDINATE), draw(SIZE), draw(st.sampled_from([0.0, 0.02, 0.2])))


FRAMES = st.lists(st.tuples(st.lists(detections(), max_size=4), st.integers(1, 5), st.booleans()), max_size=25)
SETTINGS = st.builds(
    TrackerSettings,
    iou_min=st.sampled_from([0.1, 0.3, 0.6]),
    max_gap_frames=st.integers(0, 4),
    max_skip=st.integers(0, 4),
    max_size_ratio=st.sampled_from([1.2, 1.6, 3.0]),
    max_surprise=st.sampled_from([2.0, 8.0, 1e9]),
    contact=st.sampled_from([0.0, 0.1, 1.0]),
)


def run(frames, tracker_settings):
    """Feed (detections, step to the next index, cut before) frames; return tracks, the fed, the cuts, the steps."""
    tracker, index, fed, cuts, steps = Tracker(tracker_settings), 0, [], [], []
    for found, step, cut in frames:
        index += step
        ended = list(tracker.cut()) if cut else []
        if cut:
            cuts.append(index)
        done = tracker.update(index, found, 40.0 * index)
        steps.append((index, found, done.numbers, [*ended, *done.ended]))
        fed += [(index, detection.box) for detection in found]
    return tracker.finish(), fed, cuts, steps


@given(FRAMES, SETTINGS)
@settings(max_examples=150, deadline=None)
def test_detections_are_conserved(frames, tracker_settings):
    """Every detection is in exactly one track, at the frame it was given in; nothing is made up."""
    tracks, fed, _, _ = run(frames, tracker_settings)
    kept = [(box.index, box.detection.box) for track in tracks for box in track.boxes]
    assert Counter(kept) == Counter(fed)


@given(FRAMES, SETTINGS)
@settings(max_examples=100, deadline=None)
def test_a_step_tells_the_truth(frames, tracker_settings):
    """The number told for a detection is its track's; each track is handed out as ended once, as it is in the end."""
    tracks, _, _, steps = run(frames, tracker_settings)
    by_number = {track.number: track for track in tracks}
    for index, found, numbers, _ in steps:
        assert len(numbers) == len(set(numbers)) == len(found)
        for number, detection in zip(numbers, found, strict=True):
            assert (index, detection.box) in [(box.index, box.detection.box) for box in by_number[number].boxes]
    ended = [track for *_, gone in steps for track in gone]
    assert [by_number[track.number] for track in ended] == ended
    assert Counter(track.number for track in tracks if track.split != "end") == Counter(t.number for t in ended)


@given(FRAMES, SETTINGS)
@settings(max_examples=150, deadline=None)
def test_a_track_is_one_face_at_a_time_without_long_gaps(frames, tracker_settings):
    """Boxes rise strictly in time, no gap in looks or frames is longer than allowed, no cut lies inside a track."""
    tracks, _, cuts, steps = run(frames, tracker_settings)
    looks = [index for index, *_ in steps]
    for track in tracks:
        indices = [box.index for box in track.boxes]
        unseen = np.diff(indices) - 1
        assert (unseen >= 0).all()
        assert (unseen <= tracker_settings.max_gap_frames + tracker_settings.max_skip).all()
        missed = np.diff([looks.index(index) for index in indices]) - 1
        assert (missed <= tracker_settings.max_gap_frames).all()
        assert not any(track.first < cut <= track.last for cut in cuts)
        assert track.split in SPLITS


@given(FRAMES, SETTINGS)
@settings(max_examples=100, deadline=None)
def test_numbers_are_never_used_again(frames, tracker_settings):
    """Numbers are 0, 1, 2, ... in the order in which tracks begin."""
    tracks = run(frames, tracker_settings)[0]
    assert [track.number for track in tracks] == list(range(len(tracks)))
    assert [track.first for track in tracks] == sorted(track.first for track in tracks)


@given(FRAMES, SETTINGS)
@settings(max_examples=50, deadline=None)
def test_tracking_is_deterministic(frames, tracker_settings):
    """The same detections give the same tracks."""
    assert run(frames, tracker_settings)[0] == run(frames, tracker_settings)[0]


@given(FRAMES)
@settings(max_examples=100, deadline=None)
def test_no_track_goes_on_where_two_faces_could(frames):
    """Whenever two faces of one frame overlap a track's last box enough, neither is that track's."""
    tracks, _, _, steps = run(frames, TrackerSettings(iou_min=0.3, max_gap_frames=0))
    found = {index: detections for index, detections, *_ in steps}
    for track in tracks:
        for before, after in zip(track.boxes, track.boxes[1:], strict=False):
            if len(track.boxes) == 2:  # no movement is expected yet: the last box is where the face should be
                near = [one for one in found[after.index] if _overlap(before.detection.box, one.box) >= 0.3]
                assert len(near) == 1


def _overlap(first, second):
    """Intersection over union, written down once more."""
    across = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    down = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(across, 0.0) * max(down, 0.0)
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


class ScriptedStream:
    """A stream and a detector in one: frame i holds the faces that the script says."""

    width, height, fps, locked = 200, 200, 25.0, True

    def __init__(self, script):
        self.script, self.expected, self.frames_read, self.looks = script, len(script), 0, []
        self.pixels = np.full((200, 200, 3), 90, np.uint8)
        self.pixels.flags.writeable = False

    def grab(self):
        more = self.frames_read < self.expected
        self.frames_read += more
        return more

    @property
    def time_ms(self):
        return 40.0 * (self.frames_read - 1)

    def frame(self):
        self.looks.append(self.frames_read - 1)
        return Frame(pixels=self.pixels, index=self.frames_read - 1, time_ms=40.0 * (self.frames_read - 1))

    def look(self, _pixels):
        return Look(detections=self.script[self.frames_read - 1], thumbnail=np.zeros((18, 32, 3), np.uint8))


@st.composite
def scripts(draw):
    """People who come, stay for a while, wander a little, and go; sometimes one is missed."""
    frames = [[] for _ in range(draw(st.integers(1, 60)))]
    for place in range(draw(st.integers(0, 3))):
        first = draw(st.integers(0, len(frames)))
        last = draw(st.integers(first, len(frames)))
        step, missed = draw(st.sampled_from([0.0, 0.5, 6.0])), draw(st.sets(st.integers(0, 60), max_size=3))
        for index in range(first, last):
            if index not in missed:
                frames[index].append(face(20.0 + 60 * place + step * (index - first), 40.0, 40.0))
    return frames


@given(scripts(), st.integers(1, 6), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_every_frame_is_seen_or_covered_by_a_steady_track(script, interval, steady_after):
    """A frame left out follows by less than the interval looks in which the same faces, one at least, went on."""
    stream = ScriptedStream(script)
    chosen = ObserveSettings(interval=interval, steady_after=steady_after, crop_size=16)
    seen = observe(stream, stream, chosen)
    assert seen.frames_detected == len(stream.looks)
    assert stream.looks[:1] == [0]
    for place, (look, following) in enumerate(zip(stream.looks, [*stream.looks[1:], None], strict=True)):
        left_out = (len(script) if following is None else following) - look - 1
        assert left_out < interval
        if left_out:
            recent = stream.looks[place - steady_after : place + 1]
            assert len(recent) == steady_after + 1
            shown = [{t.number for t in seen.tracks for b in t.boxes if b.index == index} for index in recent]
            assert shown[0]
            assert all(numbers == shown[0] for numbers in shown)
    assert Counter(b.index for t in seen.tracks for b in t.boxes) == Counter(
        index for index in stream.looks for _ in script[index]
    )
    assert {c.index for t in seen.tracks for c in seen.candidates(t.number)} <= set(stream.looks)
    seen.wipe()
