"""Data sets in the layout of PASCAL VOC (Everingham et al., IJCV 2015)."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import torch

from wsss.annotations.formats import VOC_CLASSES
from wsss.data.base import DatasetSettings
from wsss.data.faults import raise_or_gather, stepping_over
from wsss.data.files import (
    NO_FOLDER,
    FileDataset,
    find_images,
    read_classes,
    read_lines,
    require_folder,
    stray_masks,
)
from wsss.data.tag_arrays import read_tag_array
from wsss.data.voc_download import AUGMENTED, SBD_MASKS, fetch_sbd, fetch_voc
from wsss.errors import DataError, require
from wsss.types import Tags

TAG_FILE = "image_level_labels.txt"
TAG_SOURCES = ("file", "xml", "masks")
TAG_ARRAY = ".npy"


@dataclass(frozen=True, kw_only=True)
class VocSettings(DatasetSettings):
    """A folder with JPEGImages, SegmentationClass, ImageSets/Segmentation and classes.txt."""

    root: str = "data/voc"
    """Folder of the data set."""
    tags: str = "file"
    """Source of the image tags: file (image_level_labels.txt; if missing, Annotations), xml (Annotations), masks (uses
    ground truth), or a file in the root that ends in .npy: {image: C zeros and ones}."""
    train_list: str = "train"
    """List in ImageSets/Segmentation of the training images, such as train_aug, also found as trainaug."""
    val_list: str = "val"
    """List of the validation images; empty if there is none."""
    masks: str = "SegmentationClass"
    """Folder of the ground truth masks; it need not exist. Masks missing in SegmentationClass are looked up in
    SegmentationClassAug; an image without a mask has no ground truth."""
    max_side: int = 2048
    """Larger images are downscaled to this longer side."""
    download: bool = False
    """Whether to download VOC 2012 if the root is missing, and SBD's masks and list for train_list=train_aug."""

    def __post_init__(self) -> None:
        rule = f"must be one of {', '.join(TAG_SOURCES)}, or a file that ends in {TAG_ARRAY}"
        require(self.tags in TAG_SOURCES or self.tags.endswith(TAG_ARRAY), "tags", rule, self.tags)
        require(bool(self.train_list), "train_list", "must name a list", self.train_list)
        require(self.max_side >= 1, "max_side", "must be at least 1", self.max_side)


class VocDataset(FileDataset):
    """A folder in the VOC layout.

    Args:
        settings: Location and reading options.

    Raises:
        DataError: If the folder, a list, the class list, the tags or a listed image is missing.
    """

    def __init__(self, settings: VocSettings) -> None:
        root = Path(settings.root)
        if settings.download:
            _download(root, settings)
        _require_root(root)
        ids = {"train": _read_list(root, settings.train_list, "data.train_list"), "val": ()}
        if settings.val_list:
            ids["val"] = _read_list(root, settings.val_list, "data.val_list")
        images = _listed_images(root, ids, settings)
        super().__init__(
            root.resolve().name,
            _read_classes(root),
            settings=settings,
            ids={split: tuple(id for id in listed if id in images) for split, listed in ids.items()},
            images=images,
            masks=root / settings.masks,
            max_side=settings.max_side,
        )
        self._pictures = root / "JPEGImages"
        self._annotations = root / "Annotations"
        self._more_masks = root / (SBD_MASKS if settings.masks == VocSettings.masks else settings.masks)
        finders: dict[str, Callable[[str], Tags | None]] = {"xml": self._tags_of_xml, "masks": self._tags_of_mask}
        # the original VOC data has tags only in the box annotations
        boxed = settings.tags == "file" and not (root / TAG_FILE).exists() and self._annotations.is_dir()
        source = "xml" if boxed else settings.tags
        self._finder = finders.get(source, self._tags_of_table)
        self._tags = self._load_tags(root, source)
        if source == "xml":
            require_folder(self._annotations, "data.tags")
        if source == "masks" or settings.masks != VocSettings.masks:
            require_folder(self._masks, "data.masks")

    def _load_tags(self, root: Path, source: str) -> dict[str, Tags | None]:
        """Read the tags of all images; none where each image's are looked up when they are asked for."""
        with stepping_over():
            if source == "file":
                return _read_tag_file(root / TAG_FILE, set(self._images), len(self.classes))
            if source.endswith(TAG_ARRAY):
                return read_tag_array(root / source, self._images, len(self.classes))
        return {}

    def strays(self) -> list[DataError]:
        """Masks whose name does not match any image, listed or not."""
        pictures = find_images(self._pictures)
        folders = dict.fromkeys((self._masks, self._more_masks))
        return [stray for folder in folders for stray in stray_masks(folder, pictures)]

    def _find_tags(self, id: str) -> Tags | None:
        return self._finder(id)

    def _mask_path(self, id: str) -> Path:
        path = super()._mask_path(id)
        return path if path.exists() else self._more_masks / path.name

    def _tags_of_table(self, id: str) -> Tags | None:
        return self._tags.get(id)

    def _tags_of_xml(self, id: str) -> Tags | None:
        path = self._annotations / f"{id}.xml"
        if not path.exists():
            return None
        try:
            names = {(entry.findtext("name") or "").strip() for entry in ElementTree.parse(path).iter("object")}
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"'{path}' can't be read ({reason}); replace the file or delete it") from error
        except (ElementTree.ParseError, LookupError, ValueError) as error:
            # the last two concern encodings that Python or its parser does not support
            raise DataError(f"'{path}' is not XML ({error}); replace the file or delete it") from error
        unknown = sorted(names - set(self.classes))
        if unknown:
            raise DataError(f"'{path}' names an object '{unknown[0]}', which is not a class; add it to classes.txt")
        return torch.tensor([name in names for name in self.classes])


