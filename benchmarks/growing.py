"""How long does seeded region growing take per image?

Run ``python benchmarks/growing.py`` in the project's environment; the result is JSON, written to the terminal or
a file.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from wsss.functional.region_growing import grow_regions


def draw_case(batch: int, classes: int, side: int, present: float) -> tuple[Tensor, Tensor, Tensor]:
    """Generate smooth scores, seeds on a fifth of the pixels, and tags of which a share is present."""
    generator = torch.Generator().manual_seed(0)
    coarse = 8 * torch.randn(batch, classes, 8, 8, generator=generator)
    scores = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear").softmax(dim=1)
    planted = torch.rand(batch, side, side, generator=generator) < 0.2
    seeds = torch.where(planted, scores.max(dim=1).indices, 255).to(torch.uint8)
    return scores, seeds, torch.rand(batch, classes - 1, generator=generator) < present


def measure(batch: int, classes: int, side: int, present: float, repeats: int) -> dict[str, float]:
    """Time one case; the spread is the interquartile range."""
    case = draw_case(batch, classes, side, present)
    grow_regions(*case)
    milliseconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        grow_regions(*case)
        milliseconds.append((time.perf_counter() - start) * 1000 / batch)
    lower, median, upper = statistics.quantiles(milliseconds, n=4)
    return {
        "batch": batch,
        "classes": classes,
        "side": side,
        "present_share": present,
        "repeats": repeats,
        "median_ms_per_image": round(median, 4),
        "spread_ms_per_image": round(upper - lower, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the JSON here instead of to the terminal")
    parser.add_argument("--repeats", type=int, default=200, help="timed calls per case (at least 2)")
    arguments = parser.parse_args()
    cases = [(1, 41, 0.1), (16, 41, 0.1), (16, 41, 1.0), (64, 41, 0.1), (4, 321, 0.1)]
    rows = [measure(batch, 21, side, present, arguments.repeats) for batch, side, present in cases]
    report = {"question": "milliseconds per image of grow_regions", "threads": torch.get_num_threads(), "cases": rows}
    text = json.dumps(report, indent=2)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
