"""Examination of each image of a data set: its size, labels and signature, and its errors."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from wsss import console, ranks
from wsss.data.base import SPLITS, Dataset, digest
from wsss.errors import DataError
from wsss.functional.lookalikes import OUTLINE_SIDE, outline, signature
from wsss.ranks import Pool
from wsss.types import BACKGROUND, IGNORE, Image, LabelMap, Tags, tagged_labels

PORTION = 32
"""Images per work item of a worker process."""

WORTHWHILE = 10.0
"""Minimum amount of work in seconds for which worker processes are started, which takes some seconds itself."""

Portion = TypeVar("Portion")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Finding:
    """One finding about a data set.

    Attributes:
        kind: Short category, the same for similar findings.
        text: One line that names the file, the rule and the cure.
        fault: Whether it is an error; otherwise it is a remark.
    """

    kind: str
    text: str
    fault: bool = True


@dataclass(frozen=True)
class Look:
    """Result of examining one image.

    Attributes:
        split: Its split.
        id: Its name.
        place: Its location, for messages.
        size: Height and width as read; None if it is unreadable.
        digest: Hash of its pixels; empty if it is unreadable.
        signature: Its signature as bytes, see ``find_lookalikes``; empty if it is unreadable.
        tags: Labels of its tags; None if unknown.
        pixels: Pixels of each label in its ground truth, ``IGNORE`` included; None without readable ground truth.
        findings: Findings about it.
    """

    split: str
    id: str
    place: str
    size: tuple[int, int] | None
    digest: bytes
    signature: bytes
    tags: frozenset[int] | None
    pixels: dict[int, int] | None
    findings: tuple[Finding, ...]


def look_at_all(dataset: Dataset) -> list[Look]:
    """Examine each image of each split in parallel; errors in one of them do not stop the others."""
    portions = [
        (split, dataset.ids(split)[start : start + PORTION])
        for split in SPLITS
        for start in range(0, len(dataset.ids(split)), PORTION)
    ]
    looks: list[Look] = []
    with console.progress(f"checking {dataset.name}", sum(len(ids) for _, ids in portions)) as advance:
        for done in _in_workers(partial(_look_at_portion, dataset), portions):
            looks += done
            advance(len(done))
    return looks


def read_outlines(dataset: Dataset, ids: Sequence[str]) -> Tensor:
    """Read images again and compute their outlines, in parallel.

    Args:
        dataset: The images.
        ids: At least one name.

    Returns:
        Outlines (N, 64, 64); zeros if an image has become unreadable.
    """
    portions = [ids[start : start + PORTION] for start in range(0, len(ids), PORTION)]
    joined = bytearray()
    with console.progress("comparing look-alikes", len(ids)) as advance:
        for done in _in_workers(partial(_outlines_of_portion, dataset), portions):
            joined += done
            advance(len(done) // OUTLINE_SIDE**2)
    return torch.frombuffer(joined, dtype=torch.uint8).view(-1, OUTLINE_SIDE, OUTLINE_SIDE)


def _outlines_of_portion(dataset: Dataset, ids: Sequence[str]) -> bytes:
    outlines = torch.zeros(len(ids), OUTLINE_SIDE, OUTLINE_SIDE, dtype=torch.uint8)
    with warnings.catch_warnings():
        # reported on the first reading
        warnings.simplefilter("ignore")
        for place, id in enumerate(ids):
            image = _image(dataset, id, [])
            if image is not None:
                outlines[place] = outline(image)
    return outlines.numpy().tobytes()


def _in_workers(work: Callable[[Portion], Result], portions: Sequence[Portion]) -> Iterator[Result]:
    """Process the first portion here, and the others in worker processes if enough work is left."""
    start = time.monotonic()
    yield from map(work, portions[:1])
    left = (time.monotonic() - start) * (len(portions) - 1)
    pool = Pool(ranks.cores() if left > WORTHWHILE else 1)
    try:
        yield from pool.map(work, portions[1:])
    finally:
        pool.close()


def _look_at_portion(dataset: Dataset, portion: tuple[str, tuple[str, ...]]) -> list[Look]:
    split, ids = portion
    return [look_at(dataset, split, id) for id in ids]


def look_at(dataset: Dataset, split: str, id: str) -> Look:
    """Read an image with its tags and mask, collecting all errors."""
    findings: list[Finding] = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        image = _image(dataset, id, findings)
        truth = _truth(dataset, id, findings)
        tags = _tags(dataset, id, findings)
    said = dict.fromkeys(" ".join(str(warning.message).split()) for warning in warned)
    findings += [
        Finding("odd file", f"{dataset.place(id)} is read with a warning ({text}); save it again", fault=False)
        for text in said
    ]
    pixels = None if truth is None else _pixels_of_labels(truth)
    if tags is not None and pixels is not None:
        findings += _disagreements(dataset, id, tags, pixels)
    return Look(
        split=split,
        id=id,
        place=dataset.place(id),
        size=None if image is None else (image.shape[1], image.shape[2]),
        digest=b"" if image is None else digest(repr(tuple(image.shape)).encode(), image.numpy().tobytes()),
        signature=b"" if image is None else signature(image).numpy().tobytes(),
        tags=tags,
        pixels=pixels,
        # an unreadable image fails a second time when its mask is compared with it
        findings=tuple({finding.text: finding for finding in reversed(findings)}.values())[::-1],
    )


def _image(dataset: Dataset, id: str, findings: list[Finding]) -> Image | None:
    try:
        return dataset.image(id)
    except DataError as error:
        findings.append(finding_of(error, "unreadable image"))
        return None


def _tags(dataset: Dataset, id: str, findings: list[Finding]) -> frozenset[int] | None:
    try:
        tags: Tags | None = dataset.tags(id)
    except DataError as error:
        findings.append(finding_of(error, "unreadable tags"))
        return None
    return None if tags is None else frozenset(tagged_labels(tags))


def _truth(dataset: Dataset, id: str, findings: list[Finding]) -> LabelMap | None:
    try:
        return dataset.truth(id)
    except DataError as error:
        faults = dataset.truth_faults(id) or [error]
        findings += [finding_of(fault, "unreadable mask") for fault in faults]
        return None


def finding_of(error: DataError, kind: str) -> Finding:
    """Convert a data error to a finding of its own kind, or else of the given one."""
    return Finding(error.kind or kind, " ".join(str(error).split()))


def _pixels_of_labels(truth: LabelMap) -> dict[int, int]:
    counts = torch.bincount(truth.flatten().long(), minlength=IGNORE + 1)
    return {label: int(counts[label]) for label in counts.nonzero().flatten().tolist()}


def _disagreements(dataset: Dataset, id: str, tags: frozenset[int], pixels: dict[int, int]) -> Iterator[Finding]:
    if set(pixels) == {IGNORE}:
        return
    shown = set(pixels) - {BACKGROUND, IGNORE}
    for label in sorted(tags ^ shown):
        name = f"'{dataset.classes[label - 1]}'"
        said = f"is tagged {name}, which its mask does not show"
        how = said if label in tags else f"shows {name} in its mask and is not tagged with it"
        cure = "fix the tags or the mask, or keep both if the tags are meant to be noisy"
        # a superfluous tag may be a matter of what counts as visible; a missing one excludes the class everywhere
        yield Finding("tags against mask", f"{dataset.place(id)} {how}; {cure}", fault=label not in tags)
