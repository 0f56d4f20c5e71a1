"""Small data sets on the disk, drawn by the tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from torch import Tensor

from wsss.data.base import Dataset

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the photographs of ../shared/data are not here")


def save_photo(path: Path, height: int, width: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    PillowImage.fromarray(pixels).save(path)


def save_mask(path: Path, labels: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = PillowImage.fromarray(labels.numpy())
    mask.putpalette(bytes(range(256)) * 3)
    mask.save(path)


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def make_voc(
    root: Path,
    *,
    train: Mapping[str, Tensor | None],
    val: Mapping[str, Tensor | None] | None = None,
    classes: Sequence[str] = ("background", "cat", "dog"),
    tags: Sequence[str] = (),
) -> Path:
    """Write a folder in the VOC layout: each image as large as its mask, 4 × 6 without one."""
    for name, split in (("train", train), ("val", val or {})):
        write(root / "ImageSets" / "Segmentation" / f"{name}.txt", *split)
        for seed, (id, mask) in enumerate(split.items()):
            height, width = (4, 6) if mask is None else mask.shape
            save_photo(root / "JPEGImages" / f"{id}.png", height, width, seed)
            if mask is not None:
                save_mask(root / "SegmentationClass" / f"{id}.png", mask)
    write(root / "classes.txt", *classes)
    write(root / "image_level_labels.txt", *tags)
    return root


def read_truth(dataset: Dataset, id: str) -> tuple[Tensor, None]:
    truth = dataset.truth(id)
    assert truth is not None
    return truth, None
