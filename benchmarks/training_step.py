"""How much does one training step cost beyond a bare torch loop?

Both train the same classifier on the same batch, with the same precision and memory layout; the loop has a fused AdamW
and nothing else. They alternate, so that a busy machine slows both. Run ``python benchmarks/training_step.py`` in the
project's environment; the result is JSON, written to the terminal or a file.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import multilabel_soft_margin_loss

from wsss.networks.backbones import build_backbone
from wsss.networks.classifier import Classifier
from wsss.tasks.classification import ClassificationTask
from wsss.tasks.devices import autocast, choose_device, resolve_precision
from wsss.tasks.settings import ClassifierSettings
from wsss.tasks.training import fit

CLASSES = 20
WARM_UP = 2


def draw_batch(size: int, crop: int) -> dict[str, Tensor]:
    """Generate noise images with random tags."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(size, 3, crop, crop, generator=generator).contiguous(memory_format=torch.channels_last)
    tags = torch.rand(size, CLASSES, generator=generator) < 0.1
    return {"image": images, "tags": tags, "known": torch.ones_like(tags)}


def differences(times: list[float]) -> list[float]:
    """Milliseconds between consecutive times, without the first few."""
    return [1000 * (after - before) for before, after in zip(times[WARM_UP:], times[WARM_UP + 1 :], strict=False)]


def time_fit(network: Classifier, batch: dict[str, Tensor], steps: int, precision: str) -> list[float]:
    """Time the steps of ``fit``."""
    times: list[float] = []
    task = ClassificationTask(network, ClassifierSettings())

    def note(done: int, total: int) -> None:  # noqa: ARG001
        wait()
        times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        fit(task, [batch] * steps, epochs=1, folder=Path(folder), seed=0, precision=precision, on_step=note)
    return differences(times)


def time_loop(network: Classifier, batch: dict[str, Tensor], steps: int, precision: str) -> list[float]:
    """Time the steps of a bare loop."""
    device = choose_device("auto")
    network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, fused=True)
    times: list[float] = []
    for _ in range(steps):
        images, tags = batch["image"].to(device), batch["tags"].to(device)
        with autocast(precision, device):
            loss = multilabel_soft_margin_loss(network(images), tags.float())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        wait()
        times.append(time.perf_counter())
    return differences(times)


def wait() -> None:
    """Wait until the device has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def summary(milliseconds: list[float]) -> dict[str, float]:
    """Median and interquartile range."""
    lower, median, upper = statistics.quantiles(milliseconds, n=4)
    return {"median_ms": round(median, 3), "spread_ms": round(upper - lower, 3)}


def measure(name: str, crop: int, size: int, steps: int, turns: int, precision: str) -> dict[str, Any]:
    """Time both alternately on one case."""
    batch = draw_batch(size, crop)
    ways: dict[str, Callable[..., list[float]]] = {"fit": time_fit, "loop": time_loop}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(turns):
        for way, run in ways.items():
            torch.manual_seed(0)
            network = Classifier(build_backbone(name, freeze_batchnorm=True), CLASSES)
            times[way] += run(network, batch, steps, precision)
    rows = {way: summary(milliseconds) for way, milliseconds in times.items()}
    overhead = rows["fit"]["median_ms"] - rows["loop"]["median_ms"]
    case = {"network": name, "crop": crop, "batch": size, "steps": len(times["fit"])}
    return {**case, **rows, "overhead_ms": round(overhead, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the JSON here instead of to the terminal")
    parser.add_argument("--turns", type=int, default=4, help="repetitions of both per case")
    parser.add_argument("--steps", type=int, default=12, help="steps per repetition (at least 5)")
    arguments = parser.parse_args()
    precision = resolve_precision("auto")
    cases = [("tiny", 64, 16), ("mobilenet_v2", 128, 8), ("mobilenet_v2", 256, 16)]
    rows = [measure(*case, arguments.steps, arguments.turns, precision) for case in cases]
    report = {
        "question": "milliseconds of a training step, by fit and by a bare torch loop",
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
