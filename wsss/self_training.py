"""Stopping rule of self-training: accept or roll back a round without ground truth.

A segmenter is evaluated by its unrestricted predictions on training images that it never saw: do they contain the
tagged classes, are they consistent when the image is mirrored or downscaled, and do they agree with the first seeds?
"""

from collections.abc import Sequence
from dataclasses import dataclass

from wsss.stages.measure_signal import Signal
from wsss.stages.settings import SelfTrainingSettings


@dataclass(frozen=True)
class Verdict:
    """Decision on a round.

    Attributes:
        round: The round.
        kept: Whether the round is accepted; if not, the best earlier one is the result, and no further round follows.
        reason: The reason, in one clause.
    """

    round: int
    kept: bool
    reason: str


def judge(earlier: Sequence[Signal], latest: Signal, settings: SelfTrainingSettings) -> Verdict:
    """Decide whether a round is accepted.

    Args:
        earlier: Signals of the rounds accepted so far, in order.
        latest: Signal of the round to decide on.
        settings: Tolerances.
    """
    round = len(earlier)
    if not earlier:
        return Verdict(round, True, "the first round has nothing to be compared with")
    best = max(signal.trust for signal in earlier)
    if latest.trust < best - settings.tolerance:
        return Verdict(round, False, f"tag F1 x consistency fell from {best:.3f} to {latest.trust:.3f}")
    agreed = max(signal.seed_agreement for signal in earlier)
    if latest.seed_agreement < agreed - settings.guard:
        return Verdict(round, False, f"agreement with the seeds fell from {agreed:.3f} to {latest.seed_agreement:.3f}")
    return Verdict(round, True, f"tag F1 x consistency went from {best:.3f} to {latest.trust:.3f}")
