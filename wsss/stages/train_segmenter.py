"""Training the segmenter: on pseudo labels, or, for the ceiling, on the truth."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from wsss.data.base import Dataset
from wsss.data.holdout import stratified_holdout
from wsss.errors import StageError
from wsss.stages.base import Stage, Workbench, science
from wsss.stages.make_pseudo_labels import read_target
from wsss.stages.networks import NetworkSettings, build_segmenter
from wsss.stages.settings import SelfTrainingSettings
from wsss.stages.training import keep_network, loading, steps_of, train
from wsss.store import Artefact
from wsss.tasks.settings import SegmenterSettings
from wsss.types import LabelMap

WATCH_SEED = 1
"""Added to the seed that chooses the watched images, so that they are not those held out from the classifier."""


@dataclass(frozen=True)
class SegmenterPlan:
    """How every segmenter of a run is made, the ceiling's too: same network, images, schedule and seed.

    Attributes:
        dataset: The images.
        network: Backbone and start.
        settings: How it is trained and predicts.
        self_training: Which images no segmenter is trained on.
        rounds: Rounds of the run; with a single one there is nothing to watch, and all images are trained on.
        seed: Where the randomness comes from.
        precision: The resolved precision.
    """

    dataset: Dataset
    network: NetworkSettings
    settings: SegmenterSettings
    self_training: SelfTrainingSettings
    rounds: int
    seed: int
    precision: str

    def split(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The training images to learn from, and those to watch."""
        ids = self.dataset.ids("train")
        if self.rounds == 1:
            return ids, ()
        tags = [self.dataset.tags(image) for image in ids]
        kept, watched = stratified_holdout(tags, self.self_training.watched, self.seed + WATCH_SEED)
        return tuple(ids[index] for index in kept), tuple(ids[index] for index in watched)

    def science(self) -> dict[str, object]:
        """The settings that steer the training."""
        learning = science(self.settings, "weights", "test_scales", "test_flip")
        watched = self.self_training.watched if self.rounds > 1 else 0.0
        return (
            learning
            | self.network.fingerprint
            | {
                "watched": watched,
                "seed": self.seed,
                "precision": self.precision,
            }
        )


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
