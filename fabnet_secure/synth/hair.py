"""Grows hair: roots painted on the scalp, and a shell of strands over them that thins out towards its edges.

Guarantees: the shell lies outside the skull and the roots reach as far as the shell, so no rim stands off the skin.
Does not simulate strands; the hair turns stiffly with the head.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from fabnet_secure.synth.head import TEXTURE_SIZE, HeadModel
from fabnet_secure.synth.raster import Floats, Mask, blur, fractal_noise, resize, smooth_step
from fabnet_secure.synth.shell import Shell, grid_triangles, unit

_STRANDS, _KNOTS = 96, 30
_CENTRE_Y = 7.42
# Azimuths as a share of the way from the back (0) to the middle of the forehead (1).
_TEMPLE, _FOREHEAD = 0.52, 0.70
_STYLES = ("bald", "short", "medium", "long", "bob")
_MASCULINE = (0.14, 0.64, 0.14, 0.04, 0.04)
_FEMININE = (0.0, 0.16, 0.24, 0.38, 0.22)


@dataclass(frozen=True, slots=True, kw_only=True)
class HairStyle:
    """How the hair is worn.

    Attributes:
        name: ``bald``, ``short``, ``medium``, ``long`` or ``bob``.
        thickness: how far the shell stands off the skull, in decimetres.
        nape: the height where the hair ends at the back.
        fringe: the height where it ends over the forehead.
        part: slant of the forehead's line, from -1 to 1.
        stubble: how much of the hair's colour shows on the scalp, 0 to 1.
    """

    name: str
    thickness: float
    nape: float
    fringe: float
    part: float
    stubble: float


def draw_style(rng: np.random.Generator, *, masculine: float) -> HairStyle:
    """Draw a style that is usual for a person of this masculinity (0 to 1)."""
    chances = _MASCULINE if masculine > 0.5 else _FEMININE
    name = str(rng.choice(_STYLES, p=chances))
    nape = {"short": (6.85, 7.1), "medium": (6.4, 6.8), "long": (4.9, 5.8), "bob": (6.05, 6.4)}
    thickness = {"short": (0.04, 0.11), "medium": (0.08, 0.17), "long": (0.08, 0.16), "bob": (0.1, 0.18)}
    bangs = name != "short" and rng.random() < 0.3
    return HairStyle(
        name=name,
        thickness=float(rng.uniform(*thickness.get(name, (0.0, 0.0)))),
        nape=float(rng.uniform(*nape.get(name, (6.9, 7.1)))),
        fringe=float(rng.uniform(7.7, 7.85) if bangs else rng.uniform(7.95, 8.15)),
        part=float(rng.uniform(-0.5, 0.5)),
        stubble=0.95 if name != "bald" else float(rng.choice([0.0, 0.25, 0.45])),
    )


def paint_scalp(head: HeadModel, rng: np.random.Generator, style: HairStyle) -> Floats:
    """Return how much of the hair's colour shows on the skin: (S, S) within [0, 1]."""
    across, up, forward = np.moveaxis(head.position_map, 2, 0)
    middle = _skull_middle(head.vertices[head.part == 0])
    front = np.abs(_azimuth(across, forward, middle)) / np.pi
    line = _hairline(np.asarray(front, np.float32), max(style.fringe, 7.9)) + 0.03 * style.part * across
    ragged = fractal_noise(rng, TEXTURE_SIZE, (24, 64, 128)) * 0.03
    covered = smooth_step(-0.05, 0.06, np.asarray(up - line + ragged, np.float32))
    return np.asarray(covered * (1 - blur(head.masks["ears"], 1.0)) * style.stubble, np.float32)


def _hairline(front: Floats, fringe: float) -> Floats:
    """Return the height of the hairline by azimuth: the nape, the sideburns before the ear, the forehead."""
    rise = smooth_step(_TEMPLE + 0.06, _FOREHEAD + 0.04, front)
    side = 6.85 + 0.35 * smooth_step(0.3, 0.5, front)
    return np.asarray(side * (1 - rise) + fringe * rise, np.float32)


def _azimuth(across: Floats, forward: Floats, middle: float) -> Floats:
    """Return the angle about the vertical axis: 0 at the back, ±π at the front."""
    return np.asarray(np.arctan2(-across, -(forward - middle)), np.float32)


def _skull_middle(skin: Floats) -> float:
    """Return the depth (z) of the skull's vertical axis."""
    back = skin[skin[:, 1] > 7.4, 2].min()  # above the eyes
    front = skin[skin[:, 1] > 7.7, 2].max()  # the forehead
    return float((back + front) / 2)


