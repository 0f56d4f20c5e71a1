"""Does data loading keep up with the training step that it feeds?

A folder of synthetic photographs is loaded as in training: decoded, scaled, cropped, mirrored, with colour jitter. The
time per batch is measured for the loader alone, for the step alone on a batch that is ready, and for both together; the
difference between both together and the step alone is the time that the network waits. They alternate, so that a busy
machine slows all of them. Run ``python benchmarks/loading.py`` in the project's environment; the result is JSON,
written to the terminal or a file.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wsss import open_dataset
from wsss.data.base import Dataset
from wsss.data.datamodule import DataModule
from wsss.data.folder import FolderSettings
from wsss.data.transforms import TransformSettings
from wsss.networks.backbones import build_backbone
from wsss.networks.classifier import Classifier
from wsss.tasks.classification import ClassificationTask
from wsss.tasks.devices import choose_device, resolve_precision
from wsss.tasks.settings import ClassifierSettings
from wsss.tasks.training import fit

WARM_UP = 2
WORDS = ("cat", "dog")


def draw_photographs(folder: Path, count: int, size: tuple[int, int]) -> Dataset:
    """Write JPEGs that are smooth at large scales and noisy at small ones, like photographs, and their tags."""
    generator = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    for index in range(count):
        coarse = Image.fromarray(generator.integers(0, 255, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = (smooth + generator.integers(-20, 20, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / "images" / f"{index:04}.jpg", quality=90)
    lines = [f"{index:04},{WORDS[index % len(WORDS)]}" for index in range(count)]
    (folder / "tags.csv").write_text("\n".join(["image,tags", *lines]))
    return open_dataset(FolderSettings(root=str(folder), val_share=0.0))


def differences(times: list[float]) -> list[float]:
    """Milliseconds between consecutive times, without the first few."""
    return [1000 * (after - before) for before, after in zip(times[WARM_UP:], times[WARM_UP + 1 :], strict=False)]


def time_loader(module: DataModule) -> list[float]:
    """Time the batches of the loader without a training step."""
    return differences([time.perf_counter() for _ in module.train_dataloader()])


def time_fit(network: str, batches: DataModule | Iterable[dict[str, Tensor]], precision: str) -> list[float]:
    """Time the steps of a training."""
    torch.manual_seed(0)
    task = ClassificationTask(
        Classifier(build_backbone(network, freeze_batchnorm=True), len(WORDS)), ClassifierSettings()
    )
    times: list[float] = []

    def note(done: int, total: int) -> None:  # noqa: ARG001
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        fit(task, batches, epochs=1, folder=Path(folder), seed=0, precision=precision, on_step=note)  # type: ignore[arg-type]
    return differences(times)


def measure(
    dataset: Dataset, network: str, crop: int, batch: int, workers: int, turns: int, precision: str
) -> dict[str, Any]:
    """Time loader, step and both together alternately on one case."""
    ids = dataset.ids("train")

    def module() -> DataModule:
        transform = TransformSettings(crop=crop)
        return DataModule(dataset, ids, transform=transform, batch_size=batch, seed=0, workers=workers)

    ready = next(iter(module().train_dataloader()))
    steps = -(-len(ids) // batch)
    times: dict[str, list[float]] = {"loader": [], "step": [], "together": []}
    for _ in range(turns):
        times["loader"] += time_loader(module())
        times["step"] += time_fit(network, [ready] * steps, precision)
        times["together"] += time_fit(network, module(), precision)
    rows = {part: summary(milliseconds) for part, milliseconds in times.items()}
    loader, step, together = (row["median_ms"] for row in rows.values())
    case = {"network": network, "crop": crop, "batch": batch, "workers": workers, "batches": len(times["step"])}
    return {
        **case,
        **rows,
        "loader_over_step": round(loader / step, 3),
        "waiting_share": round(max(0.0, together - step) / together, 3),
    }


def summary(milliseconds: list[float]) -> dict[str, float]:
    """Median and interquartile range."""
    lower, median, upper = statistics.quantiles(milliseconds, n=4)
    return {"median_ms": round(median, 3), "spread_ms": round(upper - lower, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the JSON here instead of to the terminal")
    parser.add_argument("--turns", type=int, default=3, help="repetitions of each part per case")
    parser.add_argument("--images", type=int, default=128, help="images per epoch (at least 5 batches of 16)")
    arguments = parser.parse_args()
    precision = resolve_precision("auto")
    cases = [("tiny", 64, 16, 0), ("mobilenet_v2", 320, 16, 0), ("mobilenet_v2", 320, 16, 1)]
    with tempfile.TemporaryDirectory() as folder:
        dataset = draw_photographs(Path(folder), arguments.images, (375, 500))
        rows = [measure(dataset, *case, arguments.turns, precision) for case in cases]
    report = {
        "question": "milliseconds of a batch: loading it, learning from it, both together",
        "device": str(choose_device("auto")),
        "precision": precision,
        "threads": torch.get_num_threads(),
        "cases": rows,
    }
    text = json.dumps(report, indent=2)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
