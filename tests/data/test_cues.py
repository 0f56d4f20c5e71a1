import pickle  # noqa: TID251  what is written here is what others publish
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset
from wsss.data.cues import CueFiles
from wsss.errors import DataError

DATA = DrawnDataset({"one": picture("01"), "folder/two": picture("02")})
FIRST, SECOND = np.array([[1, 0], [2, 0], [0, 3]]), np.array([[2], [1], [1]], dtype=np.int16)
HELD = {"7_cues": FIRST, "7_labels": np.array([1]), "3_cues": SECOND, "3_labels": np.array([2])}
LIST = "one 7\nfolder/two 3\nelsewhere 9\n"


def files(folder: Path, held: object = None, text: str = LIST, *, protocol: int = 2) -> CueFiles:
    """Write a cue file of a grid of 4 x 4 points and its list."""
    (folder / "cues.pickle").write_bytes(pickle.dumps(HELD if held is None else held, protocol=protocol))
    (folder / "ids.txt").write_text(text)
    return CueFiles(folder / "cues.pickle", folder / "ids.txt", 4)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_cues_are_those_of_the_entry_that_the_list_names(protocol: int, tmp_path: Path) -> None:
    found = files(tmp_path, protocol=protocol).read(DATA)
    assert list(found) == ["one", "folder/two"]
    assert found["one"].tolist() == FIRST.tolist()
    assert found["folder/two"].tolist() == SECOND.tolist()
    assert found["folder/two"].dtype == torch.int64


@pytest.mark.parametrize(
    "text",
    [
        "/JPEGImages/one.jpg 7\n/JPEGImages/folder/two.jpg 3\n",
        "folder/two.png 3\n\none.png 7",
        # one image a line: the number is that of the line
        "\n".join(["other", "another.jpg", "third", "folder/two", "a", "b", "c", "one.jpg"]),
        "one 7\none 7\nfolder/two 3",
    ],
)
def test_lists_name_images_with_and_without_folders_and_endings(text: str, tmp_path: Path) -> None:
    found = files(tmp_path, text=text).read(DATA)
    assert {image: cues.shape[1] for image, cues in found.items()} == {"one": 2, "folder/two": 1}


def test_an_entry_may_be_three_arrays_and_may_be_empty(tmp_path: Path) -> None:
    held = {"7_cues": np.nonzero(np.zeros((3, 4, 4))), "3_cues": [[2, 2], [0, 1], [0, 0]]}
    found = files(tmp_path, held).read(DATA)
    assert found["one"].shape == (3, 0)
    assert found["folder/two"].tolist() == [[2, 2], [0, 1], [0, 0]]


@pytest.mark.parametrize("empty", [[[], [], []], np.array([[], [], []]), np.empty((3, 0), dtype=np.int64)])
def test_an_image_without_cues_may_have_empty_rows_of_any_type(empty: object, tmp_path: Path) -> None:
    found = files(tmp_path, HELD | {"7_cues": empty}).read(DATA)
    assert found["one"].shape == (3, 0)
    assert found["one"].dtype == torch.int64


def test_a_file_that_wants_to_run_something_is_refused(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, ...]:
            return print, ("gotcha",)

    with pytest.raises(DataError, match=r"cues.pickle' asks for 'builtins.print'|'__builtin__.print'"):
        files(tmp_path, HELD | {"7_cues": Harmful()}).read(DATA)


def with_entry(cues: object) -> Mapping[str, object]:
    return HELD | {"7_cues": cues}


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([1, 2], r"cues.pickle' holds a list, it must hold a dictionary .*; set seeds.cues to"),
        ({"7_cues": FIRST}, r"has no entry '3_cues', which '.*ids.txt' gives to image 'folder/two'; set seeds.cue_ids"),
        (with_entry(FIRST[:2]), r"entry '7_cues', holds an array of shape \(2, 2\) and type int64, it must hold three"),
        (with_entry(FIRST / 2), r"entry '7_cues', holds an array of shape \(3, 2\) and type float64"),
        (with_entry([[1], [2, 3], [4]]), "entry '7_cues', holds a list, it must"),
        (with_entry("cues"), "entry '7_cues', holds a str, it must"),
        (
            with_entry(np.array([[1, 1], [0, 2], [1, 4]])),
            "entry '7_cues', has a cue in row 2, column 4, a grid of 4 × 4 counts them from 0 to 3; set seeds.cue_grid",
        ),
        (with_entry(np.array([[1], [-1], [0]])), "has a cue in row -1, column 0"),
        (
            with_entry(np.array([[3], [0], [0]])),
            "has a cue of class 3, labels must be 0 to 2; give cues of the classes",
        ),
        (with_entry(np.array([[-1], [0], [0]])), "has a cue of class -1"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(held: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        files(tmp_path, held).read(DATA)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one 7\n", r"ids.txt' has no line for image 'folder/two' \(1 of the 2 training images have none\)"),
        ("", r"no line for image 'one' \(2 of the 2"),
        ("one 7\nfolder/two 7\n", "gives entry 7 to image 'folder/two', and another line gives that entry"),
        ("one 7\none 3\nfolder/two 4", "gives entry 3 to image 'one'"),
    ],
)
def test_what_is_wrong_with_the_list_is_said(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        files(tmp_path, text=text).read(DATA)


def test_a_list_that_is_missing_is_named(tmp_path: Path) -> None:
    there = files(tmp_path)
    with pytest.raises(DataError, match=r"nowhere.txt' is missing; set seeds.cue_ids to the list"):
        CueFiles(there.path, tmp_path / "nowhere.txt", 4).read(DATA)
