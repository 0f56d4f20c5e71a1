"""Superpixels of every training image, cut once and kept for all rounds."""

import io
from functools import partial

import numpy as np
import torch
from PIL import Image as PillowImage

from wsss.data.base import Dataset
from wsss.functional.superpixels import SuperpixelSettings, slic_segments
from wsss.stages.base import Portion, Stage, Workbench, for_each, portions, science
from wsss.store import Artefact
from wsss.types import Segments


def make_superpixels(dataset: Dataset, settings: SuperpixelSettings) -> Stage:
    """Plan the superpixels."""

    def work(bench: Workbench, out: Artefact) -> None:
        one = partial(_cut_portion, dataset, settings, out)
        for_each(bench, out, portions(dataset.ids("train")), one, description="superpixels", pooled=True)

    data = {"train": dataset.fingerprint("train")}
    return Stage(name="superpixels", version=1, work=work, settings=science(settings), data=data)


def _cut_portion(dataset: Dataset, settings: SuperpixelSettings, out: Artefact, portion: Portion) -> None:
    with out.unit(portion.name) as unit:
        for image in portion.ids:
            segments = slic_segments(dataset.image(image), settings).numpy().astype(np.uint16)
            buffer = io.BytesIO()
            PillowImage.fromarray(segments).save(buffer, format="PNG", compress_level=4)
            unit.write(out.path("segments", image, ".png"), buffer.getvalue())


def read_segments(artefact: Artefact, image: str) -> Segments:
    """Read the segments of one image, (H, W) int64."""
    content = artefact.read(artefact.path("segments", image, ".png"))
    return torch.from_numpy(np.array(PillowImage.open(io.BytesIO(content))).astype(np.int64))
