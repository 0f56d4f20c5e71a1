"""Published label formats, one module each, with reader, writer and detection."""

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator

from wsss.annotations.base import KINDS
from wsss.annotations.codec import FORMAT, decode, encode
from wsss.annotations.formats.base import VOC_CLASSES, Format, Source, only_source
from wsss.annotations.formats.coco import COCO
from wsss.annotations.formats.cues import CUES
from wsss.annotations.formats.scribblesup import SCRIBBLESUP
from wsss.annotations.formats.tags import TAGS
from wsss.annotations.formats.voc import VOC
from wsss.annotations.formats.whats_the_point import WHATS_THE_POINT
from wsss.annotations.manifest import Classes, Manifest

__all__ = ["FORMATS", "VOC_CLASSES", "Format", "Source", "recognise"]


def _read(sources: Iterable[Source], classes: Classes | None) -> Manifest:
    source = only_source(sources, "a manifest")
    return decode(source.content, classes, name=source.name)


def _write(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "", encode(manifest.annotations, manifest.classes, manifest.sizes)


def _recognises(content: bytes) -> bool:
    return content.lstrip()[:1] == b"{" and f'"{FORMAT}"'.encode() in content


MANIFEST = Format(kinds=KINDS, read=_read, write=_write, recognises=_recognises, suffix=".json")

FORMATS = {
    "manifest": MANIFEST,
    "whats_the_point": WHATS_THE_POINT,
    "scribblesup": SCRIBBLESUP,
    "voc": VOC,
    "coco": COCO,
    "cues": CUES,
    "tags": TAGS,
}
"""All formats; to add one, add a line here and a module beside this one."""


def recognise(content: bytes) -> list[str]:
    """Names of the formats that the bytes look like."""
    plain = content.removeprefix(BOM_UTF8)
    return [name for name, format in FORMATS.items() if format.recognises(plain)]
