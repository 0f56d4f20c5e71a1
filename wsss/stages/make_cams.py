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
        settings: Method, scales, flip, batch size.
        classifier: The stage that trains the classifier.
        precision: The resolved precision.
    """
    foreground = range(1, len(dataset.classes) + 1)

    def work(bench: Workbench, out: Artefact) -> None:
        from wsss.tasks.classification import GRADIENT_MAPS, predict_cams

        model = load_classifier(network, len(dataset.classes), bench.read(classifier), bench.device)

        def one(portion: Portion) -> None:
            batch = on_grid([dataset.image(image) for image in portion.ids], portion.size, bench.device)
            present = [[label for label in dataset.possible(image) if label > 0] for image in portion.ids]
            wanted = torch.tensor([[label in labels for label in foreground] for labels in present])
            # gradients can't be taken of what was computed in inference mode
            with torch.no_grad() if settings.method in GRADIENT_MAPS else torch.inference_mode(), bench.autocast():
                summed = predict_cams(
                    model, batch, scales=settings.scales, flip=settings.flip, method=settings.method, wanted=wanted
                ).cpu()
            with out.unit(portion.name) as unit:
                for image, maps, labels in zip(portion.ids, summed, present, strict=True):
                    size = dataset.size(image)
                    cams = normalise_cams(resize_scores(maps, stride_size(size)), dataset.tags(image))
                    padded = torch.cat([torch.zeros_like(cams[:1]), cams])
                    unit.write_scores(image, padded, labels, size)

        planned = batches(dataset, dataset.ids("train"), settings.batch_size)
        for_each(bench, out, planned, one, description="class activation maps")

    return Stage(
        name="cams",
        version=1,
        work=work,
        # maps by the weights of the class are what they were before there were others, and so is their key
        settings=science(settings, *(["method"] if settings.method == "cam" else [])) | {"precision": precision},
        reads={"classifier": classifier},
    )
