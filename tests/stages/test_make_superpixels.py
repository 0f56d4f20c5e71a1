from pathlib import Path

import torch

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, enlarged, finished, workbench
from wsss.functional.superpixels import SuperpixelSettings, slic_segments
from wsss.stages.make_superpixels import make_superpixels
from wsss.stages.materials import read_segments

DATA = DrawnDataset({"one": enlarged(picture("011", "022"), 8), "two": picture("1"), "val": picture("0")})
SETTINGS = SuperpixelSettings(count=12)


def test_every_training_image_is_cut(tmp_path: Path) -> None:
    found = finished(workbench(tmp_path, DATA), make_superpixels(DATA, SETTINGS))
    assert len(found.files) == 2
    for name in ("one", "two"):
        assert torch.equal(read_segments(found, name), slic_segments(DATA.image(name), SETTINGS))


def test_the_key_follows_settings_and_images() -> None:
    other = DrawnDataset({"one": enlarged(picture("012", "022"), 8), "two": picture("1"), "val": picture("0")})
    elsewhere = DrawnDataset({"one": enlarged(picture("011", "022"), 8), "two": picture("1"), "val": picture("2")})
    key = make_superpixels(DATA, SETTINGS).key
    assert make_superpixels(DATA, SuperpixelSettings(count=13)).key != key
    assert make_superpixels(DATA, SuperpixelSettings(count=12, compactness=3.0)).key != key
    assert make_superpixels(other, SETTINGS).key != key
    assert make_superpixels(elsewhere, SETTINGS).key == key
