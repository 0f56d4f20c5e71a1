import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from tests.drawing import picture
from wsss.errors import SettingsError
from wsss.functional.dense_crf import CrfSettings, dense_crf

UNSCALED = CrfSettings(reference_side=None)


def noisy_case(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a bright box on a dark ground and scores that are wrong in a third of the pixels."""
    g = torch.Generator().manual_seed(seed)
    truth = torch.zeros(18, 24, dtype=torch.long)
    truth[4:13, 5:18] = 1
    colours = torch.tensor([[60.0, 60, 60], [220, 190, 190]])
    image = (colours[truth].movedim(-1, 0) + 4 * torch.randn(3, 18, 24, generator=g)).clamp(0, 255).byte()
    scores = (one_hot(truth, 3).movedim(-1, 0) + 0.8 * torch.randn(3, 18, 24, generator=g)).softmax(dim=0)
    return image, scores, truth


def kernel(features: Tensor) -> Tensor:
    weights = torch.exp(-(torch.cdist(features, features) ** 2) / 2)
    norms = weights.sum(dim=1).rsqrt()
    return norms[:, None] * weights * norms


def mean_field_plainly(image: Tensor, scores: Tensor, settings: CrfSettings) -> Tensor:
    """Let every pixel hear from every other, without the permutohedral lattice."""
    _, height, width = image.shape
    scale = max(height, width) / settings.reference_side if settings.reference_side else 1
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).double()
    colours = image.flatten(1).T.double()
    appearance = torch.cat([places / (settings.bilateral_sxy * scale), colours / settings.bilateral_srgb], dim=1)
    pairs = settings.gaussian_compat * kernel(places / (settings.gaussian_sxy * scale))
    pairs = pairs + settings.bilateral_compat * kernel(appearance)
    unary = (scores / scores.sum(dim=0)).clamp(min=1e-4).flatten(1).double()
    unary = unary if settings.unary == "linear" else unary.log()
    marginals = unary.softmax(dim=0)
    for _ in range(settings.iterations):
        marginals = (unary + marginals @ pairs).softmax(dim=0)
    return marginals.reshape(scores.shape).float()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "settings",
    [
        # weak or single kernels and few steps show every width and weight; the defaults drown them in agreement
        CrfSettings(iterations=1, bilateral_compat=0.0, reference_side=None),
        CrfSettings(
            iterations=1,
            gaussian_compat=0.0,
            bilateral_sxy=6.0,
            bilateral_srgb=8.0,
            bilateral_compat=3.0,
            reference_side=None,
        ),
        CrfSettings(
            iterations=2,
            gaussian_compat=1.0,
            bilateral_sxy=60.0,
            bilateral_srgb=8.0,
            bilateral_compat=1.0,
            reference_side=240,
        ),
        CrfSettings(reference_side=None),
        # so little tells the labels apart that strong kernels would make much of the lattice's approximation
        CrfSettings(
            iterations=1,
            unary="linear",
            gaussian_compat=1.0,
            bilateral_sxy=6.0,
            bilateral_compat=0.5,
            reference_side=None,
        ),
    ],
)
def test_the_lattice_agrees_with_the_plain_mean_field(seed: int, settings: CrfSettings) -> None:
    image, scores, _ = noisy_case(seed)
    expected = mean_field_plainly(image, scores, settings)
    refined = dense_crf(image, scores, settings, labels=[0, 1, 2])
    # the lattice is an approximation; a width or weight wrong by a quarter is two to ten times as far away
    assert (refined - expected).abs().mean() < 0.003
    assert (refined.argmax(dim=0) == expected.argmax(dim=0)).float().mean() > 0.99
    assert (refined.argmax(dim=0) != scores.argmax(dim=0)).float().mean() > 0.05


def test_noise_is_cleaned_up_along_the_edges_of_the_image() -> None:
    image, scores, truth = noisy_case(2)
    before = (scores.argmax(dim=0) == truth).float().mean()
    after = (dense_crf(image, scores, UNSCALED, labels=[0, 1]).argmax(dim=0) == truth).float().mean()
    assert before < 0.8
    assert after > 0.98


def test_widths_follow_the_size_of_the_image() -> None:
    image, scores, _ = noisy_case(3)
    half_the_size = CrfSettings(reference_side=48)
    widths = CrfSettings(gaussian_sxy=1.5, bilateral_sxy=25.0, reference_side=None)
    scaled = dense_crf(image, scores, half_the_size, labels=[0, 1, 2])
    assert torch.equal(scaled, dense_crf(image, scores, widths, labels=[0, 1, 2]))
    assert not torch.allclose(scaled, dense_crf(image, scores, UNSCALED, labels=[0, 1, 2]), atol=0.01)


def test_only_possible_labels_take_part() -> None:
    image, scores, _ = noisy_case(4)
    refined = dense_crf(image, scores, UNSCALED, labels=[0, 2])
    assert (refined[1] == 0).all()
    assert refined.dtype == torch.float32
    torch.testing.assert_close(refined.sum(dim=0), torch.ones(18, 24))
    # what an impossible label scored is not even read
    other = scores.clone()
    other[1] = torch.nan
    assert torch.equal(refined, dense_crf(image, other, UNSCALED, labels=[0, 2]))


def test_without_kernels_the_scores_come_back() -> None:
    image, scores, _ = noisy_case(5)
    alone = CrfSettings(gaussian_compat=0.0, bilateral_compat=0.0)
    torch.testing.assert_close(dense_crf(image, scores, alone, labels=[0, 1, 2]), scores)


def test_labels_instead_of_scores_are_believed_as_far_as_the_setting_says() -> None:
    image = torch.zeros(3, 1, 3, dtype=torch.uint8)
    scores = torch.tensor([[[0.4, 0.0, 0.1]], [[0.3, 0.9, 0.2]], [[0.3, 0.1, 0.7]]])
    alone = CrfSettings(unary="labels", label_confidence=0.8, gaussian_compat=0.0, bilateral_compat=0.0)
    refined = dense_crf(image, scores, alone, labels=[0, 1, 2])
    expected = torch.tensor([[[0.8, 0.1, 0.1]], [[0.1, 0.8, 0.1]], [[0.1, 0.1, 0.8]]])
    torch.testing.assert_close(refined, expected)


def test_linear_scores_weigh_less_than_their_logarithms() -> None:
    image, scores = torch.zeros(3, 1, 2, dtype=torch.uint8), torch.tensor([[[0.9, 0.0]], [[0.1, 1.0]]])
    alone = CrfSettings(unary="linear", gaussian_compat=0.0, bilateral_compat=0.0)
    refined = dense_crf(image, scores, alone, labels=[0, 1])
    torch.testing.assert_close(refined, scores.clamp(min=1e-4).softmax(dim=0))


def test_a_score_of_zero_is_no_veto() -> None:
    # one black pixel among white ones has no appearance to share; among its likes the certain one gives in
    image = torch.full((3, 9, 9), 200, dtype=torch.uint8)
    scores = one_hot(torch.zeros(9, 9, dtype=torch.long), 2).movedim(-1, 0).float()
    scores[:, 4, 4] = torch.tensor([0.0, 1.0])
    refined = dense_crf(image, scores, UNSCALED, labels=[0, 1])
    assert refined[0, 4, 4] > 0.5
    assert refined.isfinite().all()


@pytest.mark.parametrize("scores", [torch.zeros(2, 5, 6), torch.full((2, 5, 6), 1e-38), torch.full((2, 5, 6), 1e30)])
def test_extreme_scores_that_favour_nobody_stay_even(scores: Tensor) -> None:
    image = torch.arange(90, dtype=torch.uint8).reshape(3, 5, 6)
    torch.testing.assert_close(dense_crf(image, scores, CrfSettings(), labels=[0, 1]), torch.full((2, 5, 6), 0.5))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_the_thinnest_images_survive(size: tuple[int, int]) -> None:
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scores = torch.tensor([0.1, 0.7, 0.2])[:, None, None].expand(3, *size)
    refined = dense_crf(image, scores, CrfSettings(), labels=[0, 1, 2])
    assert (refined.argmax(dim=0) == 1).all()
    torch.testing.assert_close(refined.sum(dim=0), torch.ones(size))


def test_a_single_possible_label_needs_no_crf() -> None:
    image, scores = torch.zeros(3, 1, 2, dtype=torch.uint8), torch.full((3, 1, 2), torch.nan)
    assert dense_crf(image, scores, CrfSettings(), labels=[2]).tolist() == [[[0, 0]], [[0, 0]], [[1, 1]]]
    assert dense_crf(image, scores, CrfSettings(), labels=[]).tolist() == [[[0, 0]], [[0, 0]], [[0, 0]]]


def test_half_precision_in_any_order_gives_the_same_bytes_each_time() -> None:
    image, scores, _ = noisy_case(6)
    half = scores.half()
    turned = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    first = dense_crf(image, half.float(), UNSCALED, labels=(0, 1, 2))
    assert torch.equal(first, dense_crf(turned, half, UNSCALED, labels=(0, 1, 2)))


def test_a_hand_drawn_gap_is_closed() -> None:
    settings = CrfSettings(unary="labels", reference_side=None)
    labels = picture("0111", "0101", "0111", "0000").long()
    image = torch.where(picture("0111", "0111", "0111", "0000") == 1, 250, 10).byte().expand(3, 4, 4)
    refined = dense_crf(image, one_hot(labels, 2).movedim(-1, 0).float(), settings, labels=[0, 1])
    assert torch.equal(refined.argmax(dim=0), picture("0111", "0111", "0111", "0000").long())


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (torch.zeros(3, 4, 5), [0, 1], r"scores must be of the image's size \(4, 4\), got \(4, 5\)"),
        (torch.full((3, 4, 4), torch.nan), [0, 1], "scores must be finite"),
        (torch.full((3, 4, 4), torch.inf), [0, 1], "scores must be finite"),
        (torch.zeros(3, 4, 4), [0, 3], r"labels must be different channels in 0 … 2, got \[0, 3\]"),
        (torch.zeros(3, 4, 4), [1, 1], "labels must be different channels"),
    ],
)
def test_what_breaks_a_rule_is_named(scores: Tensor, labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dense_crf(torch.zeros(3, 4, 4, dtype=torch.uint8), scores, CrfSettings(), labels=labels)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"iterations": 0}, "iterations must be at least 1, got 0"),
        ({"unary": "logits"}, "unary must be one of scores, linear, labels, got 'logits'"),
        ({"label_confidence": 1.0}, "label_confidence must lie"),
        ({"label_confidence": 0.4}, "label_confidence must lie"),
        ({"bilateral_srgb": 0.01}, "bilateral_srgb must be at least 0.1, got 0.01"),
        ({"gaussian_compat": -1.0}, "gaussian_compat must not be negative"),
        ({"reference_side": 0}, "reference_side must be at least 1 or null, got 0"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_named(broken: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        CrfSettings(**broken)  # type: ignore[arg-type]
