"""Several processes do what one does: the same bytes from the same checkpoint, the same training but for rounding."""

import shutil
from pathlib import Path

import pytest
from torch import Tensor

from tests.toy_run import files_below, run_toy
from wsss.errors import StageError
from wsss.runs import Run

TRAINED_TOGETHER = ("classifier", "segmenter", "ceiling")
"""Stages whose sums are shared out among the processes, so that they are added in another order."""


PRECISE = "trainer.precision=32-true"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of two processes."""
    return run_toy(tmp_path_factory.mktemp("pair") / "runs", PRECISE, "trainer.devices=2")


@pytest.fixture(scope="module")
def alone(pair: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of one process with the checkpoints that the two have trained, and nothing else."""
    root = tmp_path_factory.mktemp("alone") / "runs"
    for stage in TRAINED_TOGETHER:
        shutil.copytree(pair.folder.parent / "store" / stage, root / "store" / stage)
    return run_toy(root, PRECISE)


def store_of(run: Run) -> dict[str, bytes]:
    return files_below(run.folder.parent / "store")


def test_two_processes_took_part(pair: Run, alone: Run) -> None:
    assert pair.summary["environment"]["world_size"] == 2
    assert alone.summary["environment"]["world_size"] == 1
    assert pair.config.hash == alone.config.hash
    cached = {row["name"] for row in alone.summary["work"] if row["cached"]}
    assert cached == set(TRAINED_TOGETHER)
    assert not any(row["cached"] for row in pair.summary["work"])


def test_all_files_are_the_same_from_the_same_checkpoints(pair: Run, alone: Run) -> None:
    found, expected = store_of(pair), store_of(alone)
    assert list(found) == list(expected)
    assert [name for name in expected if found[name] != expected[name]] == []
    stages = {name.partition("/")[0] for name in expected}
    assert {"cams", "seeds", "growing", "superpixels", "graphs", "graph_fit", "graph", "crf", "pseudo_labels"} <= stages
    assert {"scores", "predictions", "signal", "evaluate", "evaluate_cams"} <= stages


def test_scores_are_equal(pair: Run, alone: Run) -> None:
    for name in ("segmenter", "full_supervision", "percent_of_full", "percent_of_full_interval95", "rounds", "data"):
        assert pair.summary[name] == alone.summary[name]
    measured = [
        [(row["name"], row["round"], row["miou"], row["coverage"], row["precision"]) for row in run.summary["stages"]]
        for run in (pair, alone)
    ]
    assert measured[0] == measured[1]


def weights(run: Run, stage: str) -> dict[str, Tensor]:
    artefact = run.artefact(stage)
    assert artefact is not None
    return artefact.read_tensors("network.safetensors")


def losses(run: Run, stage: str) -> list[float]:
    artefact = run.artefact(stage)
    assert artefact is not None
    return [row["loss"] for row in artefact.read_json("history.json")]


def test_two_processes_train_the_classifier_that_one_trains_but_for_rounding(pair: Run, tmp_path: Path) -> None:
    single = run_toy(tmp_path, PRECISE, "until=classifier")
    ours, theirs = losses(pair, "classifier"), losses(single, "classifier")
    assert len(ours) == len(theirs) == 12
    # every step makes what rounding did to the one before it larger, so that only the first ones can be compared
    assert ours[0] == pytest.approx(theirs[0], rel=1e-6)
    assert ours[1:3] == pytest.approx(theirs[1:3], rel=1e-3)


def test_two_processes_train_the_segmenter_that_one_trains_but_for_rounding(pair: Run, tmp_path: Path) -> None:
    # from the pseudo labels of the two processes, so that both learn the same
    root = Path(shutil.copytree(pair.folder.parent, tmp_path / "runs", symlinks=True))
    shutil.rmtree(root / "store" / "segmenter")
    single = run_toy(root, PRECISE, "start=segmenter", "until=segmenter")
    assert losses(single, "segmenter") == pytest.approx(losses(pair, "segmenter"), rel=1e-5)
    ours, theirs = weights(pair, "segmenter"), weights(single, "segmenter")
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        # six steps of Adam move each weight by about 1e-2
        assert (weight - theirs[name]).abs().mean() < 1e-4, name


def test_a_process_that_can_not_go_on_stops_the_run_with_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the second process starts in the working folder and finds a package of that name there
    (tmp_path / "wsss").mkdir()
    (tmp_path / "wsss" / "__init__.py").write_text("raise ImportError('wsss is broken here')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageError, match=r"process 1 failed \(.*wsss is broken here.*rank1\.log'"):
        run_toy(tmp_path / "runs", "trainer.devices=2")
