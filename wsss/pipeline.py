"""The method: the stages in the order they run."""

from collections.abc import Iterator
from dataclasses import dataclass

from wsss.config import Config
from wsss.data.base import Dataset
from wsss.networks.weights import CLASSIFIER
from wsss.refine import REFINERS
from wsss.refine.base import FittedRefiner, Refiner
from wsss.stages.base import Stage
from wsss.stages.build_graphs import build_graphs
from wsss.stages.evaluate import evaluate, evaluate_cams
from wsss.stages.fit_refiner import fit_refiner
from wsss.stages.import_cues import import_cues
from wsss.stages.make_cams import make_cams
from wsss.stages.make_pseudo_labels import make_pseudo_labels
from wsss.stages.make_scores import make_predictions, make_scores
from wsss.stages.make_seeds import make_network_seeds, make_seeds
from wsss.stages.make_superpixels import make_superpixels
from wsss.stages.materials import GraphStages, Trail
from wsss.stages.measure_signal import measure_signal
from wsss.stages.networks import NetworkPlan
from wsss.stages.price_annotations import price_annotations
from wsss.stages.refine import refine
from wsss.stages.segmenters import SegmenterPlan
from wsss.stages.settle_pixels import settle_pixels
from wsss.stages.train_classifier import train_classifier
from wsss.stages.train_segmenter import (
    train_on_annotations,
    train_on_pseudo_labels,
    train_on_seeds,
    train_on_truth,
)

CEILING = "ceiling_predictions"
"""Name of the ceiling's predictions on the validation images."""


@dataclass(frozen=True)
class Step:
    """A stage and the evaluation of its labels.

    Attributes:
        stage: The stage.
        scored: The stage that evaluates its labels, if they are a row of the table.
    """

    stage: Stage
    scored: Stage | None = None

    @property
    def split(self) -> str:
        """The split that the stage works on."""
        return "val" if self.stage.name in ("predictions", CEILING) else "train"


@dataclass(frozen=True)
class Round:
    """One round: from evidence to a segmenter.

    Attributes:
        index: 0 for the round that starts from CAMs.
        steps: Its stages, in order.
        segmenter: The stage that trains the segmenter.
        predictions: Its labels of the validation images, with their evaluation.
        signal: Input of the stopping rule.
        seeds: The first round's seeds.
    """

    index: int
    steps: tuple[Step, ...]
    segmenter: Stage
    predictions: Step
    signal: Stage | None
    seeds: Stage


@dataclass(frozen=True)
class Plan:
    """All stages of a run.

    Attributes:
        rounds: The rounds, assuming that none is rolled back.
        ceiling: Training on ground truth, and its evaluated predictions.
        price: The stage that computes the cost of the labels; no step of the method reads it.
    """

    rounds: tuple[Round, ...]
    ceiling: tuple[Step, ...]
    price: Stage

    def __iter__(self) -> Iterator[Step]:
        """All steps in execution order."""
        for part in self.rounds:
            yield from part.steps
        yield from self.ceiling


