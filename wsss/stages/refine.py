"""Application of one refiner to the whole training set: evidence in, evidence out."""

from dataclasses import replace
from functools import partial

from wsss.data.base import Dataset
from wsss.refine.base import FittedRefiner, Refiner
from wsss.stages.base import Portion, Stage, Workbench, for_each, portions
from wsss.stages.materials import GraphStages, Material, Trail, reads_of
from wsss.store import Artefact


def refine(
    name: str,
    refiner: Refiner,
    dataset: Dataset,
    trail: Trail,
    round: int,
    *,
    graphs: GraphStages | None = None,
    fitted: Stage | None = None,
) -> Stage:
    """Plan one refiner.

    Args:
        name: Name of the refiner in ``REFINERS``.
        refiner: The refiner and its settings.
        dataset: The images.
        trail: The input evidence.
        round: Round of self-training.
        graphs: Superpixels and region graphs, for a refiner that needs them.
        fitted: The stage that fitted it, for a fitted refiner.
    """

    def work(bench: Workbench, out: Artefact) -> None:
        material = replace(trail.open(bench), graphs=graphs.open(bench) if graphs else None)
        ready = refiner.load(bench.read(fitted).folder) if fitted and isinstance(refiner, FittedRefiner) else refiner
        one = partial(_refine_portion, ready, material, out)
        for_each(bench, out, portions(dataset.ids("train")), one, description=name, pooled=True)

    reads = {"scores": trail.scores, "seeds": trail.seeds} | reads_of(trail.annotations)
    reads |= graphs.reads if graphs else {}
    reads |= {"fitted": fitted} if fitted else {}
    return Stage(
        name=name,
        version=refiner.version,
        work=work,
        settings=refiner.depends(trail.source) | {"background_class": dataset.background, "source": trail.source},
        reads=reads,
        round=round,
    )


def _refine_portion(refiner: Refiner, material: Material, out: Artefact, portion: Portion) -> None:
    with out.unit(portion.name) as unit:
        for image in portion.ids:
            view = material.view(image)
            refined = material.kept(image, refiner.refine(material.evidence(image), view))
            unit.write_labels(image, refiner.labels(refined, view))
            if refiner.changes == "scores":
                unit.write_scores(image, refined.scores, view.possible(len(refined.scores) - 1), view.size)
