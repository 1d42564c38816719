"""YuNet in ONNX Runtime: the published weights, expanded; the faces that OpenCV's own detector finds."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from fabnet_secure.synth.clip import write_clip as draw_clip
from fabnet_secure.video.detect import _read_weights
from fabnet_secure.video.reader import open_video
from fabnet_secure.video.yunet import Network, open_session, to_runnable

WEIGHTS = _read_weights()


class ScriptedSession:
    """Answers with given figures and keeps what it was shown."""

    def __init__(self, cells, figures=()):
        self.answer = np.zeros((1, cells, 15), np.float32)
        self.shown = self.seen = None
        for cell, values in figures:
            self.answer[0, cell] = values

    def run(self, names, feeds):
        assert list(names) == ["faces"]
        self.shown, self.seen = feeds["input"], feeds["input"].copy()
        return [self.answer]


@pytest.fixture(scope="module")
def network():
    """The real network at the threshold that ingestion uses."""
    return Network.load(WEIGHTS, 0.7)


@pytest.fixture(scope="module")
def reference():
    """What OpenCV finds with the same weights."""
    detector = cv2.FaceDetectorYN.create(
        "onnx", np.frombuffer(WEIGHTS, np.uint8), np.empty(0, np.uint8), (32, 32), 0.7, 0.3, 500
    )

    def find(picture):
        detector.setInputSize((picture.shape[1], picture.shape[0]))
        rows = detector.detect(picture)[1]
        return np.empty((0, 15), np.float32) if rows is None else rows

    return find


def shrunk(path, widths, every=1):
    """Yield a video's pictures at the given widths."""
    with open_video(path) as stream:
        for frame in stream:
            for width in widths if frame.index % every == 0 else ():
                height = round(frame.pixels.shape[0] * width / frame.pixels.shape[1])
                yield cv2.resize(frame.pixels, (width, height), interpolation=cv2.INTER_AREA)


def assert_same_faces(network, reference, pictures):
    """Check that both find the same faces; return how many."""
    faces = 0
    for picture in pictures:
        ours, theirs = network.find(picture), reference(picture)
        assert len(ours) == len(theirs)
        np.testing.assert_allclose(ours[:, :14], theirs[:, :14], atol=0.01)
        np.testing.assert_allclose(ours[:, 14], theirs[:, 14], atol=1e-4)
        faces += len(theirs)
    return faces


def expanded(graph):
    """Compute what each DequantizeLinear stands for: the scale times (the number less the zero point)."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    shaped = {node.input[0]: node for node in graph.node if node.op_type == "Reshape"}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            number, scale, zero = (stored[name] for name in node.input)
            settings = {attribute.name: attribute.i for attribute in node.attribute}
            axis, block = settings["axis"], settings["block_size"]
            scale, zero = (np.repeat(part, block, axis) for part in (scale, zero.astype(np.int32)))
            values = scale * (number.astype(np.int32) - zero).astype(np.float32)
            reshape = shaped.get(node.output[0])
            yield (
                (node.output[0], values)
                if reshape is None
                else (
                    reshape.output[0],
                    values.reshape(stored[reshape.input[1]]),
                )
            )


def test_the_weights_are_the_published_ones_expanded(tmp_path):
    """Each of the 64 packed tensors becomes a constant, equal to its definition; none is left to be unpacked later."""
    path = tmp_path / "expanded.onnx"
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    open_session(to_runnable(WEIGHTS), optimized_model_filepath=str(path), graph_optimization_level=level)
    ran = onnx.load(path).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in ran.initializer}
    published = dict(expanded(onnx.load_model_from_string(WEIGHTS).graph))
    assert len(published) == 64
    for name, values in published.items():
        np.testing.assert_array_equal(constants[name], values)
    assert "DequantizeLinear" not in {node.op_type for node in ran.node}


@pytest.mark.parametrize("people", [(1,), (2, 3), (4, 5, 6)], ids=["one", "two", "three"])
def test_made_up_people_are_found_as_opencv_finds_them(network, reference, tmp_path, people):
    """At two sizes, one a multiple of the coarsest cell and one not: the same faces, landmarks and scores."""
    path = tmp_path / "people.avi"
    draw_clip(path, people, frames=8)
    assert assert_same_faces(network, reference, shrunk(path, (320, 150))) >= 8 * len(people)


@pytest.mark.real_clips
@pytest.mark.parametrize("name", ["pyfeat/single_face.mp4", "pyfeat/no_face.mp4", "grid/bbaf2n.mpg"])
def test_real_people_are_found_as_opencv_finds_them(network, reference, clips_folder, name):
    """At the default size and at a small one: the same faces, landmarks and scores; none where there is none."""
    faces = assert_same_faces(network, reference, shrunk(clips_folder / name, (320, 160), every=5))
    assert (faces > 0) == ("no_face" not in name)


@pytest.mark.parametrize("shape", [(1, 1), (31, 33), (64, 32), (33, 640)], ids=str)
def test_any_size_of_picture_is_taken(network, reference, shape):
    """One session takes each size, and finds in noise what OpenCV finds."""
    noise = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    assert assert_same_faces(network, reference, [noise]) == 0


def test_the_picture_is_padded_with_zeros_and_not_changed_otherwise():
    """The network sees blue, green, red planes of 0 to 255, filled up to whole cells at the right and the bottom."""
    picture = np.random.default_rng(0).integers(1, 255, (30, 40, 3), np.uint8)
    session = ScriptedSession(4 * 8 + 2 * 4 + 2)
    Network(session, 0.7).find(picture)
    assert session.seen.shape == (1, 3, 32, 64)
    assert session.seen.dtype == np.float32
    np.testing.assert_array_equal(session.seen[0, :, :30, :40], picture.transpose(2, 0, 1))
    assert not session.seen[:, :, 30:].any()
    assert not session.seen[:, :, :, 40:].any()


def test_the_picture_is_zeroed_after_use():
    """The buffer that the network saw holds zeros afterwards, also when the network fails."""
    session = ScriptedSession(21)
    network = Network(session, 0.7)
    network.find(np.full((32, 32, 3), 9, np.uint8))
    assert session.seen.all()
    assert not session.shown.any()
    session.run = lambda _names, feeds: feeds["missing"]
    with pytest.raises(KeyError):
        network.find(np.full((32, 32, 3), 9, np.uint8))
    assert not network._input.any()


@pytest.mark.parametrize(
    ("cell", "column", "row", "side"), [(0, 0, 0, 8), (11, 3, 1, 8), (32 + 5, 1, 1, 16), (32 + 8 + 1, 1, 0, 32)]
)
def test_a_cell_s_figures_become_a_box_and_landmarks(cell, column, row, side):
    """Centre and landmarks count from the cell's corner in cells, the sizes are logarithms; the score stays."""
    figures = [0.5, 0.25, np.log(2), np.log(3), *np.arange(10) / 4, 0.8]
    network = Network(ScriptedSession(42, [(cell, figures)]), 0.7)
    (found,) = network.find(np.zeros((32, 64, 3), np.uint8))
    box = np.array([column + 0.5 - 1, row + 0.25 - 1.5, 2, 3]) * side
    landmarks = (np.arange(10).reshape(5, 2) / 4 + (column, row)) * side
    np.testing.assert_allclose(found, [*box, *landmarks.ravel(), 0.8], rtol=1e-6)


