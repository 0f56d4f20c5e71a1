"""What README promises is done here: its commands and its Python, with every named experiment, at toy size."""

import json
import re
import shlex
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import wsss
from tests.data.toys import make_voc, save_photo
from tests.toy_run import run_toy
from wsss.cli import main
from wsss.config import experiments
from wsss.runs import Run, load_run

README = (Path(__file__).parents[1] / "README.md").read_text()

SHORT = (
    "classifier.weights=none",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "tracking.mode=none",
    "cams.scales=[1.0]",
    "superpixels.count=12",
    "graph.epochs=1",
    *(
        f"{part}.{setting}"
        for part in ("classifier", "segmenter")
        for setting in ("epochs=2", "probe_epochs=1", "freeze_stages=0", "batch_size=2", "crop=32")
    ),
    "segmenter.test_scales=[1.0]",
    # so low that a segmenter that has learnt nothing keeps its round
    "self_training.tolerance=1.0",
    "self_training.guard=1.0",
)
"""What makes a run of an experiment short and needs no download; everything else stays as the experiment has it."""

FEW = ("data.train=12", "data.val=3", "data.size=32")
"""So few images are drawn, so small."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what README's reader has: photographs, new ones, and a data set in the VOC layout."""
    for index in (1, 2, 3):
        save_photo(tmp_path / "photos" / f"{index:03}.jpg", 40, 36, seed=index)
        save_photo(tmp_path / "new" / f"{index}.jpg", 30 + index, 50, seed=index)
    mask = torch.zeros(40, 44, dtype=torch.uint8)
    mask[5:20, 5:25] = 1
    mask[22:38, 10:40] = 2
    images = dict.fromkeys("abcd", mask)
    tags = tuple(f"{name} 1 2" for name in images)
    make_voc(tmp_path / "VOCdevkit" / "VOC2012", train=images, val={"e": mask}, tags=tags)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wsss.ranks.cores", lambda: 1)
    # figures of runs are looked at elsewhere, and take as long as half of the stages
    monkeypatch.setattr("wsss.runs.draw_run", lambda *_, **__: None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
        yield tmp_path


def carry_out(line: str) -> None:
    """Carry out one line of a shell, wsss in this process."""
    if "uv run wsss" not in line:
        subprocess.run(["bash", "-euc", line], check=True)
        return
    words = shlex.split(line, comments=True)[3:]
    given = [name for word in words for name in expanded(word)]
    assert main([*given, *(SHORT if given[0] == "run" else ())]) == 0


def expanded(word: str) -> list[str]:
    """What a shell, or a reader who knows the name of the run, makes of a word."""
    if "…" in word:
        found = Path().glob(word.replace("…", "*"))
        return [str(max(found, key=lambda path: path.stat().st_mtime))]
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


def test_the_lines_for_ones_own_images_and_for_voc(desk: Path) -> None:
    shown = [block for block in blocks("shell") if "labels." not in block]
    lines = [line for block in shown for line in block.splitlines() if "uv run pytest" not in line]
    default, others = lines[0], lines[1:]
    assert default.split("#")[0].split() == ["uv", "run", "wsss", "run"]
    assert len(others) == 7
    for line in others:
        carry_out(line)
    for number in (1, 2, 3):
        assert (desk / "labelled" / "labels" / f"{number}.png").exists()
    summaries = [load_run(path).summary for path in (desk / "runs").glob("voc21-*")]
    assert sorted(summary["data"]["name"] for summary in summaries) == ["VOC2012", "mine"]
    assert {summary["segmenter"] is None for summary in summaries} == {True, False}


def test_the_lines_for_labels(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = [block for block in blocks("shell") if "labels." in block]
    clicks = [{"cls": label, "x": 12, "y": row, "rank": 1} for label, row in ((8, 10), (12, 30))]  # cat, dog
    (desk / "clicks.json").write_text(json.dumps(dict.fromkeys("abcd", clicks)))
    for line in block.splitlines():
        words = shlex.split(line, comments=True)[3:]
        if "labels.source=manifest" in words:
            carry_out(line)
        else:
            # as long as they are, it shows when they are planned whether they can be carried out
            assert main([*words, *(["--dry-run", *FEW] if words[0] in ("run", "study") else [])]) == 0
    (run,) = (desk / "runs").glob("voc21-*")
    assert load_run(run).summary["annotation"]["kinds"] == ["tags", "points"]
    told = capsys.readouterr().out
    assert "scribbles_end_to_end" in told
    assert "annotations:0" in told


def test_the_python_quick_start(toy: Run, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = blocks("python")
    assert len(block.strip().splitlines()) <= 6
    # what the toy run has in common with it is not computed again
    root = Path(shutil.copytree(toy.folder.parent, desk / "runs", symlinks=True))

    def small_run(*overrides: str, **settings: Any) -> Run:
        return run_toy(root, *overrides, *(f"{name}=[{','.join(value)}]" for name, value in settings.items()))

    monkeypatch.setattr(wsss, "run", small_run, raising=False)
    exec(compile(block, "README.md", "exec"), {})
    assert len(list((desk / "labelled" / "overlays").iterdir())) == 3


def test_the_default_run_is_the_synthetic_experiment_and_ends(desk: Path) -> None:
    assert main(["run", *SHORT, *FEW]) == 0
    (folder,) = (desk / "runs").glob("synthetic-*")
    summary = load_run(folder).summary
    assert summary["percent_of_full"] is not None
    assert {row["round"] for row in summary["stages"]} == {0, 1}


def test_no_other_experiment_is_left_out() -> None:
    assert sorted(experiments()) == ["synthetic", "voc21"]
