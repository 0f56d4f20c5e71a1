"""Check of a data set: its contents, and all of its errors at once.

Ground truth is read here for counting and comparison only; the results are never used in training.
"""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wsss.annotations.settings import LabelSettings
from wsss.checks.copies import find_copies
from wsss.checks.looks import Finding, Look, finding_of, look_at_all
from wsss.checks.report import DataReport, Row
from wsss.checks.sheet import draw_sheet
from wsss.config import Config, load, overrides_of
from wsss.data import open_dataset
from wsss.data.base import SPLITS, Dataset
from wsss.data.faults import gathered_faults
from wsss.data.files import NO_FOLDER
from wsss.data.labelled import with_labels
from wsss.errors import DataError, SettingsError, StoreError
from wsss.types import BACKGROUND, IGNORE, label_names, tagged_labels

Named = Mapping[str, frozenset[int] | None]
"""Labels of the classes named in each training image; None where nothing is known."""


def check_data(
    *overrides: str, config: Config | None = None, out: str | Path | None = None, **settings: object
) -> DataReport:
    """Read every image, mask and tag of a data set and collect all errors.

    Args:
        overrides: Settings as on the command line, ``"data=voc"``, ``"data.root=VOC2012"``, ``"experiment=voc21"``.
        config: A configuration instead of overrides.
        out: PNG of the contact sheet; by default ``check-<data set>.png`` in ``store.root``.
        settings: More settings by name, ``data="voc"``.

    Returns:
        A report with all faults and remarks.

    Raises:
        SettingsError: If a setting does not exist or is invalid, or configuration and overrides are both given.
        DataError: If a folder in the settings does not exist.
    """
    if config is not None and (overrides or settings):
        raise SettingsError("config", "must be given alone, without other settings")
    if config is None:
        config = load([*overrides, *overrides_of(settings)])
    with gathered_faults() as faults:
        dataset = _opened(config, faults)
        findings = [finding_of(fault, "list or table") for fault in faults]
    if dataset is None:
        return DataReport(name=config.dataset, splits=[], classes=[], findings=findings, sheet=None)
    looks = look_at_all(dataset)
    findings += [finding for look in looks for finding in look.findings]
    findings += [finding_of(stray, "stray file") for stray in dataset.strays()]
    named, mislabelled = _labels_seen(dataset, config.labels, looks)
    findings += list(_findings_of_lists(dataset, looks, named, findings))
    findings += list(find_copies(dataset, looks))
    told = {finding.text for finding in findings}
    # unreadable masks are reported already
    findings += [finding for finding in mislabelled if finding.text not in told]
    path = Path(out) if out else Path(config.store.root) / f"check-{dataset.name}.png"
    sheet = _drawn(dataset, looks, path, findings, config.palette)
    return DataReport(
        name=dataset.name,
        splits=[_split_row(split, [look for look in looks if look.split == split]) for split in SPLITS],
        classes=list(_class_rows(dataset, looks)),
        findings=findings,
        sheet=sheet,
    )


def _drawn(dataset: Dataset, looks: Sequence[Look], path: Path, findings: list[Finding], palette: str) -> Path | None:
    """Draw the contact sheet; if it cannot be written, add a remark and keep all findings."""
    try:
        return draw_sheet(dataset, looks, path, palette=palette)
    except StoreError as error:
        reason = str(error).partition(";")[0]
        findings.append(Finding("no contact sheet", f"{reason}; choose another file with --out", fault=False))
        return None


def _opened(config: Config, faults: list[DataError]) -> Dataset | None:
    """Open the data set; None if its errors leave nothing to check."""
    try:
        return open_dataset(config.data)
    except DataError as error:
        if error.kind == NO_FOLDER:
            raise
        faults.append(error)
        return None


def _split_row(split: str, looks: Sequence[Look]) -> Row:
    # by area, then by height
    sizes = sorted((look.size for look in looks if look.size), key=lambda size: (size[0] * size[1], size))
    return {
        "split": split,
        "images": len(looks),
        "tagged": sum(bool(look.tags) for look in looks),
        "known_empty": sum(look.tags == frozenset() for look in looks),
        "untagged": sum(look.tags is None for look in looks),
        "with_truth": sum(look.pixels is not None for look in looks),
        "smallest": sizes[0] if sizes else None,
        "median": statistics.median_low(sizes) if sizes else None,
        "largest": sizes[-1] if sizes else None,
    }


