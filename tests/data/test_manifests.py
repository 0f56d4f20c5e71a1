"""Files of labels: read whole and right, or refused in one sentence."""

import json
import pickle  # noqa: TID251 - cues are published as pickles
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.annotations.formats.samples import BOXES, CLASSES, SCRIBBLES, TEXTS
from tests.data.damages import DAMAGES, good_cues
from tests.data.toys import SHARED, needs_shared, save_photo, write
from wsss.annotations import Annotation, Box, Boxes, ImageTags, Point, Points
from wsss.annotations.formats import FORMATS, VOC_CLASSES, recognise
from wsss.annotations.manifest import Manifest
from wsss.cli import main
from wsss.data.files import read_classes
from wsss.data.images import read_label_png
from wsss.data.manifests import export_labels, import_labels, read_manifest, write_manifest
from wsss.errors import DataError, StoreError
from wsss.types import IGNORE

MALFORMED = 50
"""At least so many files of each format must be refused."""

PLACES = ("entry ", "at its top", "an object names", r"line \d", r"at byte \d", "image '", r"'\d_cues'", "asks for")
ENTRY = re.compile("|".join((*PLACES, "pickle of plain values", "looks like")))
"""How a sentence says where in the file; some damages are of the whole file."""

WHOLE = re.compile(r"thousands|root element|holds a |labels of any image|holds no clicks|has no line 'image")


@pytest.fixture
def cues(tmp_path: Path) -> dict[str, Any]:
    """Two images of 4 × 7 pixels and the list of their cues: what reading a file of cues takes."""
    for image in ("one", "two"):
        save_photo(tmp_path / "images" / f"{image}.png", 4, 7)
    write(tmp_path / "ids.txt", "one.png 0", "two.png 1")
    return {"images": tmp_path / "images", "ids": tmp_path / "ids.txt", "grid": 4}


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_malformed_files_are_refused_in_one_sentence(format: str, tmp_path: Path, cues: dict[str, Any]) -> None:
    path = tmp_path / "labels.file"
    options = cues if format == "cues" else {}
    damaged = list(dict.fromkeys(one.encode() if isinstance(one, str) else one for one in DAMAGES[format]()))
    assert len(damaged) >= MALFORMED
    accepted, unclear = [], []
    for number, content in enumerate(damaged):
        path.write_bytes(content)
        # what was damaged so that it is of another format now may be found to be of that one
        unnamed = number % 8 == 0 and recognise(content) in ([], [format])
        for named in (format, None) if unnamed else (format,):
            try:
                import_labels(path, named, classes=CLASSES, **options)
            except DataError as error:
                if not clear(str(error), path):
                    unclear.append((content[-300:], str(error)))
            else:
                accepted.append((named, content[-300:]))
    assert accepted == []
    assert unclear == []


def clear(message: str, path: Path) -> bool:
    """Whether a message has one line that names file, entry and cure."""
    entry = ENTRY.search(message) or WHOLE.search(message)
    return f"'{path}'" in message and bool(entry) and "; " in message and "\n" not in message and len(message) < 900


MIXED = {
    "one": Annotation(tags=ImageTags((1,)), points=Points((Point(2, 3, 4),)), tags_complete=True),
    "folder/two": Annotation(boxes=Boxes((Box(1, 0, 0, 2, 3),)), tags_complete=True),
}


def test_a_manifest_on_the_disk_is_read_by_the_classes_of_the_data(tmp_path: Path) -> None:
    write_manifest(tmp_path / "new" / "labels.json", MIXED, CLASSES, {"one": (6, 8)})
    assert read_manifest(tmp_path / "new" / "labels.json", CLASSES).annotations == MIXED
    turned = read_manifest(tmp_path / "new" / "labels.json", ("dog", "bird", "cat")).annotations["one"]
    assert turned == Annotation(tags=ImageTags((3,)), points=Points((Point(1, 3, 4),)), tags_complete=True)
    assert import_labels(tmp_path / "new" / "labels.json").sizes == {"one": (6, 8)}
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "labels.json"]


