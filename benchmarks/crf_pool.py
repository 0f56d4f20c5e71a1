"""How much faster is the dense CRF over a data set with the pool of workers than in one process?

Both execute the same stage, including reading and writing of files: it refines blurred scores of synthetic images. They
alternate; the start of the workers is measured separately, because it happens once per run. Run
``python benchmarks/crf_pool.py`` in the project's environment; the result is JSON, written to the terminal or a file.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from wsss import open_dataset
from wsss.data.base import Dataset
from wsss.data.synthetic import SyntheticSettings
from wsss.functional.dense_crf import CrfSettings
from wsss.ranks import Pool
from wsss.refine.crf import Crf
from wsss.stages.base import Stage, Workbench, carry_out
from wsss.stages.materials import Trail
from wsss.stages.refine import refine
from wsss.store import Artefact, Store, resize_scores, stride_size
from wsss.tasks.settings import TrainerSettings


class Silent:
    """An observer that ignores everything."""

    def progress(self, description: str, total: int) -> AbstractContextManager[Callable[[int], None]]:  # noqa: ARG002
        """Show nothing."""
        return nullcontext(lambda _: None)

    def metrics(self, row: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""


def blurred_truth(dataset: Dataset) -> Stage:
    """A stage that writes scores like a segmenter's: correct overall, wrong along the edges."""

    def work(_: Workbench, out: Artefact) -> None:
        classes = len(dataset.classes) + 1
        with out.unit("all") as unit:
            for image in dataset.ids("train"):
                truth = dataset.sample(image).truth
                assert truth is not None
                size = (truth.shape[0], truth.shape[1])
                sure = torch.nn.functional.one_hot(truth.long().clamp(max=classes - 1), classes).permute(2, 0, 1)
                height, width = (max(1, side // 4) for side in stride_size(size))
                scores = resize_scores(resize_scores(sure.float(), (height, width)), size) + 0.05
                unit.write_scores(image, scores / scores.sum(0), list(range(classes)), size)
                unit.write_labels(image, truth)

    return Stage(name="seeds", version=1, work=work)


def time_stage(stage: Stage, bench: Workbench) -> float:
    """Seconds that the stage takes in an empty store."""
    shutil.rmtree(bench.read(stage).folder, ignore_errors=True)
    return carry_out(stage, bench).seconds


def measure(side: int, images: int, workers: int, repeats: int, root: Path) -> dict[str, Any]:
    """Time one process and the pool alternately on one case."""
    dataset = open_dataset(SyntheticSettings(train=images, val=0, size=side))
    alone = Workbench(
        store=Store(root / f"{side}"),
        dataset=dataset,
        pool=Pool(1),
        trainer=TrainerSettings(accelerator="cpu"),
        precision="32-true",
        seed=0,
        watcher=Silent(),
    )
    scores = blurred_truth(dataset)
    carry_out(scores, alone)
    trail = Trail(scores=scores, seeds=scores, labels=scores, source="network")
    stage = refine("crf", Crf(CrfSettings()), dataset, trail, 0)
    pool = Pool(workers)
    together = replace(alone, pool=pool)
    try:
        starting = time_stage(stage, together)
        times: dict[str, list[float]] = {"one_process": [], "pool": []}
        for _ in range(repeats):
            times["one_process"].append(images / time_stage(stage, alone))
            times["pool"].append(images / time_stage(stage, together))
    finally:
        pool.close()
    rows = {way: summary(rates) for way, rates in times.items()}
    faster = rows["pool"]["median_images_per_second"] / rows["one_process"]["median_images_per_second"]
    return {
        "shortest_side": side,
        "images": images,
        "workers": workers,
        "repeats": repeats,
        **rows,
        "first_time_with_pool_s": round(starting, 2),
        "times_faster": round(faster, 2),
        "share_of_workers": round(faster / workers, 2),
    }


def summary(rates: list[float]) -> dict[str, float]:
    """Median and interquartile range."""
    lower, median, upper = statistics.quantiles(rates, n=4)
    return {"median_images_per_second": round(median, 2), "spread_images_per_second": round(upper - lower, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the JSON here instead of to the terminal")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions of each variant per case (at least 2)")
    parser.add_argument("--images", type=int, help="number of images (default: 4 units of 8 per worker)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="workers (default: one per core)")
    arguments = parser.parse_args()
    images = arguments.images or 32 * arguments.workers
    torch.set_num_threads(1)  # as in the workers
    with tempfile.TemporaryDirectory() as root:
        rows = [measure(side, images, arguments.workers, arguments.repeats, Path(root)) for side in (64, 180)]
    report = {"question": "images per second of the dense CRF, by the pool and by one process", "cases": rows}
    text = json.dumps(report, indent=2)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
