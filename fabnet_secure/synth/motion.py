"""How a face moves through a clip: head pose, expression and gaze over time.

Guarantees: drawn from the generator that is passed in and nothing else; weights stay within [0, 1] and angles within
the stated limits; blinks, expressions and turns all occur. Expressions are blends of whole faces that people make,
with one free unit besides, so that no unit is always zero over many tracks. Does not imitate any person or speech.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fabnet_secure.synth.raster import Floats

YAW_LIMIT, PITCH_LIMIT, ROLL_LIMIT = 1.0, 0.45, 0.35
_FPS = 25
_BOTH = ("Left", "Right")
# Whole faces: unit (without its side) → weight.
_FACES: Mapping[str, Mapping[str, float]] = {
    "smile": {"mouthSmile": 0.85, "cheekSquint": 0.6, "mouthDimple": 0.2},
    "laugh": {"mouthSmile": 0.9, "jawOpen": 0.45, "cheekSquint": 0.8, "eyeSquint": 0.4, "mouthUpperUp": 0.35},
    "surprise": {"jawOpen": 0.55, "browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.9},
    "sadness": {"mouthFrown": 0.9, "browInnerUp": 0.8, "mouthShrugLower": 0.4, "eyeSquint": 0.2},
    "anger": {"browDown": 1.0, "mouthPress": 0.7, "noseSneer": 0.5, "eyeSquint": 0.4, "jawForward": 0.2},
    "disgust": {"noseSneer": 0.9, "mouthUpperUp": 0.6, "browDown": 0.5, "cheekSquint": 0.4},
    "pucker": {"mouthPucker": 0.85, "mouthFunnel": 0.2},
    "wide_open": {"jawOpen": 0.8, "mouthLowerDown": 0.3},
    "doubt": {"mouthLeft": 0.6, "browDown": 0.4, "mouthDimple": 0.5},
    "puff": {"cheekPuff": 0.8, "mouthPress": 0.4},
    "rest": {},
}
# Units that look broken alone, or follow from the gaze.
_NOT_FREE = ("tongueOut", "mouthClose", "eyeBlink", "eyeLook")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Motion:
    """A track's movement, a row a frame.

    Attributes:
        pose: (n, 3) yaw, pitch, roll in radians; yaw turns towards the person's left, pitch looks down.
        expression: (n, 52) weights within [0, 1] in the order of the head's units.
        gaze: (n, 2) horizontal and vertical angle of the eyes within the head, in radians.
    """

    pose: Floats
    expression: Floats
    gaze: Floats

    @classmethod
    def draw(cls, rng: np.random.Generator, n: int, *, units: Sequence[str], reach: float = 1.0) -> "Motion":
        """Draw ``n`` frames at 25 a second.

        Args:
            rng: where all chance comes from.
            n: how many frames, at least one.
            units: the names of the expression units, in order.
            reach: scales the turns of the head (1: up to about 57 degrees of yaw).
        """
        pose = np.stack(
            [
                _turn(rng, n, reach * 0.42, reach * YAW_LIMIT, period=3.5),
                _turn(rng, n, reach * 0.14, reach * PITCH_LIMIT, period=3.0),
                _turn(rng, n, reach * 0.12, reach * ROLL_LIMIT, period=4.0),
            ],
            axis=1,
        )
        gaze = np.stack([_turn(rng, n, 0.22, 0.45, period=2.0), _turn(rng, n, 0.1, 0.25, period=2.0)], axis=1)
        expression = _express(rng, n, units) + _follow_gaze(gaze, units)
        return cls(pose=pose, expression=np.clip(expression, 0, 1).astype(np.float32), gaze=gaze)


def wander(rng: np.random.Generator, n: int, amplitude: float, *, period: float) -> Floats:
    """Return (n,) a smooth wandering about zero, about ``amplitude`` high, repeating after ``period`` seconds."""
    time = np.arange(n) / _FPS
    total = np.zeros(n)
    for k in (1, 2, 3):
        height = amplitude / k * (1 if k == 1 else rng.normal(0, 0.7))
        total += height * np.sin(2 * np.pi * k * time / period + rng.uniform(0, 2 * np.pi))
    return total.astype(np.float32)


def _turn(rng: np.random.Generator, n: int, amplitude: float, limit: float, *, period: float) -> Floats:
    """Return (n,) a wandering angle about a slightly turned rest position, kept within ``limit``."""
    rest = rng.normal(0, amplitude * 0.3)
    return np.asarray(np.clip(rest + wander(rng, n, amplitude, period=period), -limit, limit), np.float32)


def _express(rng: np.random.Generator, n: int, units: Sequence[str]) -> Floats:
    """Return (n, 52): one whole face fading into the next, one free unit, and blinks."""
    expression = np.zeros((n, len(units)), np.float32)
    names = list(_FACES)
    start, last = -float(rng.uniform(0, 12)), ""
    while start < n:
        length = float(rng.uniform(14, 30))
        last = str(rng.choice([name for name in names if name != last]))
        face = _face_weights(rng, _FACES[last], units)
        expression += _swell(n, start, length)[:, None] * face
        start += length
    free = [k for k, unit in enumerate(units) if not unit.startswith(_NOT_FREE)]
    column = int(rng.choice(free))
    expression[:, column] += _swell(n, float(rng.uniform(0, n)) - 10, 20.0) * np.float32(rng.uniform(0.3, 0.7))
    blink = _blink(rng, n)
    for side in _BOTH:
        expression[:, units.index(f"eyeBlink{side}")] += blink
    return expression


def _face_weights(rng: np.random.Generator, face: Mapping[str, float], units: Sequence[str]) -> Floats:
    """Return (52,) the face at a random strength, slightly uneven between the sides."""
    weights = np.zeros(len(units), np.float32)
    strength = rng.uniform(0.65, 1.0)
    for name, weight in face.items():
        for unit in (name, *(name + side for side in _BOTH)):
            if unit in units:
                weights[units.index(unit)] = weight * strength * rng.uniform(0.85, 1.0)
    return weights


def _swell(n: int, start: float, length: float) -> Floats:
    """Return (n,) a rise and fall within [0, 1] that overlaps its neighbours by a quarter."""
    ramp = max(length * 0.25, 3.0)
    frames = np.arange(n, dtype=np.float32)
    rise = np.clip((frames - start + ramp / 2) / ramp, 0, 1)
    fall = np.clip((start + length + ramp / 2 - frames) / ramp, 0, 1)
    both = np.minimum(rise, fall)
    return np.asarray(both * both * (3 - 2 * both), np.float32)


def _blink(rng: np.random.Generator, n: int) -> Floats:
    """Return (n,) closings of the eyes, about one in two seconds."""
    closed = np.zeros(n, np.float32)
    for centre in rng.integers(0, n, max(1, n // 50)):
        closed = np.maximum(closed, np.exp(-(((np.arange(n) - centre) / 1.5) ** 2)).astype(np.float32))
    return closed


def _follow_gaze(gaze: Floats, units: Sequence[str]) -> Floats:
    """Return (n, 52) what the lids do when the eyes turn."""
    weights = np.zeros((len(gaze), len(units)), np.float32)
    for side, sign in (("Left", 1), ("Right", -1)):
        outwards, upwards = gaze[:, 0] * sign, gaze[:, 1]
        for name, amount in (("Out", outwards), ("In", -outwards), ("Up", upwards), ("Down", -upwards)):
            weights[:, units.index(f"eyeLook{name}{side}")] = np.clip(amount * 1.6, 0, 1)
    return weights