def test_a_manifest_that_is_missing_or_lies_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.json' is missing; give an existing file"):
        read_manifest(tmp_path / "gone.json", CLASSES)
    with pytest.raises(DataError, match="can't be read"):
        read_manifest(tmp_path, CLASSES)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be written"):
        write_manifest(tmp_path / "file" / "labels.json", MIXED, CLASSES)


def test_text_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    for format, text in TEXTS.items():
        (tmp_path / "labels").write_text(text, encoding="utf-8-sig")
        found = import_labels(tmp_path / "labels", classes=CLASSES)
        (tmp_path / "labels").write_text(text, encoding="utf-8")
        assert found == import_labels(tmp_path / "labels", format, classes=CLASSES)


def test_a_folder_is_read_image_by_image_named_by_their_files(tmp_path: Path) -> None:
    write(tmp_path / "boxes" / "one.xml", BOXES)
    write(tmp_path / "boxes" / "folder" / "two.xml", BOXES.replace("cat", "cow").replace("dog", "cow"))
    write(tmp_path / "boxes" / "notes.txt", "not labels")
    read = import_labels(tmp_path / "boxes")
    assert read.classes == VOC_CLASSES
    assert {image: label.named() for image, label in read.annotations.items()} == {"one": {8, 12}, "folder/two": {10}}
    write(tmp_path / "boxes" / "three.xml", BOXES.replace("<xmin>2", "<xmin>two"))
    with pytest.raises(DataError, match=r"three.xml', entry object\[0\].bndbox.xmin, is 'two', it must be a number"):
        import_labels(tmp_path / "boxes")
    write(tmp_path / "boxes" / "three.xml", BOXES)
    with pytest.raises(DataError, match=r"one.xml', entry object\[0\].name, is 'cat', it must be one of the classes"):
        import_labels(tmp_path / "boxes", classes=("dog", "cow"))


