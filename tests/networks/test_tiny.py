import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from wsss.networks.backbones import build_backbone
from wsss.networks.classifier import Classifier
from wsss.networks.tiny import StandardisedConv2d, group_norm


def textures(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images with a patch of stripes, lying or standing, somewhere in noise."""
    images = torch.rand(count, 3, 64, 64, generator=generator)
    labels = torch.randint(0, 2, (count,), generator=generator)
    stripes = (torch.arange(24) // 3 % 2).float().expand(3, 24, 24)
    for image, label in zip(images, labels.tolist(), strict=True):
        top, left = torch.randint(0, 40, (2,), generator=generator).tolist()
        image[:, top : top + 24, left : left + 24] = stripes if label else stripes.mT
    return images, labels


def test_it_learns_small_textures_from_scratch_in_a_few_steps() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network = Classifier(build_backbone("tiny", output_stride=16), 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(40):
        images, labels = textures(16, generator)
        optimizer.zero_grad()
        cross_entropy(network(images), labels).backward()
        optimizer.step()
    images, labels = textures(64, generator)
    with torch.no_grad():
        share_right = (network.eval()(images).argmax(dim=1) == labels).float().mean()
    assert share_right > 0.9


def test_it_is_small() -> None:
    assert 200_000 < sum(parameter.numel() for parameter in build_backbone("tiny").parameters()) < 500_000


def test_an_image_has_the_same_features_in_any_company() -> None:
    network = build_backbone("tiny").train()
    images = torch.rand(3, 3, 40, 48)
    with torch.no_grad():
        together, alone = network(images)[1], torch.cat([network(image[None])[1] for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_standardised_kernels_have_mean_zero_and_norm_one_whatever_they_were() -> None:
    torch.manual_seed(0)
    conv = StandardisedConv2d(4, 5, 3, padding=1, bias=False)
    images = torch.rand(1, 4, 6, 6)
    kernels = conv.weight.detach().flatten(1)
    wanted = kernels - kernels.mean(dim=1, keepdim=True)
    wanted = wanted / wanted.norm(dim=1, keepdim=True)
    plain = nn.functional.conv2d(images, wanted.view_as(conv.weight), padding=1)
    torch.testing.assert_close(conv(images), plain, rtol=1e-2, atol=1e-2)
    with torch.no_grad():
        conv.weight.mul_(10).add_(3)
        torch.testing.assert_close(conv(images), plain, rtol=1e-2, atol=1e-2)


def test_groups_hold_32_channels_where_they_can() -> None:
    assert [group_norm(channels).num_groups for channels in (24, 32, 40, 64, 128)] == [1, 1, 1, 2, 4]
