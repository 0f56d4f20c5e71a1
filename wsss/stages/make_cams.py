"""Class activation maps of the training images, summed over scales and flips."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from wsss import ranks
from wsss.data.base import Dataset
from wsss.functional.cam import negative_offsets, normalise_cams, percentiles, subtract_offsets
from wsss.stages.base import Portion, Stage, Workbench, batches, for_each, science
from wsss.stages.networks import NetworkSettings, load_classifier, on_grid
from wsss.stages.settings import CamSettings
from wsss.store import Artefact, UnitWriter, resize_scores, stride_size

LOOKED_AT = 2048
"""Most images whose activations of absent classes are looked at; they are spread evenly over the training images."""


def make_cams(
    dataset: Dataset, network: NetworkSettings, settings: CamSettings, classifier: Stage, precision: str
) -> Stage:
    """Plan the class activation maps.

    Args:
        dataset: The images.
        network: The classifier's network.
        settings: Method, scales, flip, batch size, and what counts as no activation.
        classifier: The stage that trains the classifier.
        precision: The resolved precision.
    """

    def work(bench: Workbench, out: Artefact) -> None:
        from wsss.tasks.classification import GRADIENT_MAPS, predict_cams

        model = load_classifier(network, len(dataset.classes), bench.read(classifier), bench.device)
        planned = batches(dataset, dataset.ids("train"), settings.batch_size)
        # what is known about absent classes is known when all images were looked at, so until then maps wait
        level = settings.negative_quantile
        raw = None if level is None else Artefact(out.progress)

        def look(portion: Portion) -> None:
            batch = on_grid([dataset.image(image) for image in portion.ids], portion.size, bench.device)
            # where absent classes are looked at too, none can be left out
            wanted = None if raw else _wanted(dataset, portion.ids)
            # gradients can't be taken of what was computed in inference mode
            with torch.no_grad() if settings.method in GRADIENT_MAPS else torch.inference_mode(), bench.autocast():
                summed = predict_cams(
                    model, batch, scales=settings.scales, flip=settings.flip, method=settings.method, wanted=wanted
                ).cpu()
            with (raw or out).unit(portion.name) as unit:
                for image, maps in zip(portion.ids, summed, strict=True):
                    resized = resize_scores(maps, stride_size(dataset.size(image)))
                    if raw:
                        _write_raw(unit, dataset, image, resized)
                    else:
                        _write_cams(unit, dataset, image, resized)

        for_each(bench, raw or out, planned, look, description="class activation maps")
        if raw is None or level is None:
            return
        ranks.barrier()
        offsets = _offsets(raw, dataset, level)

        def normalise(portion: Portion) -> None:
            with out.unit(portion.name) as unit:
                for image in portion.ids:
                    maps = _read_raw(raw, image)["maps"]
                    full = torch.zeros(len(dataset.classes), *maps.shape[1:])
                    present = _present(dataset, image)
                    full[present] = subtract_offsets(maps, offsets[present])
                    _write_cams(unit, dataset, image, full)

        for_each(bench, out, planned, normalise, description="normalised maps")

    return Stage(
        name="cams",
        version=1,
        work=work,
        settings=_science(settings) | {"precision": precision},
        reads={"classifier": classifier},
    )


def _science(settings: CamSettings) -> dict[str, Any]:
    """The settings without those that change nothing as they stand, so that a key outlives settings that came later."""
    unused = ["method"] if settings.method == "cam" else []
    unused += ["negative_quantile"] if settings.negative_quantile is None else []
    return science(settings, *unused)


def _wanted(dataset: Dataset, images: Sequence[str]) -> Bool[Tensor, "B C"]:
    """Mark the classes that images may show."""
    wanted = torch.zeros(len(images), len(dataset.classes), dtype=torch.bool)
    for row, image in zip(wanted, images, strict=True):
        row[_present(dataset, image)] = True
    return wanted


def _present(dataset: Dataset, image: str) -> list[int]:
    """Channels of the classes that an image may show."""
    return [label - 1 for label in dataset.possible(image) if label > 0]


def _write_cams(unit: UnitWriter, dataset: Dataset, image: str, maps: Tensor) -> None:
    cams = normalise_cams(maps, dataset.tags(image))
    labels = [channel + 1 for channel in _present(dataset, image)]
    unit.write_scores(image, torch.cat([torch.zeros_like(cams[:1]), cams]), labels, dataset.size(image))


def _write_raw(unit: UnitWriter, dataset: Dataset, image: str, maps: Tensor) -> None:
    tensors = {"maps": maps[_present(dataset, image)], "percentiles": percentiles(maps)}
    unit.write_tensors(_raw_name(unit.artefact, image), tensors)


def _read_raw(raw: Artefact, image: str) -> dict[str, Tensor]:
    return raw.read_tensors(_raw_name(raw, image))


def _raw_name(raw: Artefact, image: str) -> str:
    return raw.path("raw", image, ".safetensors").relative_to(raw.folder).as_posix()


def _offsets(raw: Artefact, dataset: Dataset, level: float) -> Tensor:
    """Find what counts as none, from images whose tags are known."""
    known: Sequence[str] = [image for image in dataset.ids("train") if dataset.tags(image) is not None]
    known = known[:: -(-len(known) // LOOKED_AT) or 1]
    if not known:
        return torch.zeros(len(dataset.classes))
    tags = [dataset.tags(image) for image in known]
    values = torch.stack([_read_raw(raw, image)["percentiles"] for image in known])
    return negative_offsets(values, torch.stack([shown for shown in tags if shown is not None]), level)
