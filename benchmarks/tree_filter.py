"""How long do the tree filter and the tree energy loss take, forward and backward, and how much of it the trees?

``tree_filter`` is timed with gradients of the values, for trees on image colours, and with gradients of the features
too. Run ``python benchmarks/tree_filter.py`` in the project's environment; the result is JSON, written to the terminal
or a file.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.functional.spanning_trees import minimum_spanning_trees, neighbour_distances
from wsss.functional.tree_energy import tree_energy_loss
from wsss.functional.tree_filter import tree_filter

CLASSES, CHANNELS = 21, 64
"""Number of filtered labels, and of feature channels."""


def draw_case(batch: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Generate logits, smooth images with noise, and features of them."""
    generator = torch.Generator().manual_seed(0)

    def smooth(channels: int, noise: float) -> Tensor:
        coarse = torch.rand(batch, channels, 8, 8, generator=generator)
        fine = torch.randn(batch, channels, side, side, generator=generator)
        return interpolate(coarse, (side, side), mode="bicubic") + noise * fine

    logits = torch.randn(batch, CLASSES, side, side, generator=generator).requires_grad_()
    return logits, smooth(3, 0.02).clamp(0, 1), smooth(CHANNELS, 0.05).requires_grad_()


def measure(batch: int, side: int, repeats: int) -> dict[str, Any]:
    """Time all parts alternately on one case."""
    logits, images, features = draw_case(batch, side)
    values, distances = logits.detach().softmax(dim=1).requires_grad_(), neighbour_distances(images)
    unlabelled = torch.ones(batch, side, side, dtype=torch.bool)

    def loss(features: Tensor | None, *, fixed_target: bool = False) -> None:
        total, count = tree_energy_loss(
            logits.softmax(dim=1), unlabelled, images, features, sigma=0.02, fixed_target=fixed_target
        )
        (total / count).backward()  # type: ignore[no-untyped-call]

    ways: dict[str, Callable[[], object]] = {
        "trees_alone": lambda: minimum_spanning_trees(distances),
        "filter_forward": lambda: tree_filter(values.detach(), images, sigma=0.02),
        "filter_forward_backward": lambda: tree_filter(values, images, sigma=0.02).sum().backward(),  # type: ignore[no-untyped-call]
        "filter_forward_backward_with_features": lambda: tree_filter(values, features).sum().backward(),  # type: ignore[no-untyped-call]
        "loss_of_colours": lambda: loss(None),
        "loss_of_colours_and_features": lambda: loss(features),
        "loss_of_colours_and_features_fixed_target": lambda: loss(features, fixed_target=True),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(repeats + 1):
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            if turn:  # the first one warms up
                times[way].append(1000 * (time.perf_counter() - start))
    rows = {way: summary(milliseconds) for way, milliseconds in times.items()}
    levels = len(minimum_spanning_trees(distances).starts) - 1
    case = {"batch": batch, "side": side, "classes": CLASSES, "channels": CHANNELS, "levels": levels}
    return {**case, "repeats": repeats, **rows}


def summary(milliseconds: list[float]) -> dict[str, float]:
    """Median and interquartile range."""
    lower, median, upper = statistics.quantiles(milliseconds, n=4)
    return {"median_ms": round(median, 2), "spread_ms": round(upper - lower, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the JSON here instead of to the terminal")
    parser.add_argument("--repeats", type=int, default=20, help="repetitions of each part per case (at least 2)")
    arguments = parser.parse_args()
    rows = [measure(*case, arguments.repeats) for case in [(1, 128), (16, 64), (16, 32)]]
    report = {
        "question": "milliseconds per batch of the tree filter and the tree energy loss",
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
