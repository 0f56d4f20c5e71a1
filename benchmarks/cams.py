"""How much faster are class activation maps in batches than one image and one view at a time in float32?

All variants sum the maps of the same views (four scales, each also mirrored). The plain one feeds the network one view
of one image at a time, in an ordinary process; the batched ones feed images of similar size together, in float32 and in
the fastest precision of this machine, in a process that keeps freed memory, as runs do. They alternate, so that a busy
machine slows all of them. Run ``python benchmarks/cams.py`` in the project's environment; the result is JSON, written
to the terminal or a file.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.functional.cam import merge_views
from wsss.memory import keep_freed_memory
from wsss.networks.backbones import build_backbone
from wsss.networks.classifier import Classifier
from wsss.tasks.classification import predict_cams
from wsss.tasks.devices import autocast, choose_device, resolve_precision

CLASSES = 20
SCALES = (1.0, 0.5, 1.5, 2.0)


def one_at_a_time(network: Classifier, images: Tensor) -> Tensor:
    """Sum the maps of each image, one view at a time."""
    return torch.cat([views_of_one(network, image[None]) for image in images])


def views_of_one(network: Classifier, image: Tensor) -> Tensor:
    """Sum the maps of one image, with one forward pass per view."""
    height, width = image.shape[2:]
    views: list[Tensor] = []
    flipped: list[bool] = []
    for scale in SCALES:
        size = (round(height * scale), round(width * scale))
        shown = interpolate(image, size, mode="bilinear", align_corners=False, antialias=scale < 1)
        for mirrored in (False, True):
            views.append(network.activation_maps(shown.flip(-1) if mirrored else shown).relu())
            flipped.append(mirrored)
    return merge_views(views, flipped, (-(-height // 4), -(-width // 4)))


def batched(network: Classifier, images: Tensor) -> Tensor:
    """Sum the maps of all images in one batch, as the stage does."""
    return predict_cams(network, images, scales=SCALES, flip=True)


def measure(name: str, size: tuple[int, int], batch: int, repeats: int, precision: str) -> dict[str, Any]:
    """Time all variants alternately on one case."""
    ways = {"one_at_a_time_float32": "32-true", "batched_float32": "32-true"}
    if precision != "32-true":
        ways[f"batched_{precision}"] = precision
    times: dict[str, list[float]] = {way: [] for way in ways}
    with process() as scripts, process(keep_freed_memory) as stages:
        for turn in range(repeats + 1):
            for way, arithmetic in ways.items():
                at_once = way != "one_at_a_time_float32"
                where = stages if at_once else scripts
                seconds = where.submit(timed, name, size, batch, arithmetic, at_once).result()
                if turn:  # the first one warms up
                    times[way].append(1000 * seconds / batch)
    rows = {way: summary(milliseconds) for way, milliseconds in times.items()}
    slowest = rows["one_at_a_time_float32"]["median_ms_per_image"]
    faster = {way: round(slowest / row["median_ms_per_image"], 2) for way, row in rows.items()}
    return {"network": name, "size": size, "batch": batch, "repeats": repeats, **rows, "times_faster": faster}


def process(start: Callable[[], object] | None = None) -> ProcessPoolExecutor:
    """Run in a separate process, because the handling of freed memory applies to the whole process."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=start)


def timed(name: str, size: tuple[int, int], batch: int, precision: str, at_once: bool) -> float:
    """Compute the maps of all images once, in this process; return the seconds."""
    device = choose_device("auto")
    layout = torch.channels_last if at_once else torch.contiguous_format
    images = torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(0)).to(device)
    network = network_of(name, folded=at_once).to(device).to(memory_format=layout)
    shown = images.contiguous(memory_format=layout)
    start = time.perf_counter()
    with torch.inference_mode(), autocast(precision, device):
        (batched if at_once else one_at_a_time)(network, shown).cpu()
    return time.perf_counter() - start


@cache
def network_of(name: str, *, folded: bool) -> Classifier:
    """Create the classifier with separate BatchNorm as in training, or folded into its convolutions as in stages."""
    torch.manual_seed(0)
    return Classifier(build_backbone(name, freeze_batchnorm=folded), CLASSES).eval()


def summary(milliseconds: list[float]) -> dict[str, float]:
    """Median and interquartile range."""
    lower, median, upper = statistics.quantiles(milliseconds, n=4)
    return {"median_ms_per_image": round(median, 3), "spread_ms_per_image": round(upper - lower, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the JSON here instead of to the terminal")
    parser.add_argument("--repeats", type=int, default=9, help="repetitions of each variant per case (at least 2)")
    arguments = parser.parse_args()
    precision = resolve_precision("auto")
    cases = [("mobilenet_v2", (64, 64), 8), ("mobilenet_v2", (96, 64), 8), ("mobilenet_v2", (352, 512), 8)]
    rows = [measure(*case, arguments.repeats, precision) for case in cases]
    report = {
        "question": "milliseconds per image of multi-scale class activation maps, batched and one at a time",
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
