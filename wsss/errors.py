"""Errors that name the thing, the rule, the value and the cure."""

import difflib
from collections.abc import Sequence


class WsssError(Exception):
    """An error that the user can fix; its message is shown without a traceback."""


class SettingsError(WsssError):
    """A setting is invalid.

    Attributes:
        field: Name of the setting, without its section.
        reason: The rule and the value.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field
        self.reason = reason


class DataError(WsssError):
    """An image, label, list or tag is invalid.

    Attributes:
        kind: Short category, the same for similar errors; empty if they are not counted.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class StoreError(WsssError):
    """An artefact is missing, locked, damaged or cannot be written."""


class StageError(WsssError):
    """A stage failed."""


def require(condition: bool, field: str, rule: str, value: object) -> None:
    """Raise an error if a setting breaks its rule.

    Args:
        condition: Whether the rule holds.
        field: Name of the setting.
        rule: The rule, phrased to follow the name: ``must lie in [0, 1]``.
        value: The given value.

    Raises:
        SettingsError: If the rule does not hold.
    """
    if not condition:
        raise SettingsError(field, f"{rule}, got {value!r}")


def one_of(field: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise an error if a value is not one of the choices.

    Raises:
        SettingsError: If the value is not among the choices.
    """
    require(value in choices, field, f"must be one of {', '.join(choices)}", value)


def nearest(word: str, known: Sequence[str]) -> str:
    """Return a suggestion of similar known names, to end a sentence; if there are none, list the known names."""
    return offer(difflib.get_close_matches(word, known, n=3, cutoff=0.6), known)


def offer(near: Sequence[str], known: Sequence[str]) -> str:
    """Suggest the near names; if there are none, list the known names."""
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there are: {', '.join(known[:12])}{' …' if len(known) > 12 else ''}"
