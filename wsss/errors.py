"""Errors that name the thing, the rule, the value and the cure."""

import difflib
from collections.abc import Sequence


class WsssError(Exception):
    """Something a user can mend; its message is shown without a traceback."""


class SettingsError(WsssError):
    """A setting breaks its rule.

    Attributes:
        field: Name of the setting, without its section.
        reason: The rule and the value.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field
        self.reason = reason


class DataError(WsssError):
    """An image, a label, a list or a tag can't be used.

    Attributes:
        kind: What is wrong in a few words, the same words for alike faults; empty where nobody counts them.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class StoreError(WsssError):
    """An artefact is missing, locked, damaged or can't be written."""


class StageError(WsssError):
    """A stage can't do its work."""


def require(condition: bool, field: str, rule: str, value: object) -> None:
    """Refuse a setting that breaks its rule.

    Args:
        condition: Whether the rule holds.
        field: Name of the setting.
        rule: What must hold, read after the name: ``must lie in [0, 1]``.
        value: What was given.

    Raises:
        SettingsError: If the rule does not hold.
    """
    if not condition:
        raise SettingsError(field, f"{rule}, got {value!r}")


def one_of(field: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that is none of the choices.

    Raises:
        SettingsError: If the value is not among the choices.
    """
    require(value in choices, field, f"must be one of {', '.join(choices)}", value)


def nearest(word: str, known: Sequence[str]) -> str:
    """Say which of the known names was probably meant, as the end of a sentence; without one, which there are."""
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there are: {', '.join(known[:12])}{' …' if len(known) > 12 else ''}"
