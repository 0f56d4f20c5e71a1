"""A setting that nothing reads misleads: changing any of them must change something."""

import ast
import csv
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as PillowImage

from tests.data.toys import box_outline, make_coco
from tests.drawing import picture
from tests.plans import CONFIG, DATA, keys, planned, with_setting
from tests.stages.workshop import DrawnDataset, enlarged
from wsss.annotations import Annotation, Point, Points
from wsss.config import ELSEWHERE, Config, describe
from wsss.data import DATASETS, open_dataset
from wsss.data.base import DatasetSettings
from wsss.data.coco import CocoSettings
from wsss.data.folder import FolderSettings
from wsss.data.manifests import write_manifest
from wsss.data.synthetic import SyntheticSettings
from wsss.data.voc import VocSettings
from wsss.functional.seeds import SeedSettings
from wsss.networks import NETWORKS
from wsss.networks.deeplabv3plus import DeepLabV3Plus
from wsss.tasks.sparse_settings import USUAL_WEIGHTS
from wsss.types import LabelMap

PATHS = {"data.root", "data.download"}
"""Settings that only say where something lies and whether to fetch it; that changes nothing."""

RULE = {"self_training.tolerance", "self_training.guard"}
"""Settings of the rule that ends the rounds: they choose between results and make none, see ``judge``."""

TOGETHER = {"classifier.hidden", "labels.source", "labels.manifest"}
"""Settings that can't be changed alone; see ``test_keys`` for the first, below for the others."""

OTHER_VALUES: dict[str, Any] = {
    "cams.method": "gradcam",
    "network": "resnet18",
    "refine": ("crf",),
    "classifier.optimizer": "sgd",
    "classifier.schedule": "constant",
    "classifier.output_stride": 8,
    "segmenter.supervision": "dsrg",
    "segmenter.optimizer": "sgd",
    "segmenter.schedule": "constant",
    "segmenter.output_stride": 8,
    "segmenter.width": 64,
    "graph.optimizer": "sgd",
    "graph.schedule": "constant",
    "graph.hidden": 32,
    "graph.heads": 2,
    "seeds.background": "power",
    "cams.negative_quantile": 0.9,
    "seeds.rule": "irn",
    "seeds.quantile_pixels": "image",
    "crf.unary": "labels",
    "crf.label_confidence": 0.6,
    "dsrg.crf.unary": "labels",
    "dsrg.crf.label_confidence": 0.6,
    "dsrg.crf.reference_side": 500,
    "classifier.weights": "imagenet",
    "segmenter.weights": "imagenet",
    "classifier.gradient_clip": 1.0,
    "segmenter.gradient_clip": 1.0,
    "classifier.freeze_batchnorm": False,
    "segmenter.freeze_batchnorm": False,
    "segmenter.loss": "symmetric",
    "segmenter.network": "another",
    "labels.kinds": ("points",),
    "labels.budget_seconds": 10.0,
    "labels.points.per": "class",
    "labels.points.spread": 2.0,
    "labels.points.background": 5,
    "labels.noise.missing_tags": 1.0,
    "labels.noise.wrong_tags": 1.0,
    "labels.noise.missed_clicks": 1.0,
    "labels.noise.stroke_jitter": 5.0,
    **{f"sparse.{name}": 0.7 for name in USUAL_WEIGHTS},
}


PAID = {"labels.budget_seconds": 50.0}

BESIDE: dict[str, dict[str, Any]] = {
    "classifier.freeze_stages": {"classifier.weights": "imagenet"},
    "segmenter.freeze_stages": {"segmenter.weights": "imagenet"},
    "segmenter.generalised_exponent": {"segmenter.loss": "generalised"},
    "segmenter.symmetric_forward": {"segmenter.loss": "symmetric"},
    "segmenter.symmetric_reverse": {"segmenter.loss": "symmetric"},
    "seeds.quantile_pixels": {"seeds.background": "quantile"},
    "seeds.background_quantile": {"seeds.background": "quantile"},
    "seeds.foreground_quantile": {"seeds.background": "quantile"},
    "seeds.irn_foreground_threshold": {"seeds.rule": "irn"},
    "seeds.irn_background_threshold": {"seeds.rule": "irn"},
    "labels.seed": {"labels.kinds": ("points",)},
    "labels.noise.missed_clicks": {"labels.kinds": ("points",)},
    "labels.noise.stroke_jitter": {"labels.kinds": ("scribbles",)},
    "labels.noise.box_jitter": {"labels.kinds": ("boxes",)},
    # what labels cost decides how many a budget pays for
    "labels.full_schedule": {"labels.budget_seconds": 5.0},
    "labels.cost.class_decision": {"labels.budget_seconds": 5.0},
    "labels.cost.first_click": {"labels.kinds": ("points",), "labels.budget_seconds": 20.0},
    "labels.cost.further_click": {"labels.kinds": ("points",), "labels.points.background": 20} | PAID,
    "labels.cost.stroke": {"labels.kinds": ("scribbles",), "labels.budget_seconds": 150.0},
    "labels.cost.box": {"labels.kinds": ("boxes",)} | PAID,
    "labels.cost.outline": {"labels.masks": 2, "labels.budget_seconds": 320.0},
    "sparse.dense.xy": {"sparse.dense_crf": 0.1},
    "sparse.dense.rgb": {"sparse.dense_crf": 0.1},
    "sparse.dense.side": {"sparse.dense_crf": 0.1},
}
"""Settings that only count beside a choice that isn't the default."""


