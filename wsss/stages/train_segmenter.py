"""Training the segmenter: on pseudo labels, or, for the ceiling, on the truth."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from wsss.data.base import Dataset
from wsss.errors import StageError
from wsss.stages.base import Stage, Workbench
from wsss.stages.materials import read_target
from wsss.stages.networks import build_segmenter
from wsss.stages.segmenters import SegmenterPlan
from wsss.stages.training import keep_network, loading, steps_of, train
from wsss.store import Artefact
from wsss.types import LabelMap


def train_on_pseudo_labels(plan: SegmenterPlan, labels: Stage, turn: int) -> Stage:
    """Plan the training on the pseudo labels of a round."""

    def work(bench: Workbench, out: Artefact) -> None:
        _train(plan, partial(read_target, bench.read(labels)), bench, out, "segmenter")

    return Stage(name="segmenter", version=1, work=work, settings=plan.science(), reads={"labels": labels}, round=turn)


def train_on_truth(plan: SegmenterPlan) -> Stage:
    """Plan the training on the truth, for the ceiling; everything else is as for the pseudo labels."""

    def work(bench: Workbench, out: Artefact) -> None:
        _train(plan, partial(_read_truth, plan.dataset), bench, out, "ceiling")

    data = {
        "train": plan.dataset.fingerprint("train"),
        "truth": plan.dataset.fingerprint("train", truth=True),
    }
    return Stage(name="ceiling", version=1, work=work, settings=plan.science(), data=data)


def _read_truth(dataset: Dataset, image: str) -> tuple[LabelMap, None]:
    truth = dataset.truth(image)
    if truth is None:
        raise StageError(f"image '{image}' has no truth, and ceiling=true trains on it; run with ceiling=false")
    return truth, None


def _train(
    plan: SegmenterPlan,
    target: Callable[[str], tuple[LabelMap, Tensor | None]],
    bench: Workbench,
    out: Artefact,
    name: str,
) -> None:
    from wsss.data.datamodule import DataModule
    from wsss.tasks.segmentation import SegmentationTask

    ids, _ = plan.split()
    torch.manual_seed(plan.seed)
    network = build_segmenter(plan.network, plan.settings, len(plan.dataset.classes) + 1)
    task = SegmentationTask(network, plan.settings, background=plan.dataset.background)
    module = DataModule(plan.dataset, ids, target=target, **loading(bench, plan.settings))
    train(task, module, bench, out, steps=steps_of(len(ids), plan.settings), description=name)
    keep_network(task, out)
