"""Checkpoints that are written atomically and read without executing code."""

import hashlib
import io
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - what torch.load raises when it refuses; nothing is unpickled here
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO

from wsss.errors import StoreError
from wsss.store import write_atomically

CHECKPOINT = "last.ckpt"
"""Name of the checkpoint in the folder of a training."""

PARTS = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "history")
"""Entries that every checkpoint of ours must contain."""

DIGEST = 32
"""Bytes of the checksum appended to the file; torch ignores them, and does not verify tensors itself."""


class SafeCheckpoints(CheckpointIO):
    """Lets Lightning write and read the checkpoints of this module."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ANN401, ARG002
        """Write a checkpoint."""
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:  # noqa: ANN401, ARG002
        """Read a checkpoint onto the CPU."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:  # noqa: ANN401 - Lightning's signature
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically: temporary file, fsync and rename.

    Raises:
        StoreError: If the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    buffer.write(_digest(buffer.getbuffer()))
    write_atomically(path, buffer.getvalue())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint that ``write_checkpoint`` wrote.

    Raises:
        StoreError: If it is damaged, or contains anything but tensors and plain values.
    """
    content = memoryview(path.read_bytes())
    body, checksum = content[:-DIGEST], content[-DIGEST:]
    if _digest(body) != checksum:
        raise _refusal(path, "its checksum is wrong")
    try:
        checkpoint = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError) as error:
        raise _refusal(path, "it holds more than tensors and plain values") from error
    missing = [part for part in PARTS if part not in checkpoint]
    if missing:
        raise _refusal(path, f"it holds no {missing[0]}")
    return checkpoint


def _digest(content: memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST).digest()


def _refusal(path: Path, reason: str) -> StoreError:
    return StoreError(f"training can't go on from '{path}' ({reason}); delete it to train from the start")
