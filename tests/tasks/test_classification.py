from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchmetrics.functional.classification import multilabel_average_precision

from tests.tasks.scenes import COLOURS, HeldOut, Squares, classification_task
from tests.tasks.toys import identical, train, weights
from wsss.functional.gradcam import grad_cam, grad_cam_plus_plus
from wsss.networks.backbones import build_backbone
from wsss.networks.classifier import Classifier
from wsss.networks.timm_backbones import build_timm_backbone
from wsss.tasks.base import Metrics
from wsss.tasks.classification import ClassificationTask, gradient_maps, mean_average_precision, predict_cams
from wsss.tasks.settings import ClassifierSettings


def test_a_classifier_learns_from_tags_and_its_cams_show_where(tmp_path: Path) -> None:
    task = classification_task()
    rows = train(task, tmp_path, loader=Squares(batches=30), epochs=6)
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    images = torch.rand(2, 3, 32, 32) * 0.3
    images[:, :, 20:30, 2:12] = COLOURS[:, :, None, None]
    with torch.no_grad():
        cams = predict_cams(task.network, images, scales=(1.0, 2.0), flip=True)
    for label in range(2):
        assert cams[label, label, 4:, :4].mean() > 1.5 * cams[label, label, :, 4:].mean()


def test_images_without_tags_do_not_count(tmp_path: Path) -> None:
    task = classification_task()
    batch = next(iter(Squares()))
    alone = {name: value[:5] for name, value in batch.items()}
    batch["known"] = (torch.arange(8) < 5)[:, None].expand(-1, 2)
    total, count = task.eval().losses(batch)
    expected, five = task.losses(alone)
    assert count == five == 5
    torch.testing.assert_close(total, expected)
    before = weights(task)
    task.settings = ClassifierSettings(weight_decay=0.0)
    assert train(task, tmp_path, loader=Squares(known=-1.0), epochs=1)[0]["loss"] == 0.0
    assert identical(weights(task), before)


def test_held_out_tags_are_measured_each_epoch_and_unknown_ones_left_out(tmp_path: Path) -> None:
    batches = [{name: value[:1] for name, value in batch.items()} for batch in Squares(batches=12, known=0.7)]
    task = classification_task()
    rows = train(task, tmp_path / "measured", loader=HeldOut(batches), epochs=2)
    known = [batch for batch in batches if batch["known"].all()]
    assert 0 < len(known) < 12
    with torch.no_grad():
        scores = torch.cat([task.network(batch["image"]) for batch in known])
    tags = torch.cat([batch["tags"] for batch in known])
    expected = multilabel_average_precision(scores, tags.long(), 2, average="macro")
    assert rows[1]["held_out_map"] == pytest.approx(float(expected), abs=1e-6)
    unmeasured = classification_task()
    assert "held_out_map" not in train(unmeasured, tmp_path / "plain", loader=HeldOut([]), epochs=2)[0]
    assert identical(weights(unmeasured), weights(task))


def backbone_of(task: ClassificationTask) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.network.backbone.state_dict().items()}


PROBING = ClassifierSettings(learning_rate=3e-4, head_multiplier=2.0, probe_epochs=2, probe_learning_rate=5e-3)


def test_the_head_learns_alone_first_and_the_schedule_begins_after_that(tmp_path: Path) -> None:
    task = classification_task(PROBING)
    body, head = backbone_of(task), task.network.head.weight.detach().clone()
    seen: list[tuple[bool, float]] = []

    def look(row: Metrics) -> None:
        seen.append((identical(backbone_of(task), body), row["learning_rate"]))

    train(task, tmp_path, loader=Squares(batches=3), on_metrics=look)
    assert [resting for resting, _ in seen] == [True, True, False, False]
    # the backbone's step width: none, none, then poly over the last two epochs
    assert [rate for _, rate in seen] == pytest.approx([0.0, 3e-4, 3e-4 * 0.5**0.9, 0.0])
    assert not torch.equal(task.network.head.weight, head)
    assert task.network.backbone.freeze_stages == 0


@pytest.mark.parametrize("network", ["mobilenet_v3_small", "timm/test_efficientnet"])
def test_a_batchnorm_that_learns_rests_while_the_head_learns_alone(tmp_path: Path, network: str) -> None:
    task = ClassificationTask(classifier(network, classes=2), PROBING)
    kept = statistics(task)
    assert kept
    seen: list[bool] = []
    train(
        task, tmp_path, loader=Squares(batches=2), on_metrics=lambda _: seen.append(identical(statistics(task), kept))
    )
    assert seen == [True, True, False, False]


def statistics(task: ClassificationTask) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.network.state_dict().items() if "running" in name}


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_run_killed_while_or_after_the_head_learnt_alone_ends_like_an_undisturbed_one(
    tmp_path: Path, epoch: int
) -> None:
    def kill(row: Metrics) -> None:
        if row["epoch"] == epoch:
            raise KeyboardInterrupt

    undisturbed, resumed = classification_task(PROBING), classification_task(PROBING)
    train(undisturbed, tmp_path / "undisturbed", loader=Squares(batches=2))
    with pytest.raises(KeyboardInterrupt):
        train(classification_task(PROBING), tmp_path / "killed", loader=Squares(batches=2), on_metrics=kill)
    train(resumed, tmp_path / "killed", loader=Squares(batches=2))
    assert identical(weights(resumed), weights(undisturbed))


def test_average_precision_by_hand() -> None:
    scores = torch.tensor([[0.9], [0.8], [0.7], [0.6]])
    # found at places 1 and 3: (1/1 + 2/3) / 2
    assert mean_average_precision(scores, torch.tensor([[1], [0], [1], [0]]).bool()) == pytest.approx(5 / 6)


