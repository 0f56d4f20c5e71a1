"""Values that know where they stand."""

import pytest

from wsss.annotations.entries import Entry, parse_json
from wsss.annotations.formats.markup import parse_xml
from wsss.errors import DataError


def test_a_value_tells_the_way_to_it() -> None:
    whole = parse_json('{"images": {"a b": [1, {"row": -1}]}}', "'x.json'")
    row = whole.members(("images",))["images"].members(("a b",))["a b"].entries()[1].members(("row",))["row"]
    assert row.where == "'x.json', entry images.a b[1].row,"
    with pytest.raises(DataError, match=r"row, is -1, it must be a whole number from 0 to 100000; fix the file"):
        row.whole()
    assert whole.where == "'x.json', at its top,"


def test_long_values_are_shortened() -> None:
    assert len(str(Entry("x" * 10_000, "'x.json'").wrong("must be short"))) < 100


def test_what_is_of_no_interest_is_forgotten_at_once() -> None:
    whole = parse_json('{"a": [{"outline": [1, 2], "b": {"outline": 3}}]}', "x", without=("outline",))
    assert whole.value == {"a": [{"b": {}}]}


@pytest.mark.parametrize("declared", ["utf-8", "iso-8859-1", "ascii", "utf-16"])
def test_markup_is_text_already_whatever_encoding_it_declares(declared: str) -> None:
    text = f'<?xml version="1.0" encoding="{declared}"?>\n<annotation><name>Hündin</name></annotation>'
    assert parse_xml(text, "'x.xml'").node("name").text() == "Hündin"


@pytest.mark.parametrize("text", ["<!DOCTYPE a><a/>", "<a><!-- --><!ENTITY b 'c'></a>", "<!doctype a SYSTEM 'b'><a/>"])
def test_declarations_are_refused_unread(text: str) -> None:
    with pytest.raises(DataError, match=r"'x.xml', line 1, declares a document type or an entity.* delete it"):
        parse_xml(text, "'x.xml'")
