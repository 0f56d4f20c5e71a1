import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from tests.drawing import picture
from wsss.errors import SettingsError, StoreError
from wsss.store import (
    Artefact,
    Store,
    StoreSettings,
    decode_labels,
    decode_scores,
    digest_of,
    encode_labels,
    encode_scores,
    json_bytes,
    resize_scores,
    stride_size,
    voc_palette,
    write_atomically,
)

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from wsss.store import Store
with Store(Path(sys.argv[1])).locked("cams", "0a"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    print(child.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def artefact(tmp_path: Path) -> Artefact:
    return Store(tmp_path).artefact("cams", "0a")


@contextmanager
def locked_by_another_process(root: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A process that holds the lock and has started a program of its own; gives both."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(root)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            yield holder, child
        finally:
            holder.kill()
            os.kill(child, signal.SIGKILL)


def everything_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def finished(artefact: Artefact) -> Artefact:
    """An artefact of two units, one with labels and JSON, one with tensors."""
    with artefact.unit("0") as unit:
        unit.write_labels("cat", picture("01", "2."))
        unit.write_json("history.json", [{"epoch": 0}])
    with artefact.unit("1") as unit:
        unit.write_tensors("network.safetensors", {"weight": torch.arange(3.0)})
    artefact.finish("cams", "0a", 1)
    return Artefact(artefact.folder)


def test_a_file_appears_with_all_its_folders_and_nothing_beside_it(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b.json", b"whole")
    assert (tmp_path / "a" / "b.json").read_bytes() == b"whole"
    assert everything_below(tmp_path) == ["a/b.json"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, before: bytes | None
) -> None:
    path = tmp_path / "b.json"
    if before is not None:
        path.write_bytes(before)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path if call == "replace" else os, call, fail)
    with pytest.raises(
        StoreError, match=r"b\.json' can't be written \(No space left on device\).*store\.root or --out"
    ):
        write_atomically(path, b"new")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([] if before is None else [before])


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_is_not_there_before_its_bytes_are_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path, seen = tmp_path / "b.json", []
    real = getattr(Path if call == "replace" else os, call)

    def look(*arguments: object) -> object:
        seen.append(path.exists())
        return real(*arguments)

    monkeypatch.setattr(Path if call == "replace" else os, call, look)
    write_atomically(path, b"whole")
    assert seen == [False]
    assert path.read_bytes() == b"whole"


def test_a_folder_that_is_a_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(StoreError, match="can't be written"):
        write_atomically(tmp_path / "runs" / "a.json", b"")
    with pytest.raises(StoreError, match=r"choose another store\.root"), Store(tmp_path / "runs").locked("cams", "0a"):
        pass


def test_a_stage_is_complete_when_its_manifest_lists_every_file(artefact: Artefact) -> None:
    assert not artefact.complete
    assert not artefact.unit_done("0")
    artefact.progress.mkdir(parents=True)
    (artefact.progress / "last.ckpt").write_bytes(b"what only resuming needs")
    with artefact.unit("0") as unit:
        unit.write_labels("cat", picture("01", "2."))
        assert not artefact.unit_done("0")
    assert artefact.unit_done("0")
    assert not artefact.complete
    artefact.finish("cams", "0a", 3)
    assert artefact.complete
    assert everything_below(artefact.folder) == ["labels/cat.png", "manifest.json"]
    manifest = json.loads((artefact.folder / "manifest.json").read_bytes())
    assert {name: manifest[name] for name in ("stage", "key", "version")} == {
        "stage": "cams",
        "key": "0a",
        "version": 3,
    }
    assert manifest["files"]["labels/cat.png"][0] == (artefact.folder / "labels" / "cat.png").stat().st_size


def test_a_unit_that_fails_is_not_done(artefact: Artefact) -> None:
    with pytest.raises(ValueError, match="JSON"), artefact.unit("0") as unit:
        unit.write_json("a.json", float("nan"))
    assert not artefact.unit_done("0")


def test_a_write_that_was_killed_is_swept_when_the_stage_ends(artefact: Artefact) -> None:
    (artefact.folder / "labels").mkdir(parents=True)
    (artefact.folder / "labels" / ".cat.png.4711.tmp").write_bytes(b"half")
    assert everything_below(finished(artefact).folder) == [
        "history.json",
        "labels/cat.png",
        "manifest.json",
        "network.safetensors",
    ]


def test_a_stage_killed_between_its_manifest_and_its_sweep_is_complete(artefact: Artefact) -> None:
    manifest = (finished(artefact).folder / "manifest.json").read_bytes()
    with artefact.unit("0") as unit:
        unit.write_json("history.json", [{"epoch": 0}])
    assert artefact.complete
    artefact.sweep()
    assert not artefact.unit_done("0")
    assert (artefact.folder / "manifest.json").read_bytes() == manifest


def test_what_was_written_is_read_back(artefact: Artefact) -> None:
    read = finished(artefact)
    assert torch.equal(read.read_labels("cat"), picture("01", "2."))
    assert read.read_json("history.json") == [{"epoch": 0}]
    assert torch.equal(read.read_tensors("network.safetensors")["weight"], torch.arange(3.0))


@pytest.mark.parametrize("name", ["labels/cat.png", "history.json", "network.safetensors"])
def test_an_edited_file_of_the_same_size_is_refused_when_it_is_read(artefact: Artefact, name: str) -> None:
    read = finished(artefact)
    path = read.folder / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        StoreError, match=rf"{name}' has changed since its stage wrote it .*delete the folder '.*0a' and run"
    ):
        read.read(path)


def test_a_file_of_another_size_or_a_missing_one_makes_the_stage_refuse_to_be_complete(artefact: Artefact) -> None:
    read = finished(artefact)
    path = read.folder / "history.json"
    path.write_bytes(b"[]")
    with pytest.raises(StoreError, match=r"history\.json' has changed since its stage wrote it .*delete the folder"):
        _ = read.complete
    path.unlink()
    with pytest.raises(StoreError, match="delete the folder"):
        _ = read.complete


def test_a_file_that_the_manifest_does_not_know_is_refused(artefact: Artefact) -> None:
    read = finished(artefact)
    (read.folder / "labels" / "dog.png").write_bytes(encode_labels(picture("0")))
    with pytest.raises(StoreError, match=r"dog\.png' has changed since its stage wrote it"):
        read.read_labels("dog")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"files": {"a": [1]}}', b'{"files": 3}'])
def test_a_damaged_manifest_is_refused_in_a_sentence(artefact: Artefact, content: bytes) -> None:
    write_atomically(artefact.folder / "manifest.json", content)
    with pytest.raises(StoreError, match=r"is not a manifest .*delete the folder '.*0a' and run again"):
        _ = artefact.complete


def test_a_missing_file_names_the_stage_to_run(artefact: Artefact) -> None:
    with pytest.raises(StoreError, match=r"cat\.png' is missing; run `wsss run … until=cams` first"):
        artefact.read_labels("cat")


def test_tensors_that_are_none_are_refused(artefact: Artefact) -> None:
    with artefact.unit("0") as unit:
        unit.write_json("network.safetensors", "no tensors")
    with pytest.raises(StoreError, match="contains no tensors"):
        artefact.read_tensors("network.safetensors")


@pytest.mark.parametrize(
    "image",
    ["cat", "a/b c", "Ä%2F", "..", "写真" * 40, "x" * 250],
    ids=["plain", "folder", "escaped", "dots", "unicode", "long"],
)
def test_an_image_may_have_any_name(artefact: Artefact, image: str) -> None:
    with artefact.unit("0") as unit:
        unit.write_labels(image, picture("01"))
        unit.write_scores(image, torch.zeros(2, 1, 2), [0], (1, 2))
    artefact.finish("cams", "0a", 1)
    assert torch.equal(artefact.read_labels(image), picture("01"))
    assert artefact.read_scores(image, 2).shape == (2, 1, 1)
    assert artefact.path("labels", image, ".png").parent == artefact.folder / "labels"


def test_images_of_different_names_have_different_files(artefact: Artefact) -> None:
    names = ["a/b", "a%2Fb", "a b", "写真" * 40, "写真" * 40 + "x", "写真" * 39 + "写x"]
    assert len({artefact.path("labels", name, ".png").name.lower() for name in names}) == len(names)


@given(st.lists(st.lists(st.integers(0, 255), min_size=3, max_size=3), min_size=1, max_size=4))
def test_labels_survive_the_way_to_a_png_and_back(rows: list[list[int]]) -> None:
    labels = torch.tensor(rows, dtype=torch.uint8)
    content = encode_labels(labels)
    assert torch.equal(decode_labels(content), labels)
    assert encode_labels(labels.long()) == content


def test_a_label_png_opens_in_the_colours_of_the_voc_kit(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_labels(picture("012.")))
    with PillowImage.open(tmp_path / "a.png") as opened:
        assert opened.mode == "P"
        colours = np.asarray(opened.convert("RGB"))[0].tolist()
    # the first colours of the development kit, and the white of its "void" border
    assert colours == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [255, 255, 255]]
    assert voc_palette()[15].tolist() == [192, 128, 128]  # person
    assert voc_palette()[20].tolist() == [0, 64, 128]  # tv monitor


