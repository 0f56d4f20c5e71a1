"""Data sets in the layout of PASCAL VOC (Everingham et al., IJCV 2015)."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import torch

from wsss.data.base import DatasetSettings
from wsss.data.faults import stepping_over
from wsss.data.files import FileDataset, find_images, read_classes, read_lines, require_folder
from wsss.errors import DataError, one_of, require
from wsss.types import Tags

TAG_FILE = "image_level_labels.txt"


@dataclass(frozen=True, kw_only=True)
class VocSettings(DatasetSettings):
    """A folder with JPEGImages, SegmentationClass, ImageSets/Segmentation and classes.txt."""

    root: str = "data/voc"
    """Folder of the data set."""
    tags: str = "file"
    """Where image tags come from: file (image_level_labels.txt), xml (Annotations) or masks (uses the truth)."""
    train_list: str = "train"
    """List in ImageSets/Segmentation of the images to learn from."""
    val_list: str = "val"
    """List of the images to measure on; empty when there is none."""
    masks: str = "SegmentationClass"
    """Folder of the true masks; it need not exist, and an image without a mask has no truth."""
    max_side: int = 2048
    """Larger images are shrunk to this longer side."""

    def __post_init__(self) -> None:
        one_of("tags", self.tags, ("file", "xml", "masks"))
        require(bool(self.train_list), "train_list", "must name a list", self.train_list)
        require(self.max_side >= 1, "max_side", "must be at least 1", self.max_side)


class VocDataset(FileDataset):
    """A folder in the VOC layout.

    Args:
        settings: Where it lies and how it is read.

    Raises:
        DataError: If the folder, a list, the class list, the tags or a listed image is missing.
    """

    def __init__(self, settings: VocSettings) -> None:
        root = Path(settings.root)
        require_folder(root, "data.root")
        require_folder(root / "JPEGImages", "data.root")
        ids = {"train": _read_list(root, settings.train_list, "data.train_list"), "val": ()}
        if settings.val_list:
            ids["val"] = _read_list(root, settings.val_list, "data.val_list")
        images = _listed_images(root, ids, settings)
        super().__init__(
            root.resolve().name,
            read_classes(root / "classes.txt"),
            background=settings.background,
            ids={split: tuple(id for id in listed if id in images) for split, listed in ids.items()},
            images=images,
            masks=root / settings.masks,
            max_side=settings.max_side,
        )
        self._annotations = root / "Annotations"
        finders: dict[str, Callable[[str], Tags | None]] = {
            "file": self._tags_of_file,
            "xml": self._tags_of_xml,
            "masks": self._tags_of_mask,
        }
        self._finder = finders[settings.tags]
        self._require_tags(root, settings)

    def _require_tags(self, root: Path, settings: VocSettings) -> None:
        if settings.tags == "file":
            with stepping_over():
                self._tags = _read_tag_file(root / TAG_FILE, set(self._images), len(self.classes))
        elif settings.tags == "xml":
            require_folder(self._annotations, "data.tags")
        if settings.tags == "masks" or settings.masks != VocSettings.masks:
            require_folder(self._masks, "data.masks")

    def _find_tags(self, id: str) -> Tags | None:
        return self._finder(id)

    def _tags_of_file(self, id: str) -> Tags | None:
        return self._tags.get(id)

    def _tags_of_xml(self, id: str) -> Tags | None:
        path = self._annotations / f"{id}.xml"
        if not path.exists():
            return None
        try:
            names = {(entry.findtext("name") or "").strip() for entry in ElementTree.parse(path).iter("object")}
        except ElementTree.ParseError as error:
            raise DataError(f"'{path}' is no XML ({error}); replace the file or delete it") from error
        unknown = sorted(names - set(self.classes))
        if unknown:
            raise DataError(f"'{path}' names an object '{unknown[0]}', which is no class; add it to classes.txt")
        return torch.tensor([name in names for name in self.classes])


def _read_list(root: Path, name: str, setting: str) -> tuple[str, ...]:
    """Read the ids of a list; images that are named twice are an error."""
    path = root / "ImageSets" / "Segmentation" / f"{name}.txt"
    cure = f"write one image name a line there or set {setting} to a list of that folder"
    ids: list[str] = []
    with stepping_over():
        ids = [line for line in read_lines(path, cure) if line]
        if not ids:
            raise DataError(f"'{path}' names no image; {cure}", kind="empty list")
    for id, count in Counter(ids).items():
        with stepping_over():
            if count > 1:
                raise DataError(f"'{path}' names '{id}' more than once; delete the repeated lines")
    return tuple(dict.fromkeys(ids))


def _listed_images(root: Path, ids: dict[str, tuple[str, ...]], settings: VocSettings) -> dict[str, Path]:
    """Find the file of each listed image."""
    found = find_images(root / "JPEGImages")
    for split, name in (("train", settings.train_list), ("val", settings.val_list)):
        missing = [id for id in ids[split] if id not in found]
        for id in missing:
            with stepping_over():
                raise DataError(
                    f"'{root / 'JPEGImages' / id}.jpg' is missing, or with another ending ({len(missing)} of the "
                    f"{len(ids[split])} images of the list '{name}' are); restore the files or take them off the list",
                    kind="missing image",
                )
    return {id: found[id] for split in ids.values() for id in split if id in found}


def _read_tag_file(path: Path, ids: set[str], classes: int) -> dict[str, Tags | None]:
    """Read lines ``id k k k``; an id without numbers is known to be empty, an image without a line is unknown."""
    tags: dict[str, Tags | None] = {}
    lines = read_lines(path, "write lines `image number number …` there or set data.tags=xml or data.tags=masks")
    for number, line in enumerate(lines, 1):
        words = line.split()
        # names may hold blanks, so the longest beginning that is an image of the lists is the name
        name = next((size for size in range(len(words), 0, -1) if " ".join(words[:size]) in ids), 0)
        if name:
            with stepping_over():
                tags[" ".join(words[:name])] = _tags_of_words(words[name:], classes, f"'{path}', line {number},")
    return tags


def _tags_of_words(words: list[str], classes: int, where: str) -> Tags:
    tags = torch.zeros(classes, dtype=torch.bool)
    for word in words:
        if not word.isdecimal() or not 1 <= int(word) <= classes:
            raise DataError(f"{where} tags class '{word}', tags must be numbers from 1 to {classes}; mend the line")
        tags[int(word) - 1] = True
    return tags
