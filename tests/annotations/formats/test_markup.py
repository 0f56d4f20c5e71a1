import pytest
from hypothesis import given
from hypothesis import strategies as some

from wsss.annotations.entries import LARGEST
from wsss.annotations.formats.markup import Node, parse_xml, read_size, write_annotation
from wsss.errors import DataError

XML = """<annotation>
  <size><height>6</height><width>8.0</width></size>
  <object><name> cat </name></object>
  <object><name>dog</name><part><name>head</name></part></object>
  <empty/>
</annotation>"""

ROOT = parse_xml(XML, "'a.xml'")


def value(text: str) -> Node:
    return parse_xml(f"<annotation><value>{text}</value></annotation>", "'a.xml'").node("value")


def test_elements_know_where_they_stand() -> None:
    assert ROOT.where == "'a.xml',"
    first, second = ROOT.nodes("object")
    assert second.where == "'a.xml', entry object[1],"
    assert second.node("part").node("name").where == "'a.xml', entry object[1].part.name,"
    assert (first.node("name").text(), second.node("name").text()) == ("cat", "dog")


def test_only_what_lies_right_below_is_found() -> None:
    assert ROOT.find("name") is None
    assert ROOT.nodes("part") == []


def test_an_element_that_must_be_there_once_is_missed_and_counted() -> None:
    with pytest.raises(DataError, match=r"^'a\.xml', entry object\[0\], has no <part>, it must have one"):
        ROOT.nodes("object")[0].node("part")
    with pytest.raises(DataError, match=r"^'a\.xml', entry object, is there 2 times, it must be there once"):
        ROOT.find("object")


@pytest.mark.parametrize("tag", ["empty", "size"])
def test_a_text_is_not_empty_and_holds_no_elements(tag: str) -> None:
    with pytest.raises(DataError, match=rf"entry {tag}, holds no text, it must hold some and nothing else"):
        ROOT.node(tag).text()


@pytest.mark.parametrize(("text", "number"), [("3", 3), (" -2.50 ", -2.5), ("+1e2", 100), ("7.", 7), ("1E-2", 0.01)])
def test_numbers_are_read(text: str, number: float) -> None:
    assert value(text).number(-10, 100) == number


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "1_000", "0x10", "٣", "3,5", "one", "1 2", ".5", "e3"])
def test_what_python_or_a_person_takes_for_a_number_may_be_none(text: str) -> None:
    with pytest.raises(DataError, match=r"^'a\.xml', entry value, is .*, it must be a number from 0 to 100000"):
        value(text).number(0)


def test_numbers_lie_between_their_bounds() -> None:
    assert [value(text).number(1, 8) for text in ("1", "8")] == [1, 8]
    for text in ("0.99", "8.01"):
        with pytest.raises(DataError, match=rf"is '{text}', it must be a number from 1 to 8"):
            value(text).number(1, 8)
    with pytest.raises(DataError, match="must be a number from 0 to 100000"):
        value(str(LARGEST + 1)).number(0)


def test_whole_numbers_may_be_written_as_fractions() -> None:
    found = value("3.0").whole(1)
    assert (found, type(found)) == (3, int)
    with pytest.raises(DataError, match=r"is 3\.5, it must be a whole number"):
        value("3.5").whole(1)


@pytest.mark.parametrize("case", [str.upper, str.lower])
@pytest.mark.parametrize("kind", ["doctype annotation", "entity a 'b'"])
def test_a_document_type_is_refused_with_its_line_before_anything_is_read(kind: str, case: type) -> None:
    text = f"<?xml version='1.0'?>\n\n<!{case(kind)}>\n<annotation/>"  # type: ignore[call-arg]
    with pytest.raises(DataError, match=r"^'a\.xml', line 3, declares a document type or an entity.*; delete it"):
        parse_xml(text, "'a.xml'")


@pytest.mark.parametrize(
    "text", ["", "cat", "<annotation>", "<annotation/><annotation/>", "<annotation>&cat;</annotation>"]
)
def test_what_is_no_xml_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"^'a\.xml' can't be read as XML \(.*\); .* or fetch it again"):
        parse_xml(text, "'a.xml'")


def test_what_is_about_something_else_is_refused() -> None:
    with pytest.raises(DataError, match=r"^'a\.xml' has the root element <html>, it must be <annotation>"):
        parse_xml("<html/>", "'a.xml'")


def test_labels_that_would_be_lost_are_refused() -> None:
    for text in (
        "<objects><object/></objects>",
        "<Object/>",
        "<qobject><bndbox/></qobject>",
        "<polygon/>",
        "<object/><objects><object/></objects>",
    ):
        with pytest.raises(
            DataError, match=r"^'a\.xml', has <(objects|Object|qobject|polygon)>.* in <object>; .*itself$"
        ):
            parse_xml(f"<annotation>{text}</annotation>", "'a.xml'").only("object")


def test_elements_without_labels_and_a_second_format_beside_the_first_are_passed_over() -> None:
    text = "<annotation><source><image/></source><object/><polygon><point/></polygon><object/></annotation>"
    assert len(parse_xml(text, "'a.xml'").only("object")) == 2
    assert parse_xml("<annotation><size/></annotation>", "'a.xml'").only("object") == []


def test_a_size_is_height_and_width_or_nothing() -> None:
    assert read_size(ROOT) == (6, 8)
    assert read_size(value("3")) is None
    narrow = XML.replace("<width>8.0</width>", "<width>0</width>")
    with pytest.raises(DataError, match=r"entry size\.width, is '0', it must be a number from 1"):
        read_size(parse_xml(narrow, "'a.xml'"))


@given(
    image=some.text("ab<>&\"' é犬]", min_size=1, max_size=8).filter(lambda name: bool(name.strip())),
    size=some.none() | some.tuples(some.integers(1, LARGEST), some.integers(1, LARGEST)),
    elements=some.integers(0, 3),
)
def test_what_is_written_is_read_back(image: str, size: tuple[int, int] | None, elements: int) -> None:
    text = write_annotation(image, size, [f"<object><name>{number}</name></object>" for number in range(elements)])
    root = parse_xml(text, "'a.xml'")
    assert root.node("filename").text() == f"{image}.jpg".strip()
    assert read_size(root) == size
    assert [node.node("name").whole(0) for node in root.nodes("object")] == list(range(elements))
