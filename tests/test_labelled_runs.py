"""Whole runs on each kind of label, at toy size."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PillowImage

from tests.toy_run import run_toy
from wsss.annotations import Annotation, Box, Boxes, ImageTags, Mask, Point, Points, Scribbles, Stroke
from wsss.annotations.cost import CostSettings, annotation_seconds
from wsss.cli import main
from wsss.data import open_dataset
from wsss.data.images import image_size
from wsss.data.manifests import write_manifest
from wsss.data.synthetic import SyntheticSettings
from wsss.runs import Run, load_run

SIZE = 32
SOURCE = open_dataset(SyntheticSettings(train=6, val=2, size=SIZE))
NAMES = SOURCE.ids("train")
DRAWN = ("data=synthetic", "data.train=6", "data.val=2", f"data.size={SIZE}")
SMALL = (
    "rounds=1",
    "ceiling=false",
    "refine=[crf]",
    "classifier.epochs=2",
    "classifier.held_out=0",
    "segmenter.epochs=1",
)

MIXED = {
    NAMES[0]: Annotation(points=Points((Point(1, 10, 10), Point(0, 1, 1)))),
    NAMES[1]: Annotation(scribbles=Scribbles((Stroke(2, ((5, 5), (20, 25))),)), tags_complete=True),
    NAMES[2]: Annotation(boxes=Boxes((Box(3, 4, 4, 28, 28),)), tags_complete=True),
    NAMES[3]: Annotation(masks=Mask.of(SOURCE.truth(NAMES[3])), tags_complete=True),  # type: ignore[arg-type]
    NAMES[4]: Annotation(tags=ImageTags((1, 2)), tags_complete=True),
}
"""Another kind for each image; of the last one nothing is said but what the data set itself says."""

SPARSE = ("segmenter.supervision=sparse",)
RUNS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "tags": (["tags"], ()),
    "points": (["points"], ("labels.kinds=[points]", "refine=[growing,graph,crf]")),
    "scribbles": (["scribbles"], ("labels.kinds=[scribbles]", "labels.noise.stroke_jitter=1.0")),
    "boxes": (["boxes"], ("labels.kinds=[boxes]",)),
    "a few masks": (["tags", "masks"], ("labels.masks=2",)),
    "a budget": (["points"], ("labels.kinds=[points]", "labels.budget_seconds=40", "refine=[growing,graph,crf]")),
    "sparse points": (["points"], ("labels.kinds=[points]", *SPARSE, "rounds=2")),
    "sparse boxes": (["tags", "boxes"], ("labels.kinds=[tags,boxes]", *SPARSE, "sparse.dense_crf=0.1")),
    "mixed": (["points", "scribbles", "boxes", "masks"], ("labels.kinds=[points,scribbles,boxes]", "labels.masks=1")),
    "sparse mixed": (
        ["tags", "points", "scribbles", "boxes", "masks"],
        ("labels.kinds=[tags,points,scribbles,boxes]", "labels.masks=1", *SPARSE),
    ),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all, so that kinds share what they can."""
    return tmp_path_factory.mktemp("runs")


def run_labelled(root: Path, name: str) -> Run:
    _, settings = RUNS[name]
    if "mixed" in name:
        manifest = root / "mixed.json"
        if not manifest.exists():
            write_manifest(manifest, MIXED, SOURCE.classes)
        settings = (*settings, "labels.source=manifest", f"labels.manifest={manifest}")
    return run_toy(root / "runs", *SMALL, *settings, data=DRAWN)


@pytest.fixture(scope="module")
def labelled(root: Path) -> Callable[[str], Run]:
    """Each run by its name, carried out once."""
    return cache(partial(run_labelled, root))


@pytest.mark.parametrize("name", RUNS)
def test_each_kind_goes_through_all_stages_and_a_second_call_computes_nothing(
    name: str, root: Path, labelled: Callable[[str], Run]
) -> None:
    run = labelled(name)
    told: dict[str, Any] = run.summary["annotation"]
    ids = run.dataset.ids("train")
    assert told["kinds"] == RUNS[name][0]
    assert run.summary["data"]["train"] == len(ids)
    seconds = sum(annotation_seconds(run.dataset.annotation(id), len(SOURCE.classes), CostSettings()) for id in ids)
    assert told["seconds"] == pytest.approx(seconds, abs=0.05)
    assert told["per_image_seconds"] == pytest.approx(seconds / len(ids), abs=0.01)
    assert (len(ids) < len(NAMES)) == (name == "a budget")
    names = {row["name"] for row in run.summary["work"]}
    assert ("annotations" in names) == (name != "tags")
    assert ("classifier" in names) == ("sparse" not in name)
    assert run.summary["segmenter"]["miou"] is not None
    again = run_labelled(root, name)
    assert all(row["cached"] for row in again.summary["work"])
    assert again.summary["annotation"] == told


def steps_of(run: Run, stage: str) -> int:
    trained = run.artefact(stage)
    assert trained is not None
    return int(trained.read_json("history.json")[-1]["step"])


def test_a_budget_makes_no_training_shorter_unless_asked_to(root: Path, labelled: Callable[[str], Run]) -> None:
    paid = labelled("a budget")
    fewer = run_toy(root / "runs", *SMALL, *RUNS["a budget"][1], "labels.full_schedule=false", data=DRAWN)
    runs = {"all": labelled("points"), "paid": paid, "fewer": fewer}
    assert len(fewer.dataset.ids("train")) == len(paid.dataset.ids("train")) < len(runs["all"].dataset.ids("train"))
    for stage in ("classifier", "graph_fit", "segmenter"):
        steps = {name: steps_of(run, stage) for name, run in runs.items()}
        assert steps["all"] == steps["paid"] > steps["fewer"]
    # nothing but the schedule differs
    keys = [{row["name"]: row["key"] for row in run.summary["work"]} for run in (paid, fewer)]
    assert {name for name in keys[0] if keys[0][name] == keys[1][name]} >= {"annotations", "superpixels"}


def test_tags_cost_a_second_for_each_class(labelled: Callable[[str], Run]) -> None:
    told = labelled("tags").summary["annotation"]
    assert told == {
        "kinds": ["tags"],
        "seconds": float(6 * len(SOURCE.classes)),
        "per_image_seconds": float(len(SOURCE.classes)),
    }


def test_a_run_on_labels_is_opened_shown_and_labels_photographs(
    root: Path, labelled: Callable[[str], Run], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = labelled("sparse mixed").folder
    run = load_run(folder)
    assert run.dataset.annotation(NAMES[0]).points is not None
    assert "tags" in run.dataset.annotation(NAMES[5]).kinds
    assert run.show(images=[NAMES[0], SOURCE.ids("val")[0]]).path.exists()
    photo = root / "photo.png"
    PillowImage.fromarray(SOURCE.image(NAMES[0]).permute(1, 2, 0).numpy()).save(photo)
    assert main(["show", str(folder), "--count", "2"]) == 0
    assert main(["predict", str(folder), str(photo)]) == 0
    labels = folder / "predictions" / "labels" / "photo.png"
    assert image_size(labels) == SOURCE.size(NAMES[0])
    manifest = f"labels.manifest={root / 'mixed.json'}"
    asked = [*DRAWN, "labels.kinds=[boxes]", "labels.source=manifest", manifest, f"store.root={root / 'checked'}"]
    capsys.readouterr()
    main(["check", "data", *asked])
    assert "Traceback" not in "".join(capsys.readouterr())
