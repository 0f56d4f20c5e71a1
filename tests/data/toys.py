"""Small data sets on the disk, drawn by the tests."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

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


def box_outline(left: float, top: float, right: float, bottom: float) -> list[float]:
    """A rectangle as a polygon of COCO, x before y; it covers the pixels between its edges."""
    return [left, top, right, top, right, bottom, left, bottom]


def make_coco(
    root: Path,
    *,
    train: Mapping[str, Sequence[Mapping[str, Any]]],
    val: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    categories: Mapping[int, str] = MappingProxyType({17: "cat", 3: "car", 90: "brush"}),
    size: tuple[int, int] = (4, 6),
    year: int = 2017,
) -> Path:
    """Write a folder in the COCO layout: the annotations of each image by its name, all images of one size."""
    for part, images in (("train", train), ("val", val or {})):
        listed, annotations = [], []
        for number, (name, objects) in enumerate(images.items()):
            save_photo(root / f"{part}{year}" / f"{name}.png", *size, seed=number)
            # ids that are neither in order nor without gaps, as in the real files
            id = 1000 - 7 * number
            listed.append({"id": id, "file_name": f"{name}.png", "height": size[0], "width": size[1]})
            annotations += [{"id": 10 * id + place, "image_id": id, **one} for place, one in enumerate(objects)]
        content = {
            "info": {"year": year},
            "images": listed,
            "annotations": annotations,
            "categories": [{"id": id, "name": name} for id, name in categories.items()],
        }
        write(root / "annotations" / f"instances_{part}{year}.json", json.dumps(content))
    return root
