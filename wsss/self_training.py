"""Rounds of self-training: whether to keep a round, decided without truth.

A segmenter is judged by its unrestricted predictions on training images that it never saw: do they find the classes of
the tags, do they stay the same when the image is mirrored or shrunk, and do they still agree with the first seeds?
"""

from collections.abc import Sequence
from dataclasses import dataclass

from wsss.stages.measure_signal import Signal
from wsss.stages.settings import SelfTrainingSettings


@dataclass(frozen=True)
class Verdict:
    """What the rule says of a round.

    Attributes:
        round: The round it judges.
        kept: Whether the round stands; if not, the best earlier one does, and no further round follows.
        reason: Why, in one clause.
    """

    round: int
    kept: bool
    reason: str


def judge(earlier: Sequence[Signal], latest: Signal, settings: SelfTrainingSettings) -> Verdict:
    """Decide whether a round stands.

    Args:
        earlier: Signals of the rounds kept so far, in their order.
        latest: Signal of the round to judge.
        settings: How far signals may fall.
    """
    turn = len(earlier)
    if not earlier:
        return Verdict(turn, True, "the first round has nothing to be compared with")
    best = max(signal.trust for signal in earlier)
    if latest.trust < best - settings.tolerance:
        return Verdict(turn, False, f"tag F1 x consistency fell from {best:.3f} to {latest.trust:.3f}")
    agreed = max(signal.seed_agreement for signal in earlier)
    if latest.seed_agreement < agreed - settings.guard:
        return Verdict(turn, False, f"agreement with the seeds fell from {agreed:.3f} to {latest.seed_agreement:.3f}")
    return Verdict(turn, True, f"tag F1 x consistency went from {best:.3f} to {latest.trust:.3f}")
