import pytest
import torch
from torch import nn

from wsss.errors import SettingsError
from wsss.tasks.devices import autocast, choose_device, resolve_precision


def test_precision_is_bf16_only_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert resolve_precision("auto", "cpu") == "bf16-mixed"
    assert resolve_precision("32-true", "cpu") == "32-true"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False})
    assert resolve_precision("auto", "cpu") == "32-true"
    assert resolve_precision("bf16-mixed", "cpu") == "bf16-mixed"


def test_cuda_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="accelerator must be auto or cpu on this machine, got 'cuda'"):
        choose_device("cuda")
    assert choose_device("auto") == torch.device("cpu")


def test_autocast_computes_as_training_does() -> None:
    layer, values = nn.Linear(4, 4), torch.ones(2, 4)
    with autocast("bf16-mixed", torch.device("cpu")):
        assert layer(values).dtype == torch.bfloat16
    with autocast("32-true", torch.device("cpu")):
        assert layer(values).dtype == torch.float32
