"""Pretrained weights: from torchvision, or from a file."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251  only the name of the error that torch.load raises

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from wsss.errors import SettingsError

READ_ERRORS = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    UnpicklingError,
    SafetensorError,
)
"""Errors of torch and safetensors in files that are no state dicts: text is taken for opcodes of any kind."""

CLASSIFIER = "classifier"
"""Instead of a file: weights that the caller copies from a trained classifier of the same backbone."""

SHOWN_KEYS = 3
"""Maximum number of mismatching keys named in an error."""


def load_weights(body: nn.Module, network: str, weights: str, *, head: str | tuple[str, ...]) -> None:
    """Copy pretrained weights into a classifier, except for its head.

    Args:
        body: The classifier, changed in place.
        network: Its name, for ``imagenet`` as in ``torchvision.models.get_model``.
        weights: ``imagenet`` (torchvision's own, downloaded once into torch's cache) or the path of a state dict of the
            same classifier, ``.safetensors`` or anything that ``torch.load`` reads; float16 is converted.
        head: Prefix of the head's keys, up to a dot. The head may be missing or made for other classes.

    Raises:
        SettingsError: If the weights cannot be read or do not fit the network.
    """
    state = _download(network) if weights == "imagenet" else read_state(Path(weights))
    given = {key: value for key, value in state.items() if _matters(key, head)}
    wanted = {key: value for key, value in body.state_dict().items() if _matters(key, head)}
    faults = _faults(given, wanted)
    if faults:
        shown = "; ".join(faults[:SHOWN_KEYS])
        more = f" and {len(faults) - SHOWN_KEYS} more" if len(faults) > SHOWN_KEYS else ""
        cure = f"give a state dict of {network}, imagenet or none"
        raise SettingsError("weights", f"'{weights}' does not fit {network}: {shown}{more}; {cure}")
    body.load_state_dict(given, strict=False)


def read_state(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict without executing code from the file.

    Raises:
        SettingsError: If the file is missing, damaged, or contains anything but named tensors.
    """
    if not path.is_file():
        raise SettingsError("weights", f"must be none, imagenet or a file, but there is no file '{path}'")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except READ_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        said = f"'{path}' can't be read as a state dict: {reason}; fetch or save it again"
        raise SettingsError("weights", said) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        said = (
            f"'{path}' must hold a state dict (names and tensors), not {_outline(state)}; save model.state_dict() alone"
        )
        raise SettingsError("weights", said)
    return state


def _download(network: str) -> Mapping[str, Tensor]:
    from torchvision import models

    # the first set of weights, because published methods use it
    weights = models.get_model_weights(network)["IMAGENET1K_V1"]
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        cure = f"download {weights.url} elsewhere and set weights to that file"
        raise SettingsError("weights", f"imagenet for {network} can't be downloaded ({error}): {cure}") from error


def _matters(key: str, head: str | tuple[str, ...]) -> bool:
    heads = (head,) if isinstance(head, str) else head
    # files older than torch 0.4.1 have no counters, and nothing here uses them
    return not key.startswith(tuple(f"{name}." for name in heads)) and not key.endswith("num_batches_tracked")


def _faults(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    missing = [f"{key} is missing" for key in wanted if key not in given]
    unknown = [f"{key} is unknown" for key in given if key not in wanted]
    shapes = [
        f"{key} is {tuple(given[key].shape)}, not {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in given and given[key].shape != value.shape
    ]
    return missing + unknown + shapes


def _outline(state: object) -> str:
    if isinstance(state, Mapping):
        return f"a dict of {', '.join(str(key) for key in list(state)[:SHOWN_KEYS])}"
    return f"a {type(state).__name__}"
