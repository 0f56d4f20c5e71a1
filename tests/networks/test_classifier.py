import pytest
import torch
from torch import Tensor, nn

from wsss.errors import SettingsError
from wsss.networks.backbones import Backbone, build_backbone
from wsss.networks.classifier import Classifier


def plain_backbone() -> Backbone:
    """A backbone that only averages: every feature is the mean colour of its patch, after ImageNet's normalisation."""
    stages = [nn.AvgPool2d(2) for _ in range(3)] + [nn.Identity(), nn.Identity()]
    return Backbone(stages, low_channels=3, channels=3, output_stride=8)


def test_a_map_is_what_each_place_says_and_the_logit_is_their_mean() -> None:
    network = Classifier(plain_backbone(), 2)
    with torch.no_grad():
        network.head.weight.copy_(torch.tensor([[1.0, 0, 0], [0, -1, 2]]).view(2, 3, 1, 1))
    left, right = torch.tensor([0.2, 0.4, 0.6]), torch.tensor([0.9, 0.1, 0.5])
    image = torch.cat([colour.view(3, 1, 1).expand(3, 8, 8) for colour in (left, right)], dim=2)[None]
    red, green, blue = (
        torch.stack([left, right], dim=1) - torch.tensor([0.485, 0.456, 0.406])[:, None]
    ) / torch.tensor([0.229, 0.224, 0.225])[:, None]
    wanted = torch.stack([red, 2 * blue - green])
    torch.testing.assert_close(network.activation_maps(image)[0, :, 0], wanted.relu())
    torch.testing.assert_close(network(image)[0], wanted.mean(dim=1))


def test_maps_are_what_the_head_finds_in_the_features() -> None:
    network = Classifier(build_backbone("tiny", output_stride=8), 5).eval()
    images = torch.rand(2, 3, 40, 48)
    with torch.no_grad():
        features, maps = network.features(images), network.activation_maps(images)
    assert features.shape == (2, 128, 5, 6)
    by_hand: Tensor = torch.einsum("bdhw,cd->bchw", features, network.head.weight.flatten(1))
    torch.testing.assert_close(maps, by_hand.relu())


def test_a_place_without_features_speaks_for_no_class() -> None:
    network = Classifier(plain_backbone(), 4)
    mean_colour = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    assert network.activation_maps(mean_colour).abs().max() < 1e-6


def test_levels_are_the_features_from_stride_8_on() -> None:
    network = Classifier(build_backbone("tiny", output_stride=16), 5).eval()
    images = torch.rand(1, 3, 64, 80)
    with torch.no_grad():
        levels = network.levels(images)
        assert [tuple(level.shape[2:]) for level in levels] == [(8, 10), (4, 5), (4, 5)]
        torch.testing.assert_close(levels[-1], network.features(images))


def test_a_hidden_layer_stands_behind_the_average() -> None:
    torch.manual_seed(0)
    network = Classifier(plain_backbone(), 4, hidden=6)
    images = torch.rand(2, 3, 16, 24)
    assert network.hidden is not None
    into, outof = network.hidden[0], network.head
    assert isinstance(into, nn.Conv2d)
    assert into.bias is not None
    with torch.no_grad():
        pooled = network.features(images).mean(dim=(2, 3))
        wanted = (pooled @ into.weight.flatten(1).T + into.bias).relu() @ outof.weight.flatten(1).T
        torch.testing.assert_close(network(images), wanted)
    with pytest.raises(SettingsError, match=r"cams.method must be gradcam or gradcam\+\+ with a hidden layer"):
        network.activation_maps(images)
