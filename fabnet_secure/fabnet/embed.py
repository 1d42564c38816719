"""Crops to embeddings.

Guarantees that the same crops and weights give the same embeddings within float16, whatever else is embedded with
them. Does not encrypt them: the caller seals what it is given.
"""

import numpy as np
import numpy.typing as npt
import torch

from fabnet_secure.errors import UsageError
from fabnet_secure.fabnet.model import FabNet
from fabnet_secure.fabnet.sampling import to_pixels

_BATCH = 64
_LARGEST = float(np.finfo(np.float16).max)


def embed(model: FabNet, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float16]:
    """Return the signed embeddings (n, dim) float16 of crops (n, S, S, 3) uint8 RGB, resized to the model's size.

    Raises:
        UsageError: the crops have another shape or type (code ``TRACK_SHAPE``).
    """
    if crops.ndim != 4 or crops.shape[3] != 3 or crops.dtype != np.uint8:
        raise UsageError("crops must have shape (n, S, S, 3) uint8", code="TRACK_SHAPE")
    model.eval()
    device = next(model.parameters()).device
    out = np.empty((len(crops), model.config.embedding_dim), dtype=np.float16)
    with torch.inference_mode():
        for start in range(0, len(crops), _BATCH):
            pixels = to_pixels(crops[start : start + _BATCH], model.config.image_size).to(device)
            codes = model.encoder(pixels).clamp(-_LARGEST, _LARGEST)
            out[start : start + _BATCH] = codes.cpu().numpy().astype(np.float16)
    return out
