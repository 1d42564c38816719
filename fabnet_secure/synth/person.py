"""One made-up person: a shape, a skin, hair and perhaps glasses, all from a seed.

Guarantees: the same seed gives the same person, on the same edition of the head and of OpenCV; every person is an
adult. No person is modelled after anybody; ancestry, sex, age and weight are continuous mixtures.
"""

from dataclasses import dataclass

import numpy as np

from fabnet_secure.synth.glasses import make_glasses
from fabnet_secure.synth.hair import HairStyle, draw_style, grow_hair, paint_scalp
from fabnet_secure.synth.head import HeadModel, Material
from fabnet_secure.synth.raster import Floats
from fabnet_secure.synth.shell import Shell
from fabnet_secure.synth.skin import Complexion, draw_complexion, paint_skin

# Spread of the shape targets: at a third faces grow extreme, at a quarter they stay natural.
SPREAD = 0.25
EYES_AT = np.array([0, 7.28, 1.25], np.float32)
_OPPOSITES = (
    ("-decr", "-incr"),
    ("-down", "-up"),
    ("-in", "-out"),
    ("-backward", "-forward"),
    ("-concave", "-convex"),
    ("-compress", "-uncompress"),
)
# Targets that move the whole head, spoil the neck or belong to fairy tales.
_UNUSED = ("head/head-trans", "head/head-angle", "head/head-age", "neck/", "ears/", "asym/asymm", "eyes/l-eye-push")
_EARS = ("scale", "rot", "wing", "lobe")
_IRIS = np.array([(0.16, 0.09, 0.05), (0.3, 0.18, 0.08), (0.25, 0.38, 0.5), (0.3, 0.42, 0.32), (0.38, 0.42, 0.46)])
_FRAMES = np.array([(0.05, 0.05, 0.05), (0.2, 0.1, 0.05), (0.5, 0.45, 0.32)], np.float32)
_ARM_X, _ARM_FOLD = 2.0, 0.15


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Person:
    """A synthetic person at rest.

    Attributes:
        seed: which person this is; the label ``identity``.
        vertices: (G, 3) the neutral shape in decimetres, the eyes at a fixed place.
        texture: (S, S, 3) linear RGB.
        complexion: colours and traits.
        style: how the hair is worn; ``hair`` its shell and ``strands`` (64, 256) its brightness, if any.
        glasses: if any, in ``frame_colour`` (3,).
        iris: (3,) RGB; ``shirt`` (3,) RGB.
    """

    seed: int
    vertices: Floats
    texture: Floats
    complexion: Complexion
    style: HairStyle
    hair: Shell | None
    strands: Floats
    glasses: Shell | None
    frame_colour: Floats
    iris: Floats
    shirt: Floats

    @classmethod
    def build(cls, head: HeadModel, seed: int) -> "Person":
        """Build the person of ``seed`` (a non-negative number)."""
        rng = np.random.default_rng([seed, 1])
        ancestry = rng.dirichlet([0.5] * 3).astype(np.float32)
        masculine = float(rng.beta(0.35, 0.35))
        age = float(rng.choice([0.0, rng.uniform(0.0, 0.5), rng.uniform(0.5, 1.0)], p=[0.4, 0.35, 0.25]))
        weight = float(np.clip(rng.normal(0, 0.4), -1, 1))
        bodies = _mix_bodies(head, ancestry, masculine, age) + _weigh(head, weight, masculine, age)
        vertices = _settle(head, head.vertices + bodies + _vary(head, rng))
        melanin = float(np.clip(0.12 + 0.75 * ancestry[0] + 0.12 * ancestry[1] + rng.normal(0, 0.07), 0.03, 1))
        look = draw_complexion(rng, melanin=melanin, age=age, masculine=masculine)
        style = draw_style(rng, masculine=masculine)
        skin = head.part == Material.SKIN
        grown = grow_hair(vertices, skin, rng, style)
        eyes = (head.eye(1), head.eye(-1))
        glasses = make_glasses(vertices, skin, eyes, rng) if rng.random() < 0.2 else None
        chances = np.array([0.45 + 0.5 * melanin, 0.25, *(np.array([0.15, 0.08, 0.07]) * (1 - melanin))])
        return cls(
            seed=seed,
            vertices=vertices,
            texture=paint_skin(head, rng, look, paint_scalp(head, rng, style)),
            complexion=look,
            style=style,
            hair=grown[0] if grown else None,
            strands=grown[1] if grown else np.ones((64, 256), np.float32),
            glasses=glasses,
            frame_colour=_FRAMES[rng.integers(3)],
            iris=_IRIS[rng.choice(5, p=chances / chances.sum())].astype(np.float32),
            shirt=_draw_shirt(rng),
        )


