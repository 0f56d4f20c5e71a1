"""What the labels of the training images cost the people who make them, counted once."""

from dataclasses import asdict, dataclass

from wsss.annotations.cost import CostSettings, annotation_seconds
from wsss.data.base import Dataset
from wsss.stages.base import Portion, Stage, Workbench, for_each, portions
from wsss.store import Artefact

CHUNK = 64
"""Images whose cost lies in one file."""


@dataclass(frozen=True)
class Price:
    """What was counted over all training images.

    Attributes:
        seconds: A person's work.
        masks: Images that show a full mask.
    """

    seconds: float
    masks: int


def price_annotations(dataset: Dataset, cost: CostSettings) -> Stage:
    """Plan the counting of seconds; labels may have to be drawn for it, which takes longer than all the rest.

    Args:
        dataset: The images and what training may see of their labels.
        cost: Seconds for each act.
    """

    def work(bench: Workbench, out: Artefact) -> None:
        def one(portion: Portion) -> None:
            given = [dataset.annotation(image) for image in portion.ids]
            seconds = sum(annotation_seconds(annotation, len(dataset.classes), cost) for annotation in given)
            masks = sum(annotation.masks is not None for annotation in given)
            with out.unit(portion.name) as unit:
                unit.write_json(f"prices/{portion.name}.json", {"seconds": seconds, "masks": masks})

        for_each(bench, out, portions(dataset.ids("train"), CHUNK), one, description="cost of labels")

    data = {"train": dataset.fingerprint("train")}
    if dataset.whole is not dataset:  # else its tags are all there is, and the fingerprint knows them
        data["annotations"] = dataset.annotations_fingerprint()
    return Stage(name="price", version=1, work=work, settings=asdict(cost), data=data)


def read_price(artefact: Artefact) -> Price:
    """Add up what was counted."""
    counted = [artefact.read_json(name) for name in sorted(artefact.files)]
    return Price(sum(part["seconds"] for part in counted), sum(part["masks"] for part in counted))
