"""Superpixels of every training image, computed once for all rounds."""

from functools import partial

from wsss.data.base import Dataset
from wsss.functional.superpixels import SuperpixelSettings, slic_segments
from wsss.stages.base import Portion, Stage, Workbench, for_each, portions, science
from wsss.stages.materials import write_segments
from wsss.store import Artefact


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
            write_segments(unit, image, slic_segments(dataset.image(image), settings))
