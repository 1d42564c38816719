"""Times that cannot be believed do not decide what is the same face."""

import pytest

from fabnet_secure.video.motion import Face, Motion, Now, TrackerSettings

SETTINGS = TrackerSettings()


@pytest.mark.parametrize(
    ("frames", "time_ms", "ticks"),
    [(1, None, 1.0), (5, None, 5.0), (1, 40.0, 1.0), (1, 80.0, 2.0), (2, 0.001, 0.5), (3, 1e12, 12.0)],
    ids=["frame", "frames", "25 a second", "12.5 a second", "stuck clock", "absurd clock"],
)
def test_ticks_follow_the_time_within_reason(frames, time_ms, ticks):
    """A tick is 40 ms; a frame is between a quarter of a tick and four, whatever the file says."""
    assert Now(0, 0.0, 0.0).later(frames, time_ms).tick == pytest.approx(ticks)


def test_a_face_that_does_not_touch_does_not_fit(make_detection):
    """Far away there is nothing to compare."""
    motion = Motion(Now(0, 0.0, 0.0), Face(make_detection()))
    assert motion.fits(Now(1, 40.0, 1.0), [Face(make_detection(x=300.0))], SETTINGS) == {}


@pytest.mark.parametrize(
    ("change", "near", "against"),
    [
        ({}, True, ""),
        ({"x": 14.0}, True, ""),
        ({"x": 45.0}, False, "jump"),
        ({"size": 95.0, "x": -12.0, "y": -12.0}, False, "jump"),
    ],
    ids=["same", "moved", "elsewhere", "twice as large"],
)
def test_why_a_face_does_not_go_on(make_detection, change, near, against):
    """Nearly the same place and size go on; too little overlap is a jump."""
    motion = Motion(Now(0, 0.0, 0.0), Face(make_detection()))
    fit = motion.fits(Now(1, 40.0, 1.0), [Face(make_detection(**change))], SETTINGS)[0]
    assert (fit.near, fit.against) == (near, against)


def test_a_lively_face_may_change_more_than_a_still_one(make_detection):
    """The same shift is abrupt after stillness and usual for a face that moves about."""
    still, lively = (Motion(Now(0, 0.0, 0.0), Face(make_detection())) for _ in range(2))
    for i in range(1, 20):
        now = Now(i, 40.0 * i, float(i))
        still.add(now, Face(make_detection()))
        lively.add(now, Face(make_detection(x=10.0 + 6 * (i % 2))))
    shifted, now = Face(make_detection(x=25.0)), Now(20, 800.0, 20.0)
    assert still.fits(now, [shifted], SETTINGS)[0].against == "jump"
    assert lively.fits(now, [shifted], SETTINGS)[0].against == ""


def test_a_box_of_no_size_does_not_fail(make_detection):
    """The detector may answer with an empty box; it fits nothing."""
    empty = Face(make_detection(size=0.0))
    motion = Motion(Now(0, 0.0, 0.0), empty)
    assert motion.fits(Now(1, 40.0, 1.0), [empty], SETTINGS) == {}
