"""What surrounds a person: the light, the background, where the camera stands.

Guarantees: every light leaves the face well enough exposed to be found by a detector. Does not cast shadows.
"""

from dataclasses import dataclass

import numpy as np

from fabnet_secure.synth.raster import Floats, fractal_noise, resize

FIELD_OF_VIEW = float(2 * np.arctan(1.45 / 12))
_DISTANCE = 12.0
_CENTRE = np.array([0, 7.05, 0.9], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Light:
    """One far lamp and the light of the room.

    Attributes:
        direction: (3,) unit vector towards the lamp.
        key: (3,) the lamp's linear RGB.
        ambient: (3,) the room's linear RGB.
    """

    direction: Floats
    key: Floats
    ambient: Floats

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Light":
        """Draw a lamp in front of the person, on either side, warm or cool."""
        direction = np.array([rng.normal(0, 0.55), rng.normal(0.4, 0.3), rng.uniform(0.6, 1.2)])
        direction /= np.linalg.norm(direction)
        warmth = rng.normal(0, 0.05)
        ambient = rng.uniform(0.25, 0.5)
        # A dim room needs a stronger lamp: the sum is what exposes the face.
        key = rng.uniform(0.95, 1.15) - 0.5 * ambient
        return cls(
            direction=direction.astype(np.float32),
            key=(np.array([1 + warmth, 1, 1 - warmth]) * key).astype(np.float32),
            ambient=(np.array([1 - warmth / 2, 1, 1 + warmth / 2]) * ambient).astype(np.float32),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Where the camera stands, relative to the head's usual place.

    Attributes:
        distance: 1 fills a square picture with head and shoulders; more is farther away.
        right: how far the person is moved to the picture's right, in decimetres.
        up: likewise upwards.
    """

    distance: float = 1.0
    right: float = 0.0
    up: float = 0.0

    def see(self, points: Floats) -> Floats:
        """Turn world positions (V, 3) into camera coordinates, the view along -z."""
        offset = np.array([self.right, self.up, -_DISTANCE * self.distance], np.float32) - _CENTRE
        return np.asarray(points + offset, np.float32)

    def project(self, points: Floats, width: int, height: int) -> Floats:
        """Return the pixel positions (V, 2) of world positions (V, 3)."""
        seen = self.see(points)
        scale = height / 2 / np.tan(FIELD_OF_VIEW / 2) / -seen[:, 2]
        centre = np.array([width / 2, height / 2], np.float32)
        flat = np.stack([seen[:, 0], -seen[:, 1]], axis=1) * scale[:, None]
        return np.asarray(centre + flat, np.float32)


def draw_background(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Draw a blurred room: a wall, soft patches of light, or mottled shapes. (height, width, 3) RGB in [0, 1]."""
    size = 64
    kind = rng.integers(3)
    if kind == 0:
        wall = np.ones((size, size, 3)) * (rng.uniform(0.25, 0.85) + rng.normal(0, 0.05, 3))
        picture = np.asarray(wall * np.linspace(1.08, 0.85, size)[:, None, None], np.float32)
    elif kind == 1:
        patches = rng.uniform(0.15, 0.85, (3, 3, 1)) + rng.normal(0, 0.06, (3, 3, 3))
        picture = resize(np.asarray(patches, np.float32), size, size, smooth=True)
    else:
        tint = np.stack([fractal_noise(rng, size, (3, 6, 12)) for _ in range(3)], axis=2)
        mottled = 0.5 + 0.14 * fractal_noise(rng, size, (3, 6, 12, 24))[:, :, None] + 0.03 * tint
        picture = np.asarray(mottled, np.float32)
    soft = np.clip(picture, 0, 1)
    return np.clip(resize(soft, width, height, smooth=True), 0, 1)
