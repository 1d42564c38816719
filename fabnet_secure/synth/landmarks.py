"""Chooses the 21 vertices of the neutral head that are followed as facial landmarks.

Guarantees: the same 21 names in the same order for every person, since all share one mesh. Does not follow any
annotation scheme exactly; the points are those that MAFL, 300-W and ours have in common (corners, tips, lids, brows).
"""

from collections.abc import Mapping

import numpy as np

from fabnet_secure.synth.raster import Floats, Mask

_SIDED = ("eye_in", "eye_out", "mouth", "ala", "brow_in", "brow_mid", "brow_out", "lid_up")
_MIDDLE = ("nose_tip", "nasion", "lip_up", "lip_lo", "chin")
LANDMARKS = tuple(f"{name}_{side}" for side in "LR" for name in _SIDED) + _MIDDLE
# Where the brow's three points sit relative to the eye's centre: outwards, up (decimetres).
_BROW = {"brow_in": (-0.16, 0.2), "brow_mid": (0.05, 0.27), "brow_out": (0.24, 0.2)}


def find_landmarks(
    vertices: Floats,
    *,
    skin: Mask,
    eyes: Mask,
    lashes: Mask,
    lips: Mask,
    flaring: Floats,
    blinks: Mapping[str, Floats],
) -> Mapping[str, int]:
    """Return the vertex of each of :data:`LANDMARKS`, in that order.

    Args:
        vertices: (G, 3) neutral positions.
        skin: (G,) which are skin.
        eyes: (G,) which are eyes.
        lashes: (G,) which are lashes.
        lips: (G,) which lie on the lips.
        flaring: (G, 3) what flaring the nostrils moves (most at the alae).
        blinks: "Left", "Right" → (G, 3) what closing that eye moves (most at the upper lid).
    """
    found: dict[str, int] = {}
    front = skin & (vertices[:, 2] > 1.0)  # decimetres on the one neutral mesh
    for side, sign in (("L", 1), ("R", -1)):
        half = vertices[:, 0] * sign > 0
        across = vertices[:, 0] * sign
        found[f"eye_in_{side}"] = _nearest(vertices, vertices[_highest(-across, lashes & half)], skin)
        found[f"eye_out_{side}"] = _nearest(vertices, vertices[_highest(across, lashes & half)], skin)
        # Of the lips' two layers at the corner, the outer one is the one that is seen.
        found[f"mouth_{side}"] = _highest(across + 0.2 * vertices[:, 2], lips)
        found[f"ala_{side}"] = _highest(np.linalg.norm(flaring, axis=1), half)
        eye = vertices[eyes & half].mean(axis=0)
        for name, (out, up) in _BROW.items():
            point = eye + np.array([out * sign, up, 0.3], np.float32)
            found[f"{name}_{side}"] = _nearest(vertices, point, front)
        blink = blinks["Left" if side == "L" else "Right"]
        found[f"lid_up_{side}"] = _highest(-blink[:, 1], skin)
    found |= _find_middle(vertices, skin, lips)
    return {name: found[name] for name in LANDMARKS}


def _find_middle(vertices: Floats, skin: Mask, lips: Mask) -> dict[str, int]:
    """Find the points on the face's midline. The heights are those of the one neutral mesh."""
    x, y, z = vertices.T
    middle = skin & (np.abs(x) < 0.02) & (z > 0.9)
    return {
        "nose_tip": _highest(z, middle & (y > 6.6) & (y < 7.2)),
        "nasion": _nearest(vertices, np.array([0, 7.3, 1.4], np.float32), middle),
        "lip_up": _highest(y, middle & lips),
        "lip_lo": _highest(-y, middle & lips),
        "chin": _highest(-y, middle & (y < 6.4) & (y > 5.9) & (z > 1.15)),
    }


def _highest(score: Floats, among: Mask) -> int:
    """Return the index of the highest score among those allowed."""
    return int(np.where(among, score, -np.inf).argmax())


def _nearest(vertices: Floats, point: Floats, among: Mask) -> int:
    """Return the allowed vertex nearest to ``point``."""
    return _highest(-((vertices - point) ** 2).sum(axis=1), among)
