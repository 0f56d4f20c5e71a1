import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torchvision import models
from torchvision.ops import SqueezeExcitation
from torchvision.transforms.functional import normalize

from tests.networks.shared_weights import MOBILENET, needs_mobilenet
from wsss.errors import SettingsError
from wsss.networks.backbones import (
    BACKBONES,
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    Backbone,
    build_backbone,
    replace_stride_with_dilation,
)


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a ResNet-18 whose BatchNorms have seen something."""
    torch.manual_seed(0)
    network = models.resnet18()
    for norm in [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]:
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert tensor is not None
            nn.init.uniform_(tensor, 0.5, 1.0)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(network.state_dict(), path)
    return path


def pictures(count: int, height: int, width: int) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "output_stride"),
    [(name, stride) for name, body in BACKBONES.items() for stride in (8, 16, 32) if stride <= body.stride],
)
def test_features_have_the_promised_channels_and_strides(name: str, output_stride: int) -> None:
    backbone = build_backbone(name, output_stride=output_stride).eval()
    with torch.no_grad():
        low, high = backbone(pictures(1, 64, 75))
    assert low.shape == (1, backbone.low_channels, 16, math.ceil(75 / 4))
    assert high.shape == (1, backbone.channels, 64 // output_stride, math.ceil(75 / output_stride))


@pytest.mark.parametrize("name", BACKBONES)
def test_an_image_of_one_pixel_has_features(name: str) -> None:
    with torch.no_grad():
        low, high = build_backbone(name, output_stride=8).eval()(pictures(1, 1, 1))
    assert low.shape[2:] == high.shape[2:] == (1, 1)
    assert high.isfinite().all()


@needs_mobilenet
def test_mobilenet_with_real_weights_computes_torchvisions_features() -> None:
    network = models.mobilenet_v2()
    network.load_state_dict(torch.load(MOBILENET, weights_only=True))
    images = pictures(2, 96, 64)
    with torch.no_grad():
        low, high = build_backbone("mobilenet_v2", output_stride=32, weights=str(MOBILENET))(images)
        normalised = normalize(images, list(IMAGENET_MEAN), list(IMAGENET_DEVIATION))
        torch.testing.assert_close(high, network.eval().features(normalised), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(low, network.features[:4](normalised), rtol=1e-3, atol=1e-3)


def test_resnet_with_loaded_weights_computes_torchvisions_features(resnet_file: Path) -> None:
    network = models.resnet18()
    network.load_state_dict(torch.load(resnet_file, weights_only=True))
    network.fc = nn.Identity()
    images = pictures(2, 64, 96)
    with torch.no_grad():
        _, high = build_backbone("resnet18", output_stride=32, weights=str(resnet_file))(images)
        wanted = network.eval()(normalize(images, list(IMAGENET_MEAN), list(IMAGENET_DEVIATION)))
    torch.testing.assert_close(high.mean(dim=(2, 3)), wanted, rtol=1e-4, atol=1e-4)


def test_mobilenet_v3_computes_torchvisions_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = models.mobilenet_v3_small()
    torch.save(network.half().state_dict(), tmp_path / "half.pth")
    images = pictures(2, 64, 96)
    with torch.no_grad():
        low, high = build_backbone("mobilenet_v3_small", output_stride=32, weights=str(tmp_path / "half.pth"))(images)
        normalised = normalize(images, list(IMAGENET_MEAN), list(IMAGENET_DEVIATION))
        torch.testing.assert_close(high, network.float().eval().features(normalised), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(low, network.features[:2](normalised), rtol=1e-3, atol=1e-4)


def test_squeezenet_computes_torchvisions_features_away_from_the_edges(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = models.squeezenet1_1().eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    images = pictures(1, 320, 320)
    with torch.no_grad():
        _, high = build_backbone("squeezenet", weights=str(tmp_path / "weights.pth"))(images)
        # its layers begin 1, 2, 4 and 8 pixels further left than torchvision's
        shifted = nn.functional.pad(normalize(images, list(IMAGENET_MEAN), list(IMAGENET_DEVIATION)), (15, 0, 15, 0))
        wanted = network.features(shifted)
    torch.testing.assert_close(high[:, :, 8:12, 8:12], wanted[:, :, 8:12, 8:12], rtol=1e-4, atol=1e-5)
    assert wanted[:, :, 8:12, 8:12].std() > 0


@pytest.mark.parametrize(
    ("name", "output_stride"),
    [("mobilenet_v2", 8), ("mobilenet_v2", 16), ("resnet18", 8), ("resnet50", 16), ("squeezenet", 8)],
)
def test_a_dilated_network_equals_the_strided_one_where_both_have_a_position(name: str, output_stride: int) -> None:
    torch.manual_seed(0)
    undilated = BACKBONES[name].stride
    strided = build_backbone(name, output_stride=undilated, freeze_batchnorm=True)
    dilated = build_backbone(name, output_stride=output_stride, freeze_batchnorm=True)
    dilated.load_state_dict(strided.state_dict())
    # odd sizes, so that the last position at stride 32 lies at the edge
    images, step = pictures(1, 65, 33), undilated // output_stride
    with torch.no_grad():
        low, high = strided(images)
        dilated_low, dilated_high = dilated(images)
    spread = float(high.std())
    torch.testing.assert_close(dilated_high[:, :, ::step, ::step], high, rtol=1e-3, atol=1e-3 * spread)
    torch.testing.assert_close(dilated_low, low)
    assert spread > 0


def test_dilation_is_worked_out_by_hand() -> None:
    stages: list[nn.Module] = [nn.Conv2d(1, 1, 3, stride=2, padding=1) for _ in range(4)]
    stages.append(nn.Sequential(nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.Conv2d(1, 1, 3, padding=1)))
    replace_stride_with_dilation(stages, 8)
    convs = [module for stage in stages for module in stage.modules() if isinstance(module, nn.Conv2d)]
    assert [conv.stride[0] for conv in convs] == [2, 2, 2, 1, 1, 1]
    assert [conv.dilation[0] for conv in convs] == [1, 1, 1, 1, 2, 4]
    assert [conv.padding[0] for conv in convs] == [1, 1, 1, 1, 2, 4]


def statistics(backbone: Backbone) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in backbone.state_dict().items() if "running" in key}


def moved(backbone: Backbone) -> set[str]:
    """Names of the stages whose statistics a forward pass in training changes."""
    before = statistics(backbone)
    backbone.train()(pictures(2, 32, 32))
    after = statistics(backbone)
    assert before
    return {key.split(".")[1] for key in before if not torch.equal(before[key], after[key])}


def test_frozen_batchnorm_keeps_its_statistics_in_training(resnet_file: Path) -> None:
    assert moved(build_backbone("resnet18", weights=str(resnet_file))) == set()


def test_batchnorm_that_is_not_frozen_follows_the_images(resnet_file: Path) -> None:
    assert moved(build_backbone("resnet18")) == set("01234")
    assert moved(build_backbone("resnet18", weights=str(resnet_file), freeze_batchnorm=False)) == set("01234")


def test_batchnorm_of_frozen_stages_is_frozen_in_any_case(resnet_file: Path) -> None:
    backbone = build_backbone("resnet18", weights=str(resnet_file), freeze_batchnorm=False, freeze_stages=2)
    assert moved(backbone) == set("234")


def test_stages_that_rest_for_a_while_gather_no_statistics_until_they_learn_again(resnet_file: Path) -> None:
    backbone = build_backbone("resnet18", weights=str(resnet_file), freeze_batchnorm=False)
    backbone.freeze_stages = 3
    assert moved(backbone) == set("34")
    backbone.freeze_stages = 5
    assert moved(backbone) == set()
    backbone.freeze_stages = 0
    assert moved(backbone) == set("01234")


def test_frozen_stages_get_no_gradients_and_the_others_do(resnet_file: Path) -> None:
    backbone = build_backbone("resnet18", weights=str(resnet_file), freeze_stages=2).train()
    low, high = backbone(pictures(2, 32, 32))
    high.mean().backward()
    taught = {name.split(".")[1] for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    learning = {name.split(".")[1] for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert not low.requires_grad
    assert taught == learning == set("234")


def test_scale_and_shift_of_a_frozen_batchnorm_still_learn(resnet_file: Path) -> None:
    backbone = build_backbone("resnet18", weights=str(resnet_file)).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    optimizer = torch.optim.SGD(backbone.parameters(), lr=1.0)
    backbone(pictures(2, 32, 32))[1].square().mean().backward()
    optimizer.step()
    after = backbone.state_dict()
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert kept == {name for name in before if "running" in name or "num_batches" in name}
    assert len(kept) < len(before)


def test_frozen_and_free_networks_can_load_each_other(resnet_file: Path) -> None:
    frozen = build_backbone("resnet18", weights=str(resnet_file), freeze_stages=1)
    free = build_backbone("resnet18").eval()
    free.load_state_dict(frozen.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(free(pictures(1, 32, 32)), frozen(pictures(1, 32, 32)), rtol=1e-4, atol=1e-4)


def test_no_gradients_stays_no_gradients(resnet_file: Path) -> None:
    with torch.no_grad():
        _, high = build_backbone("resnet18", weights=str(resnet_file), freeze_stages=1)(pictures(1, 32, 32))
    assert not high.requires_grad


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet19", {}, "network must be one of tiny, mobilenet_v2, .*, resnet50, got 'resnet19'"),
        ("squeezenet", {"output_stride": 32}, "output_stride must be 8 or 16 for squeezenet, got 32"),
        ("tiny", {"output_stride": 4}, "output_stride must be 8, 16 or 32, got 4"),
        ("tiny", {"weights": "imagenet"}, "weights must be none for tiny, got 'imagenet'"),
        ("resnet18", {"freeze_stages": 1}, "freeze_stages must be 0 where no weights are loaded, got 1"),
        ("resnet18", {"weights": "resnet18.pth"}, "no file 'resnet18.pth'"),
    ],
)
def test_what_is_impossible_is_refused(name: str, settings: dict[str, int | str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_backbone(name, **settings)  # type: ignore[arg-type]


def test_more_frozen_stages_than_there_are_are_refused(resnet_file: Path) -> None:
    with pytest.raises(SettingsError, match=r"freeze_stages must lie in \[0, 5\], got 6"):
        build_backbone("resnet18", weights=str(resnet_file), freeze_stages=6)


def test_weights_of_one_network_do_not_fit_another(resnet_file: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"resnet18\.pth' does not fit mobilenet_v2: features\.0\.0\.weight is missing"
    ):
        build_backbone("mobilenet_v2", weights=str(resnet_file))


def average(conv: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
    assert isinstance(conv, nn.Conv2d)
    weight = torch.full_like(conv.weight, 1 / conv.weight[0].numel())
    return conv2d(inputs[0], weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)  # type: ignore[arg-type]


def boxed(module: nn.Module) -> None:
    """Leave only where a network looks: plain averages for convolutions and poolings, and nothing that sees it all."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d):
            child.register_forward_hook(average)
        elif isinstance(child, nn.MaxPool2d):
            setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
        elif isinstance(child, nn.BatchNorm2d | nn.GroupNorm | SqueezeExcitation | nn.ReLU6 | nn.Hardswish):
            setattr(module, name, nn.Identity())
        else:
            boxed(child)


@pytest.mark.parametrize("name", [name for name, body in BACKBONES.items() if body.pretrained])
def test_features_are_centred_where_the_backbone_says(name: str) -> None:
    backbone = build_backbone(name, output_stride=16)
    boxed(backbone.stages)
    image = torch.full((1, 3, 257, 257), 0.5).requires_grad_()
    for level, stride in zip(backbone.levels(image)[1:], backbone.strides[1:], strict=True):
        cell = level.shape[2] // 2
        (seen,) = torch.autograd.grad(level[0, :, cell, cell].sum(), image, retain_graph=True)
        weights = seen.sum(dim=(0, 1, 2))
        centre = float((weights * torch.arange(257)).sum() / weights.sum())
        assert centre == pytest.approx((cell + backbone.anchor(stride)) * stride - 0.5, abs=0.01)
