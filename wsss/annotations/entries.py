"""Values of external files that know their position, so that error messages can name it."""

import json
import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from reprlib import Repr
from typing import Any

from wsss.errors import DataError, nearest

LARGEST = 100_000
"""Upper bound on rows, columns and coordinates of an image."""

MEND = "fix the file"

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 40


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of a file.

    Attributes:
        value: The parsed JSON value.
        key: Its key or index in its container; the name of the file for the root.
        holder: Its container; None for the root.
    """

    value: Any
    key: str | int
    holder: "Entry | None" = None

    @property
    def where(self) -> str:
        """The file and the path to the value in it: ``'a.json', entry images.one.points[2],``."""
        steps, entry = [], self
        while entry.holder is not None:
            steps.append(f"[{entry.key}]" if type(entry.key) is int else f".{entry.key}")
            entry = entry.holder
        way = "".join(reversed(steps)).removeprefix(".")
        return f"{entry.key}, entry {way}," if way else f"{entry.key}, at its top,"

    def wrong(self, rule: str, cure: str = MEND) -> DataError:
        """Create an error that states the value and the rule it breaks.

        Args:
            rule: What must hold: ``must be a text``.
            cure: How to fix it.
        """
        return DataError(f"{self.where} is {_SHORT.repr(self.value)}, it {rule}; {cure}")

    def table(self) -> Iterator[tuple[str, "Entry"]]:
        """Yield the members of an object with arbitrary keys."""
        if type(self.value) is not dict:
            raise self.wrong("must be an object {…}")
        for name, value in self.value.items():
            yield name, Entry(value, name, self)

    def members(
        self, required: Collection[str], optional: Collection[str] = (), *, others: bool = False
    ) -> dict[str, "Entry"]:
        """Return the members of an object with known keys.

        Args:
            required: Keys that must exist.
            optional: Keys that may exist.
            others: Whether other keys are allowed and ignored.

        Raises:
            DataError: If it is not an object, lacks a key or has an unknown one.
        """
        held = dict(self.table())
        known = (*required, *optional)
        missing = [name for name in required if name not in held]
        if missing:
            raise DataError(f"{self.where} has no '{missing[0]}', it must have {', '.join(required)}; {MEND}")
        unknown = [] if others else [name for name in held if name not in known]
        if unknown:
            raise DataError(f"{self.where} has the unknown key '{unknown[0]}'; {nearest(unknown[0], known)}")
        return {name: entry for name, entry in held.items() if name in known}

    def entries(self) -> list["Entry"]:
        """Return the values of a list."""
        if type(self.value) is not list:
            raise self.wrong("must be a list […]")
        return [Entry(value, number, self) for number, value in enumerate(self.value)]

    def pair(self) -> tuple["Entry", "Entry"]:
        """Return the values of a list of two."""
        held = self.entries()
        if len(held) != 2:
            raise self.wrong("must be a list of two values")
        return held[0], held[1]

    def whole(self, least: int = 0, most: int = LARGEST) -> int:
        """Return a whole number in [least, most]."""
        if type(self.value) is not int or not least <= self.value <= most:
            raise self.wrong(f"must be a whole number from {least} to {most}")
        return self.value

    def number(self, least: float = -LARGEST, most: float = LARGEST) -> float:
        """Return a finite number in [least, most]."""
        fits = type(self.value) in (int, float) and math.isfinite(self.value) and least <= self.value <= most
        if not fits:
            raise self.wrong(f"must be a number from {least:g} to {most:g}")
        return float(self.value)

    def text(self) -> str:
        """Return a non-empty text."""
        if type(self.value) is not str or not self.value.strip():
            raise self.wrong("must be a text that is not empty")
        return self.value

    def flag(self) -> bool:
        """Return true or false."""
        if type(self.value) is not bool:
            raise self.wrong("must be true or false")
        return self.value


def parse_json(text: str, name: str, *, without: Collection[str] = ()) -> Entry:
    """Parse JSON without duplicate keys.

    NaN and infinity are accepted, as many programs write them; ``number`` rejects them.

    Args:
        text: The text.
        name: Name of the text in error messages, such as its file in quotes.
        without: Keys that are dropped right after parsing, in all objects.

    Raises:
        DataError: If it is not valid JSON.
    """
    try:
        return Entry(json.loads(text, object_pairs_hook=_object_without(without)), name)
    except RecursionError:
        raise DataError(f"{name} nests lists or objects thousands deep, no labels need that; {MEND}") from None
    except (json.JSONDecodeError, _TwiceError) as error:
        raise DataError(f"{name} can't be read as JSON ({error}); {MEND} or fetch it again") from None
    except ValueError:
        raise DataError(f"{name} has a whole number of thousands of digits, no labels need that; {MEND}") from None


class _TwiceError(ValueError):
    """An object has a duplicate key."""


def _object_without(dropped: Collection[str]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def build(members: list[tuple[str, Any]]) -> dict[str, Any]:
        held = dict(members)
        if len(held) < len(members):
            names = [name for name, _ in members]
            twice = next(name for name in names if names.count(name) > 1)
            raise _TwiceError(f"an object names '{twice}' twice")
        for name in dropped:
            held.pop(name, None)
        return held

    return build
