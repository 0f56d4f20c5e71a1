import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, interpolate

from wsss.networks import NETWORKS
from wsss.networks.backbones import Backbone, build_backbone
from wsss.networks.deeplabv3plus import AtrousPyramid, DeepLabV3Plus, aspp_rates


def test_it_is_among_the_networks() -> None:
    assert NETWORKS["deeplabv3plus"] is DeepLabV3Plus


@pytest.mark.parametrize("size", [(64, 64), (61, 75), (1, 1)])
def test_logits_come_at_a_quarter_of_any_size(size: tuple[int, int]) -> None:
    network = DeepLabV3Plus(build_backbone("tiny", output_stride=8), 7, width=32).eval()
    with torch.no_grad():
        logits = network(torch.rand(2, 3, *size))
    assert logits.shape == (2, 7, -(-size[0] // 4), -(-size[1] // 4))
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("stride", "crop", "rates"),
    [(16, 513, (6, 12, 18)), (8, 513, (12, 24, 36)), (32, 513, (3, 6, 9)), (16, 256, (3, 6, 9)), (32, 64, (1, 2, 3))],
)
def test_dilations_reach_over_the_same_share_of_any_crop(stride: int, crop: int, rates: tuple[int, int, int]) -> None:
    assert aspp_rates(stride, crop) == rates


def test_each_far_branch_sees_only_its_distance() -> None:
    pyramid = AtrousPyramid(2, 8, (3,)).eval()
    pyramid.far[0][2] = nn.Identity()  # type: ignore[index, operator]  # a norm over the image sees everything
    features = torch.zeros(1, 2, 9, 9, requires_grad=True)
    branch = pyramid.far[0](features)
    # before the ReLU, whose gradient at 0 is 0
    linear = pyramid.far[0][1](pyramid.far[0][0](features))  # type: ignore[index]
    (seen,) = torch.autograd.grad(linear[:, :, 4, 4].sum(), features)
    rows, columns = seen[0].abs().sum(dim=0).nonzero().unbind(dim=1)
    assert branch.shape == (1, 8, 9, 9)
    assert set(rows.tolist()) == set(columns.tolist()) == {1, 4, 7}


def test_merging_by_a_sum_is_one_convolution_of_both_concatenated() -> None:
    torch.manual_seed(0)
    network = DeepLabV3Plus(build_backbone("tiny"), 3, width=32).eval()
    wide, low = torch.rand(1, 32, 4, 5), torch.rand(1, network.backbone.low_channels, 16, 20)
    enlarged = interpolate(wide, (16, 20), mode="bilinear", align_corners=False)
    weight = torch.cat([network.context.weight, network.detail.weight], dim=1)
    with torch.no_grad():
        wanted = conv2d(torch.cat([enlarged, low], dim=1), weight)
        sooner = interpolate(network.context(wide), (16, 20), mode="bilinear", align_corners=False)
        torch.testing.assert_close(sooner + network.detail(low), wanted, rtol=1e-4, atol=1e-4)


class Ruler(Backbone):
    """A backbone whose features tell the pixel that they are centred on: the first of its block."""

    def __init__(self) -> None:
        super().__init__([], low_channels=1, channels=1, output_stride=16)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        across = torch.arange(float(images.shape[3])).expand(1, 1, images.shape[2], -1)
        return across[:, :, ::4, ::4], across[:, :, ::16, ::16]


def test_features_are_enlarged_to_where_they_belong() -> None:
    network = DeepLabV3Plus(Ruler(), 1, width=1, rates=(1,)).eval()
    network.pyramid = network.decoder = network.merge = nn.Identity()  # type: ignore[assignment]
    for layer in (network.context, network.direct):
        nn.init.ones_(layer.weight)
    nn.init.zeros_(network.detail.weight)
    nn.init.zeros_(network.head.weight)
    nn.init.zeros_(network.head.bias)  # type: ignore[arg-type]
    logits, context = network.look(torch.zeros(1, 3, 16, 64))
    # beyond the last feature, on pixel 48, there is nothing to read between
    assert context[0, 0, 0, :13].tolist() == [4 * cell for cell in range(13)]
    assert logits[0, 0, 0, :12].tolist() == [4 * cell + 1.5 for cell in range(12)]
    assert logits[0, 0, 0, 12:].tolist() == [48] * 4


def test_the_last_features_vote_directly_too() -> None:
    network = DeepLabV3Plus(build_backbone("tiny", output_stride=8), 3, width=32).eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()  # type: ignore[union-attr]
        votes = network.direct(network.backbone(images)[1])
        wanted = interpolate(votes, (8, 8), mode="bilinear", align_corners=False)
        torch.testing.assert_close(network(images), wanted)


def test_an_image_has_the_same_logits_in_any_company() -> None:
    network = DeepLabV3Plus(build_backbone("tiny", output_stride=8), 3, width=32, dropout=0).train()
    images = torch.rand(3, 3, 40, 48)
    with torch.no_grad():
        together, alone = network(images), torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_every_part_of_the_head_learns() -> None:
    torch.manual_seed(0)
    network = DeepLabV3Plus(build_backbone("tiny", output_stride=8), 3, width=32, rates=(1, 2, 3))
    cross_entropy(network(torch.rand(2, 3, 64, 64)), torch.randint(0, 3, (2, 16, 16))).backward()
    silent = [
        name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert silent == []
