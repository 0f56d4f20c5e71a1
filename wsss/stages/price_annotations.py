"""Cost of labelling the training images, counted once."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from wsss.annotations.cost import CostSettings, annotation_seconds
from wsss.data.base import Dataset
from wsss.stages.base import Portion, Stage, Workbench, for_each, portions
from wsss.store import Artefact

CHUNK = 64
"""Images per file of costs."""


@dataclass(frozen=True)
class Price:
    """Totals over all training images.

    Attributes:
        seconds: Annotation time.
        images: Number of images with each kind of label.
    """

    seconds: float
    images: Mapping[str, int]


def price_annotations(dataset: Dataset, cost: CostSettings) -> Stage:
    """Plan the counting of annotation time; this may require simulating labels, which dominates its cost.

    Args:
        dataset: The images and the labels used in training.
        cost: Seconds per action.
    """

    def work(bench: Workbench, out: Artefact) -> None:
        def one(portion: Portion) -> None:
            given = [dataset.annotation(image) for image in portion.ids]
            seconds = sum(annotation_seconds(annotation, len(dataset.classes), cost) for annotation in given)
            images = Counter(kind for annotation in given for kind in annotation.kinds)
            with out.unit(portion.name) as unit:
                unit.write_json(f"prices/{portion.name}.json", {"seconds": seconds} | images)

        for_each(bench, out, portions(dataset.ids("train"), CHUNK), one, description="cost of labels")

    data = {"train": dataset.fingerprint("train")}
    if dataset.whole is not dataset:  # otherwise it has tags only, which its fingerprint covers
        data["annotations"] = dataset.annotations_fingerprint()
    return Stage(name="price", version=2, work=work, settings=asdict(cost), data=data)


def read_price(artefact: Artefact) -> Price:
    """Sum the counts."""
    counted = [artefact.read_json(name) for name in sorted(artefact.files)]
    seconds = sum(part.pop("seconds") for part in counted)
    images = Counter[str]()
    for part in counted:
        images.update(part)
    return Price(seconds, images)
