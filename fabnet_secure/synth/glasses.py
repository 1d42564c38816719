"""Puts glasses on a person: two thin rims, a bridge and the arms.

Guarantees: the rims stand before the person's own eyes. There are no lenses.
"""

import numpy as np

from fabnet_secure.synth.raster import Floats, Ints, Mask
from fabnet_secure.synth.shell import Shell, grid_triangles

_AROUND, _TUBE = 28, 5


def make_glasses(vertices: Floats, skin: Mask, eyes: tuple[Mask, Mask], rng: np.random.Generator) -> Shell:
    """Fit glasses of random size and shape.

    Args:
        vertices: (G, 3) the person's neutral shape.
        skin: (G,) which of them are skin.
        eyes: which vertices (G,) make the left and the right eye.
        rng: chance for size and shape.
    """
    wide, high = rng.uniform(0.2, 0.25), rng.uniform(0.75, 1.0)
    thick = rng.uniform(0.012, 0.024)
    temples = vertices[skin & (vertices[:, 1] > 7.2) & (vertices[:, 2] < 0.6)]
    reach = float(np.abs(temples[:, 0]).max()) - 0.12
    pieces: list[tuple[Floats, Ints]] = []
    inner: list[Floats] = []
    for side, mask in zip((1, -1), eyes, strict=True):
        centre = vertices[mask].mean(axis=0) + np.array([0, -0.03, 0.32], np.float32)
        hinge = centre + np.array([side * wide, 0.08, -0.05], np.float32)
        ear = np.array([side * reach, hinge[1] + 0.03, 0.45], np.float32)
        inner.append(centre + np.array([-side * wide, 0.05, -0.04], np.float32))
        pieces += [_rim(centre, wide, wide * high, thick), _bar(hinge, ear, thick)]
    pieces.append(_bar(inner[0], inner[1], thick))
    return _join(pieces)


def _join(pieces: list[tuple[Floats, Ints]]) -> Shell:
    """Make one shell of several meshes."""
    starts = np.cumsum([0] + [len(points) for points, _ in pieces[:-1]])
    faces = [triangles + start for (_, triangles), start in zip(pieces, starts, strict=True)]
    joined = np.concatenate([points for points, _ in pieces]).astype(np.float32)
    return Shell(
        vertices=joined,
        normals=np.tile(np.array([0, 0, 1], np.float32), (len(joined), 1)),
        uv=np.zeros((len(joined), 2), np.float32),
        triangles=np.concatenate(faces).astype(np.int32),
    )


def _rim(centre: Floats, wide: float, high: float, thick: float) -> tuple[Floats, Ints]:
    """Return a ring about ``centre``, bent back at its sides: a tube of 28 × 5 points."""
    around = np.linspace(0, 2 * np.pi, _AROUND)[:, None]
    tube = np.linspace(0, 2 * np.pi, _TUBE)[None, :]
    ring = np.stack(
        [
            np.cos(around) * (wide + thick * np.cos(tube)),
            np.sin(around) * (high + thick * np.cos(tube)),
            thick * np.sin(tube) - 0.05 * np.abs(np.cos(around)),
        ],
        axis=2,
    )
    return (centre + ring.reshape(-1, 3)).astype(np.float32), grid_triangles(_AROUND, _TUBE)


def _bar(start: Floats, end: Floats, thick: float) -> tuple[Floats, Ints]:
    """Return a flat bar between two points."""
    lift = np.array([0, thick, 0], np.float32)
    return np.stack([start - lift, start + lift, end - lift, end + lift]), grid_triangles(2, 2)
