"""Prediction of labels for images of any size with the segmenter of a finished run."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wsss import console
from wsss.config import Config
from wsss.data.images import IMAGE_SUFFIXES, fit_size, image_size, read_image
from wsss.data.units import fit_grid
from wsss.errors import DataError
from wsss.functional.windows import merge_windows
from wsss.memory import keep_freed_memory
from wsss.pipeline import segmenter_network
from wsss.plotting import write_overlay
from wsss.stages.networks import load_segmenter, on_grid
from wsss.store import Artefact, encode_labels, write_atomically
from wsss.tasks.devices import autocast, choose_device, precision_of
from wsss.types import BACKGROUND, Image, LabelMap

WINDOW = 1024
"""Window size in pixels; images with a longer side are processed in sliding windows."""

OVERLAP = 256
"""Minimum overlap of neighbouring windows in pixels."""

SHOWN = 3
"""Maximum number of folders named in a note."""

STRIDE = 4
"""Stride of a segmenter's scores in pixels."""


class Predictor:
    """A trained segmenter that labels images of any size.

    Args:
        config: Configuration of the run that trained the segmenter; its data are not needed.
        segmenter: Artefact of its weights.

    Raises:
        SettingsError: If the configuration requires CUDA, and it is not available.
    """

    def __init__(self, config: Config, segmenter: Artefact) -> None:
        from wsss.tasks.segmentation import predict_scores

        trainer, settings, self.background = config.trainer, config.segmenter, config.data.background
        self.max_side: int | None = getattr(config.data, "max_side", None)
        self.precision = precision_of(trainer)
        self.device = choose_device(trainer.accelerator)
        self._look = partial(
            predict_scores,
            load_segmenter(segmenter_network(config), settings, segmenter, self.device),
            scales=settings.test_scales,
            flip=settings.test_flip,
            background=self.background,
        )

    def __call__(self, image: Image, size: tuple[int, int] | None = None) -> LabelMap:
        """Label an image.

        Args:
            image: (3, H, W) bytes, at the scale of the training images.
            size: Height and width of the labels; by default those of the image.

        Returns:
            Labels of that size, uint8, never ``IGNORE``.
        """
        shown = on_grid([image], (fit_grid(image.shape[1]), fit_grid(image.shape[2])), self.device)
        with torch.inference_mode(), autocast(self.precision, self.device):
            scores = merge_windows(self._look, shown, window=WINDOW, overlap=OVERLAP, stride=STRIDE)
        labels = range(0 if self.background else BACKGROUND + 1, len(scores))
        return best_of_enlarged(scores, size or (image.shape[1], image.shape[2]), labels)


def best_of_enlarged(scores: Tensor, size: tuple[int, int], labels: Sequence[int]) -> LabelMap:
    """Upsample scores and take the best label of each pixel, one label at a time, to save memory on large images.

    Args:
        scores: (K, h, w).
        size: Height and width of the result.
        labels: Which of the K labels may be chosen.
    """
    best = torch.full(size, -torch.inf)
    chosen = torch.zeros(size, dtype=torch.uint8)
    for label in labels:
        enlarged = interpolate(scores[None, label, None].float(), size, mode="bilinear", align_corners=False)[0, 0]
        better = enlarged > best
        best, chosen = torch.where(better, enlarged, best), chosen.masked_fill(better, label)
    return chosen


def predict_files(predictor: Predictor, paths: Sequence[Path], out: Path, *, palette: str = "voc") -> list[Path]:
    """Label images: write a palette PNG each to ``labels``, and an overlay to ``overlays``.

    Args:
        predictor: The segmenter.
        paths: Files, and folders of files.
        out: Folder to write to.
        palette: Name of the palette of the overlays; label maps always have the VOC colours.

    Returns:
        The palette PNGs.

    Raises:
        DataError: If there is no image, two have the same name, or one is missing or not an image, before any is
            labelled; or if some are damaged after their headers, when all others are written.
    """
    images = dict(_named(paths))
    for path in images.values():
        image_size(path)
    keep_freed_memory()
    written, damaged = list[Path](), list[DataError]()
    with console.progress("predictions", len(images)) as advance:
        for name, path in images.items():
            try:
                image = read_image(path)
            except DataError as error:
                damaged.append(error)
                advance(1)
                continue
            height, width = image.shape[1:]
            # the network was trained on images of at most this size
            small = fit_size((height, width), predictor.max_side) != (height, width)
            labels = predictor(read_image(path, predictor.max_side) if small else image, (height, width))
            written.append(out / "labels" / f"{name}.png")
            write_atomically(written[-1], encode_labels(labels))
            write_overlay(out / "overlays" / f"{name}.png", image, labels, palette=palette)
            advance(1)
    if damaged and not written:
        raise damaged[0]
    if damaged:
        raise DataError(f"{len(damaged)} of {len(images)} images have no labels, all others have: {damaged[0]}")
    return written


def _named(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Yield each image with its name without suffix; a note names folders that are left out."""
    seen: dict[str, Path] = {}
    folders = [inner for path in paths if path.is_dir() for inner in sorted(path.iterdir()) if _is_left_out(inner)]
    if folders:
        shown = ", ".join(f"'{folder}'" for folder in folders[:SHOWN]) + (", …" if len(folders) > SHOWN else "")
        console.note(f"folders within folders are not searched for images, give them too if they are wanted: {shown}")
    for path in paths:
        for file in _images(path):
            if seen.get(file.stem) == file:
                continue
            if file.stem in seen:
                raise DataError(
                    f"'{file}' and '{seen[file.stem]}' would both be written as '{file.stem}.png'; "
                    "rename one of them or predict them separately"
                )
            seen[file.stem] = file
            yield file.stem, file
    if not seen:
        raise DataError(
            f"there is no image in {', '.join(repr(str(path)) for path in paths)}; give files or folders with some"
        )


def _is_left_out(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _images(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and not file.is_dir()
    )
