"""How long does a region graph take, given the superpixels, compared with scikit-image's?

``build_region_graph`` describes every region by colour, position and three levels of a network's features, and connects
adjacent and similar regions; scikit-image's graph connects adjacent regions and describes them by their mean colours.
``colours_and_adjacency`` is ours without the network's features and without similar regions, which is about what
scikit-image's holds. They alternate on the same superpixels, in a process that keeps freed memory, as runs do. Run
``python benchmarks/region_graph.py`` in the project's environment; the result is JSON, written to the terminal or a
file.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from skimage.graph import rag_mean_color
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.functional.region_graph import build_region_graph
from wsss.functional.superpixels import SuperpixelSettings, slic_segments
from wsss.memory import keep_freed_memory

LEVELS = ((8, 32), (16, 96), (16, 1280))
"""Stride and channels of the MobileNetV2 features that describe regions, on the image at twice its size."""


def draw_case(height: int, width: int) -> tuple[Tensor, list[Tensor]]:
    """Generate a smooth image with noise, and features of it."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 8, 8, generator=generator)
    smooth = interpolate(coarse, (height, width), mode="bicubic")[0].clamp(0, 1)
    image = (255 * (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)).to(torch.uint8)
    sizes = [(channels, -(-2 * height // stride), -(-2 * width // stride)) for stride, channels in LEVELS]
    # channels last, as the classifier computes them
    features = [torch.rand(1, *size, generator=generator) for size in sizes]
    return image, [level.contiguous(memory_format=torch.channels_last)[0] for level in features]


def measure(height: int, width: int, count: int, repeats: int) -> dict[str, Any]:
    """Time all variants alternately on one case."""
    image, levels = draw_case(height, width)
    settings = SuperpixelSettings(count=count)
    segments = slic_segments(image, settings)
    pixels, numbers = image.permute(1, 2, 0).numpy(), segments.numpy()
    ways: dict[str, Callable[[], object]] = {
        "slic": lambda: slic_segments(image, settings),
        "build_region_graph": lambda: build_region_graph(image, segments, levels),
        "colours_and_adjacency": lambda: build_region_graph(image, segments, [], similarity=False),
        "skimage_rag_mean_color": lambda: rag_mean_color(pixels, numbers),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(repeats + 1):
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            if turn:  # the first one warms up
                times[way].append(1000 * (time.perf_counter() - start))
    rows = {way: summary(milliseconds) for way, milliseconds in times.items()}
    plain = rows["skimage_rag_mean_color"]["median_ms"]
    faster = {way: round(plain / rows[way]["median_ms"], 1) for way in ("build_region_graph", "colours_and_adjacency")}
    case = {"size": (height, width), "regions": int(segments.max()) + 1, "repeats": repeats}
    return {**case, **rows, "times_faster_than_skimage": faster}


def summary(milliseconds: list[float]) -> dict[str, float]:
    """Median and interquartile range."""
    lower, median, upper = statistics.quantiles(milliseconds, n=4)
    return {"median_ms": round(median, 3), "spread_ms": round(upper - lower, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the JSON here instead of to the terminal")
    parser.add_argument("--repeats", type=int, default=20, help="repetitions of each variant per case (at least 2)")
    arguments = parser.parse_args()
    keep_freed_memory()
    cases = [(64, 90, 250), (240, 320, 250), (375, 500, 250), (375, 500, 600)]
    rows = [measure(*case, arguments.repeats) for case in cases]
    report = {
        "question": "milliseconds per image of the region graph after SLIC, ours and scikit-image's",
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
