"""Parts on their own: drawing synthetic people, a private training step, sealing a page."""

import cv2
import numpy as np
import torch

from benchmarks.clips import Shelf
from benchmarks.harness import Goal, Result, interleaved, timed
from fabnet_secure.crypto.envelope import Context, DataKey, seal, unseal
from fabnet_secure.fabnet.model import FabNet, FabNetConfig, tuple_loss, tuple_losses
from fabnet_secure.fabnet.step import PersonDPOptimizer, contribute
from fabnet_secure.synth.clip import track
from fabnet_secure.synth.head import load_head
from fabnet_secure.synth.raster import rasterise


def synth_frames(shelf: Shelf) -> Result:
    """Labelled synthetic frames at 128×128 on one core, against its two rasteriser passes alone."""
    del shelf
    cv2.setNumThreads(1)
    head, frames = load_head(), 40
    corners = head.vertices[head.corners] - np.array([0, 7.05, 13], np.float32)
    colours = np.full_like(corners, 0.5)

    def passes() -> None:
        for _ in range(2 * frames):
            rasterise(corners, head.triangles, colours, shape=(256, 256), field_of_view=0.24, empty=0)

    ours, theirs = interleaved(timed(lambda: list(track(head, 3, frames, size=128))), timed(passes))
    return Result(
        value=frames / ours,
        unit="frames/s",
        ratio=theirs / ours,
        baseline="two triangleRasterize passes of the bare head at twice the size",
        goals=(Goal(figure="value", least=40),),
    )


def dp_step_vs_plain(shelf: Shelf) -> Result:
    """A private step over 8 people, K = 4, 64 px, against the same network's whole-batch step without privacy."""
    del shelf
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

    ours, theirs = interleaved(timed(private_step), timed(plain_step))
    return Result(
        value=1 / ours,
        unit="steps/s",
        ratio=theirs / ours,
        baseline="whole-batch step of the same network, no clipping, no noise, same optimiser",
    )


def page_seal(shelf: Shelf) -> Result:
    """Sealing and opening a 51 KB page, against copying it."""
    del shelf
    key, page, pages = DataKey.generate(), bytes(51_200), 200
    context = Context(format="embeddings/1", n=100, dim=256)
    ours, theirs = interleaved(
        timed(lambda: [unseal(key, context, seal(key, context, page)) for _ in range(pages)]),
        timed(lambda: [bytearray(page) for _ in range(2 * pages)]),
    )
    return Result(value=pages / ours, unit="pages/s", ratio=theirs / ours, baseline="copying the page twice")
