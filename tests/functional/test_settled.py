import torch

from tests.drawing import picture
from wsss.functional.settled import CERTAINTY, confine_cams, keep_labels, keep_scores
from wsss.types import IGNORE


def allow(*maps: tuple[str, ...]) -> torch.Tensor:
    return torch.stack([picture(*rows) == 1 for rows in maps])


def test_labels_that_are_ruled_out_lose_their_score_to_those_that_are_possible() -> None:
    scores = torch.tensor([[[0.2, 0.2]], [[0.6, 0.6]], [[0.2, 0.2]]])
    kept = keep_scores(scores, None, allow(("11",), ("01",), ("11",)))
    torch.testing.assert_close(kept, torch.tensor([[[0.5, 0.2]], [[0.0, 0.6]], [[0.5, 0.2]]]))


def test_where_only_impossible_labels_had_a_score_the_possible_ones_share_it() -> None:
    scores = torch.tensor([[[0.0]], [[1.0]], [[0.0]]])
    kept = keep_scores(scores, None, allow(("1",), ("0",), ("1",)))
    assert kept.flatten().tolist() == [0.5, 0.0, 0.5]


def test_a_coarse_score_is_possible_where_some_pixel_of_its_cell_allows_it() -> None:
    scores = torch.full((2, 1, 2), 0.5)
    kept = keep_scores(scores, None, allow(("1111", "1111"), ("0001", "0000")))
    assert kept[1].tolist() == [[0.0, 0.5]]


def test_settled_pixels_take_their_label_with_certainty_and_coarse_cells_a_share_of_it() -> None:
    scores = torch.tensor([0.5, 0.5])[:, None, None].expand(2, 2, 2)
    fine = keep_scores(scores, picture("1.", "0."), None)
    torch.testing.assert_close(fine[1], torch.tensor([[0.5 * (1 - CERTAINTY) + CERTAINTY, 0.5], [0.005, 0.5]]))
    coarse = keep_scores(scores[:, :1, :1], picture("1.", ".."), None)
    torch.testing.assert_close(coarse[1], torch.tensor([[0.5 * (1 - CERTAINTY / 4) + CERTAINTY / 4]]))
    torch.testing.assert_close(coarse.sum(0), torch.ones(1, 1))


def test_nothing_settled_and_nothing_ruled_out_changes_nothing() -> None:
    scores = torch.rand(3, 2, 2)
    assert keep_scores(scores, None, None) is scores
    labels = picture("01", ".2")
    assert torch.equal(keep_labels(labels, None, None), labels)


def test_labels_are_forgotten_where_ruled_out_and_taken_over_where_settled() -> None:
    labels = picture("0112", ".22.")
    allowed = allow(("1111", "1111"), ("0111", "0000"), ("0000", "1011"))
    assert torch.equal(keep_labels(labels, None, allowed), picture("011.", "..2."))
    assert torch.equal(keep_labels(labels, picture("2...", ".0.."), allowed), picture("211.", ".02."))
    assert keep_labels(labels, None, allowed).dtype == torch.uint8


def test_cams_are_confined_to_their_class_and_reach_one_again() -> None:
    cams = torch.tensor([[[1.0, 0.4, 0.2]], [[0.5, 1.0, 0.0]]])
    kept = confine_cams(cams, allow(("111",), ("011",), ("001",)))
    torch.testing.assert_close(kept, torch.tensor([[[0.0, 1.0, 0.5]], [[0.0, 0.0, 0.0]]]))
    assert confine_cams(cams, None) is cams


def test_labels_beyond_all_channels_are_nobody_s() -> None:
    assert (keep_labels(torch.full((2, 2), IGNORE), None, torch.ones(2, 2, 2, dtype=torch.bool)) == IGNORE).all()


def test_scores_are_kept_on_their_device() -> None:
    scores, settled = torch.rand(3, 2, 2, device="meta"), torch.zeros(4, 4, dtype=torch.uint8, device="meta")
    allowed = torch.ones(3, 4, 4, dtype=torch.bool, device="meta")
    assert keep_scores(scores, settled, allowed).device.type == "meta"
