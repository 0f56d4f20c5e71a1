import subprocess
import sys
from typing import Any

import pytest

from wsss.errors import SettingsError
from wsss.tasks.settings import (
    LOSSES,
    ClassifierSettings,
    GraphSettings,
    LearningSettings,
    SegmenterSettings,
    TrainerSettings,
)


def test_reading_settings_loads_neither_torch_nor_lightning() -> None:
    heavy = "('torch', 'pytorch_lightning', 'torch_geometric', 'torchvision')"
    code = f"import sys, wsss.tasks.settings; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (TrainerSettings, "devices", 0),
        (TrainerSettings, "workers", -1),
        (TrainerSettings, "accelerator", "gpu"),
        (TrainerSettings, "precision", "16"),
        (LearningSettings, "epochs", 0),
        (LearningSettings, "batch_size", 0),
        (LearningSettings, "optimizer", "adam"),
        (LearningSettings, "schedule", "step"),
        (LearningSettings, "learning_rate", 0.0),
        (LearningSettings, "weight_decay", -1.0),
        (LearningSettings, "momentum", 1.0),
        (LearningSettings, "power", 0.0),
        (LearningSettings, "warmup", 1.0),
        (LearningSettings, "gradient_clip", 0.0),
        (ClassifierSettings, "output_stride", 4),
        (ClassifierSettings, "freeze_stages", 6),
        (ClassifierSettings, "head_multiplier", 0.0),
        (ClassifierSettings, "crop", 8),
        (ClassifierSettings, "scale", (1.5, 0.5)),
        (ClassifierSettings, "scale", (1.0,)),
        (ClassifierSettings, "jitter", 1.0),
        (ClassifierSettings, "held_out", 1.0),
        (SegmenterSettings, "supervision", "truth"),
        (SegmenterSettings, "width", 12),
        (SegmenterSettings, "dropout", 1.0),
        (SegmenterSettings, "loss", "focal"),
        (SegmenterSettings, "generalised_exponent", 0.0),
        (SegmenterSettings, "generalised_exponent", 1.5),
        (SegmenterSettings, "symmetric_forward", -0.1),
        (SegmenterSettings, "symmetric_reverse", -1.0),
        (SegmenterSettings, "symmetric_reverse", float("nan")),
        (SegmenterSettings, "test_scales", ()),
        (GraphSettings, "passes", 0),
        (GraphSettings, "hidden", 6),
        (GraphSettings, "dropout", 1.0),
        (GraphSettings, "entropy_weight", -0.1),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused_by_name(kind: type, field: str, value: Any) -> None:
    kind()
    with pytest.raises(SettingsError) as refused:
        kind(**{field: value})
    assert refused.value.field == field


def test_a_symmetric_loss_without_either_part_is_refused() -> None:
    SegmenterSettings(symmetric_forward=0.0)
    SegmenterSettings(symmetric_reverse=0.0)
    rule = "symmetric_forward must be positive where symmetric_reverse is 0, got 0.0"
    with pytest.raises(SettingsError, match=rule):
        SegmenterSettings(symmetric_forward=0.0, symmetric_reverse=0.0)


def test_losses_start_with_their_published_values() -> None:
    settings = SegmenterSettings()
    for loss, published in LOSSES.items():
        assert {name: getattr(settings, name) for name in published} == published, loss