def other_value(key: str, value: Any) -> Any:
    """Another value that keeps the rule of the setting."""
    if key in OTHER_VALUES:
        return OTHER_VALUES[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.25
    if isinstance(value, tuple):
        return tuple(entry / 2 for entry in value)
    raise AssertionError(f"no other value is known for {key}={value!r}; add one to OTHER_VALUES")


def is_elsewhere(key: str) -> bool:
    return key.partition(".")[0] in ELSEWHERE


FILES = {"seeds.cues", "seeds.cue_ids", "seeds.cue_grid"}
"""Settings of files that are read, and of how: they need files to count."""

METHOD = [(key, value) for key, value, _ in describe(CONFIG) if not is_elsewhere(key) and not key.startswith("data")]


def chosen(**choices: Any) -> Config:
    """The plain configuration with some settings changed, whose dots are double underscores."""
    config = CONFIG
    for key, value in choices.items():
        config = with_setting(config, key.replace("__", "."), value)
    return config


WHERE: dict[str, Config] = {
    # seeds that grow inside the training
    "dsrg": chosen(segmenter__supervision="dsrg"),
    "sparse": chosen(labels__kinds=("points", "boxes"), segmenter__supervision="sparse"),
    "labels.points": chosen(labels__kinds=("points",)),
    "labels.scribbles": chosen(labels__kinds=("scribbles",)),
    "labels.boxes": chosen(labels__kinds=("boxes",)),
    "labels.spread": chosen(labels__kinds=("scribbles", "boxes")),
}
"""Where the settings of a section are read, if it isn't in the plain configuration."""

SCENES = {"even": picture("00001", "20100", "00000"), "odd": picture("0000", "0110")}
LARGE = DrawnDataset(
    {f"{name} {size}": enlarged(drawn, size) for name, drawn in SCENES.items() for size in range(12, 17)}
)
"""Images that are large enough for clicks to stray and strokes to bend; with two things of a class, or with one."""


@pytest.mark.parametrize(("key", "value"), [entry for entry in METHOD if entry[0] not in RULE | FILES | TOGETHER])
def test_no_setting_of_the_method_is_unread(key: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "another", DeepLabV3Plus)
    config = next((where for section, where in WHERE.items() if key.startswith(f"{section}.")), CONFIG)
    for chosen, choice in BESIDE.get(key, {}).items():
        config = with_setting(config, chosen, choice)
    data = LARGE if key.startswith("labels.") else DATA
    assert keys(planned(config, data)) != keys(planned(with_setting(config, key, other_value(key, value)), data))


def test_no_setting_of_manifests_is_unread(tmp_path: Path) -> None:
    found = [keys(planned(CONFIG, LARGE))]
    for column in (3, 4):
        path = tmp_path / f"{column}.json"
        write_manifest(path, {"even 12": Annotation(points=Points((Point(1, 2, column),)))}, LARGE.classes)
        given = replace(CONFIG.labels, kinds=("points",), source="manifest", manifest=str(path))
        found.append(keys(planned(replace(CONFIG, labels=given), LARGE)))
    assert found[0] != found[1] != found[2] != found[0]
    # the same labels elsewhere are the same labels
    moved = (tmp_path / "4.json").rename(tmp_path / "moved.json")
    assert keys(planned(replace(CONFIG, labels=replace(given, manifest=str(moved))), LARGE)) == found[2]


@pytest.mark.parametrize("kinds", [("tags",), ("points",), ("scribbles",), ("boxes",)])
def test_settings_of_kinds_that_training_does_not_see_change_nothing(kinds: tuple[str, ...]) -> None:
    config = chosen(labels__kinds=kinds)
    before = keys(planned(config, LARGE))
    for kind in {"points", "scribbles", "boxes"} - {*kinds}:
        for key, value in METHOD:
            if key.startswith(f"labels.{kind}."):
                assert keys(planned(with_setting(config, key, other_value(key, value)), LARGE)) == before


@pytest.mark.parametrize("key", sorted(FILES))
def test_no_setting_of_cues_is_unread(key: str, tmp_path: Path) -> None:
    for name in ("some", "others"):
        (tmp_path / name).write_text(name)
    given = SeedSettings(cues=str(tmp_path / "some"), cue_ids=str(tmp_path / "some"), cue_grid=5)
    config = replace(CONFIG, seeds=given)
    other = with_setting(config, key, 6 if key == "seeds.cue_grid" else str(tmp_path / "others"))
    assert keys(planned(config)) != keys(planned(other))
    assert "cues:0" in keys(planned(config))


@cache
def attributes_read() -> frozenset[str]:
    """Names that the package reads off anything but ``self``, and those it reads by name."""
    names: set[str] = set()
    for path in (Path(__file__).parents[1] / "wsss").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
                names.add(node.attr)
    return frozenset(names)


OF_CONFIG = {"experiment", "run", "until", "start"}
"""Settings that the configuration reads itself; weights of losses are read by their names in a table."""


@pytest.mark.parametrize("kind", DATASETS)
def test_every_setting_is_read_by_some_code(kind: str) -> None:
    config = Config(data=DATASETS[kind].settings())
    names = {key.rpartition(".")[2] for key, _, _ in describe(config)} - OF_CONFIG - USUAL_WEIGHTS.keys()
    assert len(names) > 60
    assert names - attributes_read() == set()


def write_png(path: Path, labels: LabelMap, *, colours: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (torch.stack([labels] * 3, 2) * 60 if colours else labels).numpy()
    PillowImage.fromarray(pixels).save(path)


DRAWN = {f"image_{number}": enlarged(picture("0011", "0211"), 8) for number in range(6)}


def voc(root: Path) -> VocSettings:
    for name, drawn in DRAWN.items():
        write_png(root / "JPEGImages" / f"{name}.png", drawn, colours=True)
        write_png(root / "SegmentationClass" / f"{name}.png", drawn)
        write_png(root / "OtherMasks" / f"{name}.png", 2 - drawn)
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text("<annotation><object><name>dog</name></object></annotation>")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    names = list(DRAWN)
    for name, part in {"train": names[:4], "fewer": names[:3], "val": names[4:], "less": names[5:]}.items():
        (lists / f"{name}.txt").write_text("\n".join(part))
    (root / "classes.txt").write_text("cat\ndog")
    (root / "image_level_labels.txt").write_text("\n".join(f"{name} 1" for name in names))
    return VocSettings(root=str(root))


def coco(root: Path) -> CocoSettings:
    cat, dog = {"category_id": 1}, {"category_id": 7}
    halves = [{**cat, "segmentation": [box_outline(0, 0, 8, 8)]}, {**dog, "segmentation": [box_outline(8, 0, 16, 8)]}]
    names = list(DRAWN)
    for year, shift in ((2017, 0), (2014, 1)):
        pictures = {name: [halves[(number + shift) % 2]] for number, name in enumerate(names)}
        train, val = ({name: pictures[name] for name in part} for part in (names[:4], names[4:]))
        make_coco(root, train=train, val=val, categories={1: "cat", 7: "dog"}, size=(32, 32), year=year)
    return CocoSettings(root=str(root))


def folder(root: Path) -> FolderSettings:
    for name, drawn in DRAWN.items():
        write_png(root / "images" / f"{name}.png", drawn, colours=True)
        write_png(root / "photos" / f"{name}.png", 2 - drawn, colours=True)
        write_png(root / "masks" / f"{name}.png", drawn)
        write_png(root / "OtherMasks" / f"{name}.png", 2 - drawn)
    for file, tag in {"tags.csv": "cat", "other.csv": "dog"}.items():
        with (root / file).open("w", newline="") as table:
            csv.writer(table).writerows([["image", "tags"], *([name, tag] for name in DRAWN)])
    (root / "classes.txt").write_text("cat\ndog")
    (root / "names.txt").write_text("cat\ndog\nbird")
    return FolderSettings(root=str(root))


def synthetic(_: Path) -> SyntheticSettings:
    return SyntheticSettings(train=3, val=2, size=32)


KINDS = {"synthetic": synthetic, "voc": voc, "coco": coco, "folder": folder}
OTHER_DATA: Mapping[str, Mapping[str, Any]] = {
    "synthetic": {},
    "voc": {
        "tags": "xml",
        "train_list": "fewer",
        "val_list": "less",
        "masks": "OtherMasks",
        "max_side": 20,
    },
    "coco": {"year": 2014, "train": "val", "val": "train", "max_side": 20},
    "folder": {
        "images": "photos",
        "tags": "other.csv",
        "classes": "names.txt",
        "masks": "OtherMasks",
        "val_share": 0.6,
        "max_side": 20,
    },
}


def data_settings() -> Iterator[tuple[str, str]]:
    for kind in DATASETS:
        for key, _, _ in describe(Config(data=DATASETS[kind].settings())):
            if key.startswith("data.") and key not in PATHS:
                yield kind, key.removeprefix("data.")


def keys_of(settings: DatasetSettings) -> dict[str, str]:
    config = Config(data=settings, ceiling=True)
    return keys(planned(config, open_dataset(config.data)))


@pytest.mark.parametrize(("kind", "name"), list(data_settings()))
def test_no_setting_of_the_data_is_unread(kind: str, name: str, tmp_path: Path) -> None:
    settings = KINDS[kind](tmp_path / "data")
    other = OTHER_DATA[kind].get(name)
    value = other_value(name, getattr(settings, name)) if other is None else other
    assert keys_of(replace(settings, **{name: value})) != keys_of(settings)


@pytest.mark.parametrize("kind", ["voc", "coco", "folder"])
def test_where_the_data_lie_does_not_matter(kind: str, tmp_path: Path) -> None:
    here, there = KINDS[kind](tmp_path / "here"), KINDS[kind](tmp_path / "there" / "below")
    assert keys_of(here) == keys_of(there)
