import torch

from tests.drawing import picture
from tests.stages.workshop import enlarged, painted
from wsss.functional.dense_crf import CrfSettings, dense_crf
from wsss.refine.base import View
from wsss.refine.crf import Crf
from wsss.types import IGNORE, Evidence, Tags

SETTINGS = CrfSettings(iterations=3)
LABELS = enlarged(picture("001", "002"), 4)


def seen(tags: Tags | None, *, background: bool = True) -> View:
    return View(image=painted(LABELS), tags=tags, background=background, source="cams")


def evidence(classes: int = 3) -> Evidence:
    scores = torch.rand(classes, 2, 3, generator=torch.Generator().manual_seed(0)) + 0.1
    return Evidence(scores / scores.sum(0), picture("0.1", "...").repeat(4, 4))


def test_the_scores_are_those_of_the_crf_at_full_resolution() -> None:
    given = evidence()
    large = torch.nn.functional.interpolate(given.scores[None], size=(8, 12), mode="bilinear", antialias=True)[0]
    large = large / large.sum(0)
    refined = Crf(SETTINGS).refine(given, seen(torch.tensor([True, True])))
    torch.testing.assert_close(refined.scores, dense_crf(painted(LABELS), large, SETTINGS, labels=[0, 1, 2]))
    assert refined.scores.shape == (3, 8, 12)
    assert refined.seeds is given.seeds


def test_labels_follow_the_edges_of_the_image() -> None:
    colours, blurred = enlarged(picture("0011"), 8), torch.tensor([[0.9, 0.8, 0.6, 0.2], [0.1, 0.2, 0.4, 0.8]])[:, None]
    view = View(image=painted(colours, noise=2), tags=torch.tensor([True]), background=True, source="network")
    given = Evidence(blurred, torch.full((8, 32), IGNORE))
    crf = Crf(CrfSettings(reference_side=None, bilateral_sxy=20.0))
    assert crf.labels(crf.refine(given, view), view).tolist() == colours.tolist()
    # in an image of one colour, they end where the scores do
    plain = View(image=painted(torch.zeros_like(colours), noise=2), tags=view.tags, background=True, source="network")
    assert crf.labels(crf.refine(given, plain), plain).tolist() != colours.tolist()


def test_a_class_that_the_tags_rule_out_gets_nothing() -> None:
    refined = Crf(SETTINGS).refine(evidence(), seen(torch.tensor([True, False])))
    assert (refined.scores[2] == 0).all()
    torch.testing.assert_close(refined.scores.sum(0), torch.ones(8, 12))


def test_unknown_tags_rule_nothing_out() -> None:
    refined = Crf(SETTINGS).refine(evidence(), seen(None))
    both = Crf(SETTINGS).refine(evidence(), seen(torch.tensor([True, True])))
    assert torch.equal(refined.scores, both.scores)


def test_one_possible_label_has_it_all() -> None:
    crf, view = Crf(SETTINGS), seen(torch.tensor([False, True]), background=False)
    refined = crf.refine(evidence(), view)
    assert (refined.scores[2] == 1).all()
    assert (refined.scores[:2] == 0).all()
    assert (crf.labels(refined, view) == 2).all()


def test_tags_known_to_be_empty_make_everything_background() -> None:
    crf, view = Crf(SETTINGS), seen(torch.tensor([False, False]))
    refined = crf.refine(evidence(), view)
    assert (refined.scores[0] == 1).all()
    assert (crf.labels(refined, view) == 0).all()


def test_without_background_empty_tags_leave_no_label() -> None:
    crf, view = Crf(SETTINGS), seen(torch.tensor([False, False]), background=False)
    refined = crf.refine(evidence(), view)
    assert not refined.scores.any()
    assert (crf.labels(refined, view) == IGNORE).all()


def test_without_background_nothing_becomes_background() -> None:
    crf, view = Crf(SETTINGS), seen(torch.tensor([True, True]), background=False)
    refined = crf.refine(evidence(), view)
    assert (refined.scores[0] == 0).all()
    torch.testing.assert_close(refined.scores.sum(0), torch.ones(8, 12))
    assert set(torch.unique(crf.labels(refined, view)).tolist()) <= {1, 2}


def test_the_smallest_image_survives() -> None:
    view = View(image=torch.zeros(3, 1, 1).byte(), tags=torch.tensor([True]), background=True, source="cams")
    refined = Crf(SETTINGS).refine(Evidence(torch.tensor([0.2, 0.8])[:, None, None], picture(".")), view)
    assert Crf(SETTINGS).labels(refined, view).tolist() == [[1]]


def test_all_its_settings_count_whatever_the_source() -> None:
    assert Crf(SETTINGS).depends("cams") == Crf(SETTINGS).depends("network")
    assert Crf(SETTINGS).depends("cams") != Crf(CrfSettings()).depends("cams")
