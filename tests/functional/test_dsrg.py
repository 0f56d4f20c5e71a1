from collections.abc import Callable, Iterable, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from tests.drawing import picture
from wsss.errors import SettingsError
from wsss.functional.dense_crf import CrfSettings, dense_crf
from wsss.functional.dsrg import Crop, DsrgSettings, grow_online
from wsss.functional.region_growing import grow_regions
from wsss.types import IGNORE

PLAIN = DsrgSettings(stride=1, crf=CrfSettings(gaussian_compat=0.0, bilateral_compat=0.0))
"""Without kernels, and with a unary that the softmax undoes, the CRF gives back what it was given."""


def sure_of(labels: Tensor, sure: float, classes: int = 3) -> Tensor:
    """Probabilities that are this sure of each label, (1, K, H, W)."""
    hot = one_hot(labels.long(), classes).movedim(-1, 0).float()
    return (hot * sure + (1 - hot) * (1 - sure) / (classes - 1))[None]


def everything(classes: int = 3, batch: int = 1) -> Tensor:
    return torch.ones(batch, classes, dtype=torch.bool)


def test_seeds_grow_into_what_is_sure_and_connected_by_hand() -> None:
    seen = picture("0011", "0011", "0000", "2200")
    seeds = picture("...1", "....", "....", "....")[None].long()
    images = torch.zeros(1, 3, 4, 4)
    _, grown = grow_online(sure_of(seen, 0.9), seeds, images, everything(), PLAIN)
    # the 2 has no seed, and 0.9 is not enough for the background
    assert torch.equal(grown[0].byte(), picture("..11", "..11", "....", "...."))
    assert torch.equal(grow_online(sure_of(seen, 0.8), seeds, images, everything(), PLAIN)[1], seeds)
    surer = torch.where(seen == 0, 0.995, 0.9)
    shares = torch.cat([sure_of(seen, float(value)) for value in (0.9, 0.995)])
    both = shares[0].where(surer < 0.95, shares[1])[None]
    _, grown = grow_online(both, picture("...1", "....", "....", "..0.")[None].long(), images, everything(), PLAIN)
    assert torch.equal(grown[0].byte(), picture("0011", "0011", "0000", "..00"))


def test_seeds_do_not_grow_through_what_shows_no_part_of_the_image() -> None:
    # the background left and right of a thing is joined by the padding above
    seen = picture("0000", "0110", "0110")[None].long()
    seeds = picture("....", "0...", "....")[None].long()
    inside = torch.tensor([[[False], [True], [True]]]).expand(1, 3, 4)
    images, possible = torch.zeros(1, 3, 3, 4), everything()
    _, joined = grow_online(sure_of(seen[0], 0.999), seeds, images, possible, PLAIN)
    assert torch.equal(joined[0], picture("0000", "0..0", "0..0").long())
    _, apart = grow_online(sure_of(seen[0], 0.999), seeds, images, possible, PLAIN, inside=inside)
    assert torch.equal(apart[0], picture("....", "0...", "0...").long())


def test_an_absent_class_takes_part_in_the_crf_and_does_not_grow() -> None:
    seen, seeds = picture("0011", "2211"), picture("...1", "2...")[None].long()
    possible = torch.tensor([[True, True, False]])
    refined, grown = grow_online(sure_of(seen, 0.9), seeds, torch.zeros(1, 3, 2, 4), possible, PLAIN)
    assert torch.equal(grown[0].byte(), picture("..11", "2.11"))
    # among the two that may be there the network would be sure of one that it hardly believes in
    torch.testing.assert_close(refined, sure_of(seen, 0.9))