def grow_hair(vertices: Floats, skin: Mask, rng: np.random.Generator, style: HairStyle) -> tuple[Shell, Floats] | None:
    """Grow the shell over a person's own skull; None for a bald person.

    Args:
        vertices: (G, 3) the person's neutral shape.
        skin: (G,) which of them are skin.
        rng: chance for the strands.
        style: how it is worn.

    Returns:
        The shell and its (64, 256) brightness along and across the strands.
    """
    if style.name == "bald":
        return None
    shape = vertices[skin]
    centre = np.array([0, _CENTRE_Y, _skull_middle(shape)], np.float32)
    azimuth = np.linspace(-np.pi, np.pi, _STRANDS, dtype=np.float32)
    top = float(shape[:, 1].max())
    tips = _strand_tips(azimuth, rng, style)
    points = _lay_strands(_Skull(shape, centre), top, azimuth, tips, rng, style)
    along, down = np.gradient(points, axis=1), np.gradient(points, axis=0)
    outwards = (points - centre).reshape(-1, 3)
    normals = np.cross(along.reshape(-1, 3), down.reshape(-1, 3))
    normals *= np.sign((normals * outwards).sum(axis=1, keepdims=True) + np.float32(1e-9))
    across, length = np.meshgrid(np.linspace(0, 1, _STRANDS), np.linspace(0, 1, _KNOTS))
    shell = Shell(
        vertices=points.reshape(-1, 3),
        normals=unit(normals.astype(np.float32)),
        uv=np.stack([across.ravel(), length.ravel()], axis=1).astype(np.float32),
        triangles=grid_triangles(_KNOTS, _STRANDS),
    )
    return shell, _strand_texture(rng)


class _Skull:
    """How far the skin lies from the skull's centre, in any direction (a smooth average of near points)."""

    def __init__(self, skin: Floats, centre: Floats) -> None:
        x, y, z = skin.T
        ears = (np.abs(x) > 0.8) & (y < 7.5) & (z < 0.75) & (z > 0.2)
        rays = skin[(y > 7.2) & ~ears] - centre
        self.centre = centre
        self._radius = np.linalg.norm(rays, axis=1)
        self._tree = cKDTree(rays / self._radius[:, None])

    def radius(self, directions: Floats) -> Floats:
        """Return (...,) decimetres for unit ``directions`` (..., 3)."""
        distance, nearest = self._tree.query(directions, k=6)
        weight = 1 / (distance + 0.02)
        return np.asarray((self._radius[nearest] * weight).sum(axis=-1) / weight.sum(axis=-1), np.float32)


def _strand_tips(azimuth: Floats, rng: np.random.Generator, style: HairStyle) -> Floats:
    """Return (strands,) the height where each strand ends, a little uneven."""
    front = np.abs(azimuth) / np.pi
    t = np.clip((front - _TEMPLE) / (_FOREHEAD - _TEMPLE), 0, 1)
    if style.name == "short":
        side = np.where(front < 0.45, style.nape, np.maximum(style.nape, 7.15))
        tips = side * (1 - t) + style.fringe * t
    else:
        side = np.where(front < 0.45, style.nape, max(style.nape, 5.6))
        tips = side * (1 - t**2) + style.fringe * t**2
    slant = 0.12 * style.part * np.sign(azimuth) * np.clip(front - _FOREHEAD, 0, 1)
    uneven = resize(rng.standard_normal((1, 40), dtype=np.float32), _STRANDS, 1, smooth=True)[0]
    fine = rng.standard_normal(_STRANDS)
    ragged = (0.04 * uneven + 0.03 * fine) * np.where(front > _FOREHEAD, 0.6, 1.0)
    return np.asarray(tips + slant + ragged, np.float32)


def _lay_strands(
    skull: _Skull, top: float, azimuth: Floats, tips: Floats, rng: np.random.Generator, style: HairStyle
) -> Floats:
    """Return (knots, strands, 3): each strand over the dome of the skull, then hanging."""
    crown, front = top + style.thickness, np.abs(azimuth) / np.pi
    share = np.linspace(0, 1, _KNOTS, dtype=np.float32)[:, None] ** 1.5
    height = crown - (crown - tips)[None, :] * share
    bulge = resize(fractal_noise(rng, 64, (4, 8, 16, 32)), _STRANDS, _KNOTS, smooth=True)
    bulge *= np.float32(rng.uniform(0.006, 0.02)) * np.minimum(1, 4 * share + 0.08)
    sine = np.clip((height - _CENTRE_Y) / (crown - _CENTRE_Y), 0, 1)
    level = np.sqrt(1 - sine**2)
    towards = np.stack([-np.sin(azimuth) * level, sine, -np.cos(azimuth) * level], axis=2)
    # The outer layer lies on the roots where it ends at the forehead and, cut short, at the sides.
    edge = smooth_step(0.55, 1.0, np.broadcast_to(share, height.shape).astype(np.float32))
    bangs = style.fringe < 7.9  # a fringe stands off the forehead
    flat = np.where(front > _FOREHEAD, 0.45 if bangs else 0.95, 0.85 if style.name == "short" else 0.1)
    standing = style.thickness * (1 - flat * edge) + 0.012
    hanging = np.maximum(_CENTRE_Y - height, 0)
    tightness = 0.16 if style.name == "short" else 0.04
    radius = skull.radius(towards.astype(np.float32)) + standing + bulge - tightness * hanging
    points = skull.centre + towards * radius[:, :, None]
    points[:, :, 1] -= hanging
    return np.asarray(points, np.float32)


def _strand_texture(rng: np.random.Generator) -> Floats:
    """Return (64, 256) brightness of strands: fine lines along them, darker at the roots and under the ends."""
    lines = resize(rng.standard_normal((6, 256), dtype=np.float32), 256, 64, smooth=True)
    lines = blur(lines, 0.7, 4.0)
    along = np.linspace(0, 1, 64, dtype=np.float32)[:, None]
    shade = 0.82 + 0.25 * np.sin(np.pi * np.clip(along * 1.1, 0, 1))
    return np.asarray(np.clip((1 + 0.2 * lines / lines.std()) * shade, 0.35, 1.6), np.float32)
