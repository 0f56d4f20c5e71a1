from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from wsss.config import Config, load
from wsss.studies import plan

_loaded = cache(lambda words: load(words))


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own to work in; the same configurations are composed once for all tests."""

    def once(overrides: Sequence[str] = ()) -> Config:
        return _loaded(tuple(overrides))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "load", once)
