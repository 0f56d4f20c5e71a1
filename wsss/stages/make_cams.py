"""Class activation maps of the training images, summed over scales and flips."""

import torch

from wsss.data.base import Dataset
from wsss.functional.cam import normalise_cams
from wsss.stages.base import Portion, Stage, Workbench, batches, for_each, science
from wsss.stages.networks import NetworkSettings, load_classifier, on_grid
from wsss.stages.settings import CamSettings
from wsss.store import Artefact, resize_scores, stride_size


def make_cams(
    dataset: Dataset, network: NetworkSettings, settings: CamSettings, classifier: Stage, precision: str
) -> Stage:
    """Plan the class activation maps.

    Args:
        dataset: The images.
        network: The classifier's network.
        settings: Scales, flip, batch size.
        classifier: The stage that trains the classifier.
        precision: The resolved precision.
    """

    def work(bench: Workbench, out: Artefact) -> None:
        from wsss.tasks.classification import predict_cams

        model = load_classifier(network, len(dataset.classes), bench.read(classifier), bench.device)

        def one(portion: Portion) -> None:
            batch = on_grid([dataset.image(image) for image in portion.ids], portion.size, bench.device)
            with torch.inference_mode(), bench.autocast():
                summed = predict_cams(model, batch, scales=settings.scales, flip=settings.flip).cpu()
            with out.unit(portion.name) as unit:
                for image, maps in zip(portion.ids, summed, strict=True):
                    size = dataset.size(image)
                    cams = normalise_cams(resize_scores(maps, stride_size(size)), dataset.tags(image))
                    padded = torch.cat([torch.zeros_like(cams[:1]), cams])
                    present = [label for label in dataset.possible(image) if label > 0]
                    unit.write_scores(image, padded, present, size)

        planned = batches(dataset, dataset.ids("train"), settings.batch_size)
        for_each(bench, out, planned, one, description="class activation maps")

    return Stage(
        name="cams",
        version=1,
        work=work,
        settings=science(settings) | {"precision": precision},
        reads={"classifier": classifier},
    )
