"""Class activation maps of the training images, summed over scales and flips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool
from torch import Tensor

from wsss import ranks
from wsss.data.base import Dataset
from wsss.functional.cam import negative_offsets, normalise_cams, percentiles, subtract_offsets
from wsss.stages.base import Portion, Stage, Workbench, batches, for_each, science
from wsss.stages.networks import NetworkPlan, load_classifier, on_grid
from wsss.stages.settings import CamSettings
from wsss.store import Artefact, UnitWriter, resize_scores, stride_size

if TYPE_CHECKING:
    from wsss.networks.classifier import Classifier

DESCRIPTION = "class activation maps"

LOOKED_AT = 2048
"""Maximum number of images used to estimate noise levels of absent classes, spread evenly over the training images."""


def make_cams(
    dataset: Dataset, network: NetworkPlan, settings: CamSettings, classifier: Stage, precision: str
) -> Stage:
    """Plan the class activation maps.

    Args:
        dataset: The images.
        network: The classifier's network.
        settings: Method, scales, flip, batch size, and quantile of the noise level.
        classifier: The stage that trains the classifier.
        precision: The resolved precision.
    """

    def work(bench: Workbench, out: Artefact) -> None:
        model = load_classifier(network, len(dataset.classes), bench.read(classifier), bench.device)
        computation = _CamComputation(bench=bench, dataset=dataset, model=model, settings=settings)
        planned = batches(dataset, dataset.ids("train"), settings.batch_size)
        if settings.negative_quantile is None:
            _make(computation, planned, out)
        else:
            _make_above_offsets(computation, planned, out, settings.negative_quantile)

    return Stage(
        name="cams",
        version=4,
        work=work,
        settings=science(settings) | {"precision": precision},
        reads={"classifier": classifier},
    )


@dataclass(frozen=True, kw_only=True)
class _CamComputation:
    """The classifier and the images that it is applied to.

    Attributes:
        bench: Environment of the stage.
        dataset: The images.
        model: The trained classifier.
        settings: Method, scales and flip.
    """

    bench: Workbench
    dataset: Dataset
    model: "Classifier"
    settings: CamSettings

    def compute(self, portion: Portion, wanted: Bool[Tensor, "B C"] | None) -> list[tuple[str, Tensor]]:
        """Compute the maps of a batch; see ``predict_cams``.

        Args:
            portion: Images of similar size.
            wanted: Classes of each image that are needed; None computes all.

        Returns:
            Each image with its maps (C, h, w) as they are stored, not normalised.
        """
        from wsss.tasks.classification import GRADIENT_MAPS, predict_cams

        bench, settings = self.bench, self.settings
        batch = on_grid([self.dataset.image(image) for image in portion.ids], portion.size, bench.device)
        # gradients cannot be computed from tensors created in inference mode
        with torch.no_grad() if settings.method in GRADIENT_MAPS else torch.inference_mode(), bench.autocast():
            summed = predict_cams(
                self.model, batch, scales=settings.scales, flip=settings.flip, method=settings.method, wanted=wanted
            ).cpu()
        return [
            (image, resize_scores(maps, stride_size(self.dataset.size(image))))
            for image, maps in zip(portion.ids, summed, strict=True)
        ]


def _make(computation: _CamComputation, planned: Sequence[Portion], out: Artefact) -> None:
    """Write the maps directly."""
    dataset = computation.dataset

    def make(portion: Portion) -> None:
        taken = computation.compute(portion, _wanted(dataset, portion.ids))
        with out.unit(portion.name) as unit:
            for image, maps in taken:
                _write_cams(unit, dataset, image, maps)

    for_each(computation.bench, out, planned, make, description=DESCRIPTION)


def _make_above_offsets(computation: _CamComputation, planned: Sequence[Portion], out: Artefact, level: float) -> None:
    """Write the maps minus their noise levels, which are known only after a pass over all images."""
    raw = Artefact(out.progress)

    def look(portion: Portion) -> None:
        # absent classes are needed too, so all maps are computed
        taken = computation.compute(portion, None)
        with raw.unit(portion.name) as unit:
            for image, maps in taken:
                _write_raw(unit, computation.dataset, image, maps)

    for_each(computation.bench, raw, planned, look, description=DESCRIPTION)
    ranks.barrier()
    _normalise(computation, planned, raw, out, level)


def _normalise(
    computation: _CamComputation, planned: Sequence[Portion], raw: Artefact, out: Artefact, level: float
) -> None:
    dataset = computation.dataset
    offsets = _offsets(raw, dataset, level)

    def normalise(portion: Portion) -> None:
        with out.unit(portion.name) as unit:
            for image in portion.ids:
                maps, present = _read_raw(raw, image)["maps"], _present(dataset, image)
                full = torch.zeros(len(dataset.classes), *maps.shape[1:])
                full[present] = subtract_offsets(maps, offsets[present])
                _write_cams(unit, dataset, image, full)

    for_each(computation.bench, out, planned, normalise, description="normalised maps")


def _wanted(dataset: Dataset, images: Sequence[str]) -> Bool[Tensor, "B C"]:
    """Mark the classes that are possible in each image."""
    wanted = torch.zeros(len(images), len(dataset.classes), dtype=torch.bool)
    for row, image in zip(wanted, images, strict=True):
        row[_present(dataset, image)] = True
    return wanted


def _present(dataset: Dataset, image: str) -> list[int]:
    """Channels of the classes that are possible in an image."""
    return [label - 1 for label in dataset.possible(image) if label > 0]


def _write_cams(unit: UnitWriter, dataset: Dataset, image: str, maps: Tensor) -> None:
    cams = normalise_cams(maps, *dataset.presence(image))
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
    """Compute the noise levels from images with known tags."""
    known: Sequence[str] = [image for image in dataset.ids("train") if dataset.tags(image) is not None]
    known = known[:: -(-len(known) // LOOKED_AT) or 1]
    if not known:
        return torch.zeros(len(dataset.classes))
    tags = [dataset.tags(image) for image in known]
    values = torch.stack([_read_raw(raw, image)["percentiles"] for image in known])
    return negative_offsets(values, torch.stack([shown for shown in tags if shown is not None]), level)
