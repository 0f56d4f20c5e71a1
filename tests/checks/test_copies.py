import io
from collections import Counter

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.checks import copies, looks
from wsss.checks.copies import find_copies
from wsss.checks.looks import look_at_all
from wsss.data.base import Dataset
from wsss.types import Image, LabelMap, Tags


class Shown(Dataset):
    """A data set of given images, which counts how often each is read."""

    def __init__(self, train: dict[str, Image], val: dict[str, Image]) -> None:
        super().__init__("shown", ("cat",), background=True, ids={"train": tuple(train), "val": tuple(val)})
        self.images = train | val
        self.read: Counter[str] = Counter()

    def size(self, id: str) -> tuple[int, int]:
        return self.images[id].shape[1], self.images[id].shape[2]

    def image(self, id: str) -> Image:
        self.read[id] += 1
        return self.images[id]

    def tags(self, id: str) -> Tags | None:  # noqa: ARG002 - all alike
        return None

    def truth(self, id: str) -> LabelMap | None:  # noqa: ARG002 - none has any
        return None


def told(dataset: Dataset) -> list[str]:
    found = find_copies(dataset, look_at_all(dataset))
    return [f"{finding.kind}{'' if finding.fault else '?'}: {finding.text}" for finding in found]


def leak(train: str, val: str) -> str:
    rule = "look the same; remove one"
    return f"look-alike in two splits: image '{train}' of split train and image '{val}' of split val {rule}"


def surface(seed: int, *, part: bool = False) -> Image:
    """Draw a grey surface, or a dark part on it, in the same light and with one small scratch or dent of its own."""
    draw = np.random.default_rng(seed)
    across = np.linspace(-1, 1, 128)
    grey = 140 - 20 * (across[:, None] ** 2 + across**2) + draw.normal(0, 2, (128, 128))
    shown = PillowImage.fromarray(grey.astype(np.uint8))
    pencil = ImageDraw.Draw(shown)
    if part:
        pencil.ellipse((20, 20, 108, 108), fill=60, outline=20, width=3)
    row, column = draw.uniform(15, 95, 2)
    if seed % 2:
        pencil.line((column, row, column + draw.uniform(10, 20), row + draw.uniform(-9, 9)), fill=200, width=2)
    else:
        pencil.ellipse((column, row, column + 6, row + 6), fill=200)
    return torch.from_numpy(np.array(shown))[None].expand(3, -1, -1).contiguous()


def photo(seed: int) -> Image:
    """Draw blobs of several sizes, as photographs have them."""
    draw = torch.Generator().manual_seed(seed)
    layers = [
        interpolate(weight * torch.randn((1, 3, side, side), generator=draw), (192, 256), mode="bicubic")[0]
        for side, weight in ((3, 40), (12, 25), (48, 15))
    ]
    return (120 + torch.stack(layers).sum(0)).clamp(0, 255).to(torch.uint8)


def pillow(image: Tensor) -> PillowImage.Image:
    return PillowImage.fromarray(image.permute(1, 2, 0).numpy())


def tensor(shown: PillowImage.Image) -> Image:
    pixels: NDArray[np.uint8] = np.array(shown)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def compressed(image: Image, quality: int = 20) -> Image:
    written = io.BytesIO()
    pillow(image).save(written, "jpeg", quality=quality)
    return tensor(PillowImage.open(written))


def resized(image: Image, factor: float) -> Image:
    height, width = (round(side * factor) for side in image.shape[1:])
    return tensor(pillow(image).resize((width, height), PillowImage.Resampling.BICUBIC))


@pytest.mark.parametrize("part", [False, True], ids=["surfaces", "parts"])
def test_pictures_of_the_same_kind_are_not_the_same_picture(part: bool) -> None:
    images = {f"{seed}": surface(seed, part=part) for seed in range(60)}
    train, val = (dict(list(images.items())[start:end]) for start, end in ((0, 48), (48, 60)))
    assert told(Shown(train, val)) == []
    # a copy among them is told, with the picture that it is a copy of
    assert told(Shown(train, val | {"copy": resized(images["2"], 0.5)})) == [leak("2", "copy")]


@pytest.mark.parametrize("factor", [None, 0.25, 0.5, 2.0])
def test_a_photograph_written_again_is_found(factor: float | None) -> None:
    train = {f"{seed}": photo(seed) for seed in range(4)}
    val = {
        f"again {id}": compressed(image) if factor is None else resized(image, factor) for id, image in train.items()
    }
    assert told(Shown(train, val)) == [leak(id, f"again {id}") for id in train]


def test_where_nothing_can_decide_nothing_is_said() -> None:
    greys = {f"{grey}": torch.full((3, 40, 50), grey, dtype=torch.uint8) for grey in (100, 104, 108)}
    assert told(Shown(greys, {"val": torch.full((3, 60, 50), 104, dtype=torch.uint8)})) == []


def test_a_validation_image_is_told_once_and_with_its_nearest() -> None:
    original = photo(0)
    train = {"bad": compressed(original), "good": compressed(original, 95), "worse": compressed(original, 40)}
    assert told(Shown(train, {"val": original})) == [leak("good", "val")]
    # the same pixels say it already
    rule = "have the same pixels; remove one"
    assert told(Shown(train, {"val": train["bad"]})) == [
        f"image in two splits: image 'bad' of split train and image 'val' of split val {rule}"
    ]


def test_only_what_may_be_a_copy_is_read_again_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "PORTION", 5)
    surfaces = {f"{seed}": surface(seed) for seed in range(12)}
    dataset = Shown(surfaces | {"other": photo(1)}, {"val": surface(12), "val 2": surface(13), "val 3": photo(2)})
    assert told(dataset) == []
    once = {"other", "val 3"}
    assert dataset.read == {id: 1 if id in once else 2 for id in dataset.images}


def test_in_a_crowd_of_look_alikes_one_that_is_less_than_certain_is_remarked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "CROWD", 1)
    train = {f"{seed}": surface(seed, part=True) for seed in range(4)}
    worn, whole = compressed(train["2"]), resized(train["2"], 2)
    remark = leak("2", "val").replace("splits:", "splits?:") + " if they are the same picture"
    assert told(Shown(train, {"val": worn})) == [remark]
    assert told(Shown(train, {"val": whole})) == [leak("2", "val")]
    assert told(Shown({"2": train["2"]}, {"val": worn})) == [leak("2", "val")]
