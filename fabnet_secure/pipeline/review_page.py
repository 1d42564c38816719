"""The operator's page: every face with its times, its place and a few pictures too coarse to know it by.

Guarantees: the page is built in memory, needs no script, no network and no other file; every text in it is escaped; it
holds no picture finer than ``blur.CELLS`` squares a side and no consent's full id. A page of pictures is a
``bytearray``, so that its owner can overwrite it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files

from fabnet_secure.pipeline.review_words import WORDS
from fabnet_secure.video.detect import Box

Words = Mapping[str, str]

NOBODY_CHOICE = "nobody"
"""The answer for a face that is nobody's of those named; any other answer is the number of a consent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One coarse picture of a face as a ``data:`` address, and the frame it is from."""

    frame: int
    address: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """What the page says about one track.

    Attributes:
        number: of the track, from 0; the page counts from 1.
        first: index of the first frame.
        last: index of the last frame.
        size: median size in pixels.
        path: boxes in pixels at the start, the middle and the end.
        pictures: a few, in order of time.
    """

    number: int
    first: int
    last: int
    size: float
    path: tuple[Box, ...]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Everything that one page shows.

    Attributes:
        faces: to be decided, by number.
        choices: short names of the consents, in the order that the form's answers count them in.
        frames: number of frames of the video.
        fps: frames a second; 0.0 when unknown.
        width: of the frames in pixels.
        height: of the frames in pixels.
        seconds: until the page closes.
    """

    faces: tuple[Face, ...]
    choices: tuple[str, ...]
    frames: int
    fps: float
    width: int
    height: int
    seconds: float


def build(
    sheet: Sheet, language: str, *, nonce: str, proof: str, said: Mapping[int, str], trouble: str = ""
) -> bytearray:
    """Build the page.

    Args:
        sheet: what it shows.
        language: ``en`` or ``ja``.
        nonce: lets the style sheet through the page's content security policy.
        proof: what the form has to send back.
        said: number of a track → the choice made in an answer that could not be taken.
        trouble: why it could not (a key of the words); "" at first.
    """
    words = WORDS[language]
    page = bytearray(_head(language, words["title"], nonce))
    page += _opening(sheet, words, trouble)
    page += f'<form method="post"><input type="hidden" name="proof" value="{escape(proof)}">'.encode()
    for face in sheet.faces:
        page += (
            f'<fieldset class="face"><legend>{_filled(words, "face", number=face.number + 1)}</legend><div>'.encode()
        )
        for part in _strip(face, words):
            page += part
        page += f"{_seen(sheet, face, words)}</div>{_map(sheet, face, words)}".encode()
        page += (_choices(sheet, face, words, said.get(face.number, NOBODY_CHOICE)) + "</fieldset>").encode()
    page += (
        f'<div class="bar"><button name="act" value="bind">{words["bind"]}</button>'
        f'<button class="quiet" name="act" value="leave">{words["leave"]}</button></div></form>'
        f'<p class="note">{words["note"]}</p></main></body></html>'
    ).encode()
    return page


def ending(language: str, *, nonce: str, answered: bool) -> bytes:
    """Build the page that says that it is over."""
    words = WORDS[language]
    key = "done" if answered else "left"
    body = (
        f'<div class="end"><p class="site">{words["site"]}</p><h1>{words[key]}</h1>'
        f'<p class="lead">{words[f"{key}_more"]}</p></div></main></body></html>'
    )
    return _head(language, words[key], nonce) + body.encode()


@cache
def _style() -> str:
    return files(__package__).joinpath("review.css").read_text("utf-8").strip()


def _head(language: str, title: str, nonce: str) -> bytes:
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f'<style nonce="{escape(nonce)}">{_style()}</style></head><body><main>'
    ).encode()


def _opening(sheet: Sheet, words: Words, trouble: str) -> bytes:
    figures = {
        "faces": len(sheet.faces),
        "consents": len(sheet.choices),
        "frames": sheet.frames,
        "minutes": max(1, round(sheet.seconds / 60)),
    }
    items = "".join(f"<li><b>{count:,}</b><span>{words[name]}</span></li>" for name, count in figures.items())
    told = f'<p class="trouble" role="alert">{words[trouble]}</p>' if trouble else ""
    return (
        f'<p class="site">{words["site"]}</p><h1>{words["title"]}</h1><p class="lead">{words["lead"]}</p>'
        f'<ul class="figures">{items}</ul>{told}'
    ).encode()


def _strip(face: Face, words: Words) -> Iterator[bytes]:
    """Yield the pictures, the only part of the page that shows anything of a face."""
    yield b'<div class="strip">'
    for picture in face.pictures:
        alt = _filled(words, "thumbnail", number=face.number + 1, frame=picture.frame)
        yield f'<img alt="{alt}" title="{alt}" src="'.encode()
        yield picture.address
        yield b'">'
    yield b"</div>"


def _seen(sheet: Sheet, face: Face, words: Words) -> str:
    frames = _filled(words, "frame_range", first=face.first, last=face.last)
    start, end = (_time(index, sheet.fps) for index in (face.first, face.last + 1))
    when = f"{_filled(words, 'span', start=start, end=end)}<small>{frames}</small>" if sheet.fps > 0 else frames
    rows = {
        "when": when,
        "length": _filled(words, "length_of", frames=f"{face.last - face.first + 1:,}"),
        "size": _filled(words, "size_of", size=round(face.size)),
    }
    facts = "".join(f"<div><dt>{words[name]}</dt><dd>{value}</dd></div>" for name, value in rows.items())
    return f'<div class="seen"><dl>{facts}</dl>{_timeline(sheet, face)}</div>'


def _timeline(sheet: Sheet, face: Face) -> str:
    total = max(sheet.frames, face.last + 1)
    start, long = 1000 * face.first / total, 1000 * (face.last - face.first + 1) / total
    bar = f'<rect x="{min(start, 996):.1f}" y="0" width="{max(long, 4):.1f}" height="8"/>'
    return f'<svg class="time" viewBox="0 0 1000 8" preserveAspectRatio="none" aria-hidden="true">{bar}</svg>'


def _map(sheet: Sheet, face: Face, words: Words) -> str:
    """Draw the frame's outline and where the face was: faint at its start, plain at its end."""
    last = len(face.path) - 1
    kinds = ["before"] * last + ["now"]
    boxes = "".join(
        f'<rect class="{kind}" x="{x:.0f}" y="{y:.0f}" width="{wide:.0f}" height="{high:.0f}"/>'
        for kind, (x, y, wide, high) in zip(kinds, face.path, strict=True)
    )
    return (
        f'<figure><svg class="map" viewBox="0 0 {sheet.width} {sheet.height}" aria-hidden="true">{boxes}</svg>'
        f"<figcaption>{words['where']}</figcaption></figure>"
    )


def _choices(sheet: Sheet, face: Face, words: Words, choice: str) -> str:
    field = f"face-{face.number}"
    nobody = f"{words['nobody']}<small>{words['nobody_why']}</small>"
    options = [
        (str(place), f"{words['consent']} <code>{escape(one)}</code>") for place, one in enumerate(sheet.choices)
    ]
    labels = "".join(
        f'<label class="choice{" none" if value == NOBODY_CHOICE else ""}"><input type="radio" name="{field}" '
        f'value="{value}" required{" checked" if value == choice else ""}><span>{text}</span></label>'
        for value, text in [*options, (NOBODY_CHOICE, nobody)]
    )
    whose = words["whose"]
    return f'<div class="whole" role="radiogroup" aria-label="{whose}"><p class="whose">{whose}</p>{labels}</div>'


def _filled(words: Words, name: str, **values: object) -> str:
    return escape(words[name].format(**values))


def _time(index: int, fps: float) -> str:
    """Write when a frame is shown as minutes, seconds and tenths."""
    tenths = round(10 * index / fps) if fps > 0 else 0
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"
