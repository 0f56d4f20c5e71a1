import io
import pickle  # noqa: TID251 - the tests write what published code shares
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsss.data.tag_arrays import read_tag_array
from wsss.errors import DataError

IDS = ("2007_000032", "2011_003276", "a photo")
ROWS = {"2007_000032": [1.0, 0.0, 1.0], "a photo": [0.0, 0.0, 0.0], "2010_000001": [0.0, 1.0, 0.0]}


def save(path: Path, table: object) -> Path:
    np.save(path, np.asarray(table), allow_pickle=True)
    return path


def read(path: Path) -> dict[str, list[int] | None]:
    found = read_tag_array(path, IDS, classes=3)
    return {id: None if tags is None else tags.int().tolist() for id, tags in found.items()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, np.bool_])
def test_a_dictionary_of_multi_hot_arrays_is_read(tmp_path: Path, dtype: Any) -> None:
    table = {id: np.array(row, dtype=dtype) for id, row in ROWS.items()}
    # an image that the file does not name is unknown, one without a class is known to be empty
    assert read(save(tmp_path / "tags.npy", table)) == {"2007_000032": [1, 0, 1], "a photo": [0, 0, 0]}


def test_images_may_be_named_by_numbers(tmp_path: Path) -> None:
    rows = {2007000032: np.array([0, 1, 0]), np.int64(2011003276): np.array([0, 0, 1]), 2010000001: np.array([1, 1, 1])}
    assert read(save(tmp_path / "tags.npy", rows)) == {"2007_000032": [0, 1, 0], "2011_003276": [0, 0, 1]}


def test_lists_instead_of_arrays_and_files_of_numpy_1_are_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    pickled = pickle.dumps(np.array({id: np.array(row) for id, row in ROWS.items()}, dtype=object), protocol=3)
    (tmp_path / "old.npy").write_bytes(stream.getvalue() + pickled.replace(b"numpy._core", b"numpy.core"))
    assert read(tmp_path / "old.npy") == read(save(tmp_path / "new.npy", ROWS))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.eye(3), r"holds an array \(3 × 3\) that does not say which row is which image; save a dictionary"),
        ({"2007_000032": [1.0, 0.0]}, r"image '2007_000032', has \[1\. 0\.\] of shape \(2,\), it must be 3 zeros"),
        ({"2007_000032": [0.3, 0.7, 0.0]}, r"image '2007_000032', has \[0\.3 0\.7 0\. \] .* zeros and ones"),
        (
            {"2007_000032": [[1], [0, 1]]},
            r"image '2007_000032', has entries of different lengths in one row, it must be 3",
        ),
        ({"2008_1": [0.0, 0.0, 1.0]}, r"contains none of the images: its first key is '2008_1', the first image is"),
        ({}, "contains none of the images: its first key is None"),
    ],
)
def test_what_is_no_table_of_tags_is_refused_with_the_cure(tmp_path: Path, table: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(save(tmp_path / "tags.npy", table))
