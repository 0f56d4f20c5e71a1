"""Contact sheet of a data set: some images of each class, with their ground truth and tags."""

from collections.abc import Sequence
from pathlib import Path

from wsss import console
from wsss.checks.looks import Look
from wsss.data.base import Dataset
from wsss.gallery import spread
from wsss.plotting import Tile, draw_tiles, tile

IMAGES = 48
"""Number of images on the sheet, or one per class if there are more classes."""

EXTRAS = 2
"""Number of images on the sheet that are known to be empty, and of untagged ones."""


def draw_sheet(dataset: Dataset, looks: Sequence[Look], path: Path, *, palette: str = "voc") -> Path | None:
    """Draw some images of each class, some that are known to be empty, and some that are untagged.

    Args:
        dataset: The images.
        looks: Results of examining each image.
        path: PNG to write.
        palette: Name of a palette in ``PALETTES``.

    Returns:
        The file; None if no image is readable.
    """
    chosen = choose_for_sheet(looks, len(dataset.classes))
    if not chosen:
        return None
    with console.progress("contact sheet", len(chosen)) as advance:
        tiles = []
        for look in chosen:
            tiles.append(_tile(dataset, look, palette))
            advance()
        draw_tiles(tiles, path, classes=dataset.classes, palette=palette)
    return path


def choose_for_sheet(looks: Sequence[Look], classes: int) -> list[Look]:
    """Choose images of each class, evenly spread over those that are tagged with it, or, if untagged, show it.

    Args:
        looks: All images.
        classes: Number C of foreground classes.

    Returns:
        Images in the order of the classes, without duplicates; unreadable ones are left out.
    """
    readable = [look for look in looks if look.size]
    count = max(1, IMAGES // classes)
    chosen: dict[int, Look] = {}
    for label in range(1, classes + 1):
        _choose(chosen, [look for look in readable if label in _labels(look)], count)
    _choose(chosen, [look for look in readable if look.tags == frozenset()], EXTRAS)
    _choose(chosen, [look for look in readable if look.tags is None], EXTRAS)
    return list(chosen.values())


def _labels(look: Look) -> frozenset[int]:
    return look.tags if look.tags is not None else frozenset(look.pixels or ())


def _choose(chosen: dict[int, Look], looks: Sequence[Look], count: int) -> None:
    left = [look for look in looks if id(look) not in chosen]
    chosen.update({id(look): look for look in spread(left, count)})


def _tile(dataset: Dataset, look: Look, palette: str) -> Tile:
    names = ", ".join(dataset.classes[label - 1] for label in sorted(look.tags or ()))
    said = "untagged" if look.tags is None else names or "known to be empty"
    truth = None if look.pixels is None else dataset.truth(look.id)
    return tile(dataset.image(look.id), truth, f"{look.id}: {said}", palette=palette)
