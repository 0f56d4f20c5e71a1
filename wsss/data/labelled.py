"""Data set with configured training labels: selected kinds, simulated or given, within a budget."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from wsss.annotations import Annotation, ImageTags, Mask
from wsss.annotations.base import nothing_known, same_shape
from wsss.annotations.budget import labelling_order, within_budget
from wsss.annotations.cost import annotation_seconds
from wsss.annotations.manifest import Manifest
from wsss.annotations.settings import LabelSettings
from wsss.data.base import Dataset, digest
from wsss.data.chance import seed_of
from wsss.data.drawn import draw_labels
from wsss.data.manifests import read_manifest
from wsss.errors import DataError
from wsss.types import IGNORE, Image, LabelMap, Tags, tagged_labels


def with_labels(dataset: Dataset, settings: LabelSettings) -> Dataset:
    """Apply label settings to a data set; returns the data set itself if only its own tags are used.

    Args:
        dataset: Images, their tags, and masks to simulate labels from.
        settings: Labels used in training, and their source.

    Raises:
        DataError: If the manifest is missing or damaged, an image has no mask to simulate labels from, or the budget is
            too small for one image and all masks.
    """
    noisy = settings.noise.missing_tags or settings.noise.wrong_tags
    limited = settings.masks or settings.budget_seconds is not None
    plain = settings.kinds == ("tags",) and settings.source == "simulated" and not (noisy or limited)
    return dataset if plain else LabelledDataset(dataset, settings)


KEPT = 4096
"""Maximum number of images whose labels are kept in memory; others are simulated or looked up each time."""


class LabelledDataset(Dataset):
    """A data set whose training images have only the labels that are configured.

    Validation images, pictures and ground truth are those of the underlying data set.

    Args:
        source: The underlying data set.
        settings: Labels used in training.

    Raises:
        DataError: If the manifest is missing or damaged or contains no training image, a label within the budget is
            invalid, or the budget is too small for one image or for all masks.
    """

    def __init__(self, source: Dataset, settings: LabelSettings) -> None:
        self.source, self.settings = source, settings
        self._manifest = read_manifest(Path(settings.manifest), source.classes) if settings.manifest else None
        self._annotations: dict[str, Annotation] = {}
        ids = source.ids("train")
        if self._manifest is not None and not any(id in self._manifest.annotations for id in ids):
            raise _strange(settings.manifest, self._manifest, ids)
        limited = settings.masks or settings.budget_seconds is not None
        order = labelling_order(ids, [self._stratum(id) for id in ids], settings.seed) if limited else ids
        self._masked = self._first_masked(order)
        if settings.budget_seconds is not None:
            paid = frozenset(within_budget(order, self.seconds, settings.budget_seconds))
            self._require_masks(paid)
            ids = tuple(id for id in ids if id in paid)
        super().__init__(
            source.name, source.classes, background=source.background, ids={"train": ids, "val": source.ids("val")}
        )
        self._trained = frozenset(ids)

    @property
    def whole(self) -> Dataset:
        """The underlying data set."""
        return self.source

    def samples(self, images: int) -> int:
        """Number of samples per epoch for that many training images, as if the budget had paid for all of them."""
        if not self.settings.full_schedule:
            return images
        return round(images * len(self.source.ids("train")) / len(self.ids("train")))

    @property
    def settles_pixels(self) -> bool:
        """Whether any kind but tags is configured."""
        return self.settings.kinds != ("tags",) or self.settings.masks > 0

    @property
    def likely_labels(self) -> bool:
        """Whether boxes are cut by GrabCut, which yields settled and likely labels."""
        return "boxes" in self.settings.kinds and self.settings.boxes.grabcut

    @property
    def label_use(self) -> dict[str, object]:
        """Settings for the use of given labels."""
        boxes = self.settings.boxes
        return {"reset_below": boxes.reset_below, "tight": boxes.tight} if "boxes" in self.settings.kinds else {}

    def annotation(self, id: str) -> Annotation:
        """Return the labels of an image that are used in training.

        Raises:
            DataError: If they lie outside of the image, or it has no mask to simulate them from.
        """
        found = self._annotations.get(id)
        if found is None:
            found = self._annotate(id)
            if len(self._annotations) < KEPT:
                self._annotations[id] = found
        return found

    def seconds(self, id: str) -> float:
        """Annotation time of an image's labels in seconds."""
        return annotation_seconds(self.annotation(id), len(self.source.classes), self.settings.cost)

    def tags(self, id: str) -> Tags | None:
        """Tags of an image if completely known, as far as training may use them; those of the source for validation."""
        if id not in self._trained:
            return self.source.tags(id)
        present, known = self.presence(id)
        return present if known.all() else None

    def presence(self, id: str) -> tuple[Tags, Tags]:
        """Return which classes are present, and for which of them presence or absence is known."""
        return self.annotation(id).presence(len(self.classes)) if id in self._trained else self.source.presence(id)

    def size(self, id: str) -> tuple[int, int]:
        """Height and width of an image."""
        return self.source.size(id)

    def native_size(self, id: str) -> tuple[int, int]:
        """Height and width of an image before any downscaling."""
        return self.source.native_size(id)

    def image(self, id: str) -> Image:
        """Read an image, (3, H, W) uint8."""
        return self.source.image(id)

    def truth(self, id: str) -> LabelMap | None:
        """Read the ground truth, (H, W) uint8; None if the image has none."""
        return self.source.truth(id)

    def place(self, id: str) -> str:
        """Location of an image, for messages."""
        return self.source.place(id)

    def _annotate(self, id: str) -> Annotation:
        """Simulate or look up the labels of an image, and remove those that are not configured."""
        given = self._simulated(id) if self._manifest is None else self._from_manifest(id, self._manifest)
        points, boxes = given.points, given.boxes
        if points is not None:
            points = replace(points, radius=self.settings.points.radius)
        if boxes is not None:
            use = self.settings.boxes
            boxes = replace(boxes, grabcut=use.grabcut, core=use.core, reset_below=use.reset_below, tight=use.tight)
        given = replace(given, points=points, boxes=boxes)
        if id not in self._masked or given.masks is not None:
            return given
        truth = self._truth(id)
        mask = Mask.of(truth)
        # a mask without known pixels provides no classes either
        complete = given.tags_complete or bool((truth != IGNORE).any())
        return replace(
            given, masks=mask if self.source.background else mask.without_background(), tags_complete=complete
        )

    def _stratum(self, id: str) -> Tags | None:
        """Classes by which an image is stratified in the labelling order, whatever kinds are configured."""
        named = self.source.named(id)
        if named is not None or self._manifest is None or id not in self._manifest.annotations:
            return named
        given = self._manifest.annotations[id].named()
        return torch.tensor([label in given for label in range(1, len(self.source.classes) + 1)])

    def _first_masked(self, order: Sequence[str]) -> frozenset[str]:
        """Choose the images that get a mask: the first that have one in the manifest, or else in the data set."""
        wanted, chosen = self.settings.masks, list[str]()
        given = {} if self._manifest is None else self._manifest.annotations
        # masks in the manifest are for training; the data set's are for evaluation
        listed = {id for id in order if id in given and given[id].masks is not None}
        for id in order:
            if len(chosen) == wanted:
                break
            chosen += [id] if (id in listed if listed else self.source.truth(id) is not None) else []
        if len(chosen) < wanted:
            raise DataError(
                f"labels.masks={wanted} asks for more masks than there are: {len(chosen)} of {len(order)} training "
                f"images have one; lower it, or give more masks"
            )
        return frozenset(chosen)

    def _require_masks(self, paid: frozenset[str]) -> None:
        """Check that the budget covers all masks."""
        if not self._masked <= paid:
            raise DataError(
                f"labels.masks={self.settings.masks}, but labels.budget_seconds={self.settings.budget_seconds:g} pays "
                f"for {len(self._masked & paid)} of them; raise the budget or lower labels.masks"
            )

    def _simulated(self, id: str) -> Annotation:
        settings, tags = self.settings, self.source.tags(id)
        if settings.kinds == ("tags",) and tags is None:
            # there are no labels at all, and the mask must not be used
            return Annotation()
        truth = self.source.truth(id) if settings.kinds == ("tags",) else self._truth(id)
        if truth is None:
            # errors in tags can be simulated without a mask
            truth = nothing_known(self.source.size(id))
        return draw_labels(
            truth,
            tags,
            len(self.source.classes),
            settings,
            seed=seed_of("labels", settings.seed, id),
            background=self.source.background,
        )

    def _from_manifest(self, id: str, manifest: Manifest) -> Annotation:
        """Look an image up; if the manifest has no tags for it, those of the data set are used."""
        settings = self.settings
        found = manifest.annotations.get(id, Annotation())
        tags = self.source.tags(id)
        if found.tags is None and tags is not None and "tags" in settings.kinds:
            named = ImageTags(tuple(tagged_labels(tags)))
            found = replace(found, tags=named, tags_complete=True)
        try:
            kinds = (*settings.kinds, "masks") if id in self._masked else settings.kinds
            found = found.only(kinds)
            native = self.source.native_size(id)
            drawn = manifest.sizes.get(id, native)
            if not same_shape(drawn, native):
                raise DataError(
                    f"its labels are for an image of {drawn[0]} rows and {drawn[1]} columns, the image has {native[0]} "
                    f"and {native[1]}, which is another shape; label the image as it is shown, upright and whole"
                )
            found.check(drawn, len(self.source.classes))
            found = found.resized(drawn, self.source.size(id))
        except DataError as error:
            raise DataError(f"'{settings.manifest}', {self.source.place(id)}: {error}", error.kind) from None
        return found if self.source.background else found.without_background()

    def _truth(self, id: str) -> LabelMap:
        truth = self.source.truth(id)
        if truth is None:
            raise DataError(
                f"{self.source.place(id)} has no mask, and labels are drawn from masks (labels.source=simulated with "
                f"more than tags, or labels.masks); give them with labels.source=manifest labels.manifest=FILE"
            )
        return truth

    def _input_digest(self, id: str) -> bytes:
        behind = self.source._input_digest(id)
        seen, own = self.presence(id), self.source.presence(id)
        if all(bool((new == old).all()) for new, old in zip(seen, own, strict=True)):
            return behind
        return digest(behind, *(bytes(part.tolist()) for part in seen))

    def _truth_digest(self, id: str) -> bytes:
        return self.source._truth_digest(id)


def _strange(path: str | None, manifest: Manifest, ids: Sequence[str]) -> DataError:
    named = next(iter(manifest.annotations), None)
    told = "names no image" if named is None else f"names '{named}'"
    return DataError(
        f"'{path}' {told} and labels no training image, they are called like '{ids[0] if ids else ''}'; rename them "
        f"there, or give another labels.manifest"
    )
