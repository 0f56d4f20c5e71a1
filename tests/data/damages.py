"""What can be wrong with a file of labels, made systematically from a good one of each format."""

import json
import pickle  # noqa: TID251 - the tests write pickles, good and evil ones
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any
from xml.etree import ElementTree

import numpy as np

from tests.annotations.formats.samples import COCO, MANIFEST, TAGS, TEXTS, WHATS_THE_POINT

Step = str | int

NO_NUMBERS: tuple[Any, ...] = (None, True, "1", [], -1, 10**6, 10**40, float("nan"), float("inf"))
"""What no coordinate, number of a class or size can be."""

NO_WHOLE = (*NO_NUMBERS, 1.5)
NO_ID: tuple[Any, ...] = (None, True, "1", [], -1, 10**40, float("nan"), 1.5)
NO_TEXT: tuple[Any, ...] = (None, 3, " ", [])
NO_FLAG: tuple[Any, ...] = (None, 2, "yes", [])
NO_LIST: tuple[Any, ...] = (None, 3, "x", {})
NO_OBJECT: tuple[Any, ...] = (None, 3, "x", [])


def places(value: Any, way: tuple[Step, ...] = ()) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """Every value in JSON, and the way to it."""
    yield way, value
    if isinstance(value, dict | list):
        inner: Any = value.items() if isinstance(value, dict) else enumerate(value)
        for key, held in inner:
            yield from places(held, (*way, key))


def changed(whole: Any, way: tuple[Step, ...], change: Callable[[Any, Step], None]) -> str:
    """JSON in which one place was changed."""
    if not way:
        raise ValueError("the whole has no holder")
    copy = deepcopy(whole)
    holder = copy
    for step in way[:-1]:
        holder = holder[step]
    change(holder, way[-1])
    return json.dumps(copy)


def put(whole: Any, *way: Step, value: Any) -> str:
    def change(holder: Any, key: Step) -> None:
        holder[key] = value

    return changed(whole, way, change)


def drop(whole: Any, *way: Step) -> str:
    def change(holder: Any, key: Step) -> None:
        del holder[key]

    return changed(whole, way, change)


def repeat(whole: Any, *way: Step) -> str:
    def change(holder: Any, key: Step) -> None:
        holder[key] = [*holder[key], holder[key][0]]

    return changed(whole, way, change)


def wrong_types(whole: Any, wrong: Mapping[str, tuple[Any, ...]]) -> Iterator[str]:
    """Put what can't be at each place whose key, or that of its list, has such values."""
    for way, _ in places(whole):
        keys = [step for step in way if isinstance(step, str)]
        key = ".".join(keys[-1:] + ["item"] * (bool(way) and isinstance(way[-1], int)))
        for value in wrong.get(key, ()):
            yield put(whole, *way, value=value)


def missing_keys(whole: Any, *names: str) -> Iterator[str]:
    for way, _ in places(whole):
        if way and way[-1] in names:
            yield drop(whole, *way)


