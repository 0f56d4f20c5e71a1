from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tasks.scenes import Cues, Halves, Squares, classification_task, dsrg_task, segmentation_task
from tests.tasks.test_regions import SETTINGS, draw_graph
from tests.tasks.test_regions import make_task as region_task
from tests.tasks.toys import identical, train, weights
from wsss.tasks.base import Metrics, Task
from wsss.tasks.regions import GraphLoader, predict_regions
from wsss.tasks.settings import TrainerSettings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    # torch says so of each kernel that may add up in any order; what comes of it is judged here
    pytest.mark.filterwarnings("ignore:.*does not have a deterministic implementation:UserWarning"),
]

CUDA, CPU = TrainerSettings(accelerator="cuda"), TrainerSettings(accelerator="cpu")

KINDS: dict[str, tuple[Callable[[], Task], Callable[[], Any]]] = {
    "classifier": (classification_task, lambda: Squares(batches=5)),
    "segmenter": (segmentation_task, lambda: Halves(batches=5)),
    "dsrg": (dsrg_task, lambda: Cues(batches=5)),
    "regions": (region_task, lambda: GraphLoader([draw_graph(seed, regions=60) for seed in range(20)], 4, seed=0)),
}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("kind", ["classifier", "segmenter", "dsrg"])
def test_on_cuda_too_the_same_seed_gives_the_same_bytes_even_after_a_kill(
    tmp_path: Path, kind: str, precision: str
) -> None:
    make, load = KINDS[kind]
    options = {"settings": CUDA, "precision": precision, "epochs": 3}

    def kill(row: Metrics) -> None:
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    undisturbed, again, resumed = make(), make(), make()
    train(undisturbed, tmp_path / "undisturbed", loader=load(), **options)
    train(again, tmp_path / "again", loader=load(), **options)
    with pytest.raises(KeyboardInterrupt):
        train(make(), tmp_path / "killed", loader=load(), on_metrics=kill, **options)
    train(resumed, tmp_path / "killed", loader=load(), **options)
    assert identical(weights(again), weights(undisturbed))
    assert identical(weights(resumed), weights(undisturbed))
    assert {parameter.device.type for parameter in resumed.parameters()} == {"cpu"}
    assert not torch.are_deterministic_algorithms_enabled()


def test_on_cuda_the_same_seed_trains_the_same_network_of_regions_but_for_rounding(tmp_path: Path) -> None:
    # torch has no kernel that adds up the messages of edges in a fixed order
    make, load = KINDS["regions"]
    first, again = make(), make()
    for task, folder in ((first, "first"), (again, "again")):
        train(task, tmp_path / folder, loader=load(), settings=CUDA, epochs=3)
    found = weights(again)
    for name, weight in weights(first).items():
        torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_cuda_learns_what_the_cpu_learns(tmp_path: Path, kind: str) -> None:
    make, load = KINDS[kind]
    rows = [
        train(make(), tmp_path / settings.accelerator, settings=settings, loader=load(), epochs=1)
        for settings in (CUDA, CPU)
    ]
    assert rows[0][0]["loss"] == pytest.approx(rows[1][0]["loss"], rel=1e-2)


def test_regions_are_predicted_on_cuda_as_on_the_cpu() -> None:
    graph, network = draw_graph(4), region_task().eval().network
    on_cpu = predict_regions(network, graph, SETTINGS, seed=5)
    on_cuda = predict_regions(network.cuda(), graph.clone().cuda(), SETTINGS, seed=5)
    assert on_cuda.device.type == "cuda"
    torch.testing.assert_close(on_cuda.cpu(), on_cpu, rtol=1e-3, atol=1e-4)
