"""A data set seen through the labels that training may see: some kinds, drawn or given, as far as the budget goes."""

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
from wsss.types import IGNORE, Image, LabelMap, Tags


def with_labels(dataset: Dataset, settings: LabelSettings) -> Dataset:
    """Show a data set through labels; the data set itself where its own tags are all that was asked for.

    Args:
        dataset: Images, their own tags, and masks to draw labels from.
        settings: What training may see, and where it comes from.

    Raises:
        DataError: If the manifest is missing or damaged, an image has no mask to draw labels from, or the budget does
            not pay for one image and all masks.
    """
    noisy = settings.noise.missing_tags or settings.noise.wrong_tags
    limited = settings.masks or settings.budget_seconds is not None
    plain = settings.kinds == ("tags",) and settings.source == "simulated" and not (noisy or limited)
    return dataset if plain else LabelledDataset(dataset, settings)


KEPT = 4096
"""So many images' labels are kept in memory; those of others are drawn or looked up each time."""


class LabelledDataset(Dataset):
    """A data set whose training images show the labels that were asked for and nothing else.

    Images for validation, pictures and truth are those of the data set behind it.

    Args:
        source: The data set behind it.
        settings: What training may see.

    Raises:
        DataError: If the manifest is missing or damaged or knows no training image, a label is wrong that the budget
            pays for, or the budget pays for none or not for all masks.
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
        """The data set behind it."""
        return self.source

    def samples(self, images: int) -> int:
        """How many samples an epoch on so many of the training images has; as if a budget had paid for all of them."""
        if not self.settings.full_schedule:
            return images
        return round(images * len(self.source.ids("train")) / len(self.ids("train")))

    @property
    def settles_pixels(self) -> bool:
        """Whether any kind but tags was asked for."""
        return self.settings.kinds != ("tags",) or self.settings.masks > 0

    @property
    def likely_labels(self) -> bool:
        """Whether boxes are cut, which settles what is cut out and makes the rest likely."""
        return "boxes" in self.settings.kinds and self.settings.boxes.grabcut

    @property
    def label_use(self) -> dict[str, object]:
        """What is made of labels after they were given."""
        return {"reset_below": self.settings.boxes.reset_below} if "boxes" in self.settings.kinds else {}

    def annotation(self, id: str) -> Annotation:
        """What training may see of an image's labels.

        Raises:
            DataError: If they lie outside of the image, or it has no mask to draw them from.
        """
        found = self._annotations.get(id)
        if found is None:
            found = self._annotate(id)
            if len(self._annotations) < KEPT:
                self._annotations[id] = found
        return found

    def seconds(self, id: str) -> float:
        """What the labels of an image cost."""
        return annotation_seconds(self.annotation(id), len(self.source.classes), self.settings.cost)

    def tags(self, id: str) -> Tags | None:
        """Which classes are there and no others are, as far as training may know; those behind it for validation."""
        if id not in self._trained:
            return self.source.tags(id)
        present, known = self.presence(id)
        return present if known.all() else None

    def presence(self, id: str) -> tuple[Tags, Tags]:
        """Which classes are there, and of which of them it is known whether they are."""
        return self.annotation(id).presence(len(self.classes)) if id in self._trained else self.source.presence(id)

    def size(self, id: str) -> tuple[int, int]:
        """Height and width of an image."""
        return self.source.size(id)

    def native_size(self, id: str) -> tuple[int, int]:
        """Height and width of an image before anything shrinks it."""
        return self.source.native_size(id)

    def image(self, id: str) -> Image:
        """Read an image, (3, H, W) uint8."""
        return self.source.image(id)

    def truth(self, id: str) -> LabelMap | None:
        """Read the true labels, (H, W) uint8; None when the image has none."""
        return self.source.truth(id)

    def place(self, id: str) -> str:
        """Where an image lies."""
        return self.source.place(id)

    def _annotate(self, id: str) -> Annotation:
        """Draw or look up the labels of an image, and hide what training may not see."""
        given = self._simulated(id) if self._manifest is None else self._from_manifest(id, self._manifest)
        points, boxes = given.points, given.boxes
        if points is not None:
            points = replace(points, radius=self.settings.points.radius)
        if boxes is not None:
            use = self.settings.boxes
            boxes = replace(boxes, grabcut=use.grabcut, core=use.core, reset_below=use.reset_below)
        given = replace(given, points=points, boxes=boxes)
        if id not in self._masked or given.masks is not None:
            return given
        truth = self._truth(id)
        mask = Mask.of(truth)
        # a mask that knows no pixel knows no class either
        complete = given.tags_complete or bool((truth != IGNORE).any())
        return replace(
            given, masks=mask if self.source.background else mask.without_background(), tags_complete=complete
        )

    def _stratum(self, id: str) -> Tags | None:
        """The classes by which an image is placed in the order of labelling, whatever kinds training sees."""
        named = self.source.named(id)
        if named is not None or self._manifest is None or id not in self._manifest.annotations:
            return named
        given = self._manifest.annotations[id].named()
        return torch.tensor([label in given for label in range(1, len(self.source.classes) + 1)])

    def _first_masked(self, order: Sequence[str]) -> frozenset[str]:
        """Choose the images that show their mask: the first that have one in the manifest, or else in the data set."""
        wanted, chosen = self.settings.masks, list[str]()
        given = {} if self._manifest is None else self._manifest.annotations
        # masks that were given are what is to be learnt from; the data set's are for measuring
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
        """Refuse a budget that does not pay for all masks."""
        if not self._masked <= paid:
            raise DataError(
                f"labels.masks={self.settings.masks}, but labels.budget_seconds={self.settings.budget_seconds:g} pays "
                f"for {len(self._masked & paid)} of them; raise the budget or lower labels.masks"
            )

    def _simulated(self, id: str) -> Annotation:
        settings, tags = self.settings, self.source.tags(id)
        if settings.kinds == ("tags",) and tags is None:
            # nobody has drawn anything, so the mask is none of a training's business
            return Annotation()
        truth = self.source.truth(id) if settings.kinds == ("tags",) else self._truth(id)
        if truth is None:
            # tags alone can be mistaken without a mask to look at
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
        """Look an image up; where the manifest has no tags for it, those of the data set stand."""
        settings = self.settings
        found = manifest.annotations.get(id, Annotation())
        tags = self.source.tags(id)
        if found.tags is None and tags is not None and "tags" in settings.kinds:
            named = ImageTags(tuple((tags.nonzero().flatten() + 1).tolist()))
            found = replace(found, tags=named, tags_complete=True)
        try:
            kinds = (*settings.kinds, "masks") if id in self._masked else settings.kinds
            found = found.only(kinds)
            native = self.source.native_size(id)
            drawn = manifest.sizes.get(id, native)
            if not same_shape(drawn, native):
                raise DataError(
                    f"its labels are of an image of {drawn[0]} rows and {drawn[1]} columns, the image has {native[0]} "
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
