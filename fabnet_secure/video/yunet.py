"""Run YuNet, the face detector's network, in ONNX Runtime.

Guarantees: what runs is computed from the very bytes that are given, with the weights expanded to float32 by ONNX
Runtime (scale times (number less zero point)); the picture lies in one buffer, in locked memory where the system
allows, zeroed after each run, also when the run fails; one session serves every size of picture, and its memory grows
with the largest of them only; nothing is printed, written or sent. Does not guarantee: that what lies between the
network's layers is locked or zeroed: ONNX Runtime keeps that memory, and writes over it with the next picture.

The network answers, for each cell of three grids (8, 16 and 32 pixels wide), how sure it is of a face, and where the
box and the landmarks are relative to the cell. What is made of that follows ``cv2.FaceDetectorYN``.

Sources: W. Wu, H. Peng, S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20
(2023), 656-665; OpenCV, ``modules/objdetect/src/face_detect.cpp`` (padding, decoding, suppression); ONNX operator
DequantizeLinear, version 21.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import cv2
import numpy as np
import numpy.typing as npt

from fabnet_secure.memory import locked_zeros
from fabnet_secure.video.reader import Pixels

Rows = npt.NDArray[np.float32]

_STRIDES = (8, 16, 32)
_COARSEST = _STRIDES[-1]
_FIGURES = 15  # of a cell, and of a face: box (4), landmarks (10), score
_NMS_THRESHOLD = 0.3
_TOP_K = 500
_ERRORS_ONLY = 3


class Session(Protocol):
    """What runs the network: ONNX Runtime's InferenceSession, or a test's script."""

    def run(self, names: Sequence[str], feeds: dict[str, Rows], /) -> Sequence[Any]:
        """Return the named outputs for the named inputs."""


class Network:
    """YuNet for pictures of any size. Not safe for use by two threads at once."""

    def __init__(self, session: Session, score_threshold: float) -> None:
        self._session = session
        self._threshold = score_threshold
        self._size = (0, 0)
        self._input: Rows = np.empty((1, 3, 0, 0), np.float32)
        self._cells = _Cells.of(0, 0)

    @classmethod
    def load(cls, weights: bytes, score_threshold: float, threads: int = 1) -> Self:
        """Make the network of an ONNX file's bytes; faces below the threshold (0 to 1) are not reported."""
        return cls(open_session(to_runnable(weights), threads), score_threshold)

    def find(self, picture: Pixels) -> Rows:
        """Find the faces of one picture.

        Args:
            picture: (height, width, 3) uint8, BGR, at least one pixel.

        Returns:
            (n, 15) float32, most confident first, in pixels of the picture: x, y, width, height, the five landmarks'
            x and y (right eye, left eye, nose tip, right and left mouth corner), score.
        """
        height, width = picture.shape[:2]
        if (height, width) != self._size:
            self._prepare(height, width)
        try:
            self._input[0, :, :height, :width] = picture.transpose(2, 0, 1)
            (figures,) = self._session.run(["faces"], {"input": self._input})
        finally:
            self.wipe()
        return _most_certain(_read(figures[0], self._cells, self._threshold), self._threshold)

    def wipe(self) -> None:
        """Overwrite the picture with zeros."""
        self._input.fill(0)

    def _prepare(self, height: int, width: int) -> None:
        """Make the buffer for pictures of this size, padded to whole cells of the coarsest grid; list the cells."""
        whole = tuple(-(-side // _COARSEST) * _COARSEST for side in (height, width))
        self._input = locked_zeros((1, 3, *whole), np.float32)[0]
        self._cells = _Cells.of(*whole)
        self._size = (height, width)


def to_runnable(weights: bytes) -> bytes:
    """Rewrite the published network so that ONNX Runtime takes it, for pictures of any size; no weight is changed.

    A bias has one scale for all its numbers, yet is marked as scaled in blocks: the standard has no such case and ONNX
    Runtime refuses it, so the mark goes. The sizes that are written in hold for 640 by 640 pixels only, so they go. The
    twelve outputs are joined to one, ``faces``: (1, cells, 15) float32, the box's and the landmarks' figures and the
    score, the square root of the two certainties' product (both are sigmoids' values: OpenCV's limits change nothing).
    """
    import onnx

    model = onnx.load_model_from_string(weights)
    graph = model.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and shapes[node.input[1]] == (1,):
            del node.attribute[:]
    for side, name in zip(graph.input[0].type.tensor_type.shape.dim[2:], ("height", "width"), strict=True):
        side.dim_param = name
    del graph.value_info[:]
    make = onnx.helper.make_node
    for kind in ("cls", "obj", "bbox", "kps"):
        graph.node.append(make("Concat", [f"{kind}_{stride}" for stride in _STRIDES], [kind], axis=1))
    graph.node.append(make("Mul", ["cls", "obj"], ["certain"]))
    graph.node.append(make("Sqrt", ["certain"], ["score"]))
    graph.node.append(make("Concat", ["bbox", "kps", "score"], ["faces"], axis=2))
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info("faces", onnx.TensorProto.FLOAT, (1, None, _FIGURES)))
    return bytes(model.SerializeToString())


def open_session(model: bytes, threads: int = 1, **settings: Any) -> Any:
    """Open an ONNX Runtime session on the CPU that expands the weights once, now, and is silent.

    Args:
        model: an ONNX file's bytes.
        threads: CPU threads within an operator.
        settings: attributes of ``onnxruntime.SessionOptions`` to set beside.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # from 1.29 on the library reports to its maker unless told so before
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    options.enable_mem_pattern = False  # or each new size of picture takes memory for good
    options.add_session_config_entry("session.disable_quant_qdq", "1")  # without it the weights are expanded each time
    for name, value in settings.items():
        setattr(options, name, value)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Cells:
    """How the figures of each cell become pixels: ``(figure + place) * scale``.

    Attributes:
        place: (cells, 15) float32: the cell's column and row where a figure is relative to them, else 0.
        scale: (cells, 15) float32: the cell's side in pixels; 1 for the score.
    """

    place: Rows
    scale: Rows

    @classmethod
    def of(cls, height: int, width: int) -> Self:
        """List the cells of a picture of whole coarsest cells: grid by grid, row by row."""
        grids = [np.indices((height // stride, width // stride)).reshape(2, -1) for stride in _STRIDES]
        place = np.tile(np.concatenate(grids, axis=1)[::-1].T, 8)[:, :_FIGURES].astype(np.float32)
        place[:, [2, 3, 14]] = 0
        sides = np.repeat(_STRIDES, [grid.shape[1] for grid in grids])
        scale = np.tile(sides[:, None], _FIGURES).astype(np.float32)
        scale[:, 14] = 1
        return cls(place=place, scale=scale)


def _read(figures: Rows, cells: _Cells, threshold: float) -> Rows:
    """Turn the cells that are sure enough into rows as of :meth:`Network.find`, in the cells' order."""
    sure = np.flatnonzero(figures[:, -1] >= threshold)
    rows = figures[sure]
    with np.errstate(over="ignore"):  # an endless box is left out below
        np.exp(rows[:, 2:4], out=rows[:, 2:4])
    rows[:, :2] -= rows[:, 2:4] / 2
    rows += cells.place[sure]
    rows *= cells.scale[sure]
    finite: Rows = rows[np.isfinite(rows).all(axis=1)]
    return finite


def _most_certain(rows: Rows, threshold: float) -> Rows:
    """Of boxes that overlap keep the most confident, as OpenCV does: on boxes cut to whole pixels."""
    if len(rows) < 2:
        return rows
    boxes = np.trunc(rows[:, :4]).astype(np.float64)
    kept = cv2.dnn.NMSBoxes(boxes, rows[:, 14], threshold, _NMS_THRESHOLD, 1.0, _TOP_K)  # type: ignore[arg-type]
    return rows[np.asarray(kept, np.intp)]
