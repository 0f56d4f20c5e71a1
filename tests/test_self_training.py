import dataclasses
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsss import self_training
from wsss.self_training import Verdict, judge
from wsss.stages.measure_signal import Signal
from wsss.stages.settings import SelfTrainingSettings

SETTINGS = SelfTrainingSettings(tolerance=0.05, guard=0.1)


def signal(trust: float, agreement: float = 0.8) -> Signal:
    return Signal(tag_f1=trust, consistency=1.0, seed_agreement=agreement)


def verdict(earlier: list[Signal], latest: Signal, settings: SelfTrainingSettings = SETTINGS) -> Verdict:
    return judge(earlier, latest, settings)


def test_the_first_round_stands_whatever_its_signal() -> None:
    found = verdict([], signal(0.0, 0.0))
    assert (found.round, found.kept) == (0, True)


def test_a_round_that_got_better_stands() -> None:
    found = verdict([signal(0.6)], signal(0.7))
    assert (found.round, found.kept) == (1, True)
    assert found.reason == "tag F1 x consistency went from 0.600 to 0.700"


def test_a_round_may_fall_as_far_as_the_tolerance() -> None:
    assert verdict([signal(0.60)], signal(0.56)).kept
    assert not verdict([signal(0.60)], signal(0.54)).kept


def test_a_round_is_taken_back_when_trust_falls() -> None:
    found = verdict([signal(0.6)], signal(0.4, agreement=1.0))
    assert (found.round, found.kept) == (1, False)
    assert found.reason == "tag F1 x consistency fell from 0.600 to 0.400"


def test_a_round_is_taken_back_when_it_leaves_the_seeds() -> None:
    found = verdict([signal(0.6, agreement=0.8)], signal(0.9, agreement=0.65))
    assert not found.kept
    assert found.reason == "agreement with the seeds fell from 0.800 to 0.650"
    assert verdict([signal(0.6, agreement=0.8)], signal(0.9, agreement=0.75)).kept


def test_neither_labels_that_only_stay_nor_labels_that_only_fit_are_trusted() -> None:
    first = Signal(tag_f1=0.8, consistency=0.8, seed_agreement=0.8)
    for worse in (Signal(0.1, 1.0, 0.8), Signal(1.0, 0.1, 0.8)):
        assert not verdict([first], worse).kept


def test_a_round_is_held_against_the_best_before_it_not_against_the_last() -> None:
    # each a little worse than the one before, so that none falls far from its neighbour
    earlier = [signal(0.70), signal(0.66)]
    assert verdict(earlier[1:], signal(0.63)).kept
    assert not verdict(earlier, signal(0.63)).kept


def test_trust_and_seeds_may_have_been_best_in_different_rounds() -> None:
    earlier = [signal(0.5, agreement=0.9), signal(0.8, agreement=0.85)]
    assert not verdict(earlier, signal(0.82, agreement=0.75)).kept
    assert verdict(earlier, signal(0.82, agreement=0.85)).kept


def test_the_settings_say_how_far_is_too_far() -> None:
    loose = SelfTrainingSettings(tolerance=1.0, guard=1.0)
    assert verdict([signal(0.9, 0.9)], signal(0.0, 0.0), loose).kept
    strict = SelfTrainingSettings(tolerance=0.0, guard=0.0)
    assert verdict([signal(0.9)], signal(0.9), strict).kept
    assert not verdict([signal(0.9)], signal(0.899), strict).kept


SHARES = st.floats(0, 1)
SIGNALS = st.builds(Signal, SHARES, SHARES, SHARES)


@given(st.lists(SIGNALS, min_size=1, max_size=4), SIGNALS)
def test_a_better_signal_never_fares_worse(earlier: list[Signal], latest: Signal) -> None:
    better = Signal(*(min(1.0, value + 0.1) for value in dataclasses.astuple(latest)))
    assert verdict(earlier, better).kept >= verdict(earlier, latest).kept


@given(st.lists(SIGNALS, max_size=4), SIGNALS)
def test_a_verdict_is_of_the_round_that_follows(earlier: list[Signal], latest: Signal) -> None:
    assert verdict(earlier, latest).round == len(earlier)


def test_the_rule_has_no_way_to_the_truth() -> None:
    assert list(inspect.signature(judge).parameters) == ["earlier", "latest", "settings"]
    assert {entry.name for entry in dataclasses.fields(Signal)} == {"tag_f1", "consistency", "seed_agreement"}
    for name in ("truth", "evaluate", "miou", "confusion"):
        assert not hasattr(self_training, name)


def test_trust_is_tag_f1_times_consistency() -> None:
    assert Signal(0.5, 0.5, 0.1).trust == pytest.approx(0.25)
