from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, enlarged, finished, given, given_labels, given_scores, workbench
from wsss import figures
from wsss.annotations import Annotation, Point, Points
from wsss.figures import draw_images, draw_run
from wsss.pipeline import Plan, Round, Step
from wsss.plotting import Strip, overlay
from wsss.stages.base import Stage, Workbench
from wsss.stages.evaluate import evaluate
from wsss.tracking import METRICS

SHOWN = {"one": enlarged(picture("0011"), 8), "two": enlarged(picture("11"), 8), "val 1": enlarged(picture("10"), 8)}
DATA = DrawnDataset(SHOWN, truth={"two": None})
TRAIN = {name: SHOWN[name] for name in ("one", "two")}
VAL = {"val 1": SHOWN["val 1"]}
CAMS = given_scores("cams", {name: torch.rand(3, 2, drawn.shape[1] // 4) for name, drawn in TRAIN.items()})
MEASURED = given("evaluate", lambda _: None)


def measured(stage: Stage) -> Step:
    return Step(stage, MEASURED)


def plan_of(*, rounds: int = 1, ceiling: bool = True) -> Plan:
    made = []
    for round in range(rounds):
        names = ["cams", "seeds", "growing"] if round == 0 else ["scores", "seeds", "growing"]
        steps = [measured(CAMS if name == "cams" else renamed(given_labels(name, TRAIN), round)) for name in names]
        fit = Step(renamed(given("graph_fit", lambda _: None), round))
        labels = [measured(renamed(given_labels(name, TRAIN), round)) for name in ("crf", "pseudo_labels")]
        predictions = measured(renamed(given_labels("predictions", VAL), round))
        made.append(Round(round, (*steps, fit, *labels, predictions), fit.stage, predictions, None, fit.stage))
    last = (Step(given("ceiling", lambda _: None)), measured(given_labels("ceiling_predictions", VAL)))
    return Plan(tuple(made), last if ceiling else (), MEASURED)


def renamed(stage: Stage, round: int) -> Stage:
    return Stage(name=stage.name, version=1, work=stage.work, settings={"round": round}, round=round)


def drawn(bench: Workbench, plan: Plan, *images: str, palette: str = "voc", **remarks: str) -> list[Strip]:
    """The strips that would be drawn."""
    seen: list[Strip] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw_strips", lambda strips, *_, **__: seen.extend(strips))
        draw_images(Path("nowhere.png"), DATA, plan, bench.store, images, remarks, palette=palette)
    return seen


def titles(strip: Strip) -> list[str]:
    return [name for name, _ in strip.columns]


def carried_out(folder: Path, plan: Plan) -> Workbench:
    bench = workbench(folder, DATA)
    for step in plan:
        finished(bench, step.stage)
    return bench


def test_a_training_image_is_shown_at_every_step_up_to_its_truth(tmp_path: Path) -> None:
    bench = carried_out(tmp_path, plan_of())
    one, two = drawn(bench, plan_of(), "one", "two")
    assert titles(one) == ["image", "CAM", "seeds", "grown", "CRF", "pseudo labels", "truth"]
    assert titles(two) == titles(one)[:-1]  # it has no truth
    assert (one.title, two.title) == ("one", "two")


def test_given_labels_are_shown_where_training_saw_more_than_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clicked = Annotation(points=Points((Point(1, 0, 0),)))
    monkeypatch.setattr(DATA, "annotation", lambda id: Annotation() if id == "two" else clicked)
    bench = carried_out(tmp_path, plan_of())
    one, two, val = drawn(bench, plan_of(), "one", "two", "val 1")
    assert titles(one)[:3] == ["image", "given labels", "CAM"]
    assert "given labels" not in titles(two)
    assert "given labels" not in titles(val)  # no training saw it


def test_what_is_to_be_said_of_an_image_stands_below_its_name(tmp_path: Path) -> None:
    strips = drawn(carried_out(tmp_path, plan_of()), plan_of(), "one", "two", two="IoU 12.0")
    assert [strip.title for strip in strips] == ["one", "two\nIoU 12.0"]


def test_a_validation_image_is_shown_with_prediction_and_ceiling(tmp_path: Path) -> None:
    (strip,) = drawn(carried_out(tmp_path, plan_of()), plan_of(), "val 1")
    assert titles(strip) == ["image", "prediction", "ceiling", "truth"]
    shown = np.asarray(dict(strip.columns)["prediction"])
    assert np.array_equal(shown, overlay(DATA.image("val 1"), SHOWN["val 1"]))


def test_labels_are_shown_in_the_colours_that_are_asked_for(tmp_path: Path) -> None:
    bench = carried_out(tmp_path, plan_of())
    (strip,) = drawn(bench, plan_of(), "val 1", palette="colour_blind")
    for title in ("prediction", "truth"):
        shown = np.asarray(dict(strip.columns)[title])
        assert np.array_equal(shown, overlay(DATA.image("val 1"), SHOWN["val 1"], palette="colour_blind"))


def test_the_columns_of_several_rounds_are_numbered(tmp_path: Path) -> None:
    plan = plan_of(rounds=2, ceiling=False)
    bench = carried_out(tmp_path, plan)
    (train,) = drawn(bench, plan, "one")
    assert titles(train)[:6] == ["image", "CAM", "seeds 0", "grown 0", "CRF 0", "pseudo labels 0"]
    assert titles(train)[6:] == ["prediction 1", "seeds 1", "grown 1", "CRF 1", "pseudo labels 1", "truth"]
    (val,) = drawn(bench, plan, "val 1")
    assert titles(val) == ["image", "prediction 0", "prediction 1", "truth"]


def test_steps_that_have_not_run_are_left_out(tmp_path: Path) -> None:
    bench, plan = workbench(tmp_path, DATA), plan_of()
    finished(bench, CAMS)
    assert titles(drawn(bench, plan, "one")[0]) == ["image", "CAM", "truth"]
    assert titles(drawn(bench, plan, "val 1")[0]) == ["image", "truth"]


def test_a_run_draws_strips_of_both_splits(tmp_path: Path) -> None:
    bench, folder = carried_out(tmp_path / "store", plan_of()), tmp_path / "run"
    draw_run(folder, DATA, plan_of(), bench.store)
    assert sorted(path.name for path in (folder / "figures").iterdir()) == ["strips_train.png", "strips_val.png"]


def test_curves_are_drawn_where_something_was_trained(tmp_path: Path) -> None:
    bench, folder = carried_out(tmp_path / "store", plan_of()), tmp_path / "run"
    folder.mkdir()
    (folder / METRICS).write_text('{"stage": "classifier:0", "epoch": 0, "loss": 1.0}\n')
    draw_run(folder, DATA, plan_of(), bench.store)
    assert (folder / "figures" / "curves.png").exists()


def test_what_each_segmenter_mixes_up_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = given_labels("predictions", {"val 1": enlarged(picture("12"), 8)})
    scored = evaluate(DATA, predictions, "val")
    bench, step = workbench(tmp_path / "store", DATA), Step(predictions, scored)
    for stage in (predictions, scored):
        finished(bench, stage)
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(figures, "draw_confusion", lambda *given: seen.append(given))
    monkeypatch.setattr(figures, "draw_images", lambda *_, **__: None)
    draw_run(tmp_path, DATA, Plan((Round(0, (step,), predictions, step, None, predictions),), (), scored), bench.store)
    ((confusion, path, names),) = seen
    # one half is of label 1 and called so, the other is background and called 2
    assert confusion.nonzero().tolist() == [[0, 2], [1, 1]]
    assert path.name == "confusion_0.png"
    assert names == ("background", *DATA.classes)
    seen.clear()
    monkeypatch.setattr(DATA, "background", False)
    draw_run(tmp_path, DATA, Plan((Round(0, (step,), predictions, step, None, predictions),), (), scored), bench.store)
    ((confusion, _, names),) = seen
    assert confusion.shape == (len(names), len(names) + 1)
    assert names == DATA.classes


def test_figures_that_are_there_are_kept_unless_something_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, folder = carried_out(tmp_path / "store", plan_of()), tmp_path / "run"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "strips_val.png").write_bytes(b"old")
    asked: list[str] = []
    monkeypatch.setattr(figures, "draw_images", lambda path, *_, **__: asked.append(path.name))
    draw_run(folder, DATA, plan_of(), bench.store, redraw=False)
    assert asked == ["strips_train.png"]
    draw_run(folder, DATA, plan_of(), bench.store)
    assert asked == ["strips_train.png", "strips_train.png", "strips_val.png"]


def test_without_validation_images_only_training_images_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(figures, "draw_images", lambda path, *rest, **_: asked.append((path.name, rest[-1])))
    draw_run(tmp_path, DrawnDataset(TRAIN), plan_of(), workbench(tmp_path, DATA).store)
    assert asked == [("strips_train.png", ["one", "two"])]
