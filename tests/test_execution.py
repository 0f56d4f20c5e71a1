import pytest

from tests.plans import planned
from wsss.errors import SettingsError
from wsss.execution import find_stage

STAGES = [step.stage for step in planned()]


def test_a_stage_is_found_by_its_name_and_round() -> None:
    for place, stage in enumerate(STAGES):
        assert find_stage(STAGES, stage.title, "until") == place


def test_a_name_alone_means_its_first_round() -> None:
    assert find_stage(STAGES, "crf", "until") == find_stage(STAGES, "crf:0", "until")
    assert find_stage(STAGES, "scores", "start") == find_stage(STAGES, "scores:1", "start")


@pytest.mark.parametrize(("wanted", "near"), [("segmentr", "segmenter"), ("crf:7", "crf:1"), ("Seeds", "seeds")])
def test_an_unknown_stage_is_refused_with_those_near_it(wanted: str, near: str) -> None:
    with pytest.raises(SettingsError, match=near) as refused:
        find_stage(STAGES, wanted, "until")
    assert wanted in str(refused.value)
    assert "until" in str(refused.value)
