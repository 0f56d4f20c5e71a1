"""What users get wrong is refused in one sentence that names the thing, the rule, the value and the cure."""

import io
import json
import os
import pickle  # noqa: TID251 - written here, to be refused
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from tests.data.toys import make_coco, make_voc, save_mask, save_photo, write
from wsss.cli import main
from wsss.config import load
from wsss.data import open_dataset
from wsss.data.base import SPLITS, DatasetSettings
from wsss.data.coco import CocoSettings
from wsss.data.folder import FolderSettings
from wsss.data.voc import VocSettings
from wsss.errors import DataError, SettingsError, StoreError, WsssError
from wsss.networks.backbones import build_backbone
from wsss.runs import dry_run, load_run
from wsss.store import Artefact, Store
from wsss.tasks.checkpoints import read_checkpoint, write_checkpoint

CURE = re.compile(r"; |did you mean|there are:|must|may|can't be")
"""How a sentence says what to do: a cure behind a semicolon, a list of what exists, or a rule that is its own cure."""

SETTINGS = (
    "seed=-1",
    "seed=x",
    "rounds=0",
    "rounds=1.5",
    "network=resnet19",
    "network=timm/convnext_ato",
    "refine=[crf,crf]",
    "refine=[crff]",
    "ceiling=maybe",
    "experiment=vok21",
    "data=vocc",
    "until=crff",
    "start=segmentor",
    "run=..",
    "run=../elsewhere",
    "run=store",
    "data.trian=3",
    "classifer.epochs=3",
    "data.train=0",
    "data.val=-1",
    "data.size=8",
    "data.size=500",
    "data.seed=-1",
    "classifier.epochs=0",
    "classifier.epochs=many",
    "classifier.batch_size=-4",
    "classifier.learning_rate=0",
    "classifier.learning_rate=-1",
    "classifier.learning_rate=nan",
    "classifier.learning_rate=inf",
    "classifier.weight_decay=-1",
    "classifier.weight_decay=nan",
    "classifier.momentum=1",
    "classifier.power=0",
    "classifier.warmup=1",
    "classifier.optimizer=adamm",
    "classifier.schedule=step",
    "classifier.gradient_clip=0",
    "classifier.output_stride=4",
    "classifier.freeze_stages=6",
    "classifier.head_multiplier=0",
    "classifier.probe_epochs=1000",
    "classifier.crop=8",
    "classifier.scale=[2.0,1.0]",
    "classifier.scale=[1.0]",
    "classifier.scale=[inf,inf]",
    "classifier.jitter=1",
    "classifier.held_out=nan",
    "classifier.hidden=8",
    "cams.method=gradcamm",
    "cams.scales=[]",
    "cams.scales=[0.0]",
    "cams.scales=[nan]",
    "cams.batch_size=0",
    "cams.negative_quantile=1",
    "cams.negative_quantile=nan",
    "seeds.background=powr",
    "seeds.background_threshold=2",
    "seeds.background_threshold=nan",
    "seeds.foreground_threshold=-0.1",
    "seeds.power=0",
    "seeds.rule=irm",
    "seeds.cue_grid=1",
    "seeds.cues=cues.pickle",
    "superpixels.count=0",
    "superpixels.count=70000",
    "superpixels.compactness=0",
    "growing.foreground_threshold=1.5",
    "graph.neighbours=0",
    "graph.hidden=30",
    "graph.dropout=1",
    "graph.feature_scale=0",
    "graph.prototype_temperature=0",
    "graph.entropy_weight=-1",
    "graph.entropy_weight=nan",
    "graph.passes=0",
    "crf.iterations=0",
    "crf.unary=score",
    "crf.label_confidence=1",
    "crf.bilateral_srgb=0",
    "crf.bilateral_compat=-1",
    "crf.bilateral_compat=inf",
    "crf.reference_side=0",
    "pseudo_labels.ignore_below=2",
    "segmenter.width=7",
    "segmenter.balance=-1",
    "segmenter.dropout=1",
    "segmenter.test_scales=[]",
    "segmenter.network=deeplabv3",
    "segmenter.supervision=dsgr",
    "dsrg.stride=0",
    "dsrg.constrain_weight=-1",
    "dsrg.crf.iterations=0",
    "segmenter.loss=huber",
    # of tags alone there is nothing to learn pixel by pixel
    "segmenter.supervision=sparse",
    "sparse.tree_energy=-1",
    "sparse.gated_crf=nan",
    "sparse.size=much",
    "sparse.tree_sigma=0",
    "sparse.gated.radius=0",
    "sparse.dense.side=0",
    "labels.kinds=[]",
    "labels.kinds=[pionts]",
    "labels.kinds=[masks]",
    "labels.kinds=[tags,tags]",
    "labels.kinds=boxes",
    "labels.source=simulator",
    "labels.source=manifest",
    "labels.manifest=labels.json",
    "labels.masks=-1",
    "labels.budget_seconds=0",
    "labels.budget_seconds=-1",
    "labels.budget_seconds=nan",
    "labels.seed=-1",
    "labels.points.per=image",
    "labels.points.radius=-1",
    "labels.points.spread=nan",
    "labels.points.background=-1",
    "labels.scribbles.length=0",
    "labels.scribbles.width=0",
    "labels.boxes.loosen=-1",
    "labels.boxes.reset_below=2",
    "labels.boxes.core=3",
    "labels.spread.likely=1",
    "labels.scribbles.strokes=0",
    "labels.scribbles.spacing=0",
    "labels.noise.missing_tags=1.5",
    "labels.noise.box_jitter=nan",
    "labels.spread.reach=-1",
    "labels.cost.box=-1",
    "labels.cost.stroke=inf",
    "self_training.watched=0",
    "trainer.devices=0",
    "trainer.accelerator=tpu",
    "trainer.precision=16",
    "trainer.workers=-1",
    "trainer.threads=-1",
    "tracking.mode=loud",
)


