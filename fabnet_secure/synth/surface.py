"""Moves a person's mesh into a pose and an expression, and lights its corners.

Guarantees: pure geometry; lengths in decimetres. Light is computed a corner at a time (Gouraud 1971), which is fine
enough for this mesh at the sizes rendered here. No shadows are cast; the neck is darkened as if by the chin.
"""

from dataclasses import dataclass

import numpy as np

from fabnet_secure.synth.head import HeadModel, Material
from fabnet_secure.synth.person import Person
from fabnet_secure.synth.raster import Floats, Ints, smooth_step
from fabnet_secure.synth.scene import Light
from fabnet_secure.synth.shell import Shell, unit

# The third channel of the first pass: the material's number over this, clothes as a share of one step.
CODES = 8
_PIVOT = np.array([0, 6.35, 0.25], np.float32)
_WRAP = np.float32(0.2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """A posed mesh, ready to draw.

    Attributes:
        corners: (V, 3) world positions.
        triangles: (F, 3) indices.
        paint: (V, 3) texture u, v (for eyes: direction relative to the gaze) and the material's code.
        shading: (V, 3) room light from above, lamp light, lamp's mirror image; each within [0, 1].
        gaze: (3, 3) the rotation of the eyes.
        landmarks: (21, 3) world positions.
    """

    corners: Floats
    triangles: Ints
    paint: Floats
    shading: Floats
    gaze: Floats
    landmarks: Floats


def rotation(yaw: float, pitch: float, roll: float) -> Floats:
    """Return the (3, 3) rotation: roll first, then pitch (positive looks down), then yaw (towards +x)."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(turn @ nod @ tilt, np.float32)


def pose_surface(
    head: HeadModel, person: Person, pose: Floats, expression: Floats, gaze: Floats, light: Light
) -> Surface:
    """Deform, turn and light a person.

    Args:
        head: the common mesh.
        person: whose shape.
        pose: (3,) yaw, pitch, roll in radians.
        expression: (52,) weights.
        gaze: (2,) the eyes' horizontal and vertical angle in the head.
        light: where the lamp is.
    """
    turned = rotation(*pose.tolist())
    eyes = np.asarray(turned @ rotation(float(gaze[0]), -float(gaze[1]), 0.0), np.float32)
    shaped = np.asarray(person.vertices + (expression @ head.unit_offsets).reshape(-1, 3), np.float32)
    normals = _normals(head, shaped)
    bend = smooth_step(5.75, 6.35, shaped[:, 1] + 0.55 * (shaped[:, 2] - 0.4))[:, None]
    change = (turned - np.eye(3, dtype=np.float32)).T
    posed = np.asarray(shaped + bend * ((shaped - _PIVOT) @ change), np.float32)
    facing = np.asarray(normals + bend * (normals @ change), np.float32)
    paint = _paint(head, person.vertices, normals, np.asarray(eyes.T @ turned, np.float32))
    shading = _light(facing, light)
    shading *= _hollows(head, person.vertices)[:, None]
    corners, paints = [posed[head.corners]], [paint]
    shadings, triangles = [shading[head.corners]], [_drawn(head, facing, expression)]
    count = len(head.corners)
    for shell, material in ((person.hair, Material.HAIR), (person.glasses, Material.GLASSES)):
        if shell is None:
            continue
        corners.append(_turn_shell(shell, turned))
        paints.append(np.c_[shell.uv, np.full(len(shell.uv), material / CODES)].astype(np.float32))
        shadings.append(_light(shell.normals @ turned.T, light))
        triangles.append(shell.triangles + np.int32(count))
        count += len(shell.uv)
    return Surface(
        corners=np.concatenate(corners),
        triangles=np.concatenate(triangles),
        paint=np.concatenate(paints),
        shading=np.concatenate(shadings),
        gaze=eyes,
        landmarks=posed[list(head.landmarks.values())],
    )


def _normals(head: HeadModel, shaped: Floats) -> Floats:
    """Return (G, 3) unit normals: the skin's from its triangles, the eyes' from their centres, the teeth's ahead."""
    a, b, c = (shaped[head.skin_triangles[:, k]] for k in range(3))
    one, two = b - a, c - a
    across = np.stack(
        [
            one[:, 1] * two[:, 2] - one[:, 2] * two[:, 1],
            one[:, 2] * two[:, 0] - one[:, 0] * two[:, 2],
            one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0],
        ],
        axis=1,
    )
    normals = unit(np.asarray(head.skin_incidence @ across, np.float32))
    for side in (1, -1):
        eye = head.eye(side)
        normals[eye] = unit(shaped[eye] - shaped[eye].mean(axis=0))
    normals[(head.part == Material.TEETH) | (head.part == Material.TONGUE)] = (0, 0, 1)
    return normals


