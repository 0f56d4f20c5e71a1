from pathlib import Path
from urllib.error import URLError

import pytest
import safetensors.torch
import torch
from torch import nn
from torchvision import models

from wsss.errors import SettingsError
from wsss.networks.weights import load_weights, read_state


class Small(nn.Module):
    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.BatchNorm2d(2))
        self.fc = nn.Linear(2, classes)


def test_all_but_the_head_is_loaded_and_float16_is_widened(tmp_path: Path) -> None:
    source, target = Small(classes=9), Small(classes=4)
    torch.save({key: value.half() for key, value in source.state_dict().items()}, tmp_path / "w.pth")
    head = target.fc.weight.clone()
    load_weights(target, "small", str(tmp_path / "w.pth"), head="fc")
    assert torch.equal(target.get_parameter("body.0.weight"), source.get_parameter("body.0.weight").half().float())
    assert torch.equal(target.fc.weight, head)


def test_a_file_without_head_and_counters_is_enough(tmp_path: Path) -> None:
    state = {"body.0.weight": torch.ones(2, 3, 1, 1), **{f"body.1.{n}": torch.ones(2) for n in ("weight", "bias")}}
    state |= {f"body.1.running_{name}": torch.ones(2) for name in ("mean", "var")}
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    target = Small()
    load_weights(target, "small", str(tmp_path / "w.safetensors"), head="fc")
    assert target.get_parameter("body.0.weight").eq(1).all()


def test_weights_of_another_network_are_refused_and_the_first_faults_named(tmp_path: Path) -> None:
    torch.save({"body.0.weight": torch.ones(5, 3, 1, 1), "neck.weight": torch.ones(1)}, tmp_path / "w.pth")
    target = Small()
    before = target.get_parameter("body.0.weight").clone()
    with pytest.raises(SettingsError, match=r"w\.pth' does not fit small: body\.1\.weight is missing.* and 3 more"):
        load_weights(target, "small", str(tmp_path / "w.pth"), head="fc")
    assert torch.equal(target.get_parameter("body.0.weight"), before)


def test_a_wrong_shape_is_named_with_both_shapes(tmp_path: Path) -> None:
    state = Small().state_dict() | {"body.0.weight": torch.ones(5, 3, 1, 1)}
    torch.save(state, tmp_path / "w.pth")
    said = r"body\.0\.weight is \(5, 3, 1, 1\), not \(2, 3, 1, 1\); give a state dict of small, imagenet or none$"
    with pytest.raises(SettingsError, match=said):
        load_weights(Small(), "small", str(tmp_path / "w.pth"), head="fc")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"no file 'nowhere/w\.pth'"):
        read_state(Path("nowhere/w.pth"))


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x02not a pickle either"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match="can't be read as a state dict"):
        read_state(tmp_path / name)


def test_a_file_that_would_execute_code_is_refused(tmp_path: Path) -> None:
    torch.save(Small(), tmp_path / "w.pth")
    with pytest.raises(SettingsError, match="can't be read as a state dict"):
        read_state(tmp_path / "w.pth")


def test_a_wrapped_state_dict_is_refused_by_what_it_holds(tmp_path: Path) -> None:
    torch.save({"model": Small().state_dict(), "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(SettingsError, match="not a dict of model, epoch"):
        read_state(tmp_path / "w.pth")


def test_without_network_the_download_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr(models.MobileNet_V2_Weights, "get_state_dict", fail)
    with pytest.raises(SettingsError, match=r"can't be downloaded .*no route.* set weights to that file"):
        load_weights(Small(), "mobilenet_v2", "imagenet", head="classifier")


def test_imagenet_means_torchvisions_first_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def give(self: models.MobileNet_V2_Weights, **_: object) -> dict[str, torch.Tensor]:
        asked.append(self)
        return Small().state_dict()

    monkeypatch.setattr(models.MobileNet_V2_Weights, "get_state_dict", give)
    load_weights(Small(), "mobilenet_v2", "imagenet", head="fc")
    assert asked == [models.MobileNet_V2_Weights.IMAGENET1K_V1]


@pytest.mark.parametrize(
    "content", [b"hello world\n", b"0\n", b"a,b\n1,2\n", b"import torch\n", b".", b"(lp0\n.", b"\x80\x02."]
)
def test_a_text_is_no_state_dict(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"w\.pth' (can't be read as|must hold) a state dict"):
        read_state(path)
