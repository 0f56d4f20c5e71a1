import torch

from tests.drawing import picture
from wsss.refine.base import View, best_labels
from wsss.types import IGNORE, Tags

SCORES = torch.tensor([[[0.6, 0.2, 0.1]], [[0.3, 0.1, 0.7]], [[0.1, 0.7, 0.2]]])


def seen(tags: Tags | None, *, background: bool = True) -> View:
    return View(image=torch.zeros(3, 5, 7).byte(), tags=tags, background=background, source="cams")


def test_the_best_possible_label_wins() -> None:
    assert best_labels(SCORES, [0, 1, 2]).tolist() == picture("021").tolist()
    assert best_labels(SCORES, [0, 1]).tolist() == picture("001").tolist()
    assert best_labels(SCORES, [1, 2]).tolist() == picture("121").tolist()
    assert best_labels(SCORES, [2]).tolist() == picture("222").tolist()


def test_where_no_label_is_possible_nothing_is_known() -> None:
    found = best_labels(SCORES, [])
    assert found.tolist() == [[IGNORE] * 3]
    assert found.dtype == best_labels(SCORES, [1]).dtype == torch.uint8


def test_a_view_knows_its_size_and_its_possible_labels() -> None:
    assert seen(None).size == (5, 7)
    assert seen(None).possible(3) == [0, 1, 2, 3]
    assert seen(torch.tensor([False, True])).possible(2) == [0, 2]
    assert seen(torch.tensor([False, True]), background=False).possible(2) == [2]
    assert seen(torch.tensor([False, False]), background=False).possible(2) == []
