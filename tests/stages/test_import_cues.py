import pickle  # noqa: TID251  what is written here is what others publish
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, Quiet, enlarged, finished, given_scores, workbench
from wsss.errors import DataError, SettingsError
from wsss.functional.cues import spread_cues
from wsss.functional.seeds import SeedSettings, cam_scores
from wsss.stages.base import Workbench
from wsss.stages.import_cues import import_cues
from wsss.stages.make_seeds import make_seeds

PICTURES = {f"image {number}": enlarged(picture("0011", "0211"), 8) for number in range(10)}
GRID = picture("01.", ".01", "2..")


def dataset(tags: dict[str, list[int]] | None = None, *, background: bool = True) -> DrawnDataset:
    return DrawnDataset(PICTURES, tags=tags, background=background)


def drawn(grid: Tensor) -> np.ndarray:
    """The cues of a grid, as they are published."""
    rows, columns = (grid < 255).nonzero(as_tuple=True)
    return torch.stack([grid[rows, columns].long(), rows, columns]).numpy()


def settings(folder: Path, grid: Tensor = GRID) -> SeedSettings:
    folder.mkdir(exist_ok=True)
    held = {f"{number}_cues": drawn(grid) for number in range(len(PICTURES))}
    (folder / "cues.pickle").write_bytes(pickle.dumps(held, protocol=2))
    (folder / "ids.txt").write_text("\n".join(PICTURES))
    return SeedSettings(cues=str(folder / "cues.pickle"), cue_ids=str(folder / "ids.txt"), cue_grid=3)


def said(bench: Workbench) -> list[str]:
    assert isinstance(bench.watcher, Quiet)
    return bench.watcher.said


def test_cues_come_into_the_store(tmp_path: Path) -> None:
    bench = workbench(tmp_path, dataset())
    found = finished(bench, import_cues(dataset(), settings(tmp_path)))
    for image in PICTURES:
        assert torch.equal(found.read_labels(image, "cues"), GRID)
    assert said(bench) == []


def test_cues_are_the_seeds_and_scores_come_from_the_cams(tmp_path: Path) -> None:
    given, data = settings(tmp_path), dataset({"image 1": []})
    cams = given_scores("cams", {image: torch.rand(3, 4, 8) for image in PICTURES})
    bench = workbench(tmp_path, data)
    found = finished(bench, make_seeds(data, given, cams, cues=import_cues(data, given)))
    for image in PICTURES:
        small = bench.read(cams).read_scores(image, 3)[1:]
        plain = cam_scores(small, data.tags(image), SeedSettings(), background=True)
        torch.testing.assert_close(found.read_scores(image, 3), plain, atol=1e-3, rtol=0)
        labels = torch.zeros(16, 32, dtype=torch.uint8) if image == "image 1" else spread_cues(GRID, (16, 32))
        assert torch.equal(found.read_labels(image), labels)


def test_cues_that_the_tags_rule_out_are_left_out_and_told(tmp_path: Path) -> None:
    data = dataset({"image 3": [1], "image 8": [1]})
    bench = workbench(tmp_path, data)
    found = finished(bench, import_cues(data, settings(tmp_path)))
    assert torch.equal(found.read_labels("image 3", "cues"), picture("01.", ".01", "..."))
    assert torch.equal(found.read_labels("image 4", "cues"), GRID)
    (text,) = said(bench)
    assert (
        "classes that the tags rule out for 2 of 10 images, for example 'dog' in 'image 3'; they are left out" in text
    )


def test_without_a_background_its_cues_are_left_out(tmp_path: Path) -> None:
    data = dataset(background=False)
    bench = workbench(tmp_path, data)
    found = finished(bench, import_cues(data, settings(tmp_path)))
    assert torch.equal(found.read_labels("image 0", "cues"), picture(".1.", "..1", "2.."))
    assert said(bench) == []


def test_cues_that_rarely_fit_the_tags_are_those_of_other_images(tmp_path: Path) -> None:
    data = dataset({image: [1] for image in list(PICTURES)[:6]})
    with pytest.raises(
        DataError, match=r"for 6 of 10 images, for example 'dog' in 'image 0'.* 50% can't be right: set seeds.cue"
    ):
        finished(workbench(tmp_path, data), import_cues(data, settings(tmp_path)))


def test_the_content_of_both_files_counts_and_not_their_place(tmp_path: Path) -> None:
    here, there = settings(tmp_path / "here"), settings(tmp_path / "there")
    key = import_cues(dataset(), here).key
    assert import_cues(dataset(), there).key == key
    assert import_cues(dataset(), replace(here, cue_grid=5)).key != key
    assert import_cues(dataset({"image 0": [1]}), here).key != key
    Path(str(there.cue_ids)).write_text("\n".join(reversed(PICTURES)))
    assert import_cues(dataset(), there).key != key
    assert import_cues(dataset(), settings(tmp_path / "other", picture("0..", "...", "..."))).key != key


def test_the_seeds_depend_on_the_cues_and_on_no_threshold_of_seeds(tmp_path: Path) -> None:
    cams, given = given_scores("cams", {}), settings(tmp_path)
    cues = import_cues(dataset(), given)
    key = make_seeds(dataset(), given, cams, cues=cues).key
    assert make_seeds(dataset(), replace(given, foreground_threshold=0.9, margin=0.9), cams, cues=cues).key == key
    assert make_seeds(dataset(), replace(given, background_threshold=0.9), cams, cues=cues).key != key
    assert make_seeds(dataset(), SeedSettings(), cams).key != key


def test_files_that_are_missing_are_named_before_the_run_begins(tmp_path: Path) -> None:
    given = replace(settings(tmp_path), cues=str(tmp_path / "nowhere.pickle"))
    with pytest.raises(
        DataError, match=r"nowhere.pickle' can't be read \(No such file.*; set seeds.cues to an existing file"
    ):
        import_cues(dataset(), given)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"cues": "a"}, "cue_ids must be given with cues and only then, got None"),
        ({"cue_ids": "a"}, "cue_ids must be given with cues and only then, got 'a'"),
        ({"cues": "a", "cue_ids": "b", "rule": "irn"}, "rule must stay threshold beside cues, got 'irn'"),
        ({"cue_grid": 1}, r"cue_grid must lie in \[2, 1000\], got 1"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_named(broken: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SeedSettings(**broken)  # type: ignore[arg-type]