class Method:
    """Plans the stages of a configuration; reads like the method section of a paper.

    Args:
        config: The configuration.
        dataset: The images.
        precision: The resolved precision.

    Raises:
        SettingsError: If the network does not support the settings.
    """

    def __init__(self, config: Config, dataset: Dataset, precision: str) -> None:
        self.config = config
        self.dataset = dataset
        self.precision = precision
        self.refiners: dict[str, Refiner] = {name: REFINERS[name](config) for name in config.refine}
        self.classifier_network = NetworkPlan(
            config.network, config.classifier, config.classifier.weights, config.classifier.hidden
        )
        self.annotations = settle_pixels(dataset) if dataset.settles_pixels else None
        self.classifier_network.check("classifier")
        segmenter_network(config).check("segmenter")
        self.classifier = self.trained_classifier(dataset)
        self.segmenters = self.segmenters_from(dataset, self.classifier)

    def plan(self) -> Plan:
        """Plan all rounds and the ceiling."""
        first = self.first_round()
        rounds = [first]
        for index in range(1, self.config.rounds):
            rounds.append(self.next_round(index, rounds[-1], first))
        ceiling = self.ceiling() if self.config.ceiling else ()
        return Plan(tuple(rounds), ceiling, price_annotations(self.dataset, self.config.labels.cost))

    def trained_classifier(self, dataset: Dataset) -> Stage:
        """Plan the classifier of a data set."""
        config = self.config
        return train_classifier(dataset, self.classifier_network, config.classifier, config.seed, self.precision)

    def segmenters_from(self, dataset: Dataset, classifier: Stage) -> SegmenterPlan:
        """Plan segmenters that start from the weights in the settings, or from those of a classifier."""
        config, network = self.config, segmenter_network(self.config)
        return SegmenterPlan(
            dataset,
            network,
            config.segmenter,
            config.self_training,
            config.rounds,
            config.seed,
            self.precision,
            start=classifier if network.weights == CLASSIFIER else None,
        )

    def first_round(self) -> Round:
        """Image tags → classifier → CAMs → seeds, of CAMs or published → refiners → pseudo labels → segmenter.

        Settled labels from annotations come first and override all that follows; a segmenter can also be trained on
        them alone.
        """
        config, dataset, annotations = self.config, self.dataset, self.annotations
        settled = (self.scored(annotations),) if annotations else ()
        if annotations and config.segmenter.supervision == "sparse":
            trail = Trail(annotations, annotations, annotations, source="network", annotations=annotations)
            started = (Step(self.classifier),) if self.segmenters.start else ()
            return self.finish_round(0, (*settled, *started), trail, first_seeds=annotations)
        cams = make_cams(dataset, self.classifier_network, config.cams, self.classifier, self.precision)
        cues = import_cues(dataset, config.seeds) if config.seeds.cues else None
        seeds = make_seeds(
            dataset,
            config.seeds,
            cams,
            crf=config.crf,
            cues=cues,
            annotations=annotations,
            spread=config.labels.spread,
        )
        trail = Trail(scores=seeds, seeds=seeds, labels=seeds, source="cams", annotations=annotations)
        # errors in the files are reported before anything is trained
        imported = (Step(cues),) if cues else ()
        looked = (Step(self.classifier), Step(cams, evaluate_cams(dataset, config.seeds, cams)), self.scored(seeds))
        return self.finish_round(0, (*settled, *imported, *looked), trail, first_seeds=seeds)

    def next_round(self, index: int, last: Round, first: Round) -> Round:
        """The last segmenter's scores, restricted to the known tags → seeds → refiners → pseudo labels → segmenter."""
        config, dataset = self.config, self.dataset
        annotations = self.annotations
        scores = make_scores(self.segmenters, last.segmenter, index, annotations)
        seeds = make_network_seeds(dataset, config.self_training, scores, index, annotations)
        trail = Trail(scores=scores, seeds=seeds, labels=seeds, source="network", annotations=annotations)
        return self.finish_round(index, (self.scored(scores), self.scored(seeds)), trail, first_seeds=first.seeds)

    def finish_round(self, index: int, before: tuple[Step, ...], trail: Trail, first_seeds: Stage) -> Round:
        """Refiners → pseudo labels → segmenter, or seeds → segmenter."""
        between, segmenter = self.supervised(trail, index)
        predictions = self.predicted(segmenter)
        signal = measure_signal(self.segmenters, segmenter, first_seeds) if self.config.rounds > 1 else None
        after = (Step(segmenter), predictions, *((Step(signal),) if signal else ()))
        return Round(index, (*before, *between, *after), segmenter, predictions, signal, first_seeds)

    def supervised(self, trail: Trail, index: int) -> tuple[tuple[Step, ...], Stage]:
        """Plan the supervision of a round's segmenter, and its training; growing seeds need no refiners."""
        config = self.config
        if config.segmenter.supervision == "dsrg":
            return (), train_on_seeds(self.segmenters, config.dsrg, trail.seeds, index)
        if config.segmenter.supervision == "sparse":
            return (), train_on_annotations(self.segmenters, config.sparse, config.dsrg, trail.seeds, index)
        refined, trail = self.refined(trail, index)
        labels = make_pseudo_labels(self.dataset, config.pseudo_labels, trail, index)
        return (*refined, self.scored(labels)), train_on_pseudo_labels(self.segmenters, labels, index)

    def refined(self, trail: Trail, index: int) -> tuple[tuple[Step, ...], Trail]:
        """Plan the refiners in order; those that must be fitted are fitted first."""
        steps: list[Step] = []
        for name, refiner in self.refiners.items():
            graphs, fitted = None, None
            if isinstance(refiner, FittedRefiner):
                graphs = self.graphs()
                steps += [] if index else [Step(graphs.superpixels), Step(graphs.graphs)]
                if refiner.learns:
                    fitted = fit_refiner(
                        name, refiner, self.dataset, trail, graphs, self.config.seed, self.precision, index
                    )
                    steps.append(Step(fitted))
            stage = refine(name, refiner, self.dataset, trail, index, graphs=graphs, fitted=fitted)
            steps.append(self.scored(stage))
            trail = trail.after(refiner, stage)
        return tuple(steps), trail

    def graphs(self) -> GraphStages:
        """Superpixels and region graphs, the same for all rounds."""
        superpixels = make_superpixels(self.dataset, self.config.superpixels)
        return build_graphs(
            self.dataset, self.classifier_network, self.config.graph, superpixels, self.classifier, self.precision
        )

    def ceiling(self) -> tuple[Step, ...]:
        """Full masks → segmenter: the same network, schedule, images and seed, always with cross entropy.

        Where segmenters start from the classifier, the ceiling starts from one that was trained on the data set's own
        tags, so that full supervision is the same for all labels.
        """
        # all images, including those beyond the budget of weak labels
        whole, classifier = self.dataset.whole, self.classifier
        if self.segmenters.start and any(whole.named(image) is not None for image in whole.ids("train")):
            classifier = self.trained_classifier(whole)
        started = (Step(classifier),) if classifier.key != self.classifier.key else ()
        trained = train_on_truth(self.segmenters_from(whole, classifier))
        return *started, Step(trained), self.predicted(trained, CEILING)

    def predicted(self, segmenter: Stage, name: str = "predictions") -> Step:
        """Predict the validation images, and evaluate."""
        predictions = make_predictions(self.segmenters, segmenter, name)
        return Step(predictions, evaluate(self.dataset, predictions, "val", boundary=True))

    def scored(self, stage: Stage) -> Step:
        """Evaluate a stage's labels of the training images."""
        return Step(stage, evaluate(self.dataset, stage, "train"))


def segmenter_network(config: Config) -> NetworkPlan:
    """The backbone of all segmenters of a run, and its initial weights: by default those that the classifier had."""
    weights = config.classifier.weights if config.segmenter.weights is None else config.segmenter.weights
    return NetworkPlan(config.network, config.segmenter, weights)


def plan(config: Config, dataset: Dataset, precision: str) -> Plan:
    """Plan a run without executing it."""
    return Method(config, dataset, precision).plan()