UNREPEATED = {"data.trian", "classifer.epochs", "classifier.hidden", "seeds.cues"}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_that_can_not_be(setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, value = setting.split("=")
    small = () if key in ("experiment", "data") else ("data.train=2", "data.val=1", "data.size=32")
    others = [word for word in small if not word.startswith(f"{key}=")]
    code = main(["run", "--dry-run", f"store.root={tmp_path / 'runs'}", *others, setting])
    printed, said = capsys.readouterr()
    assert code == 2
    assert not printed
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) <= 3
    assert key.split(".")[-1] in said
    # a name that does not exist, or a value that only another setting rules out, is not repeated
    assert value.strip("[]").split(",")[0] in said or key in UNREPEATED
    assert CURE.search(said)
    assert not (tmp_path / "runs").exists()


def test_a_run_that_would_end_before_it_starts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["data.train=2", "data.val=1", "data.size=32", f"store.root={tmp_path / 'runs'}"]
    assert main(["run", "--dry-run", *small, "until=seeds", "start=crf"]) == 2
    assert capsys.readouterr().err.startswith("wsss: until must not come before start=crf")


@pytest.mark.parametrize("summary", ["", "{", "{}", "[]", "null", "\udcff"])
def test_a_damaged_summary_is_named(summary: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("rounds: 1\n")
    (tmp_path / "summary.json").write_bytes(summary.encode(errors="surrogateescape"))
    with pytest.raises(StoreError, match=r"summary\.json' is not a run's summary .*; start the same run again"):
        _ = load_run(tmp_path).final_round


def test_a_process_that_is_to_join_no_run_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["join", str(tmp_path / "run.yaml")]) == 2
    assert "not a run's configuration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("network", "settings", "named"),
    [
        ("timm/test_vit", ["classifier.output_stride=8"], "classifier.output_stride must be 16 for timm/test_vit"),
        (
            "timm/test_vit",
            ["classifier.output_stride=16", "segmenter.output_stride=32"],
            "segmenter.output_stride must be 16 for timm/test_vit",
        ),
        ("squeezenet", ["segmenter.output_stride=32"], "segmenter.output_stride must be 8 or 16 for squeezenet"),
        ("tiny", ["segmenter.weights=imagenet"], "segmenter.weights must be none for tiny"),
        ("tiny", ["classifier.weights=classifier"], "classifier.weights must be none, imagenet or a file"),
        ("tiny", ["classifier.freeze_stages=2"], "classifier.freeze_stages must be 0 where no weights are loaded"),
        ("timm/test_vit_relpos", [], "network timm/test_vit_relpos does not support images of any size"),
    ],
)
@pytest.mark.parametrize("dry", [True, False], ids=["dry run", "run"])
def test_a_network_that_can_not_do_what_is_asked_of_it_is_refused_before_any_stage(
    network: str, settings: list[str], named: str, dry: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["data.train=2", "data.val=1", "data.size=32", "tracking.mode=none", f"store.root={tmp_path / 'runs'}"]
    assert main(["run", *(["--dry-run"] if dry else []), *small, f"network={network}", *settings]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"wsss: {named}")
    assert not (tmp_path / "runs" / "store").exists()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (["labels.source=manifest", "labels.manifest=gone.json"], "gone.json"),
        (["labels.source=manifest", "labels.manifest=pyproject.toml"], "pyproject.toml"),
        (["labels.budget_seconds=0.5"], "labels.budget_seconds=0.5 pays for no image"),
        (
            [
                "segmenter.supervision=sparse",
                "labels.kinds=[boxes]",
                *(f"sparse.{loss}=0" for loss in ("partial_cross_entropy", "tree_energy", "box_tightness")),
            ],
            "sparse leaves no loss to train with",
        ),
    ],
)
def test_labels_that_nothing_can_be_learnt_from_are_refused_before_any_stage(
    settings: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["data.train=2", "data.val=1", "data.size=32", f"store.root={tmp_path / 'runs'}"]
    assert main(["run", "--dry-run", *small, *settings]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert named in said
    assert CURE.search(said)


MASK = torch.tensor([[0, 0, 1, 1, 2, 2]] * 4, dtype=torch.uint8)


def voc(root: Path) -> VocSettings:
    make_voc(root, train={"a": MASK, "b": MASK}, val={"v": MASK}, tags=("a 1 2", "b 1 2", "v 1 2"))
    return VocSettings(root=str(root))


def folder(root: Path) -> FolderSettings:
    for index, name in enumerate("ab"):
        save_photo(root / "images" / f"{name}.jpg", 8, 8, seed=index)
    write(root / "tags.csv", "image,tags", "a,cat;dog", "b,dog")
    return FolderSettings(root=str(root))


def coco(root: Path) -> CocoSettings:
    outline = {"category_id": 3, "segmentation": [[1, 1, 4, 1, 4, 3, 1, 3]], "bbox": [1, 1, 3, 2], "iscrowd": 0}
    make_coco(root, train={"a": [outline], "b": [outline]}, val={"v": [outline]})
    return CocoSettings(root=str(root))


def read_everything(settings: DatasetSettings) -> None:
    dataset = open_dataset(settings)
    for split in SPLITS:
        for image in dataset.ids(split):
            dataset.image(image)
            dataset.tags(image)
            dataset.truth(image)


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def coloured(path: Path) -> None:
    PillowImage.fromarray(np.zeros((4, 6, 3), dtype=np.uint8)).save(path)


class Evil:
    """Unpickled, it would make a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("/nonexistent/evil",)


def pickled_tags(root: Path, tags: object) -> None:
    np.save(root / "tags.npy", np.array(tags, dtype=object), allow_pickle=True)


LIST = "ImageSets/Segmentation/train.txt"
INSTANCES = "annotations/instances_train2017.json"

VOC_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "image cut off": (lambda root: cut(root / "JPEGImages/a.png"), "a.png"),
    "empty image": (lambda root: (root / "JPEGImages/a.png").write_bytes(b""), "a.png"),
    "text as image": (lambda root: write(root / "JPEGImages/a.png", "a cat"), "a.png"),
    "mask cut off": (lambda root: cut(root / "SegmentationClass/a.png"), "a.png"),
    "mask in colours": (lambda root: coloured(root / "SegmentationClass/a.png"), "a.png"),
    "mask of another size": (lambda root: save_mask(root / "SegmentationClass/a.png", MASK.T.contiguous()), "a.png"),
    "label beyond the classes": (lambda root: save_mask(root / "SegmentationClass/a.png", MASK * 9), "a.png"),
    "text as mask": (lambda root: write(root / "SegmentationClass/a.png", "0 0 1"), "a.png"),
    "id listed twice": (lambda root: write(root / LIST, "a", "b", "a"), "train.txt"),
    "empty list": (lambda root: (root / LIST).write_text(""), "train.txt"),
    "no list": (lambda root: (root / LIST).unlink(), "train.txt"),
    "listed image missing": (lambda root: write(root / LIST, "a", "b", "gone"), "gone"),
    "no folder of images": (lambda root: (root / "JPEGImages").rename(root / "Images"), "JPEGImages"),
    "no class list": (lambda root: (root / "classes.txt").unlink(), "classes.txt"),
    "empty class list": (lambda root: (root / "classes.txt").write_text(""), "classes.txt"),
    "class named twice": (lambda root: write(root / "classes.txt", "background", "cat", "cat"), "'cat'"),
    "no tag file": (lambda root: (root / "image_level_labels.txt").unlink(), "image_level_labels.txt"),
    "tag beyond the classes": (lambda root: write(root / "image_level_labels.txt", "a 7"), "line 1"),
    "tag that is no number": (lambda root: write(root / "image_level_labels.txt", "a cat"), "line 1"),
    "image tagged twice": (lambda root: write(root / "image_level_labels.txt", "a 1", "a 2"), "line 2"),
}

FOLDER_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no table": (lambda root: (root / "tags.csv").unlink(), "tags.csv"),
    "table without columns": (lambda root: write(root / "tags.csv", "a,cat", "b,dog"), "tags.csv"),
    "image that is not there": (lambda root: write(root / "tags.csv", "image,tags", "c,cat"), "'c'"),
    "image named twice": (lambda root: write(root / "tags.csv", "image,tags", "a,cat", "a,dog"), "'a'"),
    "split that is none": (lambda root: write(root / "tags.csv", "image,tags,split", "a,cat,test"), "'test'"),
    "class that is none": (lambda root: write(root / "classes.txt", "cat"), "'dog'"),
    "no image": (lambda root: clear(root / "images"), "images"),
    "no folder of images": (lambda root: (root / "images").rename(root / "pictures"), "images"),
    "image cut off": (lambda root: cut(root / "images/a.jpg"), "a.jpg"),
}

COCO_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no instances": (lambda root: (root / INSTANCES).unlink(), "instances_train2017.json"),
    "instances cut off": (lambda root: cut(root / INSTANCES), "instances_train2017.json"),
    "no folder of images": (lambda root: (root / "train2017").rename(root / "train"), "train2017"),
    "image that is not there": (lambda root: (root / "train2017/a.png").unlink(), "a.png"),
    "annotation of no image": (
        lambda root: edit_json(root / INSTANCES, lambda all: all["annotations"][0].update(image_id=5)),
        "5",
    ),
    "annotation of no category": (
        lambda root: edit_json(root / INSTANCES, lambda all: all["annotations"][0].update(category_id=5)),
        "5",
    ),
    "size of another image": (
        lambda root: edit_json(root / INSTANCES, lambda all: all["images"][0].update(height=9)),
        "a.png",
    ),
    "runs that do not fill the image": (
        lambda root: edit_json(
            root / INSTANCES,
            lambda all: all["annotations"][0].update(segmentation={"size": [4, 6], "counts": [3, 2]}),
        ),
        "annotation",
    ),
}

FAULTS = [
    pytest.param(make, *fault, id=f"{make.__name__}: {name}")
    for make, faults in ((voc, VOC_FAULTS), (folder, FOLDER_FAULTS), (coco, COCO_FAULTS))
    for name, fault in faults.items()
]


@pytest.mark.parametrize(("make", "spoil", "named"), FAULTS)
def test_data_that_can_not_be_used(
    make: Callable[[Path], DatasetSettings], spoil: Callable[[Path], object], named: str, tmp_path: Path
) -> None:
    settings = make(tmp_path / "data")
    read_everything(settings)
    spoil(tmp_path / "data")
    with pytest.raises(DataError) as caught:
        read_everything(settings)
    assert_one_sentence(caught.value, named)


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ({"a": Evil()}, "mkdir"),
        ({"a": np.zeros(5)}, "'a'"),
        ({"a": np.array([0.0, 7.0])}, "'a'"),
        ([1, 2, 3], "tags.npy"),
    ],
    ids=["that run code", "of other classes", "that are neither 0 nor 1", "without images"],
)
def test_arrays_of_tags(tags: object, named: str, tmp_path: Path) -> None:
    voc(tmp_path)
    pickled_tags(tmp_path, tags)
    with pytest.raises(DataError) as caught:
        read_everything(VocSettings(root=str(tmp_path), tags="tags.npy"))
    assert_one_sentence(caught.value, named)


def weights_file(path: Path, content: object) -> None:
    torch.save(content, path)


WEIGHTS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(missing_ok=True),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("weights"),
    "of another network": lambda path: weights_file(path, {"layer1.weight": torch.zeros(1)}),
    "of other shapes": lambda path: weights_file(path, {"features.0.0.weight": torch.zeros(1)}),
    "hiding a pickle": lambda path: path.write_bytes(pickle.dumps({"features.0.0.weight": Evil()}, 2)),
    "a list": lambda path: weights_file(path, [torch.zeros(1)]),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_do_not_fit(name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    WEIGHTS[name](path)
    with pytest.raises(SettingsError) as caught:
        build_backbone("mobilenet_v2", weights=str(path))
    assert_one_sentence(caught.value, "weights.pth")


@pytest.mark.parametrize("section", ["classifier", "segmenter"])
def test_weights_of_another_network_are_refused_before_anything_is_computed(section: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    weights_file(path, {"layer1.weight": torch.zeros(1)})
    with pytest.raises(SettingsError) as caught:
        dry_run(load(["network=mobilenet_v2", f"{section}.weights={path}", f"store.root={tmp_path / 'runs'}"]))
    assert str(caught.value).startswith(f"{section}.weights")
    assert_one_sentence(caught.value, "does not fit mobilenet_v2")


def hidden_pickle(path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"state_dict": Evil()}, buffer)
    path.write_bytes(buffer.getvalue())


CHECKPOINTS: dict[str, Callable[[Path], object]] = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "flipped": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "hiding a pickle": hidden_pickle,
    "of something else": lambda path: write_checkpoint({"state_dict": {}}, path),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints_that_can_not_be_trusted(name: str, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    parts = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "history")
    write_checkpoint({part: {} for part in parts}, path)
    CHECKPOINTS[name](path)
    with pytest.raises(StoreError) as caught:
        read_checkpoint(path)
    assert_one_sentence(caught.value, "last.ckpt")


def finished(root: Path) -> Artefact:
    artefact = Store(root).artefact("seeds", "0123456789abcdef")
    with artefact.unit("0") as unit:
        unit.write_labels("a", MASK)
    artefact.finish("seeds", "0123456789abcdef", 1)
    return Store(root).artefact("seeds", "0123456789abcdef")


STORES: dict[str, Callable[[Artefact], object]] = {
    "manifest that is none": lambda artefact: (artefact.folder / "manifest.json").write_text("{}"),
    "manifest cut off": lambda artefact: (artefact.folder / "manifest.json").write_text('{"files": '),
    "labels edited by hand": lambda artefact: artefact.path("labels", "a", ".png").write_bytes(b"x"),
    "labels deleted": lambda artefact: artefact.path("labels", "a", ".png").unlink(),
}


@pytest.mark.parametrize("name", STORES)
def test_stage_folders_that_were_changed(name: str, tmp_path: Path) -> None:
    artefact = finished(tmp_path)
    STORES[name](artefact)
    with pytest.raises(StoreError) as caught:
        assert artefact.complete
    assert_one_sentence(caught.value, str(artefact.folder))


def test_a_store_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").write_text("not a folder")
    root = f"store.root={tmp_path / 'runs'}"
    assert main(["run", root, "data.train=2", "data.val=1", "data.size=32", "tracking.mode=none"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert str(tmp_path / "runs") in said
    assert CURE.search(said)


SCORED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no labels": (lambda root: clear(root / "labels"), "labels"),
    "a missing truth": (lambda root: (root / "truth/a.png").unlink(), "a.png"),
    "a truth of another size": (lambda root: save_mask(root / "truth/a.png", MASK.T.contiguous()), "a.png"),
    "labels in colours": (lambda root: coloured(root / "labels/a.png"), "a.png"),
    "labels cut off": (lambda root: cut(root / "labels/a.png"), "a.png"),
    "text as truth": (lambda root: write(root / "truth/a.png", "0"), "a.png"),
    "no folder": (lambda root: (root / "truth").rename(root / "gt"), "truth"),
}


@pytest.mark.parametrize("name", SCORED)
def test_labels_that_can_not_be_scored(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, named = SCORED[name]
    for kind in ("labels", "truth"):
        save_mask(tmp_path / kind / "a.png", MASK)
    spoil(tmp_path)
    assert main(["evaluate", "--labels", str(tmp_path / "labels"), "--truth", str(tmp_path / "truth")]) == 2
    printed, said = capsys.readouterr()
    assert not printed
    assert "Traceback" not in said
    assert named in said
    assert CURE.search(said)


@pytest.mark.parametrize("content", [None, "", "seed: [", "- 1", "sed: 1"])
def test_folders_that_are_no_run(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(WsssError) as caught:
        assert load_run(tmp_path).config
    assert len(str(caught.value).splitlines()) <= 3
    assert CURE.search(str(caught.value))


def assert_one_sentence(error: WsssError, named: str) -> None:
    said = str(error)
    assert "\n" not in said
    assert named in said
    assert CURE.search(said)
