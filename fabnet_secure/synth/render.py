"""Draws one frame of a person, with everything that is known about it.

Guarantees: pixels and labels describe the same frame; drawn larger and averaged down. The same arguments
give the same frame. Colours are linear until the last step (gamma 2).
"""

from dataclasses import dataclass

import numpy as np

from fabnet_secure.synth.head import HeadModel, Material
from fabnet_secure.synth.person import Person
from fabnet_secure.synth.raster import Floats, Ints, Pixels, mix_channels, rasterise, resize, sample
from fabnet_secure.synth.scene import FIELD_OF_VIEW, Camera, Light
from fabnet_secure.synth.surface import CODES, Surface, pose_surface

# How much larger a frame is drawn before it is averaged down: small frames need smooth edges, large ones speed.
_OVERSAMPLE_SMALL, _OVERSAMPLE_LARGE, _SMALL = 2.0, 1.4, 160
_IRIS, _PUPIL = float(np.sin(0.42)), float(np.sin(0.17))
# Flat linear colours: teeth, tongue, lashes.
_PLAIN = {Material.TEETH: (0.62, 0.58, 0.48), Material.TONGUE: (0.36, 0.09, 0.09), Material.LASH: (0.004, 0.003, 0.002)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledFrame:
    """A rendered frame and the truth about it.

    Attributes:
        pixels: (H, W, 3) uint8 BGR.
        landmarks: (21, 2) pixel positions x, y in the order of ``landmarks.LANDMARKS``.
        pose: (3,) yaw, pitch, roll in radians.
        expression: (52,) weights within [0, 1].
        identity: the person's seed.
    """

    pixels: Pixels
    landmarks: Floats
    pose: Floats
    expression: Floats
    identity: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cutout:
    """A person drawn before nothing.

    Attributes:
        colour: (H, W, 3) RGB within [0, 1], already multiplied by ``cover``.
        cover: (H, W, 1) how much of each pixel the person fills.
        landmarks: (21, 2) pixel positions.
    """

    colour: Floats
    cover: Floats
    landmarks: Floats


def render(
    head: HeadModel,
    person: Person,
    pose: Floats,
    expression: Floats,
    gaze: Floats,
    light: Light,
    *,
    camera: Camera,
    background: Floats,
    grain: np.random.Generator | None = None,
) -> LabelledFrame:
    """Render one frame at the background's size.

    Args:
        head: the common mesh.
        person: who.
        pose: (3,) yaw, pitch, roll in radians.
        expression: (52,) weights within [0, 1].
        gaze: (2,) radians.
        light: the lamp and the room.
        camera: where from.
        background: (H, W, 3) RGB within [0, 1].
        grain: chance for the camera's noise; none without it.
    """
    height, width = background.shape[:2]
    surface = pose_surface(head, person, pose, expression, gaze, light)
    cutout = draw_cutout(person, surface, light, camera, width=width, height=height)
    picture = cutout.colour + background * (1 - cutout.cover)
    return LabelledFrame(
        pixels=to_pixels(picture, grain),
        landmarks=cutout.landmarks,
        pose=np.asarray(pose, np.float32),
        expression=np.asarray(expression, np.float32),
        identity=person.seed,
    )


def to_pixels(picture: Floats, grain: np.random.Generator | None) -> Pixels:
    """Turn (H, W, 3) RGB in [0, 1] into uint8 BGR, with a camera's noise (standard deviation 2 of 255)."""
    scaled = picture[:, :, ::-1] * np.float32(255)
    if grain is not None:
        scaled = scaled + grain.standard_normal((*picture.shape[:2], 1), dtype=np.float32) * np.float32(2)
    return np.asarray(np.clip(scaled + np.float32(0.5), 0, 255), np.uint8)


def draw_cutout(person: Person, surface: Surface, light: Light, camera: Camera, *, width: int, height: int) -> Cutout:
    """Draw a posed person without a background, ``width`` × ``height`` pixels."""
    oversample = _OVERSAMPLE_SMALL if height <= _SMALL else _OVERSAMPLE_LARGE
    shape = (round(height * oversample), round(width * oversample))
    seen = camera.see(surface.corners)
    below = seen[:, 1] < seen[:, 2] * np.float32(np.tan(FIELD_OF_VIEW / 2))
    triangles = surface.triangles[~below[surface.triangles].all(axis=1)]
    first = rasterise(seen, triangles, surface.paint, shape=shape, field_of_view=FIELD_OF_VIEW, empty=-1)
    second = rasterise(seen, triangles, surface.shading, shape=shape, field_of_view=FIELD_OF_VIEW, empty=0)
    colour = np.zeros((*shape, 3), np.float32)
    cover = (first[:, :, 2] >= 0).astype(np.float32)
    rows, columns = np.nonzero(cover.any(axis=1))[0], np.nonzero(cover.any(axis=0))[0]
    if rows.size:
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        colour[box] = _shade(first[box], second[box], person, surface, light) * cover[box][:, :, None]
    return Cutout(
        colour=resize(colour, width, height),
        cover=resize(cover, width, height)[:, :, None],
        landmarks=camera.project(surface.landmarks, width, height),
    )


def _shade(first: Floats, second: Floats, person: Person, surface: Surface, light: Light) -> Floats:
    """Return (h, w, 3) display RGB of a box of both passes."""
    size = np.float32(person.texture.shape[0])
    place_u, place_v = np.ascontiguousarray(first[:, :, 0]), np.ascontiguousarray(first[:, :, 1])
    steps = first[:, :, 2] * CODES
    part = (steps + np.float32(0.25)).astype(np.int32)
    albedo = sample(person.texture, place_u * size - np.float32(0.5), place_v * size - np.float32(0.5))
    gloss = np.full(part.shape, 0.06, np.float32)
    _dress(albedo, gloss, steps, part, person)
    _colour_eyes(albedo, gloss, first, part, person, surface, light)
    for material, colour in _PLAIN.items():
        albedo[part == material] = colour
    if person.hair is not None:
        hair = part == Material.HAIR
        lines = sample(person.strands, place_u * np.float32(255), place_v * np.float32(63))
        albedo[hair] = np.clip(person.complexion.hair * lines[hair][:, None], 0, 1) ** 2
        gloss[hair] = 0.12 * lines[hair] ** 2
    if person.glasses is not None:
        albedo[part == Material.GLASSES] = person.frame_colour**2
    lamps = np.stack([light.ambient, light.key, np.zeros(3, np.float32)], axis=1)
    lit = albedo * mix_channels(second, lamps) + (gloss * second[:, :, 2])[:, :, None] * light.key
    return np.asarray(np.sqrt(np.clip(lit, 0, 1)), np.float32)


def _dress(albedo: Floats, gloss: Floats, steps: Floats, part: Ints, person: Person) -> None:
    """Colour the clothes below the neckline, darker at the hem."""
    cloth = (part == Material.SKIN) & (steps > 0.25)  # half of the cloth's range
    hem = cloth & (steps < 0.3)
    linear = person.shirt**2
    albedo[cloth] = linear
    albedo[hem] = linear * np.float32(0.7)
    gloss[cloth] = 0.01


def _colour_eyes(
    albedo: Floats, gloss: Floats, first: Floats, part: Ints, person: Person, surface: Surface, light: Light
) -> None:
    """Colour white, iris and pupil by the angle to the gaze, and set the lamp's glint."""
    eye = part == Material.EYE
    if not eye.any():
        return
    direction = first[eye][:, :2] * 2 - 1
    off = np.sqrt((direction**2).sum(axis=1))[:, None]
    white = np.float32(0.5) * (1 - np.float32(0.3) * off) * np.array([1, 0.97, 0.95], np.float32)
    iris = person.iris**2 * np.where(off > _IRIS * 0.85, 0.45, 1.1)
    colour = np.where(off < _PUPIL, np.float32(0.002), np.where(off < _IRIS, iris, white))
    ahead = np.sqrt(np.clip(1 - (direction**2).sum(axis=1), 0, 1))
    normal = np.c_[direction, ahead] @ surface.gaze.T
    half = light.direction + np.array([0, 0, 1], np.float32)
    glint = normal @ (half / np.linalg.norm(half)) > 0.988  # about 9 degrees
    colour[glint] = 0.85
    albedo[eye] = colour
    gloss[eye] = 0.0
