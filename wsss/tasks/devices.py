"""Choice of device and precision; importing this does not load Lightning."""

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch

from wsss.errors import SettingsError
from wsss.tasks.settings import TrainerSettings


def choose_device(accelerator: str) -> torch.device:
    """Return this process's device.

    Args:
        accelerator: auto, cpu or cuda.

    Raises:
        SettingsError: If CUDA is requested but not available.
    """
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise SettingsError("accelerator", "must be auto or cpu on this machine, got 'cuda'")
    if accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def resolve_precision(precision: str, accelerator: str = "auto") -> str:
    """Resolve the precision setting.

    Args:
        precision: auto, bf16-mixed or 32-true.
        accelerator: auto, cpu or cuda.

    Returns:
        ``bf16-mixed`` or ``32-true``. ``auto`` becomes ``bf16-mixed`` only where the hardware supports bfloat16
        natively: emulation is slower than float32.
    """
    if precision != "auto":
        return precision
    if choose_device(accelerator).type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # if torch cannot tell, the CPU is assumed to lack support
        capabilities: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bf16-mixed" if fast else "32-true"


def precision_of(trainer: TrainerSettings) -> str:
    """The arithmetic that settings come to on this machine, see ``resolve_precision``."""
    return resolve_precision(trainer.precision, trainer.accelerator)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the autocast context that ``fit`` uses, for inference.

    Args:
        precision: ``bf16-mixed`` or ``32-true``.
        device: Device of the network.
    """
    if precision == "32-true":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
