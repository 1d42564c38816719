"""Typed doors to the few OpenCV calls that the renderer needs.

Guarantees: every array that comes back is a fresh numpy array of the stated type. Does not guarantee the same bits on
another OpenCV build: rasterisation and resampling are OpenCV's own.
"""

from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int32]
Mask: TypeAlias = npt.NDArray[np.bool_]
Pixels: TypeAlias = npt.NDArray[np.uint8]

NEAR, FAR = 0.5, 100.0
_SETTINGS = cv2.TriangleRasterizeSettings()
_SETTINGS.setCullingMode(cv2.RASTERIZE_CULLING_NONE)
_SETTINGS.setShadingType(cv2.RASTERIZE_SHADING_SHADED)


def rasterise(
    vertices: Floats,
    triangles: Ints,
    colours: Floats,
    *,
    shape: tuple[int, int],
    field_of_view: float,
    empty: float,
) -> Floats:
    """Draw triangles with interpolated corner colours and a depth buffer, seen from the origin along -z.

    Args:
        vertices: (V, 3) in camera coordinates, x right, y up.
        triangles: (F, 3) indices.
        colours: (V, 3), each within [0, 1].
        shape: (height, width) in pixels.
        field_of_view: vertical, in radians.
        empty: the value where nothing was drawn.

    Returns:
        (height, width, 3) interpolated colours.
    """
    canvas = np.full((*shape, 3), empty, np.float32)
    depth = np.full(shape, FAR, np.float32)
    drawn, _ = cv2.triangleRasterize(
        np.ascontiguousarray(vertices, np.float32).reshape(-1, 1, 3),
        np.ascontiguousarray(triangles, np.int32).reshape(-1, 1, 3),
        np.ascontiguousarray(colours, np.float32).reshape(-1, 1, 3),
        canvas,
        depth,
        np.eye(4, dtype=np.float32)[:3],
        field_of_view,
        NEAR,
        FAR,
        _SETTINGS,
    )
    return np.asarray(drawn, np.float32)


def resize(image: Floats, width: int, height: int, *, smooth: bool = False) -> Floats:
    """Resample (H, W[, C]) to (height, width[, C]): by area, or ``smooth``: cubic (for enlarging)."""
    how = cv2.INTER_CUBIC if smooth else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.float32)


def blur(image: Floats, sigma: float, sigma_y: float = 0.0) -> Floats:
    """Blur (H, W[, C]) with a Gaussian of ``sigma`` pixels (``sigma_y`` down the columns when given)."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, sigmaY=sigma_y), np.float32)


def sample(image: Floats, columns: Floats, rows: Floats) -> Floats:
    """Read (H, W[, C]) bilinearly at (h, w) pixel positions; outside, the border goes on."""
    read = cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(read, np.float32)


def mix_channels(image: Floats, matrix: Floats) -> Floats:
    """Multiply every pixel of (H, W, 3) by ``matrix`` (3, 3)."""
    return np.asarray(cv2.transform(image, matrix), np.float32)


def read_grey(path: str) -> Floats:
    """Read a picture file as grey (H, W) within [0, 1].

    Raises:
        OSError: the file is no picture.
    """
    picture = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise OSError(f"not a picture: {path}")
    return np.asarray(picture, np.float32) / np.float32(255)


def fractal_noise(rng: np.random.Generator, size: int, octaves: tuple[int, ...]) -> Floats:
    """Return (size, size) smooth noise: a sum of random grids of ``octaves`` cells, each 0.6 of the last."""
    total = np.zeros((size, size), np.float32)
    for power, cells in enumerate(octaves):
        grid = rng.standard_normal((cells, cells), dtype=np.float32)
        total += np.float32(0.6**power) * resize(grid, size, size, smooth=True)
    return total


def smooth_step(low: float, high: float, value: Floats) -> Floats:
    """Rise smoothly (cubic) from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
