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
        (PseudoLabelSettings, "ignore_below", 1.1),
        (PseudoLabelSettings, "ignore_below", -0.1),
        (SelfTrainingSettings, "foreground_threshold", 1.1),
        (SelfTrainingSettings, "background_threshold", -0.1),
        (SelfTrainingSettings, "least_area", 2.0),
        (SelfTrainingSettings, "tolerance", -1.0),
        (SelfTrainingSettings, "guard", 1.01),
        (SelfTrainingSettings, "watched", 0.0),
        (SelfTrainingSettings, "watched", 1.0),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused_by_name(cls: type, name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"^{name} must"):
        cls(**{name: value})


@pytest.mark.parametrize("cls", [CamSettings, PseudoLabelSettings, SelfTrainingSettings])
def test_the_defaults_keep_the_rules(cls: type) -> None:
    assert cls() == cls()


def test_the_ends_are_allowed() -> None:
    assert CamSettings(scales=(4.0,)).scales == (4.0,)
    assert PseudoLabelSettings(ignore_below=1.0).ignore_below == 1
    assert SelfTrainingSettings(tolerance=0.0, guard=1.0).guard == 1
