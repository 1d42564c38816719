"""Containers are told by their bytes, and files shorter than they declare are found out."""

import os
import struct

import pytest

from fabnet_secure.video.container import Kind, holds_no_pictures, holds_only_sound, is_cut, sniff

MKV_HEADER = bytes.fromhex("1A45DFA3") + b"\x84" + b"\x42\x86\x81\x01" + bytes.fromhex("18538067")


@pytest.fixture
def opened(tmp_path):
    """Write bytes to a file and open it; gives (descriptor, size)."""
    descriptors = []

    def write(data):
        path = tmp_path / f"file{len(descriptors)}"
        path.write_bytes(data)
        descriptors.append(os.open(path, os.O_RDONLY))
        return descriptors[-1], len(data)

    yield write
    for descriptor in descriptors:
        os.close(descriptor)


def box(name, body=b"", length=None):
    """Make an MP4 box."""
    return struct.pack(">I", 8 + len(body) if length is None else length) + name + body


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x00\x00\x00\x18ftypisom", Kind.MP4),
        (b"\x00\x00\x10\x00mdat", Kind.MP4),
        (bytes.fromhex("1A45DFA3A3"), Kind.MATROSKA),
        (b"RIFF\x00\x00\x00\x00AVI LIST", Kind.AVI),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", Kind.SOUND),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", None),
        (b"GIF89a", Kind.GIF),
        (b"GIF87a", Kind.GIF),
        (b"\x00\x00\x01\xba\x21", Kind.MPEG),
        (b"\x00\x00\x01\xb3\x21", Kind.MPEG),
        (b"G" + bytes(187) + b"G" + bytes(187), Kind.MPEG_TS),
        (b"G" + bytes(400), None),
        (b"OggS\x00", Kind.OGG),
        (b"FLV\x01\x05", Kind.FLV),
        (b"ID3\x04", Kind.SOUND),
        (b"fLaC", Kind.SOUND),
        (b"#EXTM3U\n", None),
        (b"\xff\xd8\xff\xe0", None),
        (b"\x89PNG\r\n", None),
        (b"", None),
    ],
)
def test_first_bytes_name_the_container(head, kind):
    """Every container read is known by its magic; playlists, pictures and the rest are not videos."""
    assert sniff(head) is kind


def test_an_mp4_is_cut_when_a_box_ends_beyond_the_file(opened):
    """A box longer than the rest of the file, in 32 or 64 bits, is a cut; a box "to the end" is not."""
    start = box(b"ftyp", bytes(8)) + box(b"moov", bytes(8))
    assert is_cut(*mp4(opened(start + box(b"mdat", bytes(10), length=1000))))
    long = struct.pack(">I4sQ", 1, b"mdat", 5000) + bytes(10)
    assert is_cut(*mp4(opened(start + long)))
    assert not is_cut(*mp4(opened(start + box(b"mdat", bytes(10), length=0))))
    assert not is_cut(*mp4(opened(start + box(b"mdat", bytes(10)))))


def mp4(opened_file):
    """Put the kind between descriptor and size."""
    return opened_file[0], Kind.MP4, opened_file[1]


def test_an_mp4_without_its_index_is_cut(opened):
    """Pictures without a moov box: the end, where it stood, is lost."""
    assert is_cut(*mp4(opened(box(b"ftyp", bytes(8)) + box(b"mdat", bytes(10)))))


def test_bytes_after_an_mp4_do_not_make_it_cut(opened):
    """Some cameras append their own bytes; a whole file stays whole. A box of no length ends the walk."""
    whole = box(b"ftyp", bytes(8)) + box(b"mdat", bytes(10)) + box(b"moov", bytes(8))
    assert not is_cut(*mp4(opened(whole + b"\xff\xff\xff\xffSEFT" + bytes(20))))
    assert not is_cut(*mp4(opened(whole + box(b"free", length=3))))


@pytest.mark.parametrize(
    ("length", "cut"),
    [(b"\x8a", False), (b"\x8b", True), (b"\x01\x00\x00\x00\x00\x00\x00\x0a", False), (b"\xff", False)],
    ids=["exact", "one-short", "exact-8-bytes", "unknown"],
)
def test_a_matroska_segment_is_held_to_its_length(opened, length, cut):
    """A Segment of a known length must be there to its last byte; a live one of unknown length may not be."""
    descriptor, size = opened(MKV_HEADER + length + bytes(10))
    assert is_cut(descriptor, Kind.MATROSKA, size) is cut


def test_a_matroska_head_of_noise_is_not_judged(opened):
    """Bytes after the magic that form no Segment say nothing about a cut."""
    for tail in (b"", b"\x00" * 20, b"\xff" * 20, b"\x84abcd" + bytes(30)):
        descriptor, size = opened(bytes.fromhex("1A45DFA3") + tail)
        assert not is_cut(descriptor, Kind.MATROSKA, size)


def test_an_avi_is_held_to_its_length_unless_it_is_unknown(opened):
    """RIFF's length is little-endian and leaves out its own eight bytes; all ones mean a live recording."""
    for length, cut in ((12, False), (13, True), (0xFFFFFFFF, False)):
        descriptor, size = opened(b"RIFF" + struct.pack("<I", length) + b"AVI " + bytes(8))
        assert is_cut(descriptor, Kind.AVI, size) is cut


@pytest.mark.parametrize(
    ("kind", "data", "only_sound"),
    [
        (Kind.MP4, box(b"ftyp") + box(b"moov", b"hdlr soun"), True),
        (Kind.MP4, box(b"ftyp") + box(b"moov", b"hdlr soun hdlr vide"), False),
        (Kind.MP4, box(b"ftyp"), False),
        (Kind.MATROSKA, b"xx A_OPUS", True),
        (Kind.MATROSKA, b"xx A_OPUS V_VP8", False),
        (Kind.OGG, b"OggS OpusHead", True),
        (Kind.OGG, b"OggS theora vorbis", False),
        (Kind.AVI, b"RIFF auds", True),
        (Kind.AVI, b"RIFF auds vids", False),
        (Kind.SOUND, b"RIFF", True),
        (Kind.GIF, b"GIF89a", False),
    ],
)
def test_sound_only_is_told_from_no_video(opened, kind, data, only_sound):
    """A container that names a sound stream and no pictures is called sound, no other is."""
    descriptor, size = opened(data)
    assert holds_only_sound(descriptor, kind, size) is only_sound


def test_an_index_without_streams_names_none(opened):
    """Only a moov box that is there and declares no pictures counts as a video of no frames."""
    for data, none in ((box(b"moov", b"mvhd"), True), (box(b"moov", b"vide"), False), (box(b"ftyp"), False)):
        descriptor, size = opened(data)
        assert holds_no_pictures(descriptor, Kind.MP4, size) is none
    assert not holds_no_pictures(descriptor, Kind.AVI, size)


def test_a_matroska_of_no_clusters_holds_no_pictures(opened):
    """A declared picture stream without one Cluster is a video of no frames; with one, or of noise, it is not."""
    cluster = bytes.fromhex("1F43B675")
    for data, none in ((b"V_VP8", True), (b"V_VP8" + cluster, False), (b"noise", False)):
        descriptor, size = opened(data)
        assert holds_no_pictures(descriptor, Kind.MATROSKA, size) is none