def test_what_is_wrong_in_a_folder_names_its_file(tmp_path: Path) -> None:
    write(tmp_path / "a.xml", BOXES)
    write(tmp_path / "b.xml", BOXES.replace("<name>cat", "<name>background"))
    write(tmp_path / "c.xml", BOXES)
    with pytest.raises(DataError, match=r"b.xml', image 'b', is wrong: boxes\[0\] .* is of label 0"):
        import_labels(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty' holds no file that ends in '.xml'"):
        import_labels(tmp_path / "empty")


def test_a_format_that_cant_be_told_must_be_named(tmp_path: Path) -> None:
    both = SCRIBBLES.replace("</annotation>", "<object><name>cat</name><bndbox/></object></annotation>")
    write(tmp_path / "both.xml", both)
    with pytest.raises(DataError, match="looks like scribblesup and voc; name it by --format, one of manifest, whats_"):
        import_labels(tmp_path / "both.xml")
    assert import_labels(tmp_path / "both.xml", "scribblesup").annotations["both"].kinds == ("scribbles",)
    write(tmp_path / "shapes.json", '{"shapes": []}')
    with pytest.raises(DataError, match="looks like none of the formats"):
        import_labels(tmp_path / "shapes.json")
    with pytest.raises(DataError, match="there is no format 'cocos'; did you mean coco"):
        import_labels(tmp_path / "shapes.json", "cocos")


def test_a_folder_of_two_formats_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.xml", BOXES)
    write(tmp_path / "b.xml", SCRIBBLES)
    with pytest.raises(DataError, match=r"b.xml', has <polygon>, labels must be in <object>"):
        import_labels(tmp_path)


def test_sizes_of_the_images_are_noted_and_checked_against(tmp_path: Path) -> None:
    save_photo(tmp_path / "images" / "one.png", 6, 8)
    save_photo(tmp_path / "images" / "other.png", 2, 2)
    write(tmp_path / "points.json", json.dumps({"one": [{"x": 7, "y": 5, "cls": 1, "rank": 1}], "two": []}))
    assert import_labels(tmp_path / "points.json", images=tmp_path / "images").sizes == {"one": (6, 8)}
    write(tmp_path / "points.json", json.dumps({"one": [{"x": 5, "y": 7, "cls": 1, "rank": 1}]}))
    with pytest.raises(DataError, match=r"points.json', image 'one', is wrong: points\[0\] lies at row 7, column 5"):
        import_labels(tmp_path / "points.json", images=tmp_path / "images")


def test_images_that_the_folder_lacks_are_counted_and_a_folder_without_any_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in ("one", "two"):
        save_photo(tmp_path / "images" / f"{image}.png", 6, 8)
    save_photo(tmp_path / "others" / "img_001.png", 6, 8)
    click = [{"x": 7, "y": 5, "cls": 1, "rank": 1}]
    write(tmp_path / "points.json", json.dumps({"one": click, "two": click}))
    import_labels(tmp_path / "points.json", images=tmp_path / "images")
    assert capsys.readouterr().err == ""
    with pytest.raises(
        DataError,
        match=r"others' holds no image that '.*points.json' labels, .* like 'one', .* like 'img_001'; set --im",
    ):
        import_labels(tmp_path / "points.json", images=tmp_path / "others")
    write(tmp_path / "points.json", json.dumps({"one": click, "gone": click, "two": click}))
    assert set(import_labels(tmp_path / "points.json", images=tmp_path / "images").sizes) == {"one", "two"}
    told = capsys.readouterr().err
    assert told.startswith("1 of 3 labelled images are not in '")
    assert "the first is 'gone'" in told


@pytest.mark.parametrize(("option", "value"), [("ids", Path("ids.txt")), ("grid", 41)])
def test_options_of_cues_are_refused_with_other_labels(option: str, value: object, tmp_path: Path) -> None:
    write(tmp_path / "labels.txt", "one dog")
    for named in (None, "tags"):
        with pytest.raises(
            DataError, match=rf"--{option} is for cues only, '.*labels.txt' is of the format 'tags'; leave"
        ):
            import_labels(tmp_path / "labels.txt", named, **{option: value})  # type: ignore[arg-type]


def test_cues_become_points_of_the_images_that_their_list_names(tmp_path: Path, cues: dict[str, Any]) -> None:
    path = tmp_path / "cues.pickle"
    path.write_bytes(pickle.dumps(good_cues()))
    read = import_labels(path, classes=CLASSES, **cues)
    assert read.annotations == {
        "one": Annotation(points=Points((Point(1, 0, 6), Point(0, 3, 0)))),
        "two": Annotation(points=Points((Point(2, 1, 4),))),
    }
    assert read.sizes == {"one": (4, 7), "two": (4, 7)}
    for option, message in {"ids": "add --ids", "images": "add --images", "grid": "fix --grid"}.items():
        with pytest.raises(DataError, match=message):
            import_labels(path, classes=CLASSES, **{**cues, option: 1 if option == "grid" else None})
    with pytest.raises(DataError, match="set --grid to the side"):
        import_labels(path, classes=CLASSES, **{**cues, "grid": 3})
    write(tmp_path / "ids.txt", "three 1")
    with pytest.raises(DataError, match="names none of the images"):
        import_labels(path, classes=CLASSES, **cues)


@pytest.mark.parametrize("image", ["../evil", "/evil", "a/../../evil"])
def test_no_name_of_an_image_leads_out_of_the_folder(image: str, tmp_path: Path) -> None:
    boxed = Manifest(classes=CLASSES, annotations={image: MIXED["folder/two"]})
    with pytest.raises(DataError, match="can't be the name of a file in"):
        export_labels(boxed, "voc", tmp_path / "out")
    assert list(tmp_path.rglob("*")) == []


def test_labels_go_out_and_come_back_by_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, boxes, again = tmp_path / "labels.json", tmp_path / "boxes", tmp_path / "again.json"
    write_manifest(manifest, MIXED, CLASSES)
    assert main(["data", "export", str(manifest), "--format", "voc", "--out", str(boxes)]) == 0
    told = capsys.readouterr()
    assert "read back, these differ: tags of 1 images, points of 1 images, tags_complete of 1 images" in told.err
    write(tmp_path / "classes.txt", *CLASSES)
    assert main(["data", "import", str(boxes), "--classes", str(tmp_path / "classes.txt"), "--out", str(again)]) == 0
    assert "1 images, 2 classes; boxes of 1" in capsys.readouterr().out
    assert read_manifest(again, CLASSES).annotations == {"folder/two": MIXED["folder/two"]}
    assert main(["data", "export", str(manifest), "--format", "manifest", "--out", str(again)]) == 0
    assert "differ" not in capsys.readouterr().err
    assert again.read_bytes() == manifest.read_bytes()


@pytest.mark.parametrize(
    ("format", "message"),
    [("cues", "can only be read; write one of manifest"), ("scribblesup", "holds scribbles, no image carries any")],
)
def test_what_cant_be_written_is_refused_before_anything_is(
    format: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(tmp_path / "labels.json", MIXED, CLASSES)
    assert (
        main(["data", "export", str(tmp_path / "labels.json"), "--format", format, "--out", str(tmp_path / "o")]) == 2
    )
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@needs_shared
def test_the_published_clicks_fall_where_they_are_known_to_fall(tmp_path: Path) -> None:
    mini = SHARED / "voc_mini"
    clicks = import_labels(mini / "points_whats_the_point.json", images=mini / "JPEGImages")
    assert clicks.classes == read_classes(mini / "classes.txt")
    points = {image: label.points.points for image, label in clicks.annotations.items() if label.points}
    assert (len(points), sum(map(len, points.values())), len(clicks.sizes)) == (278, 853, 278)
    hits = []
    for image, clicked in points.items():
        mask = read_label_png(mini / "SegmentationClass" / f"{image}.png").numpy()
        hits += [(mask[point.row, point.column], point.label) for point in clicked]
    truth, labels = np.array(hits).T
    # 40 clicks fall on the unlabelled seams between things, the others are the 813 of the data's README
    assert ((truth == labels).sum(), (truth != IGNORE).sum()) == (682, 813)
    export_labels(clicks, "whats_the_point", tmp_path / "clicks.json")
    assert import_labels(tmp_path / "clicks.json").annotations == clicks.annotations


@pytest.mark.parametrize("size", [(6, 8), (3, 4), (12, 16)])
def test_places_are_those_of_the_image_that_was_labelled_whatever_its_size_is_now(
    size: tuple[int, int], tmp_path: Path
) -> None:
    save_photo(tmp_path / "images" / "one.png", *size)
    files = {"voc/one.xml": BOXES, "scribblesup/one.xml": SCRIBBLES, "coco/labels.json": TEXTS["coco"]}
    for name, text in files.items():
        path, format = tmp_path / name, name.partition("/")[0]
        write(path, text)
        assert import_labels(path, format, images=tmp_path / "images") == import_labels(path, format)
        assert import_labels(path, format).sizes["one"] == (6, 8)


def test_labels_of_an_image_that_was_turned_since_are_refused(tmp_path: Path) -> None:
    save_photo(tmp_path / "images" / "one.png", 80, 60)
    write_manifest(tmp_path / "labels.json", MIXED, CLASSES, {"one": (60, 80)})
    with pytest.raises(
        DataError, match=r"labels image 'one' of 60 rows and 80 columns, in '.*images' it has 80 and 60.*set --images"
    ):
        import_labels(tmp_path / "labels.json", images=tmp_path / "images")


@pytest.mark.parametrize("image", ["./q", "x//y", "b/", "."])
def test_names_that_would_be_read_back_as_others_are_not_written(image: str, tmp_path: Path) -> None:
    manifest = Manifest(classes=CLASSES, annotations={image: MIXED["folder/two"]}, sizes={image: (6, 8)})
    with pytest.raises(DataError, match="can't be the name of a file"):
        export_labels(manifest, "voc", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_labels_of_an_image_without_a_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "points.json", json.dumps({"": [{"x": 5, "y": 7, "cls": 1, "rank": 1}]}))
    with pytest.raises(DataError, match=r"points.json', image '', has no name; name it"):
        import_labels(tmp_path / "points.json")
