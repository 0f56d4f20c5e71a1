"""Training of the classifier on image tags, part of which are held out for evaluation."""

import torch

from wsss.data.base import Dataset
from wsss.data.holdout import stratified_holdout
from wsss.errors import StageError
from wsss.stages.base import Stage, Workbench, repeats, science
from wsss.stages.networks import NetworkPlan, build_classifier
from wsss.stages.training import keep_network, loading, steps_of, train
from wsss.store import Artefact
from wsss.tasks.settings import ClassifierSettings


def train_classifier(
    dataset: Dataset, network: NetworkPlan, settings: ClassifierSettings, seed: int, precision: str
) -> Stage:
    """Plan the training of the classifier.

    Args:
        dataset: Images and tags.
        network: Backbone and initial weights.
        settings: Training settings.
        seed: Seed of all randomness.
        precision: The resolved precision.
    """

    def work(bench: Workbench, out: Artefact) -> None:
        from wsss.data.datamodule import DataModule
        from wsss.tasks.classification import ClassificationTask

        ids = dataset.ids("train")
        tags = [dataset.tags(image) for image in ids]
        if all(dataset.named(image) is None for image in ids):
            raise StageError(
                f"'{dataset.name}' has no image with known tags, so no classifier can be trained; "
                "see data.tags for the source of tags"
            )
        kept, held_out = stratified_holdout(tags, settings.held_out, seed)
        samples = dataset.samples(len(kept))
        torch.manual_seed(seed)
        task = ClassificationTask(build_classifier(network, len(dataset.classes)), settings)
        module = DataModule(
            dataset,
            [ids[index] for index in kept],
            held_out_ids=[ids[index] for index in held_out],
            samples=samples,
            **loading(bench, settings),
        )
        train(task, module, bench, out, steps=steps_of(samples, settings), description="classifier")
        keep_network(task, out)

    learning = science(settings, "weights", "hidden") | network.fingerprint | repeats(dataset)
    return Stage(
        name="classifier",
        version=2,
        work=work,
        settings=learning | {"seed": seed, "precision": precision},
        data={"train": dataset.fingerprint("train")},
    )
