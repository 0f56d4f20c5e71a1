from pathlib import Path
from typing import Any

import pytest
import torch

from tests.toy_run import DRAWN, TOY
from wsss.config import Config, load
from wsss.plotting import Strip, annotated
from wsss.store import Store
from wsss.studies import strips
from wsss.studies.strips import Column, draw_study
from wsss.types import LabelMap

ROUNDS = {0: "0" * 16, 1: "1" * 16}


@pytest.fixture(scope="module")
def config() -> Config:
    return load([*TOY, *DRAWN, "labels.kinds=[points]"])


def summary(stage: str, standing: int | None) -> dict[str, Any]:
    work = [{"name": stage, "round": round, "key": key} for round, key in ROUNDS.items()]
    return {"work": work, "final_round": standing}


def store_labels(stage: str, labels: dict[str, LabelMap], round: int) -> None:
    artefact = Store(Path("runs")).artefact(stage, ROUNDS[round])
    with artefact.unit("all") as unit:
        for image, drawn in labels.items():
            unit.write_labels(image, drawn)
    artefact.finish(stage, ROUNDS[round], 1)


def drawn(monkeypatch: pytest.MonkeyPatch, columns: list[Column]) -> dict[str, list[Strip]]:
    """The strips of each figure."""
    seen: dict[str, list[Strip]] = {}
    monkeypatch.setattr(strips, "draw_strips", lambda rows, path, **_: seen.update({path.stem: rows}))
    draw_study(Path("figures"), columns)
    return seen


def test_labels_are_those_of_the_round_that_stands(config: Config) -> None:
    for round in ROUNDS:
        store_labels("pseudo_labels", {"one": torch.full((4, 4), round, dtype=torch.uint8)}, round)
    for standing, value in ((0, 0), (1, 1), (None, 1)):
        found = Column("a", config, summary("pseudo_labels", standing)).pseudo_labels("one")
        assert found is not None
        assert found.unique().tolist() == [value]
    column = Column("a", config, summary("pseudo_labels", 0))
    assert column.pseudo_labels("two") is None
    assert column.predictions("one") is None


def test_what_a_person_gave_is_shown_as_it_was_drawn(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    column = Column("a", config, {"work": []})
    image = column.dataset.ids("train")[0]
    given = column.dataset.annotation(image)
    assert column.labels_given(image) == given
    assert Column("b", load([*TOY, *DRAWN]), {"work": []}).labels_given(image) is None  # tags have no place
    strip = next(row for row in drawn(monkeypatch, [column])["labels_given"] if row.title == image)
    shown = dict(strip.columns)["a"]
    assert shown is not None
    assert (shown == annotated(column.dataset.image(image), given)).all()
    assert given.named() <= strip.labels


def test_the_same_images_are_shown_of_every_run_that_has_something_to_show(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = [Column("points", config, summary("pseudo_labels", 0)), Column("other", config, {"work": []})]
    images = columns[0].dataset.ids("train")
    blank = {image: torch.zeros(columns[0].dataset.size(image), dtype=torch.uint8) for image in images}
    store_labels("pseudo_labels", blank, 0)
    figures = drawn(monkeypatch, columns)
    assert sorted(figures) == ["labels_given", "pseudo_labels"]  # nobody has predictions
    assert [name for name, _ in figures["labels_given"][0].columns] == ["image", "truth", "points", "other"]
    assert [name for name, _ in figures["pseudo_labels"][0].columns] == ["image", "truth", "points"]
    assert len(figures["pseudo_labels"]) == 6
    assert all(strip.title in images for strip in figures["pseudo_labels"])


def test_without_runs_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, []) == {}
