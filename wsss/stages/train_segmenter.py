"""Training of the segmenter: on pseudo labels, growing seeds, annotations, or, for the ceiling, on ground truth."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from wsss.data.base import Dataset
from wsss.errors import SettingsError, StageError
from wsss.functional.dsrg import DsrgSettings
from wsss.stages.base import Stage, Workbench, science
from wsss.stages.materials import Remembered, read_target
from wsss.stages.networks import build_segmenter
from wsss.stages.segmenters import SegmenterPlan
from wsss.stages.training import keep_network, loading, steps_of, train
from wsss.store import Artefact
from wsss.tasks.sparse_settings import SparseSettings
from wsss.types import LabelMap

if TYPE_CHECKING:
    from wsss.tasks.base import Task

Target = Callable[[str], tuple[LabelMap, Tensor | None]]
"""Reads the training target of an image: labels, and pixel weights."""


def train_on_pseudo_labels(plan: SegmenterPlan, labels: Stage, round: int) -> Stage:
    """Plan the training on the pseudo labels of a round."""

    def work(bench: Workbench, out: Artefact) -> None:
        _train_on_labels(plan, partial(read_target, bench.read(labels)), bench, out, "segmenter")

    return Stage(
        name="segmenter",
        version=6,
        work=work,
        settings=plan.science(),
        reads={"labels": labels, **plan.reads},
        round=round,
    )


def train_on_seeds(plan: SegmenterPlan, dsrg: DsrgSettings, seeds: Stage, round: int) -> Stage:
    """Plan the training on the seeds of a round, which grow during training; it uses the tags as well."""

    def work(bench: Workbench, out: Artefact) -> None:
        from wsss.tasks.dsrg import DsrgTask

        def task(network: nn.Module, _: Target) -> "Task":
            background = plan.dataset.background
            return DsrgTask(network, plan.settings, dsrg, background=background, spread=bench.pool.map)

        _train(plan, partial(read_target, bench.read(seeds)), task, bench, out, "segmenter")

    # the seed loss has its own class balance
    learning = {name: value for name, value in plan.science().items() if name not in ("balance", "loss")}
    settings = learning | {"dsrg": science(dsrg)}
    return Stage(
        name="segmenter", version=6, work=work, settings=settings, reads={"seeds": seeds, **plan.reads}, round=round
    )


def train_on_annotations(
    plan: SegmenterPlan, sparse: SparseSettings, dsrg: DsrgSettings, seeds: Stage, round: int
) -> Stage:
    """Plan the training on annotated pixels, with losses that also affect the others.

    Raises:
        SettingsError: If no loss has a positive weight.
    """
    weights = sparse.weights(_asked_losses(plan.dataset))
    if not weights:
        raise SettingsError(
            "sparse", "leaves no loss to train with; set one of its weights, or use labels that suggest losses"
        )

    def work(bench: Workbench, out: Artefact) -> None:
        from wsss.networks.deeplabv3plus import DeepLabV3Plus
        from wsss.tasks.sparse import SparseTask

        def task(network: nn.Module, _: Target) -> "Task":
            assert isinstance(network, DeepLabV3Plus)
            background = plan.dataset.background
            return SparseTask(
                network, plan.settings, sparse, weights, dsrg=dsrg, background=background, spread=bench.pool.map
            )

        target, outlined = partial(read_target, bench.read(seeds)), "box_tightness" in weights
        _train(plan, target, task, bench, out, "segmenter", outlined=outlined, sparse=True)

    learning = {name: value for name, value in plan.science().items() if name not in ("balance", "loss")}
    settings = learning | {"losses": weights, **_steering(sparse, dsrg, weights)}
    data = {"annotations": plan.dataset.annotations_fingerprint()} if "box_tightness" in weights else {}
    return Stage(
        name="segmenter",
        version=6,
        work=work,
        settings=settings,
        reads={"seeds": seeds, **plan.reads},
        data=data,
        round=round,
    )


def _asked_losses(dataset: Dataset) -> frozenset[str]:
    """Losses that suit the labels of the training images."""
    return frozenset().union(*(dataset.annotation(image).losses for image in dataset.ids("train")))


def _steering(sparse: SparseSettings, dsrg: DsrgSettings, weights: Collection[str]) -> dict[str, object]:
    """The settings of the losses with a weight."""
    steering: dict[str, dict[str, object]] = {
        "tree_energy": {"tree_sigma": sparse.tree_sigma},
        "gated_crf": {"gated": science(sparse.gated)},
        "dense_crf": {"dense": science(sparse.dense)},
        "constrain": {"dsrg": science(dsrg)},
    }
    return {key: value for name in steering if name in weights for key, value in steering[name].items()}


def train_on_truth(plan: SegmenterPlan) -> Stage:
    """Plan the training on ground truth, for the ceiling; everything else is as for the pseudo labels.

    It uses cross entropy whatever ``supervision`` and ``loss`` are: full masks need no growing and contain no wrong
    labels.
    """
    plan = replace(plan, settings=replace(plan.settings, loss="cross_entropy"))

    def work(bench: Workbench, out: Artefact) -> None:
        _train_on_labels(plan, partial(_read_truth, plan.dataset), bench, out, "ceiling")

    data = {
        "train": plan.dataset.fingerprint("train"),
        "truth": plan.dataset.fingerprint("train", truth=True),
    }
    return Stage(name="ceiling", version=6, work=work, settings=plan.science(), reads=plan.reads, data=data)


def _read_truth(dataset: Dataset, image: str) -> tuple[LabelMap, None]:
    truth = dataset.truth(image)
    if truth is None:
        raise StageError(f"image '{image}' has no ground truth, and ceiling=true trains on it; run with ceiling=false")
    return truth, None


def _train_on_labels(plan: SegmenterPlan, target: Target, bench: Workbench, out: Artefact, name: str) -> None:
    from wsss.tasks.segmentation import SegmentationTask, balance_weights

    def task(network: nn.Module, target: Target) -> "Task":
        weights = None
        if plan.settings.balance:
            weights = balance_weights(_count_labels(plan, plan.split()[0], target), plan.settings.balance)
        return SegmentationTask(network, plan.settings, background=plan.dataset.background, class_weights=weights)

    _train(plan, target, task, bench, out, name)


def _train(
    plan: SegmenterPlan,
    target: Target,
    make_task: Callable[[nn.Module, Target], "Task"],
    bench: Workbench,
    out: Artefact,
    name: str,
    *,
    outlined: bool = False,
    sparse: bool = False,
) -> None:
    from wsss.data.datamodule import DataModule

    ids, _ = plan.split()
    target = Remembered(target, tuple)
    torch.manual_seed(plan.seed)
    start = bench.read(plan.start) if plan.start else None
    network = build_segmenter(plan.network, plan.settings, len(plan.dataset.classes) + 1, start=start)
    task = make_task(network, target)
    samples = plan.dataset.samples(len(ids))
    module = DataModule(
        plan.dataset,
        ids,
        target=target,
        samples=samples,
        outlined=outlined,
        sparse=sparse,
        **loading(bench, plan.settings),
    )
    train(task, module, bench, out, steps=steps_of(samples, plan.settings), description=name)
    keep_network(task, out)


def _count_labels(plan: SegmenterPlan, ids: Sequence[str], target: Target) -> Tensor:
    """Count the pixels of each label in the training targets, weighted by their confidence."""
    counts = torch.zeros(256)
    for image in ids:
        labels, weights = target(image)
        known = None if weights is None else weights.flatten()
        counts += torch.bincount(labels.flatten().long(), weights=known, minlength=256)
    return counts[: len(plan.dataset.classes) + 1]
