"""AV1 pictures, through the libaom that OpenCV ships for still pictures: its FFmpeg has no AV1 decoder in software.

Guarantees: one decoding thread; a library whose interface is not the one written down here is refused, never guessed
at; a picture larger than ``MAX_PIXELS`` is refused before it is decoded; the planes converted here lie in locked
memory where the kernel allows. Does not guarantee that libaom zeroes its own buffers.

Source: libaom 3, aom/aom_decoder.h, aom/aom_image.h and aom/aom_codec.h (interface 22); ITU-T H.273 for the matrices.
"""

import ctypes
import re
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fabnet_secure.memory import locked_zeros
from fabnet_secure.video.decoder import MAX_PIXELS

Pixels = npt.NDArray[np.uint8]

FOURCC = "av01"
_INTERFACE = 22  # AOM_DECODER_ABI_VERSION
_CONTEXT_BYTES = 512  # more than aom_codec_ctx_t
_WEIGHTS = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}  # (red, blue) of H.273's matrices; all others as BT.601
_BT601 = (0.299, 0.114)
_HIGH_DEPTH = 0x800  # AOM_IMG_FMT_HIGHBITDEPTH: 16 bits a sample, whatever its depth
_IDENTITY = 0
_FULL_RANGE = 1


class _Settings(ctypes.Structure):
    """aom_codec_dec_cfg_t."""

    _fields_ = (
        ("threads", ctypes.c_uint),
        ("width", ctypes.c_uint),
        ("height", ctypes.c_uint),
        ("low_depth", ctypes.c_uint),
    )


class _Stream(ctypes.Structure):
    """aom_codec_stream_info_t."""

    _fields_ = (
        ("width", ctypes.c_uint),
        ("height", ctypes.c_uint),
        ("keyframe", ctypes.c_uint),
        ("spatial_layers", ctypes.c_uint),
        ("temporal_layers", ctypes.c_uint),
        ("annexb", ctypes.c_uint),
    )


