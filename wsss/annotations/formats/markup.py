"""Safe reading of XML: elements that know their position; document types and entities are rejected."""

import re
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from wsss.annotations.base import Size
from wsss.annotations.entries import LARGEST, MEND
from wsss.errors import DataError

NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?")
LABELS = frozenset({"object", "polygon", "bndbox", "point"})
"""Elements that hold labels, in lower case."""

KINDS = frozenset({"object", "polygon"})
"""Elements of labelled objects and strokes."""

DECLARATION = re.compile(r"<!(DOCTYPE|ENTITY)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Node:
    """One element.

    Attributes:
        element: The element.
        where: The file and the path to the element in it.
    """

    element: ElementTree.Element
    where: str

    def nodes(self, tag: str) -> list["Node"]:
        """Return the child elements with a tag; their positions include an index from 0."""
        found = self.element.findall(tag)
        return [Node(element, self._at(f"{tag}[{number}]")) for number, element in enumerate(found)]

    def only(self, tag: str) -> list["Node"]:
        """Return the child elements with a tag, of an element whose other children may hold no labels.

        A file that also has labels of another format is read for those with the tag, if it has any.

        Raises:
            DataError: If labels in other children would be lost.
        """
        found = self.nodes(tag)
        for child in self.element:
            held = next((part.tag for part in child.iter() if part.tag.lower() in LABELS), None)
            other_format = bool(found) and child.tag in KINDS
            if child.tag != tag and held is not None and not other_format:
                inside = "" if held == child.tag else f" with <{held[:40]}>"
                raise DataError(
                    f"{self.where} has <{child.tag[:40]}>{inside}, labels must be in <{tag}>; {MEND}, or give a file "
                    f"of another format by itself"
                )
        return found

    def find(self, tag: str) -> "Node | None":
        """Return the child element with a tag, if there is one.

        Raises:
            DataError: If there is more than one.
        """
        found = self.element.findall(tag)
        if len(found) > 1:
            raise DataError(f"{self._at(tag)} is there {len(found)} times, it must be there once; {MEND}")
        return Node(found[0], self._at(tag)) if found else None

    def node(self, tag: str) -> "Node":
        """Return the only child element with a tag.

        Raises:
            DataError: If there is none, or more than one.
        """
        found = self.find(tag)
        if found is None:
            raise DataError(f"{self.where} has no <{tag}>, it must have one; {MEND}")
        return found

    def text(self) -> str:
        """Return its text, which must not be empty."""
        text = (self.element.text or "").strip()
        if not text or len(self.element):
            raise DataError(f"{self.where} holds no text, it must hold some and nothing else; {MEND}")
        return text

    def number(self, least: float, most: float = LARGEST) -> float:
        """Return its text as a finite number in [least, most]."""
        text = self.text()
        if not NUMBER.fullmatch(text) or not least <= float(text) <= most:
            raise DataError(f"{self.where} is '{text[:40]}', it must be a number from {least:g} to {most:g}; {MEND}")
        return float(text)

    def whole(self, least: int, most: int = LARGEST) -> int:
        """Return its text as a whole number in [least, most]; 3.0 is accepted."""
        value = self.number(least, most)
        if value != int(value):
            raise DataError(f"{self.where} is {value:g}, it must be a whole number; {MEND}")
        return int(value)

    def _at(self, step: str) -> str:
        return f"{self.where} entry {step}," if self.where.endswith("',") else f"{self.where[:-1]}.{step},"


def parse_xml(text: str, name: str) -> Node:
    """Read an annotation in XML, without a document type.

    Args:
        text: The text.
        name: Its file in quotes.

    Raises:
        DataError: If it is not XML, declares a document type or entities, or has another root element.
    """
    declaration = DECLARATION.search(text)
    if declaration:
        line = text.count("\n", 0, declaration.start()) + 1
        raise DataError(
            f"{name}, line {line}, declares a document type or an entity, which could make a small file huge or read "
            f"other files, and labels need neither; delete it"
        )
    try:
        element = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{name} can't be read as XML ({error}); {MEND} or fetch it again") from None
    if element.tag != "annotation":
        raise DataError(f"{name} has the root element <{element.tag[:40]}>, it must be <annotation>; {MEND}")
    return Node(element, f"{name},")


def read_size(root: Node) -> Size | None:
    """Return height and width from a VOC annotation; None if it has none."""
    size = root.find("size")
    return None if size is None else (size.node("height").whole(1), size.node("width").whole(1))


def write_annotation(image: str, size: Size | None, elements: list[str]) -> str:
    """Write the annotation of one image.

    Args:
        image: Name of the image.
        size: Height and width, if known.
        elements: Its elements, one line each.
    """
    head = [f"<filename>{escape(image)}.jpg</filename>"]
    if size is not None:
        head.append(f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>")
    head.append("<segmented>0</segmented>")
    return "\n".join(["<annotation>", *(f"  {line}" for line in [*head, *elements]), "</annotation>", ""])
