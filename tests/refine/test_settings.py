from typing import Any

import pytest

from wsss.errors import SettingsError
from wsss.refine.settings import GrowingSettings


def made(**values: Any) -> GrowingSettings:
    return GrowingSettings(**values)


SHARES = ["foreground_threshold", "background_threshold", "foreground_quantile", "background_quantile"]


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_share_outside_of_0_and_1_is_refused(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=f"{name} must lie in"):
        made(**{name: value})


@pytest.mark.parametrize("name", SHARES)
def test_the_ends_are_shares_too(name: str) -> None:
    assert [getattr(made(**{name: value}), name) for value in (0.0, 1.0)] == [0, 1]


def test_the_thresholds_for_networks_are_those_of_the_paper() -> None:
    assert (GrowingSettings().foreground_threshold, GrowingSettings().background_threshold) == (0.85, 0.99)