class _Image(ctypes.Structure):
    """The beginning of aom_image_t: as much as is read here."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("format", "primaries", "transfer", "matrix", "grey", "siting", "range")),
        *((name, ctypes.c_uint) for name in ("w", "h", "depth", "width", "height", "r_w", "r_h")),
        ("x_shift", ctypes.c_uint),
        ("y_shift", ctypes.c_uint),
        ("planes", ctypes.c_void_p * 3),
        ("strides", ctypes.c_int * 3),
    )


class Av1Capture:
    """Reads as a ``cv2.VideoCapture`` does; takes the packets from one that only takes the container apart.

    ``angle`` is the container's rotation, which OpenCV does not tell when it reads packets.
    """

    def __init__(self, packets: cv2.VideoCapture, angle: float) -> None:
        self._packets = packets
        self._angle = angle
        self._library = _library()
        self._context = ctypes.create_string_buffer(_CONTEXT_BYTES)
        self._image: Any = None
        self._size: tuple[int, int] | None = None
        self._scratch: list[Pixels] = []
        settings = _Settings(threads=1, low_depth=1)
        failed = self._library is None or self._library.aom_codec_dec_init_ver(
            self._context, self._library.aom_codec_av1_dx(), ctypes.byref(settings), 0, _INTERFACE
        )
        self._open = not failed and packets.isOpened()

    def isOpened(self) -> bool:  # noqa: N802  the name is OpenCV's
        """Tell whether both the container and the decoder could be opened."""
        return self._open

    def get(self, name: int) -> float:
        """Return a property of the container or of the packet read last."""
        return self._angle if name == cv2.CAP_PROP_ORIENTATION_META else float(self._packets.get(name))

    def changes(self) -> bool:
        """Tell whether the picture decoded last has another size than the first had."""
        if self._image is None:
            return False
        size = (int(self._image.width), int(self._image.height))
        self._size = self._size or size
        return size != self._size

    def grab(self) -> bool:
        """Decode the next picture; False at the end and at a damaged packet."""
        self._image = None
        while self._image is None:
            if not self._packets.grab():
                return False
            read, packet = self._packets.retrieve()
            if not read or not self._decode(np.ascontiguousarray(packet)):
                return False
        return True

    def retrieve(self, buffer: Pixels) -> tuple[bool, Pixels]:
        """Convert the picture to BGR into ``buffer`` if it fits, else into a new array."""
        if self._image is None:
            return False, buffer
        shape = (int(self._image.height), int(self._image.width), 3)
        target = buffer if buffer.shape == shape else np.zeros(shape, np.uint8)
        self._convert(target)
        return True, target

    def release(self) -> None:
        """Zero what lies here and close both."""
        self._image = None
        for plane in self._scratch:
            plane.fill(0)
        if self._open and self._library is not None:
            self._library.aom_codec_destroy(self._context)
        self._open = False
        self._packets.release()

    def _decode(self, packet: npt.NDArray[Any]) -> bool:
        library, stream = self._library, _Stream()
        place = packet.ctypes.data
        told = library.aom_codec_peek_stream_info(
            library.aom_codec_av1_dx(), place, packet.nbytes, ctypes.byref(stream)
        )
        if told == 0 and stream.width * stream.height > MAX_PIXELS:
            return False
        if library.aom_codec_decode(self._context, place, packet.nbytes, None) != 0:
            return False
        position = ctypes.c_void_p()
        while picture := library.aom_codec_get_frame(self._context, ctypes.byref(position)):
            self._image = picture.contents
        return True

    def _convert(self, target: Pixels) -> None:
        image = self._image
        height, width = target.shape[:2]
        if not self._scratch or self._scratch[0].shape != (height, width):
            shapes = [(height, width)] * 3 + [(height, width, 3)]
            self._scratch = [locked_zeros(shape)[0] for shape in shapes]
        *planes, merged = self._scratch
        for number, plane in enumerate(planes):
            if number and image.grey:
                plane.fill(128)
                continue
            part = _plane(image, number)
            if part.shape == plane.shape:
                np.copyto(plane, part)
            else:
                cv2.resize(part, (width, height), plane, interpolation=cv2.INTER_LINEAR)
        cv2.merge(planes, merged)
        cv2.transform(merged, _matrix(image.matrix, full=image.range == _FULL_RANGE), target)


def _plane(image: Any, number: int) -> Pixels:
    """Look at one plane of a decoded picture, as 8 bits."""
    height, width, stride = int(image.height), int(image.width), int(image.strides[number])
    if number:
        height, width = (height + image.y_shift) >> image.y_shift, (width + image.x_shift) >> image.x_shift
    raw = (ctypes.c_uint8 * (stride * height)).from_address(image.planes[number])
    rows: Pixels = np.ctypeslib.as_array(raw).reshape(height, stride)
    if not image.format & _HIGH_DEPTH:
        return rows[:, :width]
    wide = rows.view(np.uint16)[:, :width]
    return np.asarray(wide >> max(0, image.depth - 8), dtype=np.uint8)


def _matrix(code: int, *, full: bool) -> npt.NDArray[np.float32]:
    """Return the 3 by 4 matrix from (Y, Cb, Cr, 1) in 0..255 to (B, G, R)."""
    if code == _IDENTITY:  # the planes are G, B, R
        return np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]], np.float32)
    red, blue = _WEIGHTS.get(code, _BT601)
    green = 1 - red - blue
    luma, chroma, black = (1.0, 1.0, 0.0) if full else (255 / 219, 255 / 224, 16.0)
    to_blue, to_red = 2 * (1 - blue) * chroma, 2 * (1 - red) * chroma
    rows = np.array(
        [
            [luma, to_blue, 0],
            [luma, -to_blue * blue / green, -to_red * red / green],
            [luma, 0, to_red],
        ]
    )
    shift = -rows @ np.array([black, 128.0, 128.0])
    return np.column_stack([rows, shift]).astype(np.float32)


@cache
def _library() -> Any:
    """Find the libaom that OpenCV loaded; None where it has none, or one without these functions."""
    try:
        names = re.findall(r"/\S*/libaom\S*\.so\S*", Path("/proc/self/maps").read_text())
        library = ctypes.CDLL(names[0])
        pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long
        library.aom_codec_av1_dx.restype = pointer
        library.aom_codec_dec_init_ver.argtypes = [pointer, pointer, pointer, number, ctypes.c_int]
        library.aom_codec_peek_stream_info.argtypes = [pointer, pointer, size, pointer]
        library.aom_codec_decode.argtypes = [pointer, pointer, size, pointer]
        library.aom_codec_get_frame.argtypes = [pointer, pointer]
        library.aom_codec_get_frame.restype = ctypes.POINTER(_Image)
        library.aom_codec_destroy.argtypes = [pointer]
    except (OSError, IndexError, AttributeError):
        return None
    return library
