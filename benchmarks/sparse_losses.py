"""How long do the losses of sparse labels take, forward and backward?

Run ``python benchmarks/sparse_losses.py`` in the project's environment; the result is JSON, written to the terminal or
a file.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wsss.functional.box_tightness import box_tightness_loss
from wsss.functional.crf_loss import CrfLossSettings, crf_loss
from wsss.functional.gated_crf import GatedCrfSettings, gated_crf_loss
from wsss.functional.losses import SumAndCount, floored_softmax, pixel_cross_entropy, pixel_entropy_loss
from wsss.functional.noise_robust import generalised_cross_entropy, symmetric_cross_entropy
from wsss.functional.size_loss import bounds_of_tags, size_loss
from wsss.types import IGNORE

LABELS = 21
BOXES = 3


@dataclass(frozen=True)
class Case:
    """Input of the losses: smooth logits, images four times as large, sparse labels, tags, boxes."""

    logits: Tensor
    images: Tensor
    labels: Tensor
    inside: Tensor
    tags: Tensor
    boxes: Tensor


def draw_case(batch: int, side: int, device: torch.device) -> Case:
    """Generate blobs of colours and scores, with noise on the colours, and label one pixel in fifty."""
    generator = torch.Generator().manual_seed(0)

    def smooth(channels: int, size: int) -> Tensor:
        coarse = torch.rand(batch, channels, 8, 8, generator=generator)
        return torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")

    images = smooth(3, 4 * side) + 0.05 * torch.randn(batch, 3, 4 * side, 4 * side, generator=generator)
    labels = torch.randint(LABELS, (batch, side, side), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) > 0.02] = IGNORE
    corners = torch.randint(side // 2, (batch * BOXES, 2), generator=generator)
    case = Case(
        logits=8 * smooth(LABELS, side),
        images=images.clamp(0, 1),
        labels=labels,
        inside=torch.ones(batch, side, side, dtype=torch.bool),
        tags=torch.rand(batch, LABELS - 1, generator=generator) < 0.1,
        boxes=torch.cat([corners, corners + side // 3], dim=1),
    )
    return Case(**{name: values.to(device) for name, values in vars(case).items()})


def losses_of(case: Case) -> dict[str, Callable[[Tensor], SumAndCount]]:
    """Return each loss as a function of the logits, including the softmax."""
    owners = torch.arange(len(case.tags), device=case.tags.device).repeat_interleave(BOXES)
    bounds = bounds_of_tags(case.tags, torch.ones_like(case.tags[:, 0]), present=0.02)
    open_pixels = case.labels == IGNORE
    return {
        "pixel_cross_entropy": lambda logits: pixel_cross_entropy(logits, case.labels),
        "generalised_cross_entropy": lambda logits: generalised_cross_entropy(logits, case.labels),
        "symmetric_cross_entropy": lambda logits: symmetric_cross_entropy(logits, case.labels),
        "pixel_entropy_loss": lambda logits: pixel_entropy_loss(logits.softmax(dim=1), case.inside),
        "size_loss": lambda logits: size_loss(logits.softmax(dim=1), *bounds, case.inside),
        "box_tightness_loss": lambda logits: box_tightness_loss(
            floored_softmax(logits), case.boxes, torch.ones_like(owners), owners
        ),
        "gated_crf_loss": lambda logits: gated_crf_loss(
            logits.softmax(dim=1), case.images, case.inside, open_pixels, GatedCrfSettings()
        ),
        "crf_loss": lambda logits: crf_loss(logits.softmax(dim=1), case.images, case.inside, CrfLossSettings()),
    }


def measure(loss: Callable[[Tensor], SumAndCount], logits: Tensor, repeats: int) -> dict[str, float]:
    """Time a loss and its gradient; the spread is the interquartile range."""
    milliseconds = []
    for _ in range(repeats + 1):
        leaf = logits.clone().requires_grad_()
        wait(logits.device)
        start = time.perf_counter()
        total, count = loss(leaf)
        (total / count).backward()  # type: ignore[no-untyped-call]
        wait(logits.device)
        milliseconds.append(1000 * (time.perf_counter() - start))
    lower, median, upper = statistics.quantiles(milliseconds[1:], n=4)
    return {"median_ms": round(median, 2), "spread_ms": round(upper - lower, 2)}


def wait(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the JSON here instead of to the terminal")
    parser.add_argument("--repeats", type=int, default=7, help="timed calls per case (at least 2)")
    parser.add_argument("--batch", type=int, default=8, help="images per batch")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    for side in (64, 128):
        case = draw_case(arguments.batch, side, device)
        for name, loss in losses_of(case).items():
            rows.append({"loss": name, "side": side, **measure(loss, case.logits, arguments.repeats)})
    report = {
        "question": f"milliseconds of a loss and its gradient, batch {arguments.batch}, {LABELS} labels",
        "device": str(device),
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
