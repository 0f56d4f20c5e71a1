"""Common parts of stages that train networks."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wsss import ranks
from wsss.stages.base import Workbench
from wsss.stages.networks import WEIGHTS_FILE, weights_of
from wsss.store import Artefact
from wsss.tasks.settings import ImageLearningSettings, LearningSettings

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from wsss.tasks.base import Task
    from wsss.tasks.callbacks import Loader


def train(
    task: "Task",
    loaders: "pl.LightningDataModule | Loader",
    bench: Workbench,
    out: Artefact,
    *,
    steps: int,
    description: str,
) -> None:
    """Train to the end of the schedule, resuming from the last epoch if the stage was interrupted.

    Args:
        task: The network, its loss and its settings.
        loaders: The training data.
        bench: Environment of the stage.
        out: The artefact; it keeps the checkpoint until the stage is finished.
        steps: Steps of the whole schedule, for the progress bar.
        description: Name of the network in messages.
    """
    from wsss.tasks.training import fit

    if ranks.world().leads:
        out.progress.mkdir(parents=True, exist_ok=True)
    with bench.watcher.progress(f"training the {description}", steps) as advance:
        fit(
            task,
            loaders,
            bench.trainer,
            epochs=task.settings.epochs,
            folder=out.progress,
            seed=bench.seed,
            precision=bench.precision,
            on_metrics=bench.watcher.metrics,
            on_step=_counted(advance),
            description=description,
        )


def keep_network(task: "Task", out: Artefact) -> None:
    """Write the final weights and a row per epoch; all processes have the same, so the first writes them."""
    if ranks.world().leads:
        with out.unit("network") as unit:
            unit.write_tensors(WEIGHTS_FILE, weights_of(task.network))
            unit.write_json("history.json", task.history)


def loading(bench: Workbench, settings: ImageLearningSettings) -> dict[str, Any]:
    """Arguments of a data module that follow from the settings and the processes."""
    from wsss.data.transforms import TransformSettings

    here = ranks.world()
    transform = TransformSettings(crop=settings.crop, scale=settings.scale, flip=settings.flip, jitter=settings.jitter)
    return {
        "transform": transform,
        "batch_size": settings.batch_size,
        "seed": bench.seed,
        "workers": bench.trainer.workers,
        "rank": here.rank,
        "world_size": here.size,
    }


def steps_of(samples: int, settings: LearningSettings) -> int:
    """Steps of a schedule whose epochs are rounded up to whole batches."""
    return settings.epochs * -(-samples // settings.batch_size)


def _counted(advance: Callable[[int], None]) -> Callable[[int, int], None]:
    """Convert the number of completed steps into increments."""
    seen = 0

    def on_step(done: int, total: int) -> None:  # noqa: ARG001 - the bar knows its length
        nonlocal seen
        advance(done - seen)
        seen = done

    return on_step