def _class_rows(dataset: Dataset, looks: Sequence[Look]) -> Iterator[Row]:
    tagged: Counter[tuple[str, int]] = Counter()
    shown: Counter[tuple[str, int]] = Counter()
    pixels: Counter[tuple[str, int]] = Counter()
    for look in looks:
        tagged.update((look.split, label) for label in look.tags or ())
        shown.update((look.split, label) for label in look.pixels or ())
        pixels.update({(look.split, label): count for label, count in (look.pixels or {}).items()})
    for label, name in label_names(dataset.classes).items():
        row: Row = {"label": label, "class": name}
        for split in SPLITS:
            known = 1 <= label <= len(dataset.classes)
            row[f"{split}_tagged"] = tagged[split, label] if known else None
            row[f"{split}_shown"] = shown[split, label]
            row[f"{split}_pixels"] = pixels[split, label]
        if label != BACKGROUND or dataset.background:
            yield row


def _findings_of_lists(
    dataset: Dataset, looks: Sequence[Look], named: Named, known: Sequence[Finding]
) -> Iterator[Finding]:
    """Yield findings about splits and classes."""
    empty = "empty list"
    if not dataset.ids("train") and not any(finding.kind == empty for finding in known):
        yield Finding(empty, f"data set '{dataset.name}' has no training image; name some in its list or table")
    if not dataset.ids("val"):
        yield Finding(empty, f"data set '{dataset.name}' has no validation image; without one nothing is scored", False)
    elif not any(look.pixels for look in looks if look.split == "val"):
        text = f"no validation image of '{dataset.name}' has a mask that can be read; without one nothing is scored"
        yield Finding("no truth", text, fault=False)
    yield from _findings_of_masks(dataset, looks)
    learnt = {label for labels in named.values() for label in labels or ()}
    for label, name in enumerate(dataset.classes, start=1):
        if label not in learnt and dataset.ids("train"):
            cure = "tag some, or no image will get it"
            text = f"class '{name}' (label {label}) has no tag or other label in any training image; {cure}"
            yield Finding("class without a training image", text)
    for image, labels in named.items():
        if labels is None:
            cure = "tag it, or take it off the list"
            text = f"{dataset.place(image)} is a training image without tags or other labels; {cure}"
            yield Finding("untagged image", text, fault=False)


def _findings_of_masks(dataset: Dataset, looks: Sequence[Look]) -> Iterator[Finding]:
    """Yield findings about missing masks, and masks without any class, which are often binary ones."""
    masks = [look for look in looks if look.pixels]
    scored = any(look.split == "val" for look in masks)
    shown = frozenset[int]().union(*(look.pixels or () for look in masks))
    if masks and not shown & set(range(1, len(dataset.classes) + 1)):
        values = " and ".join(str(label) for label in sorted(shown))
        text = f"the masks of '{dataset.name}' contain only {values}; {BACKGROUND} is background and {IGNORE} unknown"
        yield Finding("masks without classes", f"{text}; save the number of the class where one is seen")
        return
    for look in looks:
        if look.split == "val" and look.pixels is None and not look.findings and scored:
            text = f"{look.place} is a validation image without a mask, others have one, so it is not scored"
            yield Finding("image without a mask", f"{text}; add its mask, or take it off the list", fault=False)
    for look in masks:
        if set(look.pixels or ()) == {IGNORE}:
            text = f"the mask of {look.place} is {IGNORE} (unknown) at every pixel, so the image is not scored"
            yield Finding("mask without labels", f"{text}; label it, or delete the mask", fault=False)


def _labels_seen(dataset: Dataset, settings: LabelSettings, looks: Sequence[Look]) -> tuple[Named, list[Finding]]:
    """Return the classes that training labels name in each image, under the label settings, and the errors found."""
    tagged = {
        look.id: look.tags
        for look in looks
        if look.split == "train" and not any(item.kind == "unreadable tags" for item in look.findings)
    }
    try:
        seen = with_labels(dataset, settings)
    except DataError as error:
        return tagged, [finding_of(error, "labels")]
    if seen is dataset:
        return tagged, []
    named: dict[str, frozenset[int] | None] = {}
    wrong: list[Finding] = []
    for image in seen.ids("train"):
        try:
            tags = seen.named(image)
        except DataError as error:
            wrong.append(finding_of(error, "labels"))
            # its labels will exist once they are corrected
            named[image] = tagged.get(image) or frozenset()
        else:
            named[image] = None if tags is None else frozenset(tagged_labels(tags))
    return named, wrong
