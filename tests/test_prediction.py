from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from tests.toy_run import run_toy
from wsss import prediction
from wsss.cli import main
from wsss.data.images import read_label_png
from wsss.errors import DataError, StageError
from wsss.prediction import best_of_enlarged
from wsss.runs import Run
from wsss.store import resize_scores


def save(path: Path, run: Run, id: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(run.dataset.image(id).permute(1, 2, 0).numpy()).save(path)
    return path


def test_a_photograph_gets_the_labels_that_the_run_gave_it(toy: Run, tmp_path: Path) -> None:
    stored = toy.artefact("predictions", toy.final_round)
    assert stored is not None
    for id in toy.dataset.ids("val"):
        (written,) = toy.predict(save(tmp_path / f"{id}.png", toy, id), out=tmp_path / "out")
        labels = read_label_png(written)
        assert written == tmp_path / "out" / "labels" / f"{id}.png"
        assert labels.shape == toy.dataset.size(id)
        # together with others in a batch a score may be rounded otherwise
        assert (labels == stored.read_labels(id)).float().mean() > 0.99
        with PillowImage.open(tmp_path / "out" / "overlays" / f"{id}.png") as shown:
            assert shown.size == labels.shape[::-1]


def test_photographs_of_any_kind_and_folders_of_them(
    toy: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    PillowImage.new("L", (1, 1)).save(folder / "dot.png")
    PillowImage.new("CMYK", (40, 30)).save(folder / "print.jpg")
    (folder / "notes.txt").write_text("no image")
    (folder / "._print.jpg").write_bytes(b"what macOS knows about print.jpg")
    (folder / "folder.png").mkdir()
    single = tmp_path / "wide.bmp"
    PillowImage.new("RGB", (90, 20)).save(single)
    assert main(["predict", str(toy.folder), str(folder), str(single), "--out", str(tmp_path / "out")]) == 0
    assert "labels of 3 images" in capsys.readouterr().out
    sizes = {path.stem: tuple(read_label_png(path).shape) for path in (tmp_path / "out" / "labels").iterdir()}
    assert sizes == {"dot": (1, 1), "print": (30, 40), "wide": (20, 90)}


def test_windows_change_little_where_an_image_would_fit(
    toy: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiled = np.tile(toy.dataset.image(toy.dataset.ids("val")[0]).permute(1, 2, 0).numpy(), (4, 5, 1))
    PillowImage.fromarray(tiled).save(tmp_path / "large.png")
    (whole,) = toy.predict(tmp_path / "large.png", out=tmp_path / "whole")
    monkeypatch.setattr(prediction, "WINDOW", 96)
    monkeypatch.setattr(prediction, "OVERLAP", 64)
    (merged,) = toy.predict(tmp_path / "large.png", out=tmp_path / "merged")
    assert (read_label_png(whole) == read_label_png(merged)).float().mean() > 0.8


def test_two_images_of_one_name_are_refused(toy: Run, tmp_path: Path) -> None:
    id = toy.dataset.ids("val")[0]
    first, second = save(tmp_path / "a" / "x.png", toy, id), save(tmp_path / "b" / "x.png", toy, id)
    with pytest.raises(DataError, match=r"would both be written as 'x\.png'; rename one"):
        toy.predict(first, second, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_that_is_named_twice_is_labelled_once(toy: Run, tmp_path: Path) -> None:
    image = save(tmp_path / "a" / "x.png", toy, toy.dataset.ids("val")[0])
    assert len(toy.predict(image, image.parent, out=tmp_path / "out")) == 1


def test_what_is_no_image_is_named(toy: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no image in"):
        toy.predict(tmp_path, out=tmp_path / "out")
    with pytest.raises(DataError, match=r"gone\.png' is missing"):
        toy.predict(tmp_path / "gone.png", out=tmp_path / "out")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"broken\.png' can't be decoded"):
        toy.predict(tmp_path / "broken.png", out=tmp_path / "out")


def test_no_image_is_labelled_before_all_are_known_to_be_there(toy: Run, tmp_path: Path) -> None:
    first = save(tmp_path / "a.png", toy, toy.dataset.ids("val")[0])
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    for second, message in {"broken.png": "can't be decoded", "gone.png": "is missing"}.items():
        with pytest.raises(DataError, match=message):
            toy.predict(first, tmp_path / second, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_that_is_damaged_after_its_header_keeps_no_other_from_its_labels(toy: Run, tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / f"{name}.png", toy, toy.dataset.ids("val")[0])
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"^1 of 3 images have no labels, all others have: .*b\.png' can't be decoded"):
        toy.predict(tmp_path, out=tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out" / "labels").iterdir()) == ["a.png", "c.png"]
    with pytest.raises(DataError, match=r"^'.*b\.png' can't be decoded"):
        toy.predict(tmp_path / "b.png", out=tmp_path / "out")


def test_an_image_above_the_limit_of_pillow_is_labelled(
    toy: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = save(tmp_path / "a.png", toy, toy.dataset.ids("val")[0])
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 100)
    (written,) = toy.predict(image, out=tmp_path / "out")
    assert tuple(read_label_png(written).shape) == toy.dataset.size(toy.dataset.ids("val")[0])


def test_photographs_are_labelled_where_the_data_of_the_run_are_not(
    toy: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = save(tmp_path / "one.png", toy, toy.dataset.ids("val")[0])
    (expected,) = toy.predict(image, out=tmp_path / "beside")

    def gone(*_: object) -> None:
        raise DataError("the data lie on another machine")

    monkeypatch.setattr("wsss.runs.open_dataset", gone)
    (written,) = Run(toy.folder).predict(image, out=tmp_path / "apart")
    assert written.read_bytes() == expected.read_bytes()


def test_a_run_without_a_segmenter_says_so(tmp_path: Path) -> None:
    run = run_toy(tmp_path, "until=seeds", "classifier.epochs=1")
    with pytest.raises(StageError, match="has no trained segmenter; run it to its end"):
        run.predict(tmp_path)


def test_a_run_that_was_killed_says_so(toy: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_bytes((toy.folder / "run.yaml").read_bytes())
    assert main(["predict", str(tmp_path), "a.png"]) == 2
    assert "has not finished (it has no summary.json); start the same run again" in capsys.readouterr().err


def test_the_best_label_is_that_of_enlarged_scores() -> None:
    scores = torch.rand(5, 7, 9, generator=torch.Generator().manual_seed(0))
    enlarged = resize_scores(scores, (29, 33))
    assert torch.equal(best_of_enlarged(scores, (29, 33), range(5)), enlarged.argmax(0).byte())
    assert torch.equal(best_of_enlarged(scores, (29, 33), [1, 3]), enlarged[[1, 3]].argmax(0).byte() * 2 + 1)


def test_a_larger_photograph_is_seen_at_the_size_of_the_training_images(
    toy: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []

    class Seen:
        max_side = 40

        def __call__(self, image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
            seen.append(tuple(image.shape))
            return torch.zeros(size, dtype=torch.uint8)

    monkeypatch.setattr("wsss.runs.Predictor", lambda *_: Seen())
    for name, size in (("large", (100, 60)), ("small", (30, 20))):
        PillowImage.new("RGB", size).save(tmp_path / f"{name}.png")
    large, small = toy.predict(tmp_path / "large.png", tmp_path / "small.png", out=tmp_path / "out")
    assert seen == [(3, 24, 40), (3, 20, 30)]
    with PillowImage.open(large) as one, PillowImage.open(small) as other:
        assert (one.size, other.size) == ((100, 60), (30, 20))


def test_folders_within_a_folder_are_noted_and_left_out(
    toy: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PillowImage.new("L", (8, 8)).save(tmp_path / "dot.png")
    for name in ("one", "two", ".hidden"):
        (tmp_path / name).mkdir()
        PillowImage.new("L", (8, 8)).save(tmp_path / name / "deep.png")
    assert [path.stem for path in toy.predict(tmp_path, out=tmp_path / "out")] == ["dot"]
    noted = capsys.readouterr().err
    assert f"'{tmp_path / 'one'}', '{tmp_path / 'two'}'" in noted
    assert "hidden" not in noted


def test_an_empty_name_is_no_folder(toy: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(toy.folder), ""]) == 2
    assert "has the empty name ''" in capsys.readouterr().err
