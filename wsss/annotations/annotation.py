"""All labels of one image: any mix of kinds behind one interface."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from wsss.annotations.base import Size, WeakLabel, nothing_known
from wsss.annotations.boxes import Boxes
from wsss.annotations.masks import Mask
from wsss.annotations.points import Points
from wsss.annotations.scribbles import Scribbles
from wsss.annotations.tags import ImageTags
from wsss.functional.settled import keep_labels
from wsss.types import BACKGROUND, IGNORE, Image, LabelMap, Segments


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """All labels of one image; a kind that is None was not given, an empty one was.

    Kinds are listed by increasing priority; later ones overwrite earlier ones.

    Attributes:
        tags: Image tags.
        boxes: Bounding boxes.
        points: Clicks.
        scribbles: Strokes.
        masks: The label of every pixel.
        tags_complete: Whether the classes named by any kind are all classes in the image. If not, they are a lower
            bound: the presence of other classes is unknown, unless boxes or a mask determine it (``decided``).
    """

    tags: ImageTags | None = None
    boxes: Boxes | None = None
    points: Points | None = None
    scribbles: Scribbles | None = None
    masks: Mask | None = None
    tags_complete: bool = False

    def given(self) -> Iterator[WeakLabel]:
        """Yield the kinds that were given, by increasing priority."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, WeakLabel):
                yield value

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds that were given."""
        return tuple(label.kind for label in self.given())

    def only(self, kinds: Collection[str]) -> "Annotation":
        """Return the annotation restricted to some kinds.

        The remaining tags stay complete only if no class name was lost.

        Args:
            kinds: Names of the kinds to keep.
        """
        hidden: dict[str, Any] = {kind: None for kind in self.kinds if kind not in kinds}
        left = replace(self, **hidden)
        complete = self.tags_complete and bool(left.kinds) and left.named() == self.named()
        return replace(left, tags_complete=complete)

    def named(self) -> frozenset[int]:
        """Foreground labels that any kind names."""
        return frozenset().union(*(label.labels() for label in self.given())) - {BACKGROUND}

    @property
    def decided(self) -> bool:
        """Whether the presence of every class is known.

        That is so with complete tags, boxes around every object, or a mask with a known pixel.
        """
        masked = self.masks is not None and bool(self.masks.labels())
        return self.tags_complete or self._boxed or masked

    def presence(self, classes: int) -> tuple[Bool[Tensor, " C"], Bool[Tensor, " C"]]:
        """Return which of the C classes are present, and for which of them presence or absence is known."""
        present = torch.zeros(classes, dtype=torch.bool)
        present[[label - 1 for label in self.named()]] = True
        return present, torch.ones_like(present) if self.decided else present.clone()

    def seeds(self, image: Image, classes: int) -> LabelMap:
        """Return the labels of settled (annotated) pixels, (H, W) uint8, ``IGNORE`` elsewhere.

        Where one kind settles a label that another rules out, the pixel stays unlabelled: one of the two is wrong.
        """
        return self.settle(image, classes)[0]

    def settle(self, image: Image, classes: int) -> tuple[LabelMap, LabelMap | None]:
        """Return the settled labels, see ``seeds``, and likely but uncertain labels, None if there are none."""
        size = (image.shape[1], image.shape[2])
        settled, likely = nothing_known(size), nothing_known(size)
        for label in self.given():
            own, probable = label.settle(image)
            settled = settled if own is None else torch.where(own == IGNORE, settled, own)
            likely = likely if probable is None else torch.where(probable == IGNORE, likely, probable)
        allowed = self.allowed(size, classes)
        settled, likely = keep_labels(settled, None, allowed), keep_labels(likely, None, allowed)
        likely = torch.where(settled == IGNORE, likely, IGNORE)
        return settled, likely if bool((likely != IGNORE).any()) else None

    def allowed(self, size: Size, classes: int) -> Bool[Tensor, "K H W"] | None:
        """Mark the labels that no kind rules out at each pixel; None if nothing is ruled out.

        Where kinds contradict each other so that no label is left, only the last one counts.
        """
        total: Tensor | None = None
        for label in self.given():
            own = label.allowed(size, classes)
            if own is not None:
                both = own if total is None else total & own
                total = torch.where(both.any(dim=0), both, own)
        return total

    def mend(self, labels: LabelMap) -> LabelMap:
        """Restore parts of the annotation that pseudo labels have lost, (H, W)."""
        for label in self.given():
            labels = label.mend(labels)
        return labels

    def ties(self, size: Size) -> Segments | None:
        """Number the regions whose pixels share one label, from 1; 0 elsewhere, None if there are none."""
        total: Tensor | None = None
        for label in self.given():
            own = label.ties(size)
            if own is not None:
                last = 0 if total is None else int(total.max())
                total = torch.where(own > 0, own + last, 0 if total is None else total)
        return total

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the training losses that suit the given kinds, without duplicates."""
        return tuple(dict.fromkeys(name for label in self.given() for name in label.losses))

    def without_background(self) -> "Annotation":
        """Return the annotation for a data set whose label 0 is not a class.

        Boxes no longer say anything about pixels outside, but if every object had one the tags stay complete.
        """
        given: dict[str, Any] = {label.kind: label.without_background() for label in self.given()}
        return replace(self, **given, tags_complete=self.tags_complete or self._boxed)

    def resized(self, old: Size, new: Size) -> "Annotation":
        """The same labels for a resized image."""
        if old == new:
            return self
        given: dict[str, Any] = {label.kind: label.resized(old, new) for label in self.given()}
        return replace(self, **given)

    def check(self, size: Size, classes: int) -> None:
        """Check the annotation against the image and the classes.

        Raises:
            DataError: If a label is not one of the data set's or a position lies outside of the image.
        """
        for label in self.given():
            label.check(size, classes)

    @property
    def _boxed(self) -> bool:
        return self.boxes is not None and self.boxes.complete