def test_only_what_is_sure_enough_and_finite_is_reported():
    """The threshold itself is enough, less is not; an endless box, or one that is no number, hides no other face."""
    size = [np.log(4), np.log(4)]
    cells = [
        (0, [0, 0, *size, *[0] * 10, 0.7]),
        (3, [0, 0, *size, *[0] * 10, 0.69]),
        (7, [0, 0, 1e9, 1e9, *[0] * 10, 0.99]),
        (8, [np.nan, 0, *size, *[0] * 10, 0.98]),
    ]
    found = Network(ScriptedSession(42, cells), 0.7).find(np.zeros((32, 64, 3), np.uint8))
    assert [round(float(score), 4) for score in found[:, 14]] == [0.7]


def test_of_boxes_that_overlap_the_most_confident_stays():
    """Two boxes on one place are one face; boxes apart stay, the most confident first."""
    size = [np.log(2), np.log(2)]
    cells = [(0, [*[0.5] * 2, *size, *[0] * 10, 0.75]), (1, [-0.4, 0.5, *size, *[0] * 10, 0.9])]
    cells += [(6, [0.5, 0.5, *size, *[0] * 10, 0.95])]
    found = Network(ScriptedSession(42, cells), 0.7).find(np.zeros((32, 64, 3), np.uint8))
    np.testing.assert_allclose(found[:, 14], [0.95, 0.9])


def test_the_library_holds_no_way_to_report_to_its_maker():
    """ONNX Runtime's builds from 1.29 on hold Microsoft's uploader and its address; the pinned one does not."""
    libraries = list(Path(onnxruntime.__file__).parent.glob("capi/*.so*"))
    assert libraries
    for library in libraries:
        content = library.read_bytes()
        assert b"events.data.microsoft.com" not in content
        assert b"9Microsoft12Applications6Events" not in content


def test_the_network_prints_and_writes_nothing(tmp_path):
    """A process that loads and runs it says nothing, leaves nothing in its home, and starts no thread."""
    program = (
        "import numpy as np\n"
        "from fabnet_secure.video.detect import Detector\n"
        "Detector.load().detect(np.full((120, 160, 3), 128, np.uint8))\n"
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('Threads')])\n"
    )
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_", "CI"))}
    # OpenBLAS starts threads of its own when NumPy is imported.
    surroundings |= {"HOME": str(tmp_path), "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=surroundings, capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("['1']", "")
    assert list(tmp_path.iterdir()) == []
