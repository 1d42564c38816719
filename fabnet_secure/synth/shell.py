"""A piece that a person wears on the head: hair or glasses, as a small mesh of its own.

Guarantees: vertices, normals and texture positions have one row each per vertex. It follows the head's turns, not
its expressions.
"""

from dataclasses import dataclass

import numpy as np

from fabnet_secure.synth.raster import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shell:
    """A mesh in the head's neutral place.

    Attributes:
        vertices: (V, 3) decimetres.
        normals: (V, 3) unit vectors outwards.
        uv: (V, 2) within [0, 1].
        triangles: (F, 3) indices.
    """

    vertices: Floats
    normals: Floats
    uv: Floats
    triangles: Ints


def grid_triangles(rows: int, columns: int) -> Ints:
    """Return the triangles (F, 3) of a grid of rows × columns vertices, numbered row by row."""
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    c, d = index[1:, :-1].ravel(), index[1:, 1:].ravel()
    return np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)]).astype(np.int32)


def unit(vectors: Floats) -> Floats:
    """Scale each row of (V, 3) to length 1 (zero stays zero)."""
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return np.asarray(vectors / np.maximum(length, np.float32(1e-9))[:, None], np.float32)
