"""The smallest run that has every stage, carried out in the process of the tests: start-up would eat their minutes."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wsss import console
from wsss.runs import Run, run

DRAWN = ("data=synthetic", "data.train=12", "data.val=4", "data.size=32")
"""Images: few, small, drawn."""

TOY = (
    # named one by one, so that tuning an experiment changes no test
    "network=tiny",
    "ceiling=true",
    "classifier.output_stride=8",
    "segmenter.output_stride=8",
    # enough that the activations are not zero everywhere
    "classifier.epochs=12",
    "classifier.learning_rate=0.02",
    "classifier.head_multiplier=10",
    "classifier.batch_size=4",
    "classifier.crop=32",
    "cams.scales=[1.0]",
    "cams.batch_size=2",
    "superpixels.count=12",
    "graph.epochs=2",
    "graph.batch_size=4",
    "graph.passes=1",
    "crf.iterations=1",
    "segmenter.epochs=2",
    "segmenter.batch_size=4",
    "segmenter.crop=32",
    "segmenter.width=8",
    "segmenter.test_scales=[1.0]",
    # so low that a segmenter that has learnt nothing plants seeds and keeps its round
    "self_training.foreground_threshold=0.2",
    "self_training.background_threshold=0.2",
    "self_training.tolerance=1.0",
    "self_training.guard=1.0",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "tracking.mode=none",
)
"""Settings of the run: two rounds and the ceiling, each stage as short as can be."""


def run_toy(root: Path, *settings: str, data: tuple[str, ...] = DRAWN, figures: bool = False) -> Run:
    """Run at toy size, quietly and without worker processes.

    Args:
        root: Where everything is kept.
        settings: More settings, which win.
        data: The images.
        figures: Whether to draw the figures of the run too, which takes as long as half of its stages.
    """
    with quietly(figures=figures):
        return run(*TOY, *data, f"store.root={root}", *settings)


@contextmanager
def quietly(*, figures: bool = False) -> Iterator[None]:
    """Neither say anything nor start worker processes, nor draw figures unless they are looked at."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), console.quiet():
        patch.setattr("wsss.ranks.cores", lambda: 1)
        if not figures:
            patch.setattr("wsss.runs.draw_run", lambda *_, **__: None)
        # importing torch-geometric scripts a class, which torch has begun to warn about
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
        yield


def files_below(folder: Path) -> dict[str, bytes]:
    """Content of every file by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
