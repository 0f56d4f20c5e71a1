from pathlib import Path
from typing import Any

import pytest
import torch

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, enlarged, finished, given_weights, painted, workbench
from wsss.errors import DataError
from wsss.stages.networks import (
    NetworkPlan,
    build_classifier,
    build_segmenter,
    load_classifier,
    load_segmenter,
    on_grid,
    weights_of,
)
from wsss.tasks.settings import ClassifierSettings, SegmenterSettings

CLASSIFIER = NetworkPlan("tiny", ClassifierSettings(), "none")
SEGMENTER = SegmenterSettings(width=16)
CPU = torch.device("cpu")


def bench_in(folder: Path) -> Any:
    return workbench(folder, DrawnDataset({"one": enlarged(picture("01"), 8)}))


def test_the_fingerprint_of_a_file_is_its_content(tmp_path: Path) -> None:
    for name, content in {"a.pth": b"one", "b.pth": b"one", "c.pth": b"two"}.items():
        (tmp_path / name).write_bytes(content)
    first, same, other = (
        NetworkPlan("resnet18", ClassifierSettings(), str(tmp_path / name)).fingerprint
        for name in ("a.pth", "b.pth", "c.pth")
    )
    assert first == same
    assert first != other
    assert str(tmp_path) not in str(first)


@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_named_weights_are_named(weights: str) -> None:
    found = NetworkPlan("resnet18", ClassifierSettings(), weights).fingerprint
    assert found == {"backbone": "resnet18", "hidden": 0, "weights": weights}


def test_a_network_of_timm_is_named_with_the_weights_that_it_stands_for() -> None:
    found = NetworkPlan("timm/test_vit", ClassifierSettings(), "imagenet", hidden=8).fingerprint
    assert found == {"backbone": "timm/test_vit.r160_in1k", "weights": "imagenet", "hidden": 8}


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_efficientnet", "squeezenet", "mobilenet_v3_small"])
def test_networks_of_every_house_come_back_as_they_were_kept(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    first = NetworkPlan(name, ClassifierSettings(), "none", hidden=8)
    second = NetworkPlan(name, SEGMENTER, "none")
    classifier, segmenter = build_classifier(first, 2), build_segmenter(second, SEGMENTER, 3)
    images, bench = torch.rand(1, 3, 40, 56), bench_in(tmp_path)
    for network in (classifier, segmenter):
        network.train()(torch.rand(2, 3, 32, 32))  # BatchNorm has seen something
    kept = [
        finished(bench, given_weights(part, weights_of(network.eval())))
        for part, network in {"classifier": classifier, "segmenter": segmenter}.items()
    ]
    with torch.inference_mode():
        found = (
            load_classifier(first, 2, kept[0], CPU)(images),
            load_segmenter(second, SEGMENTER, kept[1], CPU)(images),
        )
        torch.testing.assert_close(found, (classifier(images), segmenter(images)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_efficientnet", "squeezenet", "resnet18"])
def test_segmenters_of_every_house_start_from_a_classifier_of_another_stride(tmp_path: Path, name: str) -> None:
    classifier = build_classifier(NetworkPlan(name, ClassifierSettings(output_stride=16), "none", hidden=8), 2)
    start = finished(bench_in(tmp_path), given_weights("classifier", weights_of(classifier)))
    learning = SegmenterSettings(output_stride=16 if name == "timm/test_vit" else 8, freeze_stages=1)
    plan = NetworkPlan(name, learning, "classifier")
    plan.check("segmenter")
    segmenter = build_segmenter(plan, learning, 3, start=start)
    learnt = classifier.backbone.state_dict()
    assert all(torch.equal(value, learnt[key]) for key, value in segmenter.backbone.state_dict().items())
    # as with any other loaded weights
    assert segmenter.backbone.freeze_batchnorm


def test_missing_weights_are_named_with_the_cure() -> None:
    with pytest.raises(DataError, match=r"'nowhere\.pth' can't be read .* give none, imagenet or the path of a file"):
        _ = NetworkPlan("resnet18", ClassifierSettings(), "nowhere.pth").fingerprint


def test_a_classifier_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_classifier(CLASSIFIER, 2).eval()
    bench = bench_in(tmp_path)
    artefact = finished(bench, given_weights("classifier", weights_of(network)))
    loaded = load_classifier(CLASSIFIER, 2, artefact, CPU)
    images = torch.rand(2, 3, 40, 56)
    assert not loaded.training
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), network(images))


def test_a_segmenter_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    settings = NetworkPlan("tiny", SEGMENTER, "none")
    torch.manual_seed(0)
    network = build_segmenter(settings, SEGMENTER, 3).eval()
    artefact = finished(bench_in(tmp_path), given_weights("segmenter", weights_of(network)))
    loaded = load_segmenter(settings, SEGMENTER, artefact, CPU)
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), network(images), atol=1e-5, rtol=1e-4)


def test_what_is_trained_needs_no_other_weights() -> None:
    absent = NetworkPlan("resnet18", ClassifierSettings(freeze_stages=2), "nowhere.pth")
    assert build_classifier(absent, 2, trained=True).head.out_channels == 2


def test_weights_are_kept_plain() -> None:
    network = build_classifier(CLASSIFIER, 2).to(memory_format=torch.channels_last)
    for value in weights_of(network).values():
        assert value.is_contiguous()
        assert not value.requires_grad


@pytest.mark.parametrize(
    ("size", "scale", "shown"),
    [
        ((64, 96), 1.0, (64, 96)),
        ((64, 96), 0.5, (32, 64)),
        ((64, 96), 1.5, (96, 128)),
        ((32, 32), 0.25, (32, 32)),
    ],
)
def test_images_are_shown_on_the_grid(size: tuple[int, int], scale: float, shown: tuple[int, int]) -> None:
    images = [painted(enlarged(picture("012", "120"), 10)), painted(enlarged(picture("0"), 50))]
    batch = on_grid(images, size, CPU, scale)
    assert tuple(batch.shape) == (2, 3, *shown)
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_an_image_of_the_size_is_shown_as_it_is() -> None:
    image = painted(enlarged(picture("01", "20"), 16))
    torch.testing.assert_close(on_grid([image], (32, 32), CPU)[0], image.float() / 255)


def test_a_resized_image_keeps_its_colours_and_its_range() -> None:
    image = torch.zeros(3, 50, 60, dtype=torch.uint8)
    image[0], image[1, :, 30:] = 255, 255
    batch = on_grid([image], (64, 64), CPU)[0]
    assert (batch[0] > 0.999).all()
    assert batch[2].max() == 0
    assert batch.max() <= 1
    assert float(batch[1].mean()) == pytest.approx(0.5, abs=0.01)
