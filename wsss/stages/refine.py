"""One refiner over the whole training set: evidence in, evidence out."""

from dataclasses import dataclass, replace
from functools import partial

from wsss.data.base import Dataset
from wsss.refine.base import Refiner, Source, View
from wsss.stages.base import Portion, Stage, Workbench, for_each, portions
from wsss.stages.build_graphs import Graphs, GraphStages
from wsss.store import Artefact
from wsss.types import Evidence


@dataclass(frozen=True)
class Trail:
    """Where the evidence of a round lies after some refiners.

    Attributes:
        scores: Stage that wrote the scores last.
        seeds: Stage that wrote the seeds last.
        labels: Stage whose labels are the last word.
        source: Where the scores of the round came from.
    """

    scores: Stage
    seeds: Stage
    labels: Stage
    source: Source

    def after(self, refiner: Refiner, stage: Stage) -> "Trail":
        """The trail with one more refiner behind it."""
        if refiner.changes == "seeds":
            return replace(self, seeds=stage, labels=stage)
        return replace(self, scores=stage, labels=stage)

    def open(self, bench: Workbench) -> "Material":
        """Open the artefacts."""
        return Material(bench.dataset, bench.read(self.scores), bench.read(self.seeds), self.source)


@dataclass(frozen=True)
class Material:
    """The evidence of a data set, read image by image.

    Attributes:
        dataset: The images and their tags.
        scores: Artefact that holds the scores.
        seeds: Artefact that holds the seeds.
        source: Where the scores came from.
        graphs: Superpixels and region graphs, for refiners that need them.
    """

    dataset: Dataset
    scores: Artefact
    seeds: Artefact
    source: Source
    graphs: Graphs | None = None

    def evidence(self, image: str) -> Evidence:
        """Read the evidence about one image."""
        return Evidence(self.scores.read_scores(image, len(self.dataset.classes) + 1), self.seeds.read_labels(image))

    def view(self, image: str) -> View:
        """Read what a refiner may look at besides."""
        return View(
            image=self.dataset.image(image),
            tags=self.dataset.tags(image),
            background=self.dataset.background,
            source=self.source,
            segments=self.graphs.segments(image) if self.graphs else None,
            graph=self.graphs.graph(image) if self.graphs else None,
        )


def refine(
    name: str,
    refiner: Refiner,
    dataset: Dataset,
    trail: Trail,
    turn: int,
    *,
    graphs: GraphStages | None = None,
    fitted: Stage | None = None,
) -> Stage:
    """Plan one refiner.

    Args:
        name: What the refiner is called in ``REFINERS``.
        refiner: The refiner and its settings.
        dataset: The images.
        trail: The evidence it starts from.
        turn: Round of self-training.
        graphs: Superpixels and region graphs, for a refiner that needs them.
        fitted: The stage that fitted it, for a refiner that is fitted.
    """

    def work(bench: Workbench, out: Artefact) -> None:
        material = replace(trail.open(bench), graphs=graphs.open(bench) if graphs else None)
        ready = refiner.load(bench.read(fitted).folder) if fitted else refiner
        one = partial(_refine_portion, ready, material, out)
        for_each(bench, out, portions(dataset.ids("train")), one, description=name, pooled=refiner.pooled)

    reads = {"scores": trail.scores, "seeds": trail.seeds}
    reads |= graphs.reads if graphs else {}
    reads |= {"fitted": fitted} if fitted else {}
    return Stage(
        name=name,
        version=refiner.version,
        work=work,
        settings=refiner.depends(trail.source) | {"background_class": dataset.background, "source": trail.source},
        reads=reads,
        round=turn,
    )


def _refine_portion(refiner: Refiner, material: Material, out: Artefact, portion: Portion) -> None:
    with out.unit(portion.name) as unit:
        for image in portion.ids:
            view = material.view(image)
            refined = refiner.refine(material.evidence(image), view)
            unit.write_labels(image, refiner.labels(refined, view))
            if refiner.changes == "scores":
                unit.write_scores(image, refined.scores, view.possible(len(refined.scores) - 1), view.size)
