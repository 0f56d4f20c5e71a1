"""Tests; the same tree as wsss/."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Checks shapes and types at run time; takes an integer where a float is expected, as Python's type checkers do."""
