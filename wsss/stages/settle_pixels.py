"""Settled labels of annotations: points, strokes, background outside of boxes, GrabCut segments, full masks."""

from functools import partial

from wsss.data.base import Dataset
from wsss.stages.base import Portion, Stage, Workbench, for_each, portions
from wsss.stages.materials import LIKELY
from wsss.store import Artefact


def settle_pixels(dataset: Dataset) -> Stage:
    """Plan the labels of pixels that annotations settle, ``IGNORE`` elsewhere; later stages never change them.

    Likely but uncertain labels are written beside them, if there are any.
    """

    def work(bench: Workbench, out: Artefact) -> None:
        one = partial(_settle_portion, dataset, out)
        for_each(bench, out, portions(dataset.ids("train")), one, description="annotations", pooled=True)

    data = {"train": dataset.fingerprint("train"), "annotations": dataset.annotations_fingerprint()}
    return Stage(name="annotations", version=5, work=work, data=data)


def _settle_portion(dataset: Dataset, out: Artefact, portion: Portion) -> None:
    with out.unit(portion.name) as unit:
        for image in portion.ids:
            labels, likely = dataset.annotation(image).settle(dataset.image(image), len(dataset.classes))
            unit.write_labels(image, labels)
            if likely is not None:
                unit.write_labels(image, likely, LIKELY)
