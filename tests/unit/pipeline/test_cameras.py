"""A source is one camera's or none's; a region is somebody's only through a consent."""

from types import SimpleNamespace

import pytest

from fabnet_secure.config import CameraTable, RegionTable
from fabnet_secure.errors import Gap, UsageError
from fabnet_secure.pipeline.cameras import find_camera, regions_of
from fabnet_secure.pipeline.source import Source

LEFT = RegionTable(name="left", box=(0.0, 0.0, 0.5, 1.0), consent="c-file")
RIGHT = RegionTable(name="right", box=(0.5, 0.0, 0.5, 1.0))
SUBJECTS = {"c-file": "ada", "c-told": "ben"}


def desk(name="desk", *, sources=("/srv/desk/*",), region=(LEFT, RIGHT)):
    """Make a camera's table."""
    return CameraTable(name=name, sources=sources, region=region)


def find(source, *tables):
    """Find the camera among these tables."""
    return find_camera(SimpleNamespace(settings=SimpleNamespace(camera=tables)), source)


def file(path, **more):
    """Name a file."""
    return Source(path=path, consent_ids=("c",), **more)


def live(url, **more):
    """Name a live source."""
    return Source(url=url, consent_ids=("c",), **more)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_is_its_folders_cameras(folder):
    """A pattern fits the absolute path, however the file was named; a pattern reaches into folders below."""
    (folder / "desk").mkdir()
    table = desk(sources=(f"{folder}/desk/*.mp4",))
    for name in ("desk/a.mp4", "desk/2026/b.mp4", "other/../desk/c.mp4"):
        assert find(file(folder / name), table).name == "desk"
    for name in ("a.mp4", "desk/a.avi", "desk/../a.mp4"):
        assert find(file(folder / name), table) is None


def test_a_link_is_where_it_lies_and_where_it_leads(folder):
    """A file behind a link may be two cameras': then it is nobody's guess."""
    for name in ("one", "two"):
        (folder / name).mkdir()
    (folder / "one" / "clip.mp4").touch()
    (folder / "two" / "clip.mp4").symlink_to(folder / "one" / "clip.mp4")
    one, two = (desk(name, sources=(f"{folder}/{name}/*",)) for name in ("one", "two"))
    assert find(file(folder / "one" / "clip.mp4"), one, two).name == "one"
    with pytest.raises(Gap) as caught:
        find(file(folder / "two" / "clip.mp4"), one, two)
    assert caught.value.code == "CAMERA_AMBIGUOUS"
    assert "one, two" in caught.value.hint


def test_a_live_source_is_found_without_its_password(folder):
    """The pattern holds no password, the address may."""
    table = desk(sources=("rtsp://10.0.0.7/*",))
    assert find(live("rtsp://eve:secret@10.0.0.7/stream1"), table).name == "desk"
    assert find(live("rtsp://10.0.0.8/stream1"), table) is None


@pytest.mark.parametrize("named", ["v4l:/dev/video2", "/dev/video2"])
@pytest.mark.parametrize("pattern", ["v4l:/dev/video2", "/dev/video2", "/dev/*"])
def test_a_device_has_two_names(named, pattern):
    """With and without v4l: it is the same device."""
    assert find(live(named), desk(sources=(pattern,))).name == "desk"


def test_a_pattern_may_be_the_name_itself(folder):
    """Brackets in a file's name are no pattern when they are meant as they stand."""
    path = folder / "clip[1].mp4"
    assert find(file(path), desk(sources=(str(path),))).name == "desk"


def test_a_camera_is_named(folder):
    """The name given counts, whatever the patterns say; an unknown one is told with the known."""
    one, two = desk("one", sources=("/*",)), desk("two")
    assert find(file(folder / "a.mp4", camera="two"), one, two).name == "two"
    with pytest.raises(UsageError) as caught:
        find(file(folder / "a.mp4", camera="three"), one, two)
    assert caught.value.code == "CAMERA_UNKNOWN"
    assert "one, two" in caught.value.hint
    with pytest.raises(Gap):
        find(file(folder / "a.mp4", camera="one"), one, one)


def test_seats_need_a_camera_and_its_regions(folder):
    """Seats without a camera, or of another camera, are refused; the known regions are told."""
    with pytest.raises(UsageError) as caught:
        find(file(folder / "a.mp4", seats={"left": "c-told"}), desk())
    assert caught.value.code == "CAMERA_UNKNOWN"
    with pytest.raises(UsageError) as caught:
        find(file(folder / "a.mp4", camera="desk", seats={"middle": "c-told"}), desk())
    assert caught.value.code == "REGION_UNKNOWN"
    assert "left, right" in caught.value.hint


@pytest.mark.parametrize(
    ("box", "code"),
    [
        ((0.4, 0.0, 0.5, 1.0), "REGIONS_OVERLAP"),
        ((0.0, 0.0, 1.0, 1.0), "REGIONS_OVERLAP"),
        ((0.5, 0.0, 0.6, 1.0), "REGION_OUTSIDE"),
        ((0.5, 0.5, 0.5, 0.6), "REGION_OUTSIDE"),
    ],
)
def test_regions_keep_apart_and_inside(folder, box, code):
    """Regions that share a part of the picture, or leave it, are refused before they are used."""
    table = desk(region=(LEFT, RegionTable(name="other", box=box)))
    with pytest.raises(UsageError) as caught:
        find(file(folder / "a.mp4", camera="desk"), table)
    assert caught.value.code == code


def test_regions_may_touch(folder):
    """0.1 + 0.2 and 0.3 are one edge."""
    parts = ((0.0, 0.1), (0.1, 0.2), (0.3, 0.7))
    regions = tuple(RegionTable(name=f"r{x}", box=(x, 0.0, wide, 1.0)) for x, wide in parts)
    assert len(find(file(folder / "a.mp4", camera="desk"), desk(region=regions)).regions) == 3


def test_two_regions_of_one_name_are_refused(folder):
    """A seat named on the command line would be two."""
    twin = RegionTable(name="left", box=(0.5, 0.0, 0.5, 1.0))
    with pytest.raises(UsageError) as caught:
        find(file(folder / "a.mp4", camera="desk"), desk(region=(LEFT, twin)))
    assert caught.value.code == "REGION_TWICE"


def test_a_region_is_its_consents_persons(folder):
    """By the settings, by the command line before them, and nobody's without a consent."""
    camera = find(file(folder / "a.mp4", camera="desk"), desk())
    assert camera.consents == {"left": "c-file"}

    def people(seats):
        return {region.name: region.person for region in regions_of(camera, seats, SUBJECTS)}

    assert people({}) == {"left": "ada", "right": ""}
    assert people({"right": "c-told"}) == {"left": "ada", "right": "ben"}
    assert people({"left": "c-told"}) == {"left": "ben", "right": ""}
    assert regions_of(None, {}, SUBJECTS) == ()
