from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, enlarged, finished, given_weights, workbench
from wsss.stages.base import Stage, batches
from wsss.stages.networks import NetworkPlan, build_segmenter, weights_of
from wsss.stages.segmenters import SegmenterInference, SegmenterPlan
from wsss.stages.settings import SelfTrainingSettings
from wsss.tasks.settings import SegmenterSettings

SETTINGS = SegmenterSettings(width=16, test_scales=(1.0,), test_flip=False)
SHOWN = {f"image {number}": enlarged(picture("0112", "0212"), 8) for number in range(8)}


def plan_of(data: DrawnDataset | None = None, *, rounds: int = 2, seed: int = 0, **settings: Any) -> SegmenterPlan:
    learning = replace(SETTINGS, **settings)
    return SegmenterPlan(
        data or DrawnDataset(SHOWN),
        NetworkPlan("tiny", learning, "none"),
        learning,
        SelfTrainingSettings(watched=0.25),
        rounds,
        seed,
        "32-true",
    )


def trained(plan: SegmenterPlan) -> Stage:
    torch.manual_seed(2)
    network = build_segmenter(plan.network, plan.settings, 3)
    return given_weights("segmenter", weights_of(network))


def inference_in(folder: Path, plan: SegmenterPlan) -> SegmenterInference:
    bench, stage = workbench(folder, plan.dataset), trained(plan)
    finished(bench, stage)
    return SegmenterInference(plan, bench, stage)


def test_no_image_is_both_learnt_from_and_watched() -> None:
    learnt, watched = plan_of().split()
    assert set(learnt) | set(watched) == set(SHOWN)
    assert set(learnt) & set(watched) == set()
    assert len(watched) == 2
    assert plan_of().split() == (learnt, watched)


def test_with_a_single_round_there_is_nothing_to_watch() -> None:
    assert plan_of(rounds=1).split() == (tuple(SHOWN), ())


def test_more_rounds_watch_the_same_images() -> None:
    assert plan_of(rounds=2).split() == plan_of(rounds=5).split()
    assert plan_of(rounds=2).science() == plan_of(rounds=5).science()
    assert plan_of(rounds=1).science() != plan_of(rounds=2).science()


def test_an_image_of_unknown_tags_is_never_watched() -> None:
    data = DrawnDataset(SHOWN, tags=dict.fromkeys(list(SHOWN)[:6]))
    assert set(plan_of(data).split()[1]) <= set(list(SHOWN)[6:])


def test_the_truth_has_no_say_in_what_is_watched() -> None:
    blank = DrawnDataset(SHOWN, truth=dict.fromkeys(SHOWN))
    assert plan_of(blank).split() == plan_of().split()


def test_how_it_looks_is_no_part_of_how_it_learns() -> None:
    assert plan_of(test_scales=(0.5,), test_flip=True).science() == plan_of().science()
    for change in ({"epochs": 3}, {"width": 24}, {"balance": 0.1}, {"seed": 4}, {"output_stride": 8}, {"dropout": 0.3}):
        assert plan_of(**change).science() != plan_of().science()


def test_where_the_weights_lie_does_not_matter(tmp_path: Path) -> None:
    found = []
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_bytes(b"weights")
        learning = replace(SETTINGS, weights=str(tmp_path / name))
        network = NetworkPlan("resnet18", learning, str(tmp_path / name))
        found.append(replace(plan_of(), network=network, settings=learning).science())
    assert found[0] == found[1]


def test_a_seer_answers_with_the_softmax_of_its_network(tmp_path: Path) -> None:
    plan = plan_of()
    inference, portion = inference_in(tmp_path, plan), batches(plan.dataset, ["image 0", "image 1"], 8)[0]
    assert portion.size == (32, 32)
    scores = inference.scores(portion)
    assert scores.shape == (2, 3, 8, 8)
    torch.testing.assert_close(scores.sum(1), torch.ones(2, 8, 8))
    # the pictures are 16 x 32 and are shown at 32 x 32
    shown = torch.nn.functional.interpolate(
        plan.dataset.image("image 0")[None].float(), (32, 32), mode="bilinear", antialias=True
    )
    with torch.inference_mode():
        logits = inference.network((shown / 255).contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(scores[:1], logits.softmax(1), atol=1e-5, rtol=1e-4)


def test_the_mirror_image_is_mirrored_back(tmp_path: Path) -> None:
    shown = enlarged(picture("0112", "0212"), 16)
    upright = DrawnDataset({"one": shown})
    flipped = DrawnDataset({"one": shown}, images={"one": upright.image("one").flip(2)})
    portion = batches(upright, ["one"], 8)[0]
    mirrored = inference_in(tmp_path, plan_of(upright, rounds=1)).scores(portion, mirrored=True)
    seen = inference_in(tmp_path, plan_of(flipped, rounds=1)).scores(portion)
    torch.testing.assert_close(mirrored, seen.flip(3))
    assert (mirrored - seen).abs().max() > 1e-3


def test_scales_and_flips_are_averaged(tmp_path: Path) -> None:
    inference = inference_in(tmp_path, plan_of(test_scales=(1.0, 0.5), test_flip=True))
    portion = batches(inference.plan.dataset, ["image 0"], 8)[0]
    one = [
        inference.scores(portion, scales=(scale,), flip=False, mirrored=mirrored)
        for scale in (1.0, 0.5)
        for mirrored in (False, True)
    ]
    torch.testing.assert_close(inference.scores(portion), sum(one, torch.zeros(())) / 4, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("background", "labels"), [(True, [0, 2, 1]), (False, [1, 2, 1])])
def test_labels_are_the_best_that_there_are(background: bool, labels: list[int], tmp_path: Path) -> None:
    inference = inference_in(tmp_path, plan_of(DrawnDataset(SHOWN, background=background, tags={"image 0": [1]})))
    scores = torch.tensor([[0.5, 0.3, 0.1], [0.3, 0.2, 0.8], [0.2, 0.5, 0.1]])[:, None].repeat(1, 3, 1)
    assert inference.labels(scores, (3, 3)).tolist() == [labels] * 3
    assert inference.labels(scores, (12, 12))[:, [0, 11]].tolist() == [[labels[0], labels[2]]] * 12
