"""From scores' raw material to the first evidence: CAMs, or a segmenter's scores, become scores and seeds."""

from functools import partial

from wsss.data.base import Dataset
from wsss.functional.dense_crf import CrfSettings
from wsss.functional.seeds import SeedSettings, cam_scores, plant_agreed_seeds, plant_seeds, score_seeds
from wsss.stages.base import Portion, Stage, Workbench, for_each, portions, science
from wsss.stages.settings import SelfTrainingSettings
from wsss.store import Artefact, resize_scores


def make_seeds(dataset: Dataset, settings: SeedSettings, cams: Stage, crf: CrfSettings | None = None) -> Stage:
    """Plan the seeds of the first round: where CAMs are sure.

    Args:
        dataset: The images and their tags.
        settings: What is background and what is a seed.
        cams: The stage that made the CAMs.
        crf: The dense CRF, which only the rule ``irn`` asks; None takes its defaults.
    """
    asked = (crf or CrfSettings()) if settings.rule == "irn" else None

    def work(bench: Workbench, out: Artefact) -> None:
        one = partial(_seed_from_cams, dataset, settings, asked, bench.read(cams), out)
        for_each(bench, out, portions(dataset.ids("train")), one, description="seeds", pooled=True)

    return Stage(
        name="seeds",
        version=1,
        work=work,
        settings=settings.of_seeds()
        | ({"crf": science(asked, "unary")} if asked else {})
        | {"background_class": dataset.background},
        reads={"cams": cams},
    )


def _seed_from_cams(
    dataset: Dataset,
    settings: SeedSettings,
    crf: CrfSettings | None,
    cams: Artefact,
    out: Artefact,
    portion: Portion,
) -> None:
    with out.unit(portion.name) as unit:
        for image in portion.ids:
            tags, size = dataset.tags(image), dataset.size(image)
            small = cams.read_scores(image, len(dataset.classes) + 1)[1:]
            possible = dataset.possible(image)
            scores = cam_scores(small, tags, settings, background=dataset.background)
            unit.write_scores(image, scores, possible, size)
            full = resize_scores(small, size).clamp(0, 1)
            if crf is None:
                seeds = plant_seeds(full, tags, settings, background=dataset.background)
            else:
                shown = dataset.image(image)
                seeds = plant_agreed_seeds(shown, full, tags, settings, crf, background=dataset.background)
            unit.write_labels(image, seeds)


def make_network_seeds(dataset: Dataset, settings: SelfTrainingSettings, scores: Stage, turn: int) -> Stage:
    """Plan the seeds of a later round: where the segmenter's scores, restricted to the known tags, are sure."""

    def work(bench: Workbench, out: Artefact) -> None:
        one = partial(_seed_from_scores, dataset, settings, bench.read(scores), out)
        for_each(bench, out, portions(dataset.ids("train")), one, description="seeds", pooled=True)

    thresholds = {"foreground": settings.foreground_threshold, "background": settings.background_threshold}
    return Stage(
        name="seeds",
        version=1,
        work=work,
        settings=thresholds | {"background_class": dataset.background},
        reads={"scores": scores},
        round=turn,
    )


def _seed_from_scores(
    dataset: Dataset, settings: SelfTrainingSettings, scores: Artefact, out: Artefact, portion: Portion
) -> None:
    with out.unit(portion.name) as unit:
        for image in portion.ids:
            full = resize_scores(scores.read_scores(image, len(dataset.classes) + 1), dataset.size(image))
            seeds = score_seeds(
                full,
                dataset.tags(image),
                foreground_threshold=settings.foreground_threshold,
                background_threshold=settings.background_threshold,
                background=dataset.background,
            )
            unit.write_labels(image, seeds)
