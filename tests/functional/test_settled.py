import pytest
import torch

from tests.drawing import picture
from wsss.functional.settled import CERTAINTY, coarse_labels, confine_cams, keep_labels, keep_scores
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


def test_cams_are_confined_to_their_class_and_as_high_as_before() -> None:
    cams = torch.tensor([[[1.0, 0.4, 0.2]], [[0.5, 1.0, 0.0]]])
    kept = confine_cams(cams, allow(("111",), ("011",), ("001",)))
    torch.testing.assert_close(kept, torch.tensor([[[0.0, 1.0, 0.5]], [[0.0, 0.0, 0.0]]]))
    assert confine_cams(cams, None) is cams
    # one that was quiet, for it may not be there at all, stays so
    torch.testing.assert_close(confine_cams(0.1 * cams, allow(("111",), ("011",), ("001",))), 0.1 * kept)


def test_a_cell_has_the_label_of_most_of_its_labelled_pixels() -> None:
    labels = picture("..1.", "....", "0012", ".012", "....")[None]
    assert torch.equal(coarse_labels(labels, (3, 2), classes=3)[0], picture(".1", "01", "01"))
    # pixels lie in the cell that their middle lies in, whatever the ratio
    assert torch.equal(coarse_labels(picture("01220")[None], (1, 2), classes=3)[0], picture("02"))
    assert torch.equal(coarse_labels(labels, (5, 4), classes=3), labels)
    assert coarse_labels(labels[:0], (3, 2), classes=3).shape == (0, 3, 2)


def test_no_click_is_lost_on_a_coarse_grid() -> None:
    g = torch.Generator().manual_seed(0)
    labels = torch.full((2, 64, 64), IGNORE)
    places = torch.randperm(2 * 64 * 64, generator=g)[:40]
    labels.view(-1)[places] = torch.randint(21, (40,), generator=g)
    coarse = coarse_labels(labels, (8, 8), classes=21)
    for image, row, column in (labels != IGNORE).nonzero().tolist():
        cell = labels[image, row // 8 * 8 : row // 8 * 8 + 8, column // 8 * 8 : column // 8 * 8 + 8]
        assert coarse[image, row // 8, column // 8] == cell[cell != IGNORE].mode().values


def test_a_label_beyond_all_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="labels must lie below 3, got 5"):
        coarse_labels(picture("55..")[None], (1, 2), classes=3)


def test_what_is_unknown_stays_so_whatever_is_possible() -> None:
    unknown = picture("..", "..")
    for allowed in (allow(("11", "11"), ("11", "11")), allow(("00", "00"), ("00", "00"))):
        assert torch.equal(keep_labels(unknown, None, allowed), unknown)
        assert torch.equal(keep_labels(unknown, picture("1.", ".0"), allowed), picture("1.", ".0"))


def test_scores_are_kept_on_their_device() -> None:
    scores, settled = torch.rand(3, 2, 2, device="meta"), torch.zeros(4, 4, dtype=torch.uint8, device="meta")
    allowed = torch.ones(3, 4, 4, dtype=torch.bool, device="meta")
    assert keep_scores(scores, settled, allowed).device.type == "meta"


@pytest.mark.parametrize("known", [0.02, 0.3, 1.0])
def test_coarse_labels_are_those_of_a_slow_count_however_many_are_known(known: float) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (2, 37, 50), generator=generator).to(torch.uint8)
    labels[torch.rand(labels.shape, generator=generator) >= known] = IGNORE
    size = (5, 6)
    expected = torch.full((2, *size), IGNORE, dtype=torch.uint8)
    for image, row, column in torch.cartesian_prod(*(torch.arange(side) for side in (2, *size))).tolist():
        rows = [place for place in range(37) if (2 * place + 1) * size[0] // 74 == row]
        columns = [place for place in range(50) if (2 * place + 1) * size[1] // 100 == column]
        cell = labels[image][rows][:, columns]
        seen = cell[cell != IGNORE].long()
        if len(seen):
            expected[image, row, column] = torch.bincount(seen).argmax().to(torch.uint8)
    assert torch.equal(coarse_labels(labels, size, classes=4), expected)