def test_scores_keep_the_channels_that_are_asked_for_to_half_precision() -> None:
    scores = torch.rand((5, 7, 3), generator=torch.Generator().manual_seed(0))
    read = decode_scores(encode_scores(scores, [0, 2, 4]), 5)
    torch.testing.assert_close(read[[0, 2, 4]], scores[[0, 2, 4]], rtol=2**-11, atol=2**-25)
    assert not read[[1, 3]].any()
    assert read.dtype == torch.float32


def test_scores_of_an_image_without_possible_labels_are_zero() -> None:
    read = decode_scores(encode_scores(torch.ones(3, 2, 2), []), 3)
    assert torch.equal(read, torch.zeros(3, 2, 2))


def test_scores_are_kept_at_a_quarter_of_the_size_rounded_up(artefact: Artefact) -> None:
    assert stride_size((1, 1)) == (1, 1)
    assert stride_size((80, 81)) == (20, 21)
    scores = torch.zeros(2, 8, 9)
    scores[1, :, :4] = 1
    with artefact.unit("0") as unit:
        unit.write_scores("cat", scores, [0, 1], (8, 9))
    read = artefact.read_scores("cat", 2)
    assert read.shape == (2, 2, 3)
    assert read[1, 0, 0] > 0.9 > 0.1 > read[1, 0, 2]


