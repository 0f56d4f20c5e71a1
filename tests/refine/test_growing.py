import pytest
import torch
from torch import Tensor

from tests.drawing import picture
from wsss.functional.dense_crf import CrfSettings, dense_crf
from wsss.refine.base import Source, View
from wsss.refine.growing import Growing
from wsss.refine.settings import GrowingSettings
from wsss.types import IGNORE, Evidence, LabelMap, Tags

PLAIN = GrowingSettings(crf=False, foreground_threshold=0.85, background_threshold=0.95)
"""Without the CRF, so that what grows can be worked out by hand."""


def growing(settings: GrowingSettings = PLAIN, crf: CrfSettings | None = None) -> Growing:
    return Growing(settings, crf or CrfSettings(iterations=2))


def seen(source: Source, tags: Tags | None, *, size: tuple[int, int], background: bool = True) -> View:
    image = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    return View(image=image, tags=tags, background=background, source=source)


def two_labels(*foreground: list[float]) -> Tensor:
    """Scores of background and one class."""
    share = torch.tensor(foreground)
    return torch.stack([1 - share, share])


def grown(
    scores: Tensor, seeds: LabelMap, source: Source, settings: GrowingSettings = PLAIN, *, background: bool = True
) -> list[list[int]]:
    size = (seeds.shape[0], seeds.shape[1])
    view = seen(source, torch.ones(len(scores) - 1).bool(), size=size, background=background)
    return growing(settings).refine(Evidence(scores, seeds), view).seeds.tolist()


def test_on_a_network_seeds_grow_by_the_thresholds() -> None:
    scores = two_labels([0.90, 0.86, 0.84, 0.86, 0.04, 0.06])
    # 0.86 exceeds 0.85 and hangs together with the seed; 0.84 does not, and beyond it nothing is connected;
    # the background's 0.96 exceeds 0.95 and touches its seed, whose own 0.94 is too little but which stays
    assert grown(scores, picture("1....0"), "network") == picture("11..00").tolist()


def test_on_cams_seeds_grow_by_the_quantiles_of_the_image() -> None:
    settings = GrowingSettings(crf=False, foreground_quantile=0.5, background_quantile=0.5)
    scores = two_labels([0.60, 0.62, 0.64, 0.66, 0.10, 0.40, 0.30, 0.20])
    # foreground pixels are 0.60 … 0.66, of which half lie below 0.64: only 0.66 exceeds it;
    # background scores are 0.90, 0.60, 0.70, 0.80, of which half lie below 0.80: only 0.90 exceeds it
    assert grown(scores, picture("..1....."), "cams", settings) == picture("..11....").tolist()
    assert grown(scores, picture("..1..0.."), "cams", settings) == picture("..1100..").tolist()
    assert grown(scores, picture(".1....0."), "cams", settings) == picture(".1....0.").tolist()


def test_quantiles_follow_an_image_whatever_its_level() -> None:
    settings = GrowingSettings(crf=False, foreground_quantile=0.5, background_quantile=0.3)
    high = two_labels([0.70, 0.80, 0.90, 0.95, 0.10])
    low = two_labels([0.52, 0.54, 0.56, 0.58, 0.10])
    seeds = picture("...1.")
    assert grown(high, seeds, "cams", settings) == grown(low, seeds, "cams", settings)
    assert grown(high, seeds, "network") != grown(low, seeds, "network")


def test_half_the_foreground_is_confident_on_a_large_image() -> None:
    share = torch.linspace(0.51, 0.99, 1000)
    scores = two_labels(share.tolist())
    seeds = torch.full((1, 1000), IGNORE, dtype=torch.uint8)
    seeds[0, -1] = 1
    settings = GrowingSettings(crf=False, foreground_quantile=0.5)
    labelled = (torch.tensor(grown(scores, seeds, "cams", settings)) == 1).sum()
    assert labelled == pytest.approx(500, abs=1)


