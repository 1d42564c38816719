"""Paints a person's skin: tone, blemishes, brows, lips, beard and the hair's roots, over the head's texture.

Guarantees: a texture of linear RGB within [0, 1] that depends on its arguments alone. The places are given on the
neutral head (decimetres; the eyes at y = 7.28), so the paint follows every change of shape. Does not model any
ancestry exactly: tone comes from one melanin value and a share of chance.
"""

from dataclasses import dataclass

import numpy as np

from fabnet_secure.synth.head import TEXTURE_SIZE, HeadModel
from fabnet_secure.synth.raster import Floats, blur, fractal_noise, smooth_step

_HAIR = np.array(
    [
        (0.05, 0.04, 0.035),
        (0.12, 0.075, 0.05),
        (0.26, 0.16, 0.09),
        (0.5, 0.35, 0.19),
        (0.66, 0.53, 0.34),
        (0.4, 0.18, 0.08),
    ]
)
_LIPSTICK = np.array([(0.62, 0.14, 0.17), (0.68, 0.28, 0.3), (0.5, 0.16, 0.22)])
_SHADOW = np.array([(0.35, 0.22, 0.22), (0.28, 0.28, 0.36), (0.22, 0.17, 0.14)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Complexion:
    """The colours and traits of one person that the paint depends on.

    Attributes:
        melanin: from 0 (pale) to 1 (dark).
        age: from 0 (young adult) to 1 (old).
        masculine: from 0 to 1.
        tone: (3,) the skin's RGB; ``hair`` (3,) the hair's; ``lips`` (3,) the lips'.
        beard: strength of a beard, 0 for none; ``beard_style`` 0 full, 1 goatee, 2 moustache.
    """

    melanin: float
    age: float
    masculine: float
    tone: Floats
    hair: Floats
    lips: Floats
    beard: float
    beard_style: int


def draw_complexion(rng: np.random.Generator, *, melanin: float, age: float, masculine: float) -> Complexion:
    """Draw the colours of a person of this melanin, age and masculinity (each 0 to 1)."""
    pale, dark = np.array([0.92, 0.75, 0.65]), np.array([0.26, 0.16, 0.11])
    depth = melanin**1.1
    tone = (pale * (1 - depth) + dark * depth) * (1 + rng.normal(0, 0.025, 3))
    fair = 1 - melanin
    chances = np.array([0.35 + melanin, 0.3, 0.2 * fair, 0.2 * fair**3, 0.12 * fair**3, 0.08 * fair**2])
    grey = np.clip(age - 0.35, 0, 1) * rng.uniform(0.2, 1.3)
    hair = _HAIR[rng.choice(6, p=chances / chances.sum())]
    hair = hair + (0.66 - hair) * min(grey, 0.95)
    lips = tone * np.array([0.88, 0.6, 0.6]) + np.array([0.02, 0, 0.01])
    if masculine < 0.45 and rng.random() < 0.5:
        lips = lips * 0.45 + _LIPSTICK[rng.integers(3)] * 0.55
    bearded = masculine > 0.6 and rng.random() < 0.5
    return Complexion(
        melanin=melanin,
        age=age,
        masculine=masculine,
        tone=tone.astype(np.float32),
        hair=hair.astype(np.float32),
        lips=np.clip(lips, 0, 1).astype(np.float32),
        beard=float(rng.uniform(0.25, 0.9)) if bearded else 0.0,
        beard_style=int(rng.integers(3)),
    )


def paint_skin(head: HeadModel, rng: np.random.Generator, look: Complexion, scalp: Floats) -> Floats:
    """Paint the texture.

    Args:
        head: gives the positions under the texels and the masks.
        rng: chance for the small things.
        look: the person's colours.
        scalp: (S, S) within [0, 1]: how much of the hair's colour shows on the skin.

    Returns:
        (S, S, 3) linear RGB.
    """
    coarse = fractal_noise(rng, TEXTURE_SIZE, (3, 6, 12, 24))
    fine = fractal_noise(rng, TEXTURE_SIZE, (48, 96, 192))
    texture = look.tone * (1 + 0.025 * coarse + 0.013 * fine)[:, :, None]
    texture = _redden(texture, head, rng, look)
    texture = _freckle(texture, head, rng, look)
    texture = _age(texture, head, coarse, look)
    texture = _blend(texture, look.hair * 0.8, _beard(head, look) * np.clip(0.85 + 0.12 * fine, 0, 1))
    lips = blur(head.masks["lips"], 1.0)
    texture = _blend(texture, look.lips * (1 + 0.05 * fine)[:, :, None], lips)
    texture = _blend(texture, np.array([0.25, 0.07, 0.07], np.float32), head.masks["inside-mouth"])
    if look.masculine < 0.4 and rng.random() < 0.4:
        shade = _SHADOW[rng.integers(3)].astype(np.float32)
        texture = _blend(texture, shade, blur(head.masks["eyelids"], 1.5) * np.float32(rng.uniform(0.2, 0.5)))
    texture = _blend(texture, look.hair * 0.7, _brows(head, rng, look) * np.clip(0.85 + 0.25 * fine, 0, 1.1))
    texture = _blend(texture, look.hair * 0.75, scalp * np.clip(0.9 + 0.15 * fine, 0, 1))
    clipped = np.clip(texture, 0, 1).astype(np.float32)
    return clipped * clipped


def _blend(texture: Floats, colour: Floats, amount: Floats) -> Floats:
    """Mix ``colour`` into the texture by (S, S) ``amount``."""
    share = amount[:, :, None]
    return np.asarray(texture * (1 - share) + colour * share, np.float32)


def _spot(head: HeadModel, x: float, y: float, wide: float, high: float) -> Floats:
    """Return a soft spot on both sides of the front at (±x, y): (S, S) within [0, 1]."""
    across, up, forward = np.moveaxis(head.position_map, 2, 0)
    distance = ((np.abs(across) - x) / wide) ** 2 + ((up - y) / high) ** 2
    return np.asarray(np.exp(-distance) * smooth_step(0.5, 0.8, forward), np.float32)


def _redden(texture: Floats, head: HeadModel, rng: np.random.Generator, look: Complexion) -> Floats:
    """Flush the cheeks and the nose, shade the eye sockets."""
    red = (0.05 * rng.random() + 0.02) * (1 - 0.7 * look.melanin)
    flush = _spot(head, 0.38, 6.95, 0.22, 0.2) + 0.8 * _spot(head, 0, 6.95, 0.12, 0.15)
    flushed = texture * (1 + flush[:, :, None] * np.array([red, -0.8 * red, -0.7 * red], np.float32))
    socket = np.float32(0.08 + 0.14 * rng.random()) * _spot(head, 0.31, 7.2, 0.2, 0.14)
    return np.asarray(flushed * (1 - socket[:, :, None] * np.array([0.7, 1, 0.9], np.float32)), np.float32)


def _freckle(texture: Floats, head: HeadModel, rng: np.random.Generator, look: Complexion) -> Floats:
    """Add freckles to some pale people and a few moles to anybody."""
    marks = np.zeros(texture.shape[:2], np.float32)
    if rng.random() < 0.3 * (1 - look.melanin):
        rows, columns = np.nonzero((_spot(head, 0.3, 6.98, 0.35, 0.25) > 0.2) & head.painted)
        chosen = rng.integers(0, len(rows), rng.integers(20, 90))
        marks[rows[chosen], columns[chosen]] = 1.1
    rows, columns = np.nonzero((head.masks["face"] > 0.5) & head.painted)
    chosen = rng.integers(0, len(rows), rng.integers(0, 3))
    marks[rows[chosen], columns[chosen]] = 3.0
    soft = np.clip(blur(marks, 0.9), 0, 0.45)
    return np.asarray(texture * (1 - soft[:, :, None] * np.array([0.6, 1, 1], np.float32)), np.float32)


def _age(texture: Floats, head: HeadModel, coarse: Floats, look: Complexion) -> Floats:
    """Draw the forehead's lines."""
    _, up, forward = np.moveaxis(head.position_map, 2, 0)
    brow = smooth_step(7.55, 7.65, up) * (1 - smooth_step(7.95, 8.1, up)) * smooth_step(0.8, 1.1, forward)
    lines = np.clip(np.sin(up * 50 + coarse * 1.2), -0.3, 1) * brow * np.float32(0.07 * look.age)
    return np.asarray(texture * (1 - lines[:, :, None]), np.float32)


def _beard(head: HeadModel, look: Complexion) -> Floats:
    """Return where the beard grows and how strongly, (S, S)."""
    if look.beard == 0:
        return np.zeros(head.painted.shape, np.float32)
    across, up, forward = np.moveaxis(head.position_map, 2, 0)
    across = np.abs(across)
    jaw = (up < 6.72) & (forward > 0.35) & (up > 5.95)  # places on the neutral head
    whiskers = (up < 6.95) & (across > 0.5) & (forward > 0.2) & (forward < 1.1) & (up > 6.0)
    moustache = (across < 0.33) & (up < 6.86) & (up > 6.66) & (forward > 1.1)
    goatee = (across < 0.3) & (up < 6.55) & (forward > 0.9)
    grown = (jaw | whiskers | moustache, moustache | goatee, moustache)[look.beard_style]
    soft = blur(grown.astype(np.float32), 5.0) * (1 - blur(head.masks["lips"], 1.0))
    return np.asarray(soft * look.beard, np.float32)


def _brows(head: HeadModel, rng: np.random.Generator, look: Complexion) -> Floats:
    """Return where the brows grow and how strongly, (S, S): an arc that thins outwards."""
    across, up, forward = np.moveaxis(head.position_map, 2, 0)
    thick = rng.uniform(0.04, 0.065) * (0.85 + 0.3 * look.masculine)
    arch, height, length = rng.uniform(0.02, 0.08), 7.28 + rng.uniform(0.18, 0.22), rng.uniform(0.36, 0.43)
    tilt = rng.uniform(-0.02, 0.035)
    along = (np.abs(across) - 0.13) / length
    t = np.clip(along, 0, 1)
    centre = height + arch * np.sin(t * np.pi * 0.8) + tilt * t
    body = np.clip(1.3 - ((up - centre) / (thick * (1 - 0.6 * t))) ** 2, 0, 1)
    ends = smooth_step(-0.08, 0.1, along) * (1 - smooth_step(0.9, 1.05, along)) * (forward > 0.8)
    return blur((body * ends).astype(np.float32), 1.0) * np.float32(rng.uniform(0.6, 0.95))
