from typing import Any

import pytest

from wsss.errors import SettingsError
from wsss.stages.settings import CamSettings, PseudoLabelSettings, SelfTrainingSettings


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (CamSettings, "scales", ()),
        (CamSettings, "scales", (1.0, 0.0)),
        (CamSettings, "scales", (4.5,)),
        (CamSettings, "batch_size", 0),
        (CamSettings, "method", "grad-cam"),
        (CamSettings, "negative_quantile", 1.0),
        (CamSettings, "negative_quantile", -0.1),
        (SelfTrainingSettings, "watched", 0.0),
        (SelfTrainingSettings, "watched", 1.0),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused_by_name(cls: type, name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"^{name} must"):
        cls(**{name: value})


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (PseudoLabelSettings, "ignore_below"),
        *(
            (SelfTrainingSettings, name)
            for name in ("foreground_threshold", "background_threshold", "least_area", "tolerance", "guard")
        ),
    ],
)
def test_a_share_may_be_nothing_or_all_and_no_more(cls: type, name: str) -> None:
    assert [getattr(cls(**{name: end}), name) for end in (0.0, 1.0)] == [0.0, 1.0]
    for beyond in (-1e-9, 1 + 1e-9):
        with pytest.raises(SettingsError, match=rf"^{name} must lie in \[0, 1\]"):
            cls(**{name: beyond})


def test_the_ends_of_the_maps_are_allowed() -> None:
    assert CamSettings(scales=(4.0,)).scales == (4.0,)
    assert CamSettings(negative_quantile=0.0).negative_quantile == 0
    assert CamSettings(batch_size=1).batch_size == 1
