"""Frames and their labels."""

import numpy as np
import pytest

from fabnet_secure.synth.render import render
from fabnet_secure.synth.scene import Camera, Light, draw_background
from fabnet_secure.synth.surface import pose_surface, rotation

CALM = np.zeros(52, np.float32)
AHEAD = np.zeros(3, np.float32)
STRAIGHT = np.zeros(2, np.float32)
LIGHT = Light(
    direction=np.float32([0, 0.3, 0.954]), key=np.full(3, 0.8, np.float32), ambient=np.full(3, 0.4, np.float32)
)
GREY = np.full((128, 128, 3), 0.5, np.float32)


@pytest.fixture
def shoot(head, person):
    """Render the person; what is not said is calm, straight ahead and grey."""

    def take(pose=AHEAD, expression=CALM, gaze=STRAIGHT, background=GREY, grain=None, **camera):
        return render(
            head,
            person,
            np.float32(pose),
            expression,
            np.float32(gaze),
            LIGHT,
            camera=Camera(**camera),
            background=background,
            grain=grain,
        )

    return take


def weights(head, **units):
    """Return expression weights by unit name."""
    return np.float32([units.get(name, 0) for name in head.units])


def place(head, frame, name):
    """Return a landmark's pixel position."""
    return frame.landmarks[list(head.landmarks).index(name)]


def test_a_frame_carries_its_truth(shoot, person):
    """Pixels, landmarks, pose, expression and identity have the promised shapes and types."""
    frame = shoot(pose=(0.2, 0.1, 0))
    assert frame.pixels.shape == (128, 128, 3)
    assert frame.pixels.dtype == np.uint8
    assert frame.landmarks.shape == (21, 2)
    assert frame.expression.shape == (52,)
    np.testing.assert_allclose(frame.pose, [0.2, 0.1, 0])
    assert frame.identity == person.seed


def test_landmarks_lie_on_the_person(shoot):
    """Seen from ahead, every landmark lies on a pixel that the person covers, whatever the background."""
    dark, bright = shoot(background=GREY * 0), shoot(background=GREY * 2)
    columns, rows = dark.landmarks.astype(int).T
    np.testing.assert_array_equal(dark.pixels[rows, columns], bright.pixels[rows, columns])
    assert not np.array_equal(dark.pixels[0, 0], bright.pixels[0, 0])


def test_turns_go_the_stated_way(head, shoot):
    """Positive yaw turns towards the picture's right, positive pitch looks down, positive roll turns leftwards."""
    ahead, nose = shoot(), lambda frame: place(head, frame, "nose_tip")
    assert nose(shoot(pose=(0.5, 0, 0)))[0] > nose(ahead)[0] + 5
    assert nose(shoot(pose=(0, 0.3, 0)))[1] > nose(ahead)[1] + 3
    assert place(head, shoot(pose=(0, 0, 0.3)), "nasion")[0] < place(head, ahead, "nasion")[0] - 3


def test_expressions_move_what_they_name(head, shoot):
    """An open jaw parts the lips, a blink lowers the lid, a smile widens the mouth, and pixels change."""
    calm = shoot()
    gap = lambda frame: place(head, frame, "lip_lo")[1] - place(head, frame, "lip_up")[1]  # noqa: E731
    wide = lambda frame: place(head, frame, "mouth_L")[0] - place(head, frame, "mouth_R")[0]  # noqa: E731
    agape = shoot(expression=weights(head, jawOpen=0.8))
    assert gap(agape) > gap(calm) + 4
    assert wide(shoot(expression=weights(head, mouthSmileLeft=1, mouthSmileRight=1))) > wide(calm) + 2
    blink = shoot(expression=weights(head, eyeBlinkLeft=1, eyeBlinkRight=1))
    assert place(head, blink, "lid_up_L")[1] > place(head, calm, "lid_up_L")[1] + 0.8
    assert np.abs(agape.pixels.astype(int) - calm.pixels).max() > 60


def test_gaze_moves_the_eyes_only(head, shoot):
    """Looking aside changes pixels near the eyes and nowhere else."""
    changed = np.abs(shoot(gaze=(0.4, 0)).pixels.astype(int) - shoot().pixels).max(axis=2) > 8
    rows, columns = np.nonzero(changed)
    eyes = np.stack([place(head, shoot(), f"eye_{side}_{s}") for side in ("in", "out") for s in "LR"])
    assert changed.sum() > 5
    assert columns.min() > eyes[:, 0].min() - 4
    assert columns.max() < eyes[:, 0].max() + 4
    assert rows.max() < eyes[:, 1].max() + 6


def test_closed_mouth_shows_no_teeth(head, person):
    """With the mouth at rest, the teeth and tongue are not drawn at all."""
    calm = pose_surface(head, person, AHEAD, CALM, STRAIGHT, LIGHT)
    agape = pose_surface(head, person, AHEAD, weights(head, jawOpen=0.5), STRAIGHT, LIGHT)
    assert len(agape.triangles) > len(calm.triangles) + 100


def test_surface_values_fit_the_rasteriser(head, person):
    """Colours handed to the rasteriser are within [0, 1], as it demands."""
    surface = pose_surface(head, person, np.float32([0.6, 0.2, 0.1]), CALM, STRAIGHT, LIGHT)
    for channel in (surface.paint, surface.shading):
        assert channel.min() >= 0
        assert channel.max() <= 1
        assert len(channel) == len(surface.corners)


def test_rotations_are_rotations():
    """A rotation keeps lengths and handedness."""
    turned = rotation(0.4, -0.2, 0.1)
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(turned) == pytest.approx(1, abs=1e-5)


def test_distance_shrinks_and_shift_moves(head, shoot):
    """Twice the distance halves the face; a shift to the right moves it right."""
    wide = lambda frame: place(head, frame, "eye_out_L")[0] - place(head, frame, "eye_out_R")[0]  # noqa: E731
    near, far = shoot(), shoot(distance=2.0)
    assert wide(far) == pytest.approx(wide(near) / 2, rel=0.1)
    assert place(head, shoot(right=0.3), "nose_tip")[0] > place(head, near, "nose_tip")[0] + 5


def test_grain_comes_from_the_generator(shoot):
    """Without a generator there is no noise; with the same one, the same noise."""
    plain = shoot().pixels.astype(int)
    one, two = (shoot(grain=np.random.default_rng(1)).pixels.astype(int) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert 0.5 < (one - plain).std() < 4
    np.testing.assert_array_equal(plain, shoot().pixels)


def test_lights_expose_the_face(head, person):
    """Under fifty drawn lights the cheek is neither black nor burnt out."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        light = Light.draw(rng)
        assert np.linalg.norm(light.direction) == pytest.approx(1, abs=1e-5)
        assert 0.55 < light.ambient.mean() + light.key.mean() * light.direction[2] < 1.6


def test_backgrounds_fill_the_picture():
    """Backgrounds of every kind have the asked size and stay within [0, 1]."""
    rng = np.random.default_rng(0)
    for _ in range(12):
        room = draw_background(rng, 60, 40)
        assert room.shape == (40, 60, 3)
        assert room.min() >= 0
        assert room.max() <= 1