def test_resizing_to_the_same_size_changes_nothing_and_a_constant_stays_constant() -> None:
    scores = torch.rand((2, 3, 4), generator=torch.Generator().manual_seed(0))
    assert resize_scores(scores, (3, 4)) is scores
    torch.testing.assert_close(resize_scores(torch.full((2, 3, 4), 0.3), (9, 5)), torch.full((2, 9, 5), 0.3))


def test_the_same_values_give_the_same_bytes() -> None:
    labels, scores = picture("0123", "..21"), torch.rand((4, 3, 3), generator=torch.Generator().manual_seed(0))
    assert encode_labels(labels) == encode_labels(labels.clone())
    assert encode_labels(labels.t().contiguous().t()) == encode_labels(labels)
    assert encode_scores(scores, [0, 3]) == encode_scores(scores.clone(), [0, 3])
    assert encode_scores(scores.permute(2, 0, 1).contiguous().permute(1, 2, 0), [0, 3]) == encode_scores(scores, [0, 3])
    assert json_bytes({"b": 1, "a": [None, 0.1]}) == json_bytes({"a": [None, 0.1], "b": 1})
    assert digest_of({"b": 1, "a": {"d": 2, "c": 3}}) == digest_of({"a": {"c": 3, "d": 2}, "b": 1})


def test_different_values_have_different_digests() -> None:
    values: list[object] = [{"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": None}, {"a": [1]}, {"a": True}, {"b": 1}, {}]
    assert len({digest_of(value) for value in values}) == len(values)
    with pytest.raises(ValueError, match="JSON"):
        digest_of(float("nan"))


def test_the_units_of_a_stage_may_be_written_in_any_order(tmp_path: Path) -> None:
    manifests = []
    for place, order in enumerate((["0", "1"], ["1", "0"])):
        artefact = Store(tmp_path / str(place)).artefact("cams", "0a")
        for name in order:
            with artefact.unit(name) as unit:
                unit.write_json(f"{name}.json", name)
        artefact.finish("cams", "0a", 1)
        manifests.append((artefact.folder / "manifest.json").read_bytes())
    assert manifests[0] == manifests[1]


def test_a_root_without_a_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="root must name a folder"):
        StoreSettings(root="")


def test_the_second_holder_of_a_lock_waits_for_the_first(tmp_path: Path) -> None:
    store, told, order = Store(tmp_path), threading.Event(), []

    def second() -> None:
        with store.locked("cams", "0a", told.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with store.locked("cams", "0a"), store.locked("cams", "0b"), store.locked("seeds", "0a"):
        thread.start()
        assert told.wait(20)
        time.sleep(0.1)
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"]


def test_nobody_is_told_of_a_lock_that_is_free(tmp_path: Path) -> None:
    told: list[str] = []
    for _ in range(2):
        with Store(tmp_path).locked("cams", "0a", lambda: told.append("waiting")):
            pass
    assert told == []


def test_the_lock_of_a_killed_process_is_taken_over_though_a_program_it_started_lives_on(tmp_path: Path) -> None:
    store, told, taken = Store(tmp_path), threading.Event(), threading.Event()

    def take() -> None:
        with store.locked("cams", "0a", told.set):
            taken.set()

    with locked_by_another_process(tmp_path) as (holder, child):
        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        assert told.wait(20)
        assert not taken.wait(0.3)
        holder.kill()
        holder.wait()
        assert taken.wait(20)
        os.kill(child, 0)  # the program that the dead process started is still there
        thread.join(20)