def test_equal_scores_count_as_one_step() -> None:
    # all four at once: precision 2/4 for both
    assert mean_average_precision(torch.zeros(4, 1), torch.tensor([[1], [0], [1], [0]]).bool()) == 0.5


def test_classes_that_no_image_shows_do_not_count() -> None:
    tags = torch.tensor([[1, 0], [0, 0]]).bool()
    assert mean_average_precision(torch.tensor([[1.0, 5.0], [0.0, 6.0]]), tags) == 1.0
    assert mean_average_precision(torch.rand(2, 2), torch.zeros(2, 2).bool()) is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 5), st.integers(2, 40))
def test_average_precision_is_torchmetrics(seed: int, images: int, classes: int, levels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, levels, (images, classes), generator=generator) / levels
    tags = torch.rand(images, classes, generator=generator) < 0.4
    shown = tags.any(dim=0)
    if shown.sum() == 0:
        return
    oracle = [
        float(multilabel_average_precision(scores[:, [label, label]], tags[:, [label, label]].long(), 2))
        for label in shown.nonzero().flatten()
    ]
    assert mean_average_precision(scores, tags) == pytest.approx(sum(oracle) / len(oracle), abs=1e-5)


class Brightness(nn.Module):
    """Its one map is the red channel at half resolution above one half."""

    backbone = SimpleNamespace(output_stride=2, anchor=lambda _: 0.5)

    def activation_maps(self, images: Tensor) -> Tensor:
        return interpolate(images[:, :1], scale_factor=0.5, mode="area").sub(0.5).relu()


def test_cams_of_several_views_are_the_sum_of_what_one_at_a_time_gives() -> None:
    network, images = Brightness(), torch.rand(2, 3, 32, 48)
    found = predict_cams(network, images, scales=(1.0, 0.5), flip=True)  # type: ignore[arg-type]
    slow = torch.zeros(2, 1, 8, 12)
    for size in ((32, 48), (16, 24)):
        shown = images if size == (32, 48) else interpolate(images, size, mode="bilinear", antialias=True)
        maps = network.activation_maps(shown)
        mirrored = network.activation_maps(shown.flip(-1)).flip(-1)
        slow += interpolate(maps, (8, 12), mode="bilinear") + interpolate(mirrored, (8, 12), mode="bilinear")
    torch.testing.assert_close(found, slow)
    assert (found >= 0).all()


class Sampled(nn.Module):
    """Its one map is every fourth pixel of the red channel, from the first on."""

    backbone = SimpleNamespace(output_stride=4, anchor=lambda _: 1 / 8)

    def activation_maps(self, images: Tensor) -> Tensor:
        return images[:, :1, ::4, ::4]


def test_cams_lie_where_the_features_were_computed_in_mirrored_views_too() -> None:
    # the red of a pixel tells how far right it is, so that what is read between two features is the place itself
    across = (torch.arange(48.0) / 48).expand(1, 3, 32, 48)
    found = predict_cams(Sampled(), across, scales=(1.0, 2.0), flip=True)  # type: ignore[arg-type]
    middles = (4 * torch.arange(12) + 1.5) / 48
    torch.testing.assert_close(found[0, 0, :, 1:-1] / 4, middles[1:-1].expand(8, -1))


def classifier(network: str, hidden: int = 0, classes: int = 3) -> Classifier:
    torch.manual_seed(0)
    backbone = build_timm_backbone(network) if "/" in network else build_backbone(network)
    found = Classifier(backbone, classes, hidden=hidden).eval()
    nn.init.normal_(found.head.weight)
    return found


@pytest.mark.parametrize("network", ["tiny", "timm/test_convnext", "timm/test_vit"])
def test_with_a_linear_head_grad_cam_is_the_class_activation_map_over_all_views(network: str) -> None:
    model, images = classifier(network), torch.rand(2, 3, 64, 80)
    with torch.no_grad():
        cams = predict_cams(model, images, scales=(1.0, 0.5), flip=True)
        found = predict_cams(model, images, scales=(1.0, 0.5), flip=True, method="gradcam")
    assert cams.amax(dim=(0, 2, 3)).min() > 0
    torch.testing.assert_close(found, cams, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", ["tiny", "timm/test_vit"])
@pytest.mark.parametrize(("method", "function"), [("gradcam", grad_cam), ("gradcam++", grad_cam_plus_plus)])
def test_maps_by_gradients_are_those_of_one_image_and_class_at_a_time(
    network: str, method: str, function: Callable[[Tensor, Tensor], Tensor]
) -> None:
    model, images = classifier(network, hidden=8), torch.rand(2, 3, 48, 64)
    with torch.no_grad():
        found = gradient_maps(model, images, method)
    assert found.amax(dim=(0, 2, 3)).min() > 0
    for image, maps in zip(images, found, strict=True):
        for label in range(3):
            features = model.features(image[None])
            (gradients,) = torch.autograd.grad(model.logits(features)[0, label], features)
            slow = function(features.detach(), gradients)[0] * (12 if method == "gradcam" else 1)
            torch.testing.assert_close(maps[label], slow, rtol=1e-4, atol=1e-5)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("method", ["gradcam", "gradcam++"])
def test_only_wanted_classes_have_a_map_and_cost_a_backward_pass(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = classifier("tiny", hidden=8), torch.rand(2, 3, 32, 32)
    wanted = torch.tensor([[True, False, False], [True, False, True]])
    everything = gradient_maps(model, images, method)
    passes, backward = [], torch.autograd.grad

    def counted(*given: Any, **named: Any) -> tuple[Tensor, ...]:
        passes.append(given)
        return backward(*given, **named)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    found = gradient_maps(model, images, method, wanted)
    assert len(passes) == 2
    torch.testing.assert_close(found, everything * wanted[:, :, None, None])
