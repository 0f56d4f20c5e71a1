import os
import sys
from pathlib import Path

import pytest

from tests.data.toys import write
from wsss.data.files import find_images, read_classes, read_lines, require_folder
from wsss.errors import DataError


def test_images_are_found_below_a_folder_by_their_path_without_the_ending(tmp_path: Path) -> None:
    (tmp_path / "sea" / "calm").mkdir(parents=True)
    for name in ("b.jpg", "a.PNG", "sea/calm/c.jpeg", "sea/d.e.jpg", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).touch()
    found = find_images(tmp_path)
    assert list(found) == ["a", "b", "sea/calm/c", "sea/d.e"]
    assert found["sea/calm/c"] == tmp_path / "sea/calm/c.jpeg"


def test_links_to_folders_are_followed_once_and_not_in_circles(tmp_path: Path) -> None:
    images, pool = tmp_path / "data" / "images", tmp_path / "pool"
    for path in (images / "sea" / "a.jpg", tmp_path / "data" / "masks" / "a.png", pool / "deep" / "b.jpg"):
        path.parent.mkdir(parents=True)
        path.touch()
    for link, target in {
        images / "pool": pool,
        # what is found already, by its own name or by an earlier link
        images / "again": images / "sea",
        images / "second": pool,
        images / "sea" / "circle": images,
        pool / "deep" / "circle": pool,
        # what the folder itself lies in
        images / "up": images.parent,
        pool / "up": tmp_path,
    }.items():
        link.symlink_to(target, target_is_directory=True)
    assert find_images(images) == {"pool/deep/b": images / "pool/deep/b.jpg", "sea/a": images / "sea/a.jpg"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names of any bytes")
def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(DataError, match=r"caf\\xe9\.jpg' has a name that is not UTF-8, .*; rename it") as caught:
        find_images(tmp_path)
    assert str(caught.value).encode()


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=r"are both called 'a'; each image needs a name of its own, rename one"):
        find_images(tmp_path)


def test_lines_lose_their_blanks_and_the_byte_order_mark_but_not_their_places(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeff cat \r\n\r\ndog\n".encode())
    assert read_lines(path, "write it") == ["cat", "", "dog"]


def test_a_missing_list_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"list.txt' is missing; write it"):
        read_lines(tmp_path / "list.txt", "write it")


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DataError, match=r"can't be read as text .*; save it as UTF-8"):
        read_lines(path, "write it")


@pytest.mark.parametrize(
    ("lines", "classes"),
    [
        (("background", "cat", "dog"), ("cat", "dog")),
        (("_Background_", "cat", "dog"), ("cat", "dog")),
        (("cat", "dog", ""), ("cat", "dog")),
        (("2 dog", "1 cat"), ("cat", "dog")),
        (("0 void", "1 cat", "2 traffic light"), ("cat", "traffic light")),
        (("3d printer", "cat"), ("3d printer", "cat")),
    ],
)
def test_class_lists_count_from_the_background_or_from_one(
    tmp_path: Path, lines: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    write(tmp_path / "classes.txt", *lines)
    assert read_classes(tmp_path / "classes.txt") == classes


@pytest.mark.parametrize("lines", [("1 cat", "3 dog"), ("1 cat", "1 dog"), ("0 a", "0 b", "1 c"), ("background",), ()])
def test_class_lists_with_gaps_or_nothing_in_them_are_refused(tmp_path: Path, lines: tuple[str, ...]) -> None:
    write(tmp_path / "classes.txt", *lines)
    with pytest.raises(DataError, match=r"classes\.txt"):
        read_classes(tmp_path / "classes.txt")


def test_a_missing_folder_names_its_setting(tmp_path: Path) -> None:
    require_folder(tmp_path, "data.root")
    with pytest.raises(DataError, match=r"set data.root to the folder of the data"):
        require_folder(tmp_path / "away", "data.root")
    (tmp_path / "list.txt").touch()
    with pytest.raises(DataError, match=r"list\.txt' is a file, it must be a folder; set data.root to the folder"):
        require_folder(tmp_path / "list.txt", "data.root")
