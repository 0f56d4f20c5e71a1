"""A data set with every fault that a check must find, planted by hand."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage

from tests.data.toys import make_voc, save_mask, save_photo, write

CAT = torch.zeros(24, 32, dtype=torch.uint8)
CAT[8:16, 8:24] = 1
"""A mask with 128 pixels of the first class."""


def smooth_photo(path: Path, seed: int) -> None:
    """Write a photograph of soft blobs, which looks the same after compression."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grain = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    PillowImage.fromarray(grain).resize((32, 24), PillowImage.Resampling.BICUBIC).save(path)


def make_sound(root: Path) -> Path:
    """Write a data set in the VOC layout with nothing wrong in it: three images to learn from, one to measure on."""
    both = CAT.clone()
    both[0, 0] = 2
    masks = {"a": CAT, "b": both, "c": None}
    make_voc(root, train=masks, val={"v": CAT}, tags=("a 1", "b 1 2", "c", "v 1"))
    for seed, id in enumerate("abcv"):
        smooth_photo(root / "JPEGImages" / f"{id}.png", seed)
    return root


def make_broken(root: Path) -> Path:
    """Write a data set in the VOC layout with one fault of each kind."""
    make_sound(root)
    images, masks = root / "JPEGImages", root / "SegmentationClass"
    train = ["a", "b", "c", "gone", "b"]
    for index, id in enumerate(("same", "cut", "nothing", "size", "label", "colours", "untagged", "odd"), start=10):
        train.append(id)
        smooth_photo(images / f"{id}.jpg", index)
    (images / "same.jpg").unlink()
    (images / "same.png").write_bytes((images / "a.png").read_bytes())
    (images / "cut.jpg").write_bytes((images / "cut.jpg").read_bytes()[:-80])
    (images / "nothing.jpg").write_bytes(b"")
    save_mask(masks / "size.png", CAT.T.contiguous())
    save_mask(masks / "label.png", torch.where(CAT == 1, 7, 0).to(torch.uint8))
    save_photo(masks / "colours.png", 24, 32)
    save_mask(masks / "odd.png", CAT)
    # the same pixels, and nearly the same, in the other split
    (images / "leak.png").write_bytes((images / "b.png").read_bytes())
    PillowImage.open(images / "c.png").save(images / "near.jpg", quality=90)
    write(root / "ImageSets/Segmentation/train.txt", *train)
    write(root / "ImageSets/Segmentation/val.txt", "v", "leak", "near")
    write(root / "classes.txt", "cat", "dog", "cow")
    tagged = ("same", "cut", "nothing", "size", "label", "colours")
    lines = ("a 1", "b 1 2", "c", "odd 2", "v 9", *(f"{id} 1" for id in tagged), "leak 1", "near")
    write(root / "image_level_labels.txt", *lines)
    return root
