from pathlib import Path

import torch

from tests.drawing import picture
from tests.stages.test_segmenters import inference_in, plan_of, trained
from tests.stages.workshop import DrawnDataset, enlarged, finished, workbench
from wsss.stages.base import batches
from wsss.stages.make_scores import make_predictions, make_scores
from wsss.store import resize_scores

PICTURES = {
    "one": enlarged(picture("0112", "0212"), 8),
    "first only": enlarged(picture("01", "01"), 16),
    "nothing": enlarged(picture("00", "00"), 16),
    "unknown": enlarged(picture("12", "01"), 12),
    "val": enlarged(picture("012", "120"), 10),
}
DATA = DrawnDataset(PICTURES, tags={"unknown": None})


def test_scores_are_what_the_segmenter_sees_restricted_to_the_tags(tmp_path: Path) -> None:
    plan = plan_of(DATA)
    found = finished(workbench(tmp_path, DATA), make_scores(plan, trained(plan), 1))
    inference = inference_in(tmp_path, plan)
    for name in DATA.ids("train"):
        size = DATA.size(name)
        seen = resize_scores(inference.scores(batches(DATA, [name], 8)[0])[0], (size[0] // 4, size[1] // 4))
        allowed = torch.zeros(3, 1, 1)
        allowed[DATA.possible(name)] = 1
        expected = seen * allowed / (seen * allowed).sum(0)
        scores = found.read_scores(name, 3)
        torch.testing.assert_close(scores, expected, atol=1e-3, rtol=0)
        labels = found.read_labels(name)
        assert tuple(labels.shape) == size
        assert set(torch.unique(labels).tolist()) <= set(DATA.possible(name))
    assert not found.path("labels", "val", ".png").exists()


def test_no_tag_helps_on_validation_images(tmp_path: Path) -> None:
    plan = plan_of(DATA)
    plain = finished(workbench(tmp_path / "a", DATA), make_predictions(plan, trained(plan)))
    helped = DrawnDataset(PICTURES, tags={"unknown": None, "val": [1]})
    other = finished(workbench(tmp_path / "b", helped), make_predictions(plan_of(helped), trained(plan)))
    assert torch.equal(plain.read_labels("val"), other.read_labels("val"))
    assert list(plain.files) == ["labels/val.png"]
    inference = inference_in(tmp_path / "a", plan)
    small = inference.scores(batches(DATA, ["val"], 8)[0])[0]
    assert torch.equal(plain.read_labels("val"), resize_scores(small, (20, 30)).argmax(0).to(torch.uint8))


def test_without_a_background_class_nothing_is_background(tmp_path: Path) -> None:
    data = DrawnDataset(PICTURES, tags={"unknown": None, "nothing": [1, 2]}, background=False)
    plan = plan_of(data)
    found = finished(workbench(tmp_path, data), make_predictions(plan, trained(plan)))
    assert set(torch.unique(found.read_labels("val")).tolist()) <= {1, 2}
    scores = finished(workbench(tmp_path, data), make_scores(plan, trained(plan), 1)).read_scores("unknown", 3)
    assert not scores[0].any()


def test_the_key_follows_how_it_looks() -> None:
    before = plan_of(DATA)
    for change in (plan_of(DATA, test_scales=(0.5,)), plan_of(DATA, test_flip=True)):
        stage = trained(before)
        assert make_scores(change, stage, 1).key != make_scores(before, stage, 1).key
        assert make_predictions(change, stage).key != make_predictions(before, stage).key


def test_the_names_of_ceiling_and_segmenter_differ() -> None:
    plan = plan_of(DATA)
    stage = trained(plan)
    assert make_predictions(plan, stage, "ceiling_predictions").key != make_predictions(plan, stage).key
