"""First evidence of a round: CAMs, or a segmenter's scores, become scores and seeds."""

from dataclasses import dataclass
from functools import partial

from wsss.data.base import Dataset
from wsss.functional.cues import spread_cues
from wsss.functional.dense_crf import CrfSettings
from wsss.functional.seeds import (
    SeedSettings,
    Thresholds,
    cam_scores,
    plant_agreed_seeds,
    plant_seeds,
    score_seeds,
)
from wsss.functional.spreading import SpreadSettings, agreed_seeds, spread_settled, weigh_likely
from wsss.stages.base import Portion, Stage, Workbench, for_each, portions, science
from wsss.stages.materials import Settled, image_thresholds, reads_of, settled_by, training_thresholds
from wsss.stages.settings import SelfTrainingSettings
from wsss.store import Artefact, resize_scores
from wsss.types import IGNORE, CamMap, LabelMap, ScoreMap


def make_seeds(
    dataset: Dataset,
    settings: SeedSettings,
    cams: Stage,
    *,
    crf: CrfSettings | None = None,
    cues: Stage | None = None,
    annotations: Stage | None = None,
    spread: SpreadSettings | None = None,
) -> Stage:
    """Plan the scores and seeds of the first round: scores from CAMs, seeds from CAMs or published cues.

    Settled labels from annotations override CAMs and cues, and spread to nearby pixels.

    Args:
        dataset: The images and their tags.
        settings: Background scores and seed rules.
        cams: The stage that computed the CAMs.
        crf: The dense CRF, used only by the rule ``irn``; None takes its defaults.
        cues: The stage that imported cues; they replace the seeds, while scores still come from CAMs.
        annotations: The stage that wrote the settled labels; None if only tags are used.
        spread: Range of the spreading; None disables it.
    """
    unheard = () if dataset.likely_labels else ("likely",)
    asked = (crf or CrfSettings()) if settings.rule == "irn" else None

    def work(bench: Workbench, out: Artefact) -> None:
        settled = settled_by(bench, annotations)
        thresholds = training_thresholds(bench, bench.read(cams), settings, settled)
        computation = _SeedComputation(
            dataset, settings, asked, bench.read(cams), bench.read(cues) if cues else None, thresholds, settled, spread
        )
        one = partial(_seed_from_cams, computation, out)
        for_each(bench, out, portions(dataset.ids("train")), one, description="seeds", pooled=True)

    return Stage(
        name="seeds",
        # spreading has changed since, and nothing else
        version=8 if annotations and spread else 7,
        work=work,
        settings=settings.of_seeds()
        | ({"crf": science(asked, "unary")} if asked else {})
        | ({"spread": science(spread, *unheard)} if annotations and spread else {})
        | {"background_class": dataset.background},
        reads={"cams": cams} | ({"cues": cues} if cues else {}) | reads_of(annotations),
    )


@dataclass(frozen=True)
class _SeedComputation:
    """Computes scores and seeds of the first round.

    Attributes:
        dataset: The images and their tags.
        settings: Seed rules.
        crf: The dense CRF, if the rule uses it.
        cams: Artefact of the CAMs.
        cues: Artefact of the cues, if they replace seeds from CAMs.
        thresholds: Thresholds over the training set, if the rule uses them.
        settled: Settled labels of the annotations.
        spread: Range of their spreading.
    """

    dataset: Dataset
    settings: SeedSettings
    crf: CrfSettings | None
    cams: Artefact
    cues: Artefact | None
    thresholds: Thresholds | None
    settled: Settled
    spread: SpreadSettings | None

    def compute(self, image: str) -> tuple[ScoreMap, LabelMap]:
        """Read the CAMs of one image and compute its scores and seeds."""
        small = self.settled.cams(image, self.cams.read_scores(image, len(self.dataset.classes) + 1)[1:])
        tags = self.dataset.tags(image)
        thresholds = self.thresholds or image_thresholds(small, tags, self.settings)
        background = self.dataset.background
        scores = cam_scores(small, tags, self.settings, background=background, thresholds=thresholds)
        settled = self.settled.pixels(image)
        # without settled pixels there is nothing to spread
        spread = self.spread if settled is not None and bool((settled != IGNORE).any()) else None
        if settled is not None and spread is not None:
            scores = spread_settled(scores, settled, self.dataset.image(image), spread)
        likely = self.settled.likely(image)
        if likely is not None and self.spread is not None:
            scores = weigh_likely(scores, likely, self.spread)
        scores = self.settled.scores(image, scores)
        seeds = self._seeds(image, small, thresholds)
        # published cues are used unchanged
        if spread is not None and spread.reach and not self.cues:
            seeds = agreed_seeds(seeds, resize_scores(scores, self.dataset.size(image)), spread.sure)
        return scores, self.settled.keep(image, seeds)

    def _seeds(self, image: str, small: CamMap, thresholds: Thresholds | None) -> LabelMap:
        tags, size = self.dataset.tags(image), self.dataset.size(image)
        if self.cues:
            return spread_cues(self.cues.read_labels(image, "cues"), size)
        full = resize_scores(small, size).clamp(0, 1)
        if self.crf:
            shown = self.dataset.image(image)
            return plant_agreed_seeds(shown, full, tags, self.settings, self.crf, background=self.dataset.background)
        return plant_seeds(full, tags, self.settings, background=self.dataset.background, thresholds=thresholds)


def _seed_from_cams(computation: _SeedComputation, out: Artefact, portion: Portion) -> None:
    dataset = computation.dataset
    with out.unit(portion.name) as unit:
        for image in portion.ids:
            scores, seeds = computation.compute(image)
            unit.write_scores(image, scores, dataset.possible(image), dataset.size(image))
            unit.write_labels(image, seeds)


def make_network_seeds(
    dataset: Dataset, settings: SelfTrainingSettings, scores: Stage, round: int, annotations: Stage | None = None
) -> Stage:
    """Plan the seeds of a later round: pixels where the segmenter's scores, restricted to the tags, are confident."""

    def work(bench: Workbench, out: Artefact) -> None:
        one = partial(_seed_from_scores, dataset, settings, bench.read(scores), settled_by(bench, annotations), out)
        for_each(bench, out, portions(dataset.ids("train")), one, description="seeds", pooled=True)

    thresholds = {"foreground": settings.foreground_threshold, "background": settings.background_threshold}
    return Stage(
        name="seeds",
        version=1,
        work=work,
        settings=thresholds | {"background_class": dataset.background},
        reads={"scores": scores} | reads_of(annotations),
        round=round,
    )


def _seed_from_scores(
    dataset: Dataset,
    settings: SelfTrainingSettings,
    scores: Artefact,
    settled: Settled,
    out: Artefact,
    portion: Portion,
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
            unit.write_labels(image, settled.keep(image, seeds))