def broken_texts(good: str) -> Iterator[bytes]:
    """Bytes that are no text of the format any more."""
    content = good.rstrip().encode()
    yield from (content[: len(content) * share // 12] for share in range(12))
    yield from (
        b"",
        b" \n",
        b"\0" * 30,
        b"\xff\xfe" + good.encode("utf-16-le"),
        good.encode("utf-16"),
        b"\xff" + content,
    )
    yield from (content + b"}", content + b"<", content.replace(b"one", b"\xe9", 1) + b"\xe9")


def broken_json(whole: Any) -> Iterator[bytes]:
    good = json.dumps(whole)
    yield from broken_texts(good)
    yield from (b"[" * 100_000, b'{"a":' * 100_000, b"null", b"3", b'"text"', b"[]", b"{}", b"[[]]")
    yield good.replace('":', '"', 1).encode()
    yield (good[:-1] + "," + good[1:]).encode()
    yield (good[:-1] + ',"' + "9" * 10 + '":' + "9" * 5000 + "}").encode()


def manifest_damages() -> Iterator[str | bytes]:
    one = ("images", "one")
    yield from broken_json(MANIFEST)
    yield from missing_keys(
        MANIFEST, "format", "version", "classes", "images", "label", "row", "column", "width", "path"
    )
    yield from missing_keys(MANIFEST, "boxes", "boxes_complete", "top", "left", "bottom", "right", "runs")
    yield drop(MANIFEST, *one, "mask", "size")
    whole = dict.fromkeys(
        ("version", "row", "column", "width", "top", "left", "bottom", "right", "path.item"), NO_WHOLE
    )
    others = {"tags": NO_LIST, "points": NO_LIST, "scribbles": NO_LIST, "boxes": NO_LIST, "path": (*NO_LIST, [])}
    yield from wrong_types(MANIFEST, {**whole, **others, "label": (*NO_TEXT, "cow"), "tags.item": (*NO_TEXT, "cow")})
    yield from wrong_types(MANIFEST, {"images": NO_LIST[:3], "one": NO_OBJECT, "tags_complete": NO_FLAG})
    yield from wrong_types(MANIFEST, {"boxes_complete": NO_FLAG, "size.item": (*NO_WHOLE, 0), "size": (*NO_LIST, [1])})
    yield from wrong_types(MANIFEST, {"classes": (*NO_LIST, []), "classes.item": (*NO_TEXT, "background")})
    yield put(MANIFEST, "format", value="coco")
    yield put(MANIFEST, "version", value=2)
    yield put(MANIFEST, "classes", value=["cat", "cat"])
    yield put(MANIFEST, "classes", value=[str(number) for number in range(300)])
    yield put(MANIFEST, "images", "", value={})
    yield put(MANIFEST, *one, "masters", value=[])
    yield put(MANIFEST, "owner", value="me")
    yield put(MANIFEST, *one, "points", 0, "rank", value=1)
    yield put(MANIFEST, *one, "tags", value=["cat", "cat"])
    yield put(MANIFEST, *one, "tags", value=["background"])
    yield put(MANIFEST, *one, "points", 0, "row", value=6)
    yield put(MANIFEST, *one, "scribbles", 0, "path", value=[[0, 8]])
    yield put(MANIFEST, *one, "scribbles", 0, "path", value=[[0, 1, 2]])
    yield put(MANIFEST, *one, "boxes", 0, "bottom", value=0)
    yield put(MANIFEST, *one, "boxes", 0, "right", value=1)
    yield put(MANIFEST, *one, "boxes", 0, "label", value="background")
    yield put(MANIFEST, *one, "boxes", 0, "top", value=7)
    yield put(MANIFEST, *one, "mask", "runs", value=[["cat", 47]])
    yield put(MANIFEST, *one, "mask", "runs", value=[["cat", 48], ["dog", 0]])
    yield put(MANIFEST, *one, "mask", "runs", value=[["cow", 48]])
    yield put(MANIFEST, *one, "mask", "size", value=[8, 6])
    yield json.dumps(MANIFEST).replace('"tags_complete"', '"tags": [], "tags_complete"')


def whats_the_point_damages() -> Iterator[str | bytes]:
    image = "2007_000032"
    yield from broken_json(WHATS_THE_POINT)
    yield from missing_keys(WHATS_THE_POINT, "x", "y", "cls", "rank")
    yield from wrong_types(
        WHATS_THE_POINT, {"x": NO_NUMBERS, "y": NO_NUMBERS, "cls": (*NO_WHOLE, 3, 21), "rank": NO_WHOLE}
    )
    yield from wrong_types(WHATS_THE_POINT, {image: NO_LIST, f"{image}.item": NO_OBJECT, "empty": NO_LIST})
    yield put(WHATS_THE_POINT, image, 0, "rank", value=0)
    yield put(WHATS_THE_POINT, image, 0, "rank", value=2)
    yield put(WHATS_THE_POINT, image, 0, "who", value="me")
    yield repeat(WHATS_THE_POINT, image)
    yield json.dumps(WHATS_THE_POINT).replace('"empty"', f'"{image}"')
    yield json.dumps(WHATS_THE_POINT).replace('"cls": 1', '"cls": 1, "cls": 1')


def coco_damages() -> Iterator[str | bytes]:
    yield from broken_json(COCO)
    for name in ("images", "annotations", "categories", "id", "file_name", "height", "width", "name", "bbox"):
        yield from missing_keys(COCO, name)
    yield from missing_keys(COCO, "image_id", "category_id")
    numbers = dict.fromkeys(("id", "height", "width", "image_id", "category_id"), NO_ID)
    yield from wrong_types(COCO, {**numbers, "bbox": NO_LIST, "bbox.item": NO_NUMBERS, "iscrowd": (*NO_FLAG, 1.0)})
    yield from wrong_types(COCO, {"file_name": NO_TEXT, "name": NO_TEXT, "annotations": NO_LIST, "images": NO_LIST})
    yield from wrong_types(
        COCO, {"categories": (*NO_LIST, []), "annotations.item": NO_OBJECT, "images.item": NO_OBJECT}
    )
    for box in ([1, 2, 3], [1, 2, 3, 4, 5], [1, 1, 0, 2], [1, 1, 2, 0], [3, 3, -1, -1], [8, 0, 1, 1], [0, 0, 10, 1]):
        yield put(COCO, "annotations", 0, "bbox", value=box)
    yield from (repeat(COCO, name) for name in ("images", "annotations", "categories"))
    yield put(COCO, "annotations", 0, "category_id", value=1)
    yield put(COCO, "annotations", 0, "image_id", value=1)
    yield put(COCO, "categories", 0, "name", value="cow")
    yield put(COCO, "categories", 0, "name", value="cat")
    yield put(COCO, "images", 0, "file_name", value="two.png")
    yield json.dumps(COCO).replace('"id": 5', '"id": 5, "id": 6')


def broken_xml(good: str) -> Iterator[bytes]:
    yield from broken_texts(good)
    bomb = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "ha"}">' for n in range(12))
    for head in (
        "<!DOCTYPE annotation>",
        f"<!DOCTYPE annotation [{bomb}]>",
        '<!DOCTYPE annotation [<!ENTITY file SYSTEM "file:///etc/passwd">]>',
        '<!doctype annotation SYSTEM "http://localhost/evil.dtd">',
        '<?xml version="1.0"?><!ENTITY a "b">',
    ):
        yield (head + re.sub("cat", "&a9;", good, count=1)).encode()
    yield from (
        b"<a>" * 50_000,
        b"<annotation>" * 50_000,
        b"<object/>",
        b"<annotation xmlns='a'/>",
        b"<annotation></a>",
    )
    yield good.replace("cat", "&unknown;", 1).encode()
    yield good.replace("cat", "&#0;", 1).encode()
    yield (good + good).encode()
    yield good.replace("<annotation>", "<annotations>").replace("</annotation>", "</annotations>").encode()


def damaged_elements(good: str, wrong: Mapping[str, tuple[str | None, ...]], unique: tuple[str, ...]) -> Iterator[str]:
    """Put wrong texts into each element of a name, take it away or make it stand twice."""
    count = len(list(ElementTree.fromstring(good).iter()))
    for number in range(count):
        root = ElementTree.fromstring(good)
        holders = {child: holder for holder in root.iter() for child in holder}
        element = list(root.iter())[number]
        if (element in holders and holders[element].tag == "part") or "part" in _ancestors(element, holders):
            continue
        for text in wrong.get(element.tag, ()):
            element.text = text
            yield ElementTree.tostring(root, encoding="unicode")
        if element.tag in unique:
            holders[element].append(element)
            yield ElementTree.tostring(root, encoding="unicode")
            holders[element].remove(element)
            holders[element].remove(element)
            yield ElementTree.tostring(root, encoding="unicode")


def _ancestors(element: ElementTree.Element, holders: Mapping[Any, Any]) -> set[str]:
    found = set()
    while element in holders:
        element = holders[element]
        found.add(element.tag)
    return found


NO_TEXT_NUMBERS = (None, "", "x", "nan", "inf", "-1000000", "1e300", "1_0", "0x3", "٣", "9" * 5000, "1,5", "2 3")
SIZE_WRONG: dict[str, tuple[str | None, ...]] = {
    "width": (*NO_TEXT_NUMBERS, "0", "1.5"),
    "height": (*NO_TEXT_NUMBERS, "0", "1.5"),
}


def scribblesup_damages() -> Iterator[str | bytes]:
    good = TEXTS["scribblesup"]
    yield from broken_xml(good)
    axes: dict[str, tuple[str | None, ...]] = {
        "X": (*NO_TEXT_NUMBERS, "0.5", "17", "-9"),
        "Y": (*NO_TEXT_NUMBERS, "0.5", "13", "-7"),
    }
    yield from damaged_elements(
        good, SIZE_WRONG | axes | {"tag": (None, " ", "cow")}, ("X", "Y", "tag", "width", "height")
    )
    yield re.sub("<point>.*</point>", "", good)


def voc_damages() -> Iterator[str | bytes]:
    good = TEXTS["voc"]
    sides = ("xmin", "ymin", "xmax", "ymax")
    yield from broken_xml(good)
    wrong = dict.fromkeys(sides, (*NO_TEXT_NUMBERS, "0", "9")) | {"name": (None, " ", "cow", "background")}
    yield from damaged_elements(good, SIZE_WRONG | wrong, (*sides, "name", "bndbox", "width", "height"))
    yield good.replace("<xmin>2<", "<xmin>8<").replace("<xmax>8<", "<xmax>2<")
    yield good.replace("<ymin>1<", "<ymin>5<", 1)
    yield good.replace("<width>8<", "<width>7<")


def tags_damages() -> Iterator[str | bytes]:
    yield from (content for content in broken_texts(TAGS) if _no_list(content))
    for word in (
        "0",
        "3",
        "-1",
        "1.5",
        "nan",
        "cow",
        "Cat",
        "background",
        "255",
        "1,2",
        "9" * 5000,
        "cat;",
        "[1]",
        "None",
    ):
        yield from (f"one {word}\n", f"one 1 {word}\n", f"one\ntwo {word} 2")
    yield from (
        "one 1\none 1\n",
        "one 1 1\n",
        "one 1 cat\n",
        "one dog 2\n",
        "one\none\n",
        "one 1\n\n\none 2",
        "a 1 2 1",
    )
    yield from (json.dumps(COCO), TEXTS["voc"], "one 1\n" + TEXTS["voc"], "image,tags\n1,cat dog\n")


def _no_list(content: bytes) -> bool:
    """Half a list is a list, if it ends between two words."""
    return not re.fullmatch(rb"(\w+( [12]| dog)* ?(\n|$))*", content) or not content.strip()


class Evil:
    """Something whose pickle runs code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code was run')",)


def cue_damages() -> Iterator[bytes]:
    good = good_cues()
    content = pickle.dumps(good)
    yield from (content[: len(content) * share // 20] for share in range(20))
    yield from (b"\x80", b"cos\nsystem\n(S'true'\ntR.", b"\0" * 99, b"text", b"{}", b"<annotation/>", content[::-1])
    evil: tuple[Any, ...] = (
        Evil(),
        {"0_cues": Evil()},
        {**good, "2_cues": Evil()},
        [Evil()],
        print,
        Evil,
        re.compile("a"),
    )
    yield from (pickle.dumps(value, protocol) for value in evil for protocol in (0, 2, 4))
    others: tuple[Any, ...] = (None, 3, "x", [], [1], {}, {"0_cues": good["0_cues"]}, np.zeros((3, 2)), {0: 1}, set())
    yield from (pickle.dumps(value) for value in others)
    entries: tuple[Any, ...] = (
        *(None, 3, "x", [], [1, 2], [[1], [2]], [[1], [2], [3, 4]], [["a"], ["b"], ["c"]], {"a": 1}, True),
        *(np.zeros((3, 2)), np.zeros((2, 3), int), np.zeros((4, 3), int), np.zeros(3, int), np.zeros((3, 2), bool)),
        *(np.array([[1], [4], [0]]), np.array([[1], [0], [-1]]), np.array([[3], [0], [0]]), np.array([[-1], [0], [0]])),
        *(np.full((3, 1), np.nan), np.full((3, 1), 2**40), np.array([["a"], ["b"], ["c"]]), np.zeros((3, 1), object)),
    )
    yield from (pickle.dumps({**good, "1_cues": entry}) for entry in entries)


def good_cues() -> dict[str, Any]:
    """Cues of two images on a grid of 4 × 4."""
    return {"0_cues": np.array([[1, 0], [0, 3], [3, 0]]), "1_cues": np.array([[2], [1], [2]])}


DAMAGES: dict[str, Callable[[], Iterator[str | bytes]]] = {
    "manifest": manifest_damages,
    "whats_the_point": whats_the_point_damages,
    "scribblesup": scribblesup_damages,
    "voc": voc_damages,
    "coco": coco_damages,
    "cues": cue_damages,
    "tags": tags_damages,
}
"""Damaged files of each format."""
