"""Duplicate images: within a split, or exact and near duplicates across splits."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from wsss.checks.looks import Finding, Look, read_outlines
from wsss.data.base import SPLITS, Dataset
from wsss.functional.lookalikes import LIKENESS, OUTLINE_SIDE, SIDE, find_lookalikes, grid_side, likeness

ROWS, COLUMNS = 64, 128
"""Validation and training images that are compared at a time."""

CROWD = 10
"""If a validation image has more matching training signatures than this, they may just be of the same kind."""

CERTAIN = 0.95
"""Likeness at which an image counts as a copy even if it has many matches.

A machine part with a scratch or dent, drawn 60 times in each of two sizes, has up to 0.942 with others of its size, and
at least 0.952 with itself re-encoded as JPEG of quality 20 or rescaled by 0.25 to 2.
"""


def find_copies(dataset: Dataset, looks: Sequence[Look]) -> Iterator[Finding]:
    """Find images with the same pixels, and validation images that look like a training image.

    Args:
        dataset: The images; candidates are read again.
        looks: Results of reading each image.
    """
    alike: dict[bytes, list[Look]] = defaultdict(list)
    for look in looks:
        if look.digest:
            alike[look.digest].append(look)
    for group in alike.values():
        by_split = {split: [look for look in group if look.split == split] for split in SPLITS}
        for split, copies in by_split.items():
            if len(copies) > 1:
                text = f"{_places(copies)} of split {split} have the same pixels; keep one of them"
                yield Finding("duplicate image", text)
        if all(by_split.values()):
            one, other = by_split["train"][0], by_split["val"][0]
            text = f"{one.place} of split train and {other.place} of split val have the same pixels; remove one"
            yield Finding("image in two splits", text)
    for one, other, sure in _lookalikes(dataset, looks):
        cure = "remove one" if sure else "remove one if they are the same picture"
        text = f"{one.place} of split train and {other.place} of split val look the same; {cure}"
        yield Finding("look-alike in two splits", text, fault=sure)


def _lookalikes(dataset: Dataset, looks: Sequence[Look]) -> Iterator[tuple[Look, Look, bool]]:
    """Find the most similar training image of each validation image, and whether it is certainly a copy."""
    train = [look for look in looks if look.split == "train" and look.signature]
    # exact duplicates across splits are reported already
    known = {look.digest for look in train}
    val = [look for look in looks if look.split == "val" and look.signature and look.digest not in known]
    if not train or not val:
        return
    found = find_lookalikes(_signatures(val), _signatures(train))
    places = [place for place, near in enumerate(found) if len(near)]
    if not places:
        return
    involved = torch.unique(torch.cat(found))
    ones, others = [val[place] for place in places], [train[place] for place in involved.tolist()]
    outlines = read_outlines(dataset, [look.id for look in (*ones, *others)])
    candidates = [torch.searchsorted(involved, found[place]) for place in places]
    val_outlines, train_outlines = outlines[: len(ones)], outlines[len(ones) :]
    for one, other, alike in _most_alike(val_outlines, train_outlines, _sides(ones), _sides(others), candidates):
        yield others[other], ones[one], alike >= CERTAIN or len(candidates[one]) <= CROWD


def _most_alike(
    ones: Tensor, others: Tensor, ones_sides: Tensor, others_sides: Tensor, candidates: Sequence[Tensor]
) -> Iterator[tuple[int, int, float]]:
    """Find the most similar candidate of each outline and its likeness, if it is similar enough."""
    for start in range(0, len(ones), ROWS):
        rows = slice(start, start + ROWS)
        near = candidates[rows]
        best = torch.full((len(near),), -torch.inf)
        nearest = torch.zeros(len(near), dtype=torch.int64)
        for columns in torch.split(torch.unique(torch.cat(list(near))), COLUMNS):
            asked = torch.stack([torch.isin(columns, mine) for mine in near])
            alike = likeness(ones[rows], others[columns], ones_sides[rows], others_sides[columns])
            most, column = alike.masked_fill(~asked, -torch.inf).max(1)
            nearest = torch.where(most > best, columns[column], nearest)
            best = torch.maximum(most, best)
        for row in (best >= LIKENESS).nonzero().flatten().tolist():
            yield start + row, int(nearest[row]), float(best[row])


def _signatures(looks: Sequence[Look]) -> Tensor:
    joined = bytearray(b"".join(look.signature for look in looks))
    return torch.frombuffer(joined, dtype=torch.uint8).view(-1, 3, SIDE, SIDE)


def _sides(looks: Sequence[Look]) -> Tensor:
    return torch.tensor([grid_side(*look.size) if look.size else OUTLINE_SIDE for look in looks])


def _places(looks: Sequence[Look], most: int = 4) -> str:
    named = ", ".join(look.place for look in looks[:most])
    return named if len(looks) <= most else f"{named} and {len(looks) - most} more"
