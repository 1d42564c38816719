"""The 21 landmarks of the head."""

from fabnet_secure.synth.landmarks import LANDMARKS


def test_all_21_in_order(head):
    """The head carries exactly the named landmarks, in the published order."""
    assert tuple(head.landmarks) == LANDMARKS
    assert len(LANDMARKS) == 21


def test_left_and_right_mirror_each_other(head):
    """Each left landmark lies on +x, and its right one lies where a mirror would show it."""
    for name in LANDMARKS:
        if name.endswith("_L"):
            left = head.vertices[head.landmarks[name]]
            right = head.vertices[head.landmarks[name[:-1] + "R"]]
            assert left[0] > 0 > right[0]
            assert abs(left - right * [-1, 1, 1]).max() < 0.05, name


def test_a_face_from_top_to_bottom(head):
    """Brows, eyes, nose, mouth and chin follow one another downwards."""
    heights = [
        head.vertices[head.landmarks[name], 1]
        for name in ("brow_mid_L", "eye_in_L", "nose_tip", "lip_up", "lip_lo", "chin")
    ]
    assert heights == sorted(heights, reverse=True)


def test_the_chin_is_the_chin(head):
    """The chin lies just below the mouth, not on the chest."""
    chin, lip = (head.vertices[head.landmarks[name]] for name in ("chin", "lip_lo"))
    assert 0.1 < lip[1] - chin[1] < 0.6
