"""Persons: shape, skin, hair, glasses."""

import numpy as np
import pytest

from fabnet_secure.synth.glasses import make_glasses
from fabnet_secure.synth.hair import HairStyle, draw_style, grow_hair, paint_scalp
from fabnet_secure.synth.head import Material
from fabnet_secure.synth.person import EYES_AT, Person
from fabnet_secure.synth.shell import grid_triangles, unit


@pytest.fixture(scope="module")
def crowd(head):
    """Twelve persons."""
    return [Person.build(head, seed) for seed in range(12)]


def test_seed_decides_everything(head):
    """The same seed builds the same person, byte for byte."""
    one, two = Person.build(head, 7), Person.build(head, 7)
    np.testing.assert_array_equal(one.vertices, two.vertices)
    np.testing.assert_array_equal(one.texture, two.texture)
    assert one.style == two.style


def test_persons_differ(crowd):
    """No two persons share a shape or a skin tone."""
    for k, one in enumerate(crowd):
        for other in crowd[k + 1 :]:
            assert np.abs(one.vertices - other.vertices).max() > 0.05
            assert not np.array_equal(one.complexion.tone, other.complexion.tone)


def test_eyes_are_where_the_camera_looks(head, crowd):
    """Everybody's eyes sit at the same place, so that scales agree."""
    for person in crowd:
        np.testing.assert_allclose(person.vertices[head.part == Material.EYE].mean(axis=0), EYES_AT, atol=0.1)


def test_shapes_stay_natural(head, crowd):
    """Faces keep human proportions: eyes 0.45 to 0.85 dm apart, the chin below the lips below the nose."""
    for person in crowd:
        apart = person.vertices[head.eye(1)].mean(axis=0)[0] - person.vertices[head.eye(-1)].mean(axis=0)[0]
        assert 0.45 < apart < 0.85
        heights = [person.vertices[head.landmarks[name], 1] for name in ("nose_tip", "lip_up", "lip_lo", "chin")]
        assert heights == sorted(heights, reverse=True)


def test_texture_is_a_colour(crowd):
    """Textures are finite linear RGB within [0, 1]; pale and dark skins both occur."""
    for person in crowd:
        assert np.isfinite(person.texture).all()
        assert person.texture.min() >= 0
        assert person.texture.max() <= 1
    tones = [float(person.complexion.tone.mean()) for person in crowd]
    assert min(tones) < 0.45
    assert max(tones) > 0.6


def test_hair_lies_outside_the_skull(head, person):
    """No strand over the crown runs below the skin by more than its bulges."""
    style = HairStyle(name="bob", thickness=0.15, nape=6.2, fringe=8.0, part=0.0, stubble=0.9)
    skin = head.part == Material.SKIN
    shell, strands = grow_hair(person.vertices, skin, np.random.default_rng(0), style)
    assert shell.vertices[:, 1].max() > person.vertices[skin, 1].max()
    np.testing.assert_allclose(np.linalg.norm(shell.normals, axis=1), 1, atol=1e-3)
    assert shell.triangles.max() < len(shell.vertices)
    assert strands.min() > 0


def test_styles_reach_where_they_say(head, person):
    """Long hair hangs lower than short hair; a bald person has no shell and no painted roots."""
    skin, rng = head.part == Material.SKIN, np.random.default_rng(0)
    short = HairStyle(name="short", thickness=0.08, nape=7.0, fringe=8.0, part=0.0, stubble=0.9)
    long = HairStyle(name="long", thickness=0.1, nape=5.2, fringe=8.0, part=0.0, stubble=0.9)
    bald = HairStyle(name="bald", thickness=0.0, nape=7.0, fringe=8.0, part=0.0, stubble=0.0)
    lowest = [grow_hair(person.vertices, skin, rng, style)[0].vertices[:, 1].min() for style in (short, long)]
    assert lowest[1] < 5.6
    assert lowest[0] > 6.6
    assert grow_hair(person.vertices, skin, rng, bald) is None
    assert paint_scalp(head, rng, bald).max() == 0
    assert paint_scalp(head, rng, short).max() > 0.8


def test_the_face_stays_free_of_roots(head):
    """Painted roots cover the scalp but neither the nose nor the cheeks."""
    style = draw_style(np.random.default_rng(1), masculine=0.0)
    painted = paint_scalp(head, np.random.default_rng(0), style)
    across, up, forward = np.moveaxis(head.position_map, 2, 0)
    face = head.painted & (up < 7.5) & (forward > 1.0) & (np.abs(across) < 0.4)
    crown = head.painted & (up > 8.0) & (forward < 0.6)
    assert painted[face].max() < 0.05
    assert painted[crown].mean() > 0.6


def test_glasses_stand_before_the_eyes(head, person):
    """Both rims lie in front of the eyes and hide neither."""
    skin = head.part == Material.SKIN
    shell = make_glasses(person.vertices, skin, (head.eye(1), head.eye(-1)), np.random.default_rng(0))
    assert shell.vertices[:, 2].max() > person.vertices[head.part == Material.EYE, 2].max()
    assert shell.triangles.max() == len(shell.vertices) - 1
    assert abs(shell.vertices[:, 0].min() + shell.vertices[:, 0].max()) < 0.1


def test_grid_and_unit():
    """A grid of r × c points has 2(r-1)(c-1) triangles; unit vectors have length one and zero stays zero."""
    assert grid_triangles(3, 4).shape == (12, 3)
    np.testing.assert_allclose(unit(np.float32([[3, 4, 0], [0, 0, 0]])), [[0.6, 0.8, 0], [0, 0, 0]], atol=1e-6)