def scene(batch: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Noisy shares, sparse seeds, images that are twice as large, possible labels that differ."""
    g = torch.Generator().manual_seed(0)
    shares = (torch.randn(batch, 4, 6, 8, generator=g) * 3).softmax(dim=1)
    seeds = torch.randint(4, (batch, 6, 8), generator=g)
    seeds[torch.rand(seeds.shape, generator=g) < 0.8] = IGNORE
    possible = torch.tensor([[True] * 4, [True, False, True, False], [False, True, True, True]])[:batch]
    return shares, seeds, torch.rand(batch, 3, 12, 16, generator=g), possible


def test_a_batch_is_what_its_images_are_one_by_one() -> None:
    settings = DsrgSettings(foreground_threshold=0.6, background_threshold=0.7)
    shares, seeds, images, possible = scene()
    before = shares.clone(), seeds.clone()
    refined, grown = grow_online(shares, seeds, images, possible, settings)
    for place in range(3):
        cells = images[place].reshape(3, 6, 2, 8, 2).mean(dim=(2, 4))
        slow = dense_crf((cells * 255).round().byte(), shares[place], settings.crf, labels=range(4))
        torch.testing.assert_close(refined[place], slow)
        expected = grow_regions(
            slow, seeds[place], possible[place, 1:], foreground_threshold=0.6, background_threshold=0.7
        )
        assert torch.equal(grown[place], expected)
    assert torch.equal(shares, before[0])
    assert torch.equal(seeds, before[1])


def test_the_images_may_be_shared_out_to_other_processes() -> None:
    shares, seeds, images, possible = scene()
    sent: list[int] = []

    def elsewhere(function: Callable[[Crop], np.ndarray], crops: Sequence[Crop]) -> Iterable[np.ndarray]:
        for crop in crops:
            parcel = bytes(ForkingPickler.dumps((function, crop)))
            sent.append(len(parcel))
            there, item = ForkingPickler.loads(parcel)
            yield there(item)

    found = grow_online(shares, seeds, images, possible, DsrgSettings(), spread=elsewhere)
    for one, other in zip(found, grow_online(shares, seeds, images, possible, DsrgSettings()), strict=True):
        assert torch.equal(one, other)
    # 3 bytes and a float for each label, and what names them
    assert max(sent) < 6 * 8 * (3 + 4 * 4) + 1500


def test_where_no_label_is_possible_nothing_is_refined_and_nothing_grows() -> None:
    shares, seeds, images, possible = scene(2)
    possible[1], seeds[1] = False, IGNORE
    refined, grown = grow_online(shares, seeds, images, possible, DsrgSettings())
    assert refined[0].any()
    assert not refined[1].any()
    assert (grown[1] == IGNORE).all()


def test_a_background_that_is_no_class_takes_no_part() -> None:
    shares, seeds, images, possible = scene()
    possible[:, 0], seeds = False, torch.full_like(seeds, IGNORE)
    refined, _ = grow_online(shares, seeds, images, possible, DsrgSettings())
    assert not refined[:, 0].any()
    torch.testing.assert_close(refined.sum(dim=1), torch.ones(3, 6, 8))
    cells = images[0].reshape(3, 6, 2, 8, 2).mean(dim=(2, 4))
    slow = dense_crf((cells * 255).round().byte(), shares[0], DsrgSettings().crf, labels=[1, 2, 3])
    torch.testing.assert_close(refined[0], slow)


def test_the_defaults_are_those_of_the_paper() -> None:
    settings = DsrgSettings()
    assert (settings.stride, settings.foreground_threshold, settings.background_threshold) == (8, 0.85, 0.99)
    crf = settings.crf
    assert (crf.unary, crf.iterations, crf.gaussian_compat, crf.bilateral_compat) == ("linear", 10, 3.0, 10.0)
    assert (12 * crf.gaussian_sxy, 12 * crf.bilateral_sxy, crf.bilateral_srgb) == pytest.approx((3, 80, 13))
    assert crf.reference_side is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stride", 0),
        ("stride", 33),
        ("foreground_threshold", 1.1),
        ("background_threshold", -0.1),
        ("constrain_weight", -1.0),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"^{name} must"):
        DsrgSettings(**{name: value})
