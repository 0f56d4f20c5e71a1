import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from wsss.errors import SettingsError
from wsss.networks import timm_backbones
from wsss.networks.backbones import Backbone
from wsss.networks.classifier import Classifier
from wsss.networks.deeplabv3plus import DeepLabV3Plus
from wsss.networks.timm_backbones import build_timm_backbone, check_timm_backbone, full_name, possible_names, timm_names

CONVNEXT, EFFICIENTNET, VIT = "timm/test_convnext", "timm/test_efficientnet", "timm/test_vit"
"""Small relatives that timm keeps for tests."""


def pictures(count: int, height: int, width: int) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights of whole classifiers whose BatchNorms have seen something, in float16."""
    folder = tmp_path_factory.mktemp("weights")
    paths: dict[str, Path] = {}
    for name in (CONVNEXT, EFFICIENTNET, VIT):
        torch.manual_seed(1)
        state = timm.create_model(name.removeprefix("timm/")).state_dict()
        for key, value in state.items():
            if value.is_floating_point() and not key.endswith(("gamma", "pos_embed")):
                state[key] = (value + 0.02 * torch.rand_like(value)).half()
        paths[name] = folder / f"{name.removeprefix('timm/')}.pth"
        torch.save(state, paths[name])
    return paths


def whole(name: str, path: Path) -> Any:
    """The classifier of timm with these weights."""
    network = timm.create_model(name.removeprefix("timm/")).eval()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network


def normalised(network: Any, images: Tensor) -> Tensor:
    mean, deviation = (torch.tensor(network.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    return (images - mean) / deviation


CASES = [
    *((CONVNEXT, stride) for stride in (8, 16, 32)),
    *((EFFICIENTNET, stride) for stride in (8, 16, 32)),
    (VIT, 16),
    ("timm/test_mambaout", 32),
]


@pytest.mark.parametrize(("name", "output_stride"), CASES)
def test_features_have_the_promised_channels_and_strides_for_images_of_any_size(name: str, output_stride: int) -> None:
    backbone = build_timm_backbone(name, output_stride=output_stride).eval()
    for height, width in ((1, 1), (61, 75)):
        with torch.no_grad():
            low, high = backbone(pictures(1, height, width))
        assert low.shape == (1, backbone.low_channels, math.ceil(height / 4), math.ceil(width / 4))
        rows, columns = math.ceil(height / output_stride), math.ceil(width / output_stride)
        assert high.shape == (1, backbone.channels, rows, columns)
        assert high.isfinite().all()


def test_a_convolutional_network_computes_timms_features(weights: dict[str, Path]) -> None:
    network, images = whole(CONVNEXT, weights[CONVNEXT]), pictures(2, 64, 96)
    backbone = build_timm_backbone(CONVNEXT, output_stride=32, weights=str(weights[CONVNEXT])).eval()
    with torch.no_grad():
        found, wanted = backbone.levels(images), network.forward_intermediates(normalised(network, images))[1]
        low, high = backbone(images)
    assert [tuple(level.shape[2:]) for level in found] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    for level, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(level, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(low, found[0])
    assert torch.equal(high, found[-1])


def test_the_tokens_of_a_transformer_become_a_grid_without_the_class_token(weights: dict[str, Path]) -> None:
    network, images = whole(VIT, weights[VIT]), pictures(2, 160, 160)
    backbone = build_timm_backbone(VIT, weights=str(weights[VIT])).eval()
    with torch.no_grad():
        tokens = network.forward_features(normalised(network, images))
        low, high = backbone(images)
        first = backbone.levels(images)[0]
    assert tokens.shape == (2, 1 + 100, 64)
    torch.testing.assert_close(high, tokens[:, 1:].view(2, 10, 10, 64).permute(0, 3, 1, 2), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(low, interpolate(first, (40, 40), mode="bilinear", align_corners=False))


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("timm/resnet10t", 0),
        (EFFICIENTNET, 0),
        (CONVNEXT, 1.5),
        (VIT, 1.5),
        # padded behind only, as TensorFlow does
        ("timm/tf_mobilenetv3_small_minimal_100", 3),
    ],
)
def test_it_is_known_on_which_pixel_the_first_feature_is_centred(name: str, first: float) -> None:
    assert build_timm_backbone(name).anchor(4) * 4 - 0.5 == pytest.approx(first)


def test_patches_of_14_pixels_become_a_stride_of_16() -> None:
    torch.manual_seed(0)
    backbone = build_timm_backbone("timm/eva02_tiny_patch14_224").eval()
    images, shown = pictures(1, 32, 48), []
    backbone.network.patch_embed.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    with torch.no_grad():
        high = backbone(images)[1]
    assert high.shape == (1, 192, 2, 3)
    smaller = interpolate(images, (28, 42), mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(shown[0], normalised(backbone.network, smaller))


def test_an_image_is_filled_up_and_what_lies_beyond_it_cut_off() -> None:
    backbone, images = build_timm_backbone(EFFICIENTNET, output_stride=32).eval(), pictures(1, 40, 33)
    filled = nn.functional.pad(images, (0, 31, 0, 24), mode="replicate")
    with torch.no_grad():
        (low, high), (wide_low, wide_high) = backbone(images), backbone(filled)
    torch.testing.assert_close(low, wide_low[:, :, :10, :9])
    torch.testing.assert_close(high, wide_high[:, :, :2, :2])


def test_a_network_that_timm_does_not_dilate_is_dilated_as_timm_dilates_its_features() -> None:
    torch.manual_seed(0)
    found = build_timm_backbone("timm/mobilenetv3_small_050", output_stride=8).eval()
    oracle = timm.create_model("mobilenetv3_small_050", features_only=True, output_stride=8).eval()
    assert not oracle.load_state_dict(found.network.state_dict(), strict=False).missing_keys
    with torch.no_grad():
        wanted = oracle(normalised(found.network, pictures(1, 64, 96)))
        levels = found.levels(pictures(1, 64, 96))
    assert [level.shape[2] for level in levels] == [32, 16, 8, 8, 8]
    for level, expected in zip(levels, wanted, strict=True):
        torch.testing.assert_close(level, expected, rtol=1e-4, atol=1e-4)


def learning(backbone: Backbone) -> set[str]:
    return {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}


def moved(backbone: Backbone) -> set[str]:
    """Parts of the network whose statistics a forward pass in training changes."""
    before = {key: value.clone() for key, value in backbone.state_dict().items() if "running_mean" in key}
    backbone.train()(pictures(2, 32, 32))
    after = backbone.state_dict()
    return {".".join(key.split(".")[1:3]) for key in before if not torch.equal(before[key], after[key])}


EVERYWHERE = {"bn1.running_mean", *(f"blocks.{number}" for number in range(5))}


def test_frozen_stages_are_those_that_their_features_depend_on(weights: dict[str, Path]) -> None:
    path = str(weights[EFFICIENTNET])
    backbone = build_timm_backbone(EFFICIENTNET, weights=path, freeze_stages=2, freeze_batchnorm=False).train()
    low, high = backbone(pictures(2, 32, 32))
    high.mean().backward()
    taught = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert not low.requires_grad
    assert taught == learning(backbone)
    assert {".".join(name.split(".")[1:3]) for name in taught} == {f"blocks.{number}" for number in (2, 3, 4)}
    assert moved(backbone) == {f"blocks.{number}" for number in (2, 3, 4)}


def test_four_features_end_the_last_four_stages(weights: dict[str, Path]) -> None:
    backbone = build_timm_backbone(CONVNEXT, weights=str(weights[CONVNEXT]), freeze_stages=3)
    everything = {name for name, _ in backbone.named_parameters()}
    frozen = {".".join(name.split(".")[1:3]) for name in everything - learning(backbone)}
    assert frozen == {"stem.0", "stem.1", "stages.0", "stages.1"}


def test_five_parts_of_a_transformer_are_its_stages(weights: dict[str, Path]) -> None:
    backbone = build_timm_backbone(VIT, weights=str(weights[VIT]), freeze_stages=5)
    assert learning(backbone) == set()
    backbone = build_timm_backbone(VIT, weights=str(weights[VIT]), freeze_stages=3)
    assert {".".join(name.split(".")[1:3]) for name in learning(backbone)} == {"blocks.4", "blocks.5"}


def test_batchnorm_keeps_its_statistics_exactly_when_weights_are_loaded_unless_told(weights: dict[str, Path]) -> None:
    path = str(weights[EFFICIENTNET])
    assert moved(build_timm_backbone(EFFICIENTNET)) == EVERYWHERE
    assert moved(build_timm_backbone(EFFICIENTNET, freeze_batchnorm=True)) == set()
    assert moved(build_timm_backbone(EFFICIENTNET, weights=path)) == set()
    assert moved(build_timm_backbone(EFFICIENTNET, weights=path, freeze_batchnorm=False)) == EVERYWHERE


def test_a_backbone_that_rests_has_no_gradients_and_gathers_no_statistics(weights: dict[str, Path]) -> None:
    backbone = build_timm_backbone(EFFICIENTNET, weights=str(weights[EFFICIENTNET]), freeze_batchnorm=False)
    backbone.freeze_stages = 5
    assert moved(backbone) == set()
    assert not backbone(pictures(1, 32, 32))[1].requires_grad
    backbone.freeze_stages = 0
    assert moved(backbone) == EVERYWHERE


@pytest.mark.parametrize("name", [CONVNEXT, VIT])
def test_everything_behind_and_in_it_learns(name: str) -> None:
    torch.manual_seed(0)
    for network in (
        Classifier(build_timm_backbone(name), 3),
        DeepLabV3Plus(build_timm_backbone(name), 3, width=32, rates=(1, 2, 3)),
    ):
        found = network(pictures(2, 64, 64))
        assert found.shape == ((2, 3) if isinstance(network, Classifier) else (2, 3, 16, 16))
        found.square().sum().backward()
        assert [key for key, value in network.named_parameters() if value.grad is None] == []


def test_the_region_graph_sees_three_features() -> None:
    levels = Classifier(build_timm_backbone(VIT), 2).eval().levels(pictures(1, 32, 48))
    assert [tuple(level.shape[2:]) for level in levels] == [(2, 3)] * 3


def test_the_head_of_a_file_may_be_missing_but_nothing_else(weights: dict[str, Path], tmp_path: Path) -> None:
    state = torch.load(weights[VIT], weights_only=True)
    headless = {key: value for key, value in state.items() if not key.startswith("head.")}
    torch.save(headless, tmp_path / "headless.pth")
    backbone = build_timm_backbone(VIT, weights=str(tmp_path / "headless.pth"))
    torch.testing.assert_close(backbone.network.pos_embed, state["pos_embed"].float())
    del headless["pos_embed"]
    torch.save(headless, tmp_path / "less.pth")
    with pytest.raises(SettingsError, match="does not fit timm/test_vit: pos_embed is missing"):
        build_timm_backbone(VIT, weights=str(tmp_path / "less.pth"))
    with pytest.raises(SettingsError, match="does not fit timm/test_convnext"):
        build_timm_backbone(CONVNEXT, weights=str(weights[VIT]))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("timm/test_vitt", {}, "network must be a network of timm, got 'timm/test_vitt'"),
        (VIT, {"output_stride": 4}, "output_stride must be 8, 16 or 32, got 4"),
        (VIT, {"output_stride": 8}, "must be 16 for timm/test_vit.* set classifier.output_stride=16 and segmenter.out"),
        ("timm/edgenext_xx_small", {}, "output_stride must be 32 for timm/edgenext_xx_small"),
        (
            "timm/test_vit_relpos",
            {},
            "does not support images of any size .* choose another, such as timm/convnext_atto",
        ),
        (VIT, {"freeze_stages": 1}, "freeze_stages must be 0 where no weights are loaded, got 1"),
        (VIT, {"weights": "nowhere.pth"}, "no file 'nowhere.pth'"),
        ("timm/test_vit_relpos", {"weights": "imagenet"}, "must be none or a file for timm/test_vit_relpos"),
    ],
)
def test_what_is_impossible_is_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_timm_backbone(name, **settings)


@pytest.mark.parametrize(
    ("name", "output_stride"), [*CASES, (VIT, 8), ("timm/edgenext_xx_small", 16), ("timm/test_vit_relpos", 16)]
)
def test_what_would_be_refused_is_told_without_making_the_network(name: str, output_stride: int) -> None:
    def answer(of: Callable[..., object]) -> str | None:
        try:
            of(name, output_stride=output_stride)
        except SettingsError as error:
            return str(error)
        return None

    assert answer(check_timm_backbone) == answer(build_timm_backbone)


def test_stages_that_a_network_does_not_have_are_not_frozen(weights: dict[str, Path]) -> None:
    with pytest.raises(SettingsError, match=r"freeze_stages must be 0 or at least 2 for timm/test_convnext.*, got 1"):
        build_timm_backbone(CONVNEXT, weights=str(weights[CONVNEXT]), freeze_stages=1)


def test_a_download_that_fails_says_what_to_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, *, pretrained: bool, **_: Any) -> None:
        assert pretrained
        raise OSError(f"no way to {name}")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(
        SettingsError, match=r"fetch the weights of timm/test_vit.r160_in1k on another machine and set weights"
    ):
        build_timm_backbone(VIT, weights="imagenet")


def test_pretrained_weights_are_timms(monkeypatch: pytest.MonkeyPatch, weights: dict[str, Path]) -> None:
    create, asked = timm.create_model, []

    def created(name: str, *, pretrained: bool, **settings: Any) -> Any:
        asked.append((name, pretrained))
        overlay = {"state_dict": torch.load(weights[VIT], weights_only=True)}
        return create(name, pretrained=pretrained, pretrained_cfg_overlay=overlay, **settings)

    monkeypatch.setattr(timm_backbones, "load_weights", None)
    monkeypatch.setattr(timm, "create_model", created)
    backbone = build_timm_backbone("timm/test_vit.r160_in1k", weights="imagenet")
    assert set(asked) == {("test_vit.r160_in1k", True)}
    monkeypatch.undo()
    expected = build_timm_backbone(VIT, weights=str(weights[VIT]))
    torch.testing.assert_close(backbone.state_dict(), expected.state_dict())


def test_names_are_timms_with_or_without_the_weights_they_stand_for() -> None:
    assert {"timm/convnext_atto", "timm/efficientnet_b0", "timm/vit_tiny_patch16_224"} <= set(timm_names())
    assert possible_names("timm/resnet9999.a1_in1k") == timm_names()
    assert "timm/convnext_atto.d2_in1k" in possible_names("timm/convnext_atto.d3_in1k")
    assert full_name("timm/convnext_atto") == full_name("timm/convnext_atto.d2_in1k") == "timm/convnext_atto.d2_in1k"
    assert full_name("timm/test_mambaout") == "timm/test_mambaout"
