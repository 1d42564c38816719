"""The metrics. A ratio is baseline seconds ÷ ours: above 1 is faster than the baseline."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from fabnet_secure.crypto.envelope import Context, DataKey, seal, unseal
from fabnet_secure.fabnet.model import FabNet, FabNetConfig, tuple_loss, tuple_losses
from fabnet_secure.fabnet.step import PersonDPOptimizer, contribute
from fabnet_secure.synth.clip import track, write_clip
from fabnet_secure.synth.head import load_head
from fabnet_secure.synth.raster import rasterise
from fabnet_secure.video.detect import Detector
from fabnet_secure.video.observe import observe
from fabnet_secure.video.reader import open_video


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One measurement and its baseline; ``units`` of work are done by one call of either."""

    measured: Callable[[], object]
    baseline: Callable[[], object]
    baseline_name: str
    units: float
    unit: str
    goal: str


def synth_frames() -> Metric:
    """Labelled synthetic frames at 128×128 on one core, against its two rasteriser passes alone."""
    cv2.setNumThreads(1)
    head, frames = load_head(), 40
    corners = head.vertices[head.corners] - np.float32([0, 7.05, 13])
    colours = np.full_like(corners, 0.5)

    def two_passes() -> None:
        for _ in range(2):
            rasterise(corners, head.triangles, colours, shape=(256, 256), field_of_view=0.24, empty=0)

    return Metric(
        measured=lambda: list(track(head, 3, frames, size=128)),
        baseline=lambda: [two_passes() for _ in range(frames)],
        baseline_name="two triangleRasterize passes of the bare head at twice the size",
        units=frames,
        unit="frames/s",
        goal="value ≥ 40",
    )


def ingest_vs_decode() -> Metric:
    """The first pass (decode, detect every frame, track), against decoding alone with the same reader."""
    cv2.setNumThreads(1)
    clip = Path(tempfile.mkdtemp(prefix="fabnet-bench-")) / "clip.mp4"
    frames = 60
    write_clip(clip, [1], frames=frames, width=640, height=360)
    detector = Detector.load()
    return Metric(
        measured=lambda: observe(clip, detector),
        baseline=lambda: _decode(clip),
        baseline_name="decoding the same clip with the same reader",
        units=frames,
        unit="frames/s",
        goal="none yet: the first path",
    )


def _decode(clip: Path) -> int:
    with open_video(clip) as stream:
        return sum(1 for _ in stream)


def dp_step_vs_plain() -> Metric:
    """A private step over 8 people, K = 4, 64 px, against the same network's whole-batch step without privacy."""
    torch.set_num_threads(1)
    people, tuples = 8, 4
    pixels = torch.rand(people, tuples, 3, 64, 64)
    model = FabNet(FabNetConfig(image_size=64, width=0.25, embedding_dim=128))
    private = PersonDPOptimizer(
        torch.optim.Adam(model.parameters()), noise_multiplier=1.0, max_grad_norm=0.1, expected_batch_size=people
    )
    plain = torch.optim.Adam(model.parameters())

    def private_step() -> None:
        private.begin()
        for person in pixels:
            contribute(private, tuple_losses(model, person, person.unsqueeze(1)))
        private.step()

    def plain_step() -> None:
        batch = pixels.flatten(0, 1)
        plain.zero_grad()
        tuple_loss(model, batch, batch.unsqueeze(1)).backward()  # type: ignore[no-untyped-call]
        plain.step()

    return Metric(
        measured=private_step,
        baseline=plain_step,
        baseline_name="whole-batch step of the same network, no clipping, no noise, same optimiser",
        units=1,
        unit="steps/s",
        goal="none yet: the first path",
    )


def page_seal() -> Metric:
    """Sealing and opening a 51 KB page, against copying it."""
    key, page = DataKey.generate(), bytes(51_200)
    context = Context(format="embeddings/1", n=100, dim=256)
    return Metric(
        measured=lambda: [unseal(key, context, seal(key, context, page)) for _ in range(200)],
        baseline=lambda: [bytearray(page) for _ in range(400)],
        baseline_name="copying the page twice",
        units=200,
        unit="pages/s",
        goal="none yet: the first path",
    )


ALL: dict[str, Callable[[], Metric]] = {
    "synth_frames": synth_frames,
    "ingest_vs_decode": ingest_vs_decode,
    "dp_step_vs_plain": dp_step_vs_plain,
    "page_seal": page_seal,
}