def test_pixels_as_sure_as_can_be_are_confident() -> None:
    settings = GrowingSettings(crf=False, foreground_quantile=0.9, background_quantile=0.9)
    scores = two_labels([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    assert grown(scores, picture("1....0"), "cams", settings) == picture("111000").tolist()


def test_without_a_foreground_pixel_no_foreground_grows() -> None:
    scores = two_labels([0.1, 0.2, 0.3, 0.4])
    assert growing().thresholds(scores, "cams")[0] == 1.0
    assert grown(scores, picture("..1."), "cams")[0][2] == 1


def test_without_a_background_class_only_foreground_grows() -> None:
    scores = torch.tensor([[0.9, 0.9, 0.9], [0.09, 0.08, 0.01], [0.01, 0.02, 0.09]])[:, None]
    # the silenced background leaves 0.9, 0.8 and 0.1 to the first class
    assert grown(scores, picture("1.2"), "network", background=False) == picture("1.2").tolist()
    looser = GrowingSettings(crf=False, foreground_threshold=0.7)
    assert grown(scores, picture("1.2"), "network", looser, background=False) == picture("112").tolist()


def test_an_absent_class_does_not_grow() -> None:
    scores = torch.tensor([[0.0, 0.0, 0.0], [0.01, 0.01, 0.01], [0.99, 0.99, 0.99]])[:, None]
    view = seen("network", torch.tensor([True, False]), size=(1, 3))
    found = growing().refine(Evidence(scores, picture("12.")), view).seeds
    # restricted to the tags, everything is class 1; the seed of the absent class stays
    assert found.tolist() == picture("121").tolist()


def test_unknown_tags_rule_nothing_out() -> None:
    scores = torch.tensor([[0.0, 0.0, 0.0], [0.01, 0.01, 0.01], [0.99, 0.99, 0.99]])[:, None]
    view = seen("network", None, size=(1, 3))
    assert growing().refine(Evidence(scores, picture("2..")), view).seeds.tolist() == picture("222").tolist()


def test_scores_pass_through_and_may_be_smaller_than_the_image() -> None:
    scores = two_labels([0.99, 0.01], [0.99, 0.01])
    seeds = torch.full((8, 8), IGNORE, dtype=torch.uint8)
    seeds[0, 0], seeds[7, 7] = 1, 0
    before = seeds.clone()
    evidence = Evidence(scores, seeds)
    refined = growing().refine(evidence, seen("network", torch.tensor([True]), size=(8, 8)))
    assert refined.scores is scores
    assert torch.equal(seeds, before)
    assert (refined.seeds[:, :2] == 1).all()
    assert (refined.seeds[:, 6:] == 0).all()


def test_with_the_crf_the_refined_scores_decide() -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.rand(2, 12, 12, generator=generator)
    scores = scores / scores.sum(0)
    seeds = torch.full((12, 12), IGNORE, dtype=torch.uint8)
    seeds[3, 3], seeds[9, 9] = 1, 0
    view = seen("network", torch.tensor([True]), size=(12, 12))
    crf = CrfSettings(iterations=3)
    settings = GrowingSettings(foreground_threshold=0.6, background_threshold=0.6)
    smooth = dense_crf(view.image, scores, crf, labels=[0, 1])
    expected = growing(GrowingSettings(crf=False, foreground_threshold=0.6, background_threshold=0.6))
    with_crf = growing(settings, crf).refine(Evidence(scores, seeds), view).seeds
    assert torch.equal(with_crf, expected.refine(Evidence(smooth, seeds), view).seeds)
    assert not torch.equal(with_crf, expected.refine(Evidence(scores, seeds), view).seeds)


def test_an_image_without_a_possible_label_stays_as_it_is() -> None:
    seeds = torch.full((4, 4), IGNORE, dtype=torch.uint8)
    view = seen("cams", torch.tensor([False, False]), size=(4, 4), background=False)
    for settings in (PLAIN, GrowingSettings()):
        refined = growing(settings).refine(Evidence(torch.zeros(3, 4, 4), seeds), view)
        assert torch.equal(refined.seeds, seeds)


def test_labels_are_the_seeds() -> None:
    view = seen("cams", torch.tensor([True]), size=(1, 3))
    assert growing().labels(Evidence(two_labels([0.1, 0.2, 0.3]), picture("1.0")), view).tolist() == [[1, IGNORE, 0]]


def test_only_the_settings_of_the_source_count() -> None:
    on_cams = GrowingSettings(foreground_quantile=0.1, background_quantile=0.2)
    on_network = GrowingSettings(foreground_threshold=0.1, background_threshold=0.2)
    default = growing(GrowingSettings())
    assert growing(on_cams).depends("network") == default.depends("network")
    assert growing(on_network).depends("cams") == default.depends("cams")
    assert growing(on_cams).depends("cams") != default.depends("cams")
    assert growing(on_network).depends("network") != default.depends("network")


def test_the_crf_counts_where_it_is_used() -> None:
    many, few = CrfSettings(iterations=9), CrfSettings(iterations=1)
    assert growing(PLAIN, many).depends("cams") == growing(PLAIN, few).depends("cams")
    assert growing(GrowingSettings(), many).depends("cams") != growing(GrowingSettings(), few).depends("cams")