def _light(normals: Floats, light: Light) -> Floats:
    """Return (V, 3): room light from above, lamp light, the lamp's mirror image towards the camera."""
    lamp = np.clip((normals @ light.direction + _WRAP) / (1 + _WRAP), 0, 1)
    half = light.direction + np.array([0, 0, 1], np.float32)
    mirror = np.clip(normals @ (half / np.linalg.norm(half)), 0, 1) ** 20 * lamp
    room = 0.65 + 0.35 * (0.5 + 0.5 * np.clip(normals[:, 1], -1, 1))
    return np.stack([room, lamp, mirror], axis=1).astype(np.float32)


def _hollows(head: HeadModel, shape: Floats) -> Floats:
    """Return (G,) how much light reaches each vertex: less in the mouth and under the chin."""
    chin = shape[head.landmarks["chin"]]
    below = smooth_step(0.0, 0.25, chin[1] - shape[:, 1])
    under = below * smooth_step(0.0, 0.5, chin[2] - shape[:, 2]) * smooth_step(5.2, 5.9, shape[:, 1])
    mouth = (head.part == Material.TEETH) | (head.part == Material.TONGUE)
    front = shape[mouth, 2].max()
    deep = 0.08 + 0.67 * smooth_step(front - 0.4, front - 0.02, shape[:, 2]) ** 2
    return np.asarray((1 - 0.35 * under) * np.where(mouth, deep, 1.0), np.float32)


def _paint(head: HeadModel, shape: Floats, normals: Floats, into_gaze: Floats) -> Floats:
    """Return (R, 3) the first pass: texture place or direction in the eye, and the material's code."""
    part = head.part[head.corners]
    vertices = shape[head.corners]
    below = 5.95 - (vertices[:, 1] + 0.35 * vertices[:, 2])
    cloth = np.clip(0.5 + 2.0 * below, 0, 1) * 0.5
    code = np.where(part == Material.SKIN, cloth, part) / CODES
    place: Floats = head.uv.copy()
    eye = part == Material.EYE
    place[eye] = (normals[head.corners[eye]] @ into_gaze.T)[:, :2] * 0.5 + 0.5
    return np.asarray(np.c_[np.clip(place, 0, 1), code], np.float32)


def _drawn(head: HeadModel, facing: Floats, expression: Floats) -> Ints:
    """Return the triangles to draw: none that face away, and the mouth's inside only when some unit opens it."""
    opening = ("jawOpen", "mouthLowerDown", "mouthUpperUp", "mouthFunnel", "mouthStretch", "mouthSmile", "tongueOut")
    opens = [k for k, name in enumerate(head.units) if name.startswith(opening)]
    if expression[opens].max() > 0.08:  # below, the lips touch
        hidden = np.zeros(len(head.part), np.bool_)
    else:
        hidden = (head.part == Material.TEETH) | (head.part == Material.TONGUE)
    # Perspective still shows what is turned away a little; nothing beyond 14 degrees.
    hidden |= (facing[:, 2] < -0.25) & (head.part == Material.SKIN)
    return np.asarray(head.triangles[~hidden[head.corners][head.triangles].all(axis=1)], np.int32)


def _turn_shell(shell: Shell, turned: Floats) -> Floats:
    """Turn a shell with the head; what hangs low stays with the shoulders."""
    bend = smooth_step(5.0, 6.6, shell.vertices[:, 1])[:, None]
    moved = (shell.vertices - _PIVOT) @ (turned - np.eye(3, dtype=np.float32)).T
    return np.asarray(shell.vertices + bend * moved, np.float32)