def _draw_shirt(rng: np.random.Generator) -> Floats:
    """Draw a cloth colour (3,), seldom a glaring one."""
    grey = rng.uniform(0.1, 0.85)
    return np.clip(grey + rng.normal(0, 0.14, 3), 0.05, 0.9).astype(np.float32)


def _mix_bodies(head: HeadModel, ancestry: Floats, masculine: float, age: float) -> Floats:
    """Return (G, 3) the mixture of MakeHuman's whole-body targets."""
    moved = np.zeros_like(head.vertices)
    for origin, share in zip(("african", "asian", "caucasian"), ancestry.tolist(), strict=True):
        for sex, part in (("male", masculine), ("female", 1 - masculine)):
            for stage, weight in (("young", 1 - age), ("old", age)):
                amount = share * part * weight
                if amount > 0.01:  # too little to be seen
                    moved += np.float32(amount) * head.shape(f"macro/{origin}-{sex}-{stage}")
    return moved


def _weigh(head: HeadModel, weight: float, masculine: float, age: float) -> Floats:
    """Return (G, 3) what a weight from -1 (thin) to 1 (heavy) changes."""
    sex = "male" if masculine > 0.5 else "female"
    stage = "old" if age > 0.5 else "young"
    name = f"macro/universal-{sex}-{stage}-averagemuscle-{'max' if weight > 0 else 'min'}weight"
    return np.asarray(np.float32(abs(weight)) * head.shape(name), np.float32)


def _vary(head: HeadModel, rng: np.random.Generator) -> Floats:
    """Return (G, 3) random amounts of the detail targets: both sides alike, and a little asymmetry."""
    weights: dict[str, float] = {}
    for name in sorted(head.shapes):
        if name.startswith("macro/") or "/r-" in name:
            continue
        opposite = _opposite(name, head)
        if opposite is None:
            weights[name] = _draw_single(rng, name)
        elif name < opposite:
            amount = float(np.clip(rng.normal(0, SPREAD), -0.7, 0.7))
            chosen = opposite if amount > 0 else name
            weights[chosen] = abs(amount) if _usable(chosen) else 0.0
    moved = np.zeros_like(head.vertices)
    for name, amount in weights.items():
        for target in {name, name.replace("/l-", "/r-")}:
            if amount > 0:
                moved += np.float32(amount) * head.shape(target)
    return moved


def _usable(name: str) -> bool:
    """Tell whether a target keeps a face natural."""
    if name.startswith("ears/"):
        return any(word in name for word in _EARS)
    return not name.startswith(_UNUSED)


def _opposite(name: str, head: HeadModel) -> str | None:
    """Return the target that undoes ``name``, if there is one."""
    for low, high in _OPPOSITES:
        for one, other in ((low, high), (high, low)):
            if name.endswith(one) and name.removesuffix(one) + other in head.shapes:
                return name.removesuffix(one) + other
    return None


def _draw_single(rng: np.random.Generator, name: str) -> float:
    """Draw the amount of a target without an opposite: a face outline now and then, slight asymmetry."""
    chance, amount = rng.random(), abs(float(rng.normal(0, 1)))
    if not _usable(name):
        return 0.0
    if name.startswith("head/"):
        return min(0.5, 0.3 * amount) if chance < 0.25 else 0.0
    return min(0.4, 0.15 * amount) if name.startswith("asym/") and chance < 0.5 else 0.0


def _settle(head: HeadModel, vertices: Floats) -> Floats:
    """Move the eyes to their usual place, let the arms hang and keep the teeth behind the lips."""
    placed = vertices - vertices[head.part == Material.EYE].mean(axis=0) + EYES_AT
    # MakeHuman's neutral mouth looks sullen: a trace of a smile belongs to the shape, not to the expression.
    for side in ("Left", "Right"):
        placed += 0.15 * head.unit_offsets[head.units.index(f"mouthSmile{side}")].reshape(-1, 3)
    x = placed[:, 0]
    beyond = np.abs(x) - _ARM_X
    placed[:, 0] = np.where(beyond > 0, np.sign(x) * (_ARM_X + beyond * _ARM_FOLD), x)
    lips = [head.landmarks["lip_up"], head.landmarks["lip_lo"]]
    mouth = (head.part == Material.TEETH) | (head.part == Material.TONGUE)
    usual = head.vertices[lips].mean(axis=0) - head.vertices[mouth].mean(axis=0)
    here = placed[lips].mean(axis=0) - placed[mouth].mean(axis=0)
    placed[mouth] += np.array([0, here[1] - usual[1], min(here[2] - usual[2], 0) - 0.05], np.float32)
    return np.asarray(placed, np.float32)
