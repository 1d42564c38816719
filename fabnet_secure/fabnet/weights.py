"""Weights on disk: safetensors, written whole or not at all, read only when their digest matches.

Guarantees that a crash or Ctrl-C while writing leaves the old file or none, and that :func:`load` builds a network
from exactly the bytes it has hashed. Does not encrypt: weights under ε are what training may release.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from fabnet_secure.errors import IntegrityFailure, StorageFailed
from fabnet_secure.fabnet.model import FabNet, FabNetConfig
from fabnet_secure.types import canonical_json, new_id

_SHAPE = "fabnet_config"
_HEADER = 8  # safetensors: header length, 8 bytes little-endian


def save(model: FabNet, path: Path, metadata: Mapping[str, str]) -> str:
    """Write the weights (mode 0600) and return their SHA-256 in hex.

    Args:
        model: the network.
        path: the file; replaced as a whole.
        metadata: text kept in the file's header beside the network's shape; public.

    Raises:
        StorageFailed: the disk refused (code ``STORAGE_FAILED``).
        IntegrityFailure: a weight is not finite (code ``WEIGHTS_NOT_FINITE``).
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise IntegrityFailure(
            "the weights are not finite numbers", hint="lower the learning rate", code="WEIGHTS_NOT_FINITE"
        )
    header = {**metadata, _SHAPE: canonical_json(model.config.to_json()).decode()}
    blob: bytes = safetensors.torch.save(tensors, header)
    try:
        _replace(path, blob)
    except OSError as error:
        raise StorageFailed("the weights could not be written", hint=error.strerror or "check the disk") from error
    return hashlib.sha256(blob).hexdigest()


def load(path: Path, expected_sha256: str) -> FabNet:
    """Read a network.

    Raises:
        StorageFailed: this account may not read it (``WEIGHTS_UNREADABLE``).
        IntegrityFailure: the file is gone or its digest differs (``WEIGHTS_DIGEST``), or it holds no network of ours
            (``WEIGHTS_FORMAT``).
    """
    try:
        blob = path.read_bytes()
    except PermissionError as error:
        hint = "the group that shares the vault needs to read its files (docs/access.md)"
        raise StorageFailed("this account may not read the weights", hint=hint, code="WEIGHTS_UNREADABLE") from error
    except OSError as error:
        raise IntegrityFailure(
            "the weights cannot be read", hint=error.strerror or "", code="WEIGHTS_DIGEST"
        ) from error
    if hashlib.sha256(blob).hexdigest() != expected_sha256:
        raise IntegrityFailure(
            "the weights are not those that were registered",
            hint="restore the file from a backup",
            code="WEIGHTS_DIGEST",
        )
    try:
        model = FabNet(FabNetConfig.from_json(json.loads(read_metadata(blob)[_SHAPE])))
        model.load_state_dict(safetensors.torch.load(blob))
    except (KeyError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise IntegrityFailure("the weights name no known network", code="WEIGHTS_FORMAT") from error
    return model.eval()


def read_metadata(blob: bytes) -> dict[str, str]:
    """Return the text header of a safetensors file; ``ValueError`` or ``KeyError`` when there is none."""
    length = int.from_bytes(blob[:_HEADER], "little")
    header: dict[str, Any] = json.loads(blob[_HEADER : _HEADER + length])
    return {str(key): str(value) for key, value in header["__metadata__"].items()}


def _replace(path: Path, blob: bytes) -> None:
    draft = path.with_name(f".{path.name}.{new_id()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        # Weights are no secret of a person's: who may read their folder (a vault shared by a group) may read them.
        os.fchmod(descriptor, 0o600 | path.parent.stat().st_mode & 0o040)
        with os.fdopen(descriptor, "wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:  # Ctrl-C too: nothing half-written stays
        with suppress(OSError):
            draft.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
