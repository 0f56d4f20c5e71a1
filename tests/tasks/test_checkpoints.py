import io
import os
from pathlib import Path

import pytest
import torch

from tests.tasks.toys import toy_task, train
from wsss.errors import StoreError
from wsss.tasks.checkpoints import CHECKPOINT, read_checkpoint, write_checkpoint


class Trap:
    """Would make a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


REFUSED = r"training can't go on from '.*last.ckpt' \({}\); delete it to train from the start"


def test_a_checkpoint_comes_back_as_it_was_written(tmp_path: Path) -> None:
    train(toy_task(), tmp_path, epochs=1)
    checkpoint = read_checkpoint(tmp_path / CHECKPOINT)
    write_checkpoint(checkpoint, tmp_path / "copy")
    again = read_checkpoint(tmp_path / "copy")
    assert checkpoint.keys() == again.keys()
    assert all(torch.equal(value, again["state_dict"][name]) for name, value in checkpoint["state_dict"].items())
    assert again["history"][0]["step"] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", CHECKPOINT]


def test_torch_itself_can_read_it_with_weights_only(tmp_path: Path) -> None:
    train(toy_task(), tmp_path, epochs=1)
    assert "state_dict" in torch.load(tmp_path / CHECKPOINT, weights_only=True)


@pytest.mark.parametrize("keep", [0, 1, 31, 32, 33, 500, -1])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, keep: int) -> None:
    train(toy_task(), tmp_path, epochs=1)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=REFUSED.format("its checksum is wrong")):
        train(toy_task(), tmp_path)


def test_a_single_wrong_bit_in_a_weight_is_noticed(tmp_path: Path) -> None:
    task = toy_task()
    train(task, tmp_path, epochs=1)
    path = tmp_path / CHECKPOINT
    content = bytearray(path.read_bytes())
    weight = task.network[0].weight.detach().numpy().tobytes()  # type: ignore[index]
    place = content.find(weight)
    assert place > 0
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=REFUSED.format("its checksum is wrong")):
        train(toy_task(), tmp_path)


def test_a_checkpoint_that_hides_code_is_refused_and_the_code_is_not_run(tmp_path: Path) -> None:
    path, trap = tmp_path / CHECKPOINT, tmp_path / "sprung"
    write_checkpoint({"state_dict": {}, "surprise": Trap(trap)}, path)
    with pytest.raises(StoreError, match=REFUSED.format("it holds more than tensors and plain values")):
        train(toy_task(), tmp_path)
    buffer = io.BytesIO()
    torch.save({"surprise": Trap(trap)}, buffer)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(StoreError, match=REFUSED.format("its checksum is wrong")):
        train(toy_task(), tmp_path)
    assert not trap.exists()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_checkpoint({"state_dict": {}}, tmp_path / CHECKPOINT)
    with pytest.raises(StoreError, match=REFUSED.format("it holds no optimizer_states")):
        train(toy_task(), tmp_path)


def test_a_checkpoint_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match=r"'.*taken/last.ckpt' can't be written"):
        train(toy_task(), tmp_path / "taken", epochs=1)