def _download(root: Path, settings: VocSettings) -> None:
    """Download missing parts."""
    if not root.exists() or not any(root.iterdir()):
        fetch_voc(root)
    if settings.train_list in AUGMENTED:
        masks = settings.masks != VocSettings.masks or (root / SBD_MASKS).exists()
        if not masks or not _list_path(root, settings.train_list).exists():
            fetch_sbd(root)


def _require_root(root: Path) -> None:
    """Check that the root has images; if there is nothing at all, suggest the download."""
    if not root.exists():
        raise DataError(
            f"'{root}' is missing, it must be a folder; set data.root to the folder of the data, or data.download=true "
            f"to download VOC 2012 there",
            kind=NO_FOLDER,
        )
    require_folder(root / "JPEGImages", "data.root")


def _read_classes(root: Path) -> tuple[str, ...]:
    """Read the class list; VOC's own folders have none, and always the same classes."""
    path = root / "classes.txt"
    if not path.exists() and re.fullmatch(r"VOC20(0[7-9]|1[0-2])", root.resolve().name):
        return VOC_CLASSES
    return read_classes(path)


def _list_path(root: Path, name: str) -> Path:
    """File of a list; the list of augmented training images has two common names."""
    names = (name, *AUGMENTED) if name in AUGMENTED else (name,)
    paths = [root / "ImageSets" / "Segmentation" / f"{one}.txt" for one in names]
    return next((path for path in paths if path.exists()), paths[0])


def _read_list(root: Path, name: str, setting: str) -> tuple[str, ...]:
    """Read the ids of a list; duplicate images are an error."""
    path = _list_path(root, name)
    cure = f"write one image name per line there or set {setting} to a list of that folder"
    if name in AUGMENTED:
        cure += ", or data.download=true to create it from the masks of SBD"
    ids: list[str] = []
    with stepping_over():
        ids = [_id_of_line(line) for line in read_lines(path, cure) if line]
        if not ids:
            raise DataError(f"'{path}' names no image; {cure}", kind="empty list")
    for id, count in Counter(ids).items():
        if count > 1:
            raise_or_gather(DataError(f"'{path}' names '{id}' more than once; delete the repeated lines"))
    return tuple(dict.fromkeys(ids))


def _id_of_line(line: str) -> str:
    """Read an image's name; published lists may contain paths of image and mask instead."""
    paths = re.fullmatch(r"/?JPEGImages/(.+?)\.jpg(\s.*)?", line)
    return paths[1] if paths else line


def _listed_images(root: Path, ids: dict[str, tuple[str, ...]], settings: VocSettings) -> dict[str, Path]:
    """Find the file of each listed image."""
    found = find_images(root / "JPEGImages")
    for split, name in (("train", settings.train_list), ("val", settings.val_list)):
        missing = [id for id in ids[split] if id not in found]
        for id in missing:
            fault = (
                f"'{root / 'JPEGImages' / id}.jpg' is missing, or has another suffix ({len(missing)} of the "
                f"{len(ids[split])} images of the list '{name}' are); restore the files or take them off the list"
            )
            raise_or_gather(DataError(fault, kind="missing image"))
    return {id: found[id] for split in ids.values() for id in split if id in found}


def _read_tag_file(path: Path, ids: set[str], classes: int) -> dict[str, Tags | None]:
    """Read lines ``id k k k``; an id without numbers is known to be empty, an image without a line is unknown."""
    tags: dict[str, Tags | None] = {}
    lines = read_lines(path, "write lines `image number number …` there or set data.tags=xml or data.tags=masks")
    for number, line in enumerate(lines, 1):
        words = line.split()
        # names may contain blanks, so the longest prefix that is a listed image is the name
        name = next((size for size in range(len(words), 0, -1) if " ".join(words[:size]) in ids), 0)
        if name:
            image, where = " ".join(words[:name]), f"'{path}', line {number},"
            with stepping_over():
                if image in tags:
                    raise DataError(f"{where} tags image '{image}' once more, an image has one line; join the lines")
                tags[image] = _tags_of_words(words[name:], classes, where)
    return tags


def _tags_of_words(words: list[str], classes: int, where: str) -> Tags:
    tags = torch.zeros(classes, dtype=torch.bool)
    for word in words:
        if not word.isdecimal() or not 1 <= int(word) <= classes:
            raise DataError(f"{where} tags class '{word}', tags must be numbers from 1 to {classes}; fix the line")
        tags[int(word) - 1] = True
    return tags
