import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image as PillowImage

from tests.plans import CONFIG, planned
from tests.stages.workshop import DrawnDataset
from tests.toy_run import run_toy
from wsss import ranks
from wsss.annotations.settings import LabelSettings
from wsss.config import Config
from wsss.errors import SettingsError
from wsss.execution import Watcher, annotation_row, asked_for, find_stage
from wsss.prediction import Predictor
from wsss.runs import Run, load_run
from wsss.self_training import Verdict, judge
from wsss.stages.measure_signal import Signal
from wsss.stages.price_annotations import Price
from wsss.stages.settings import SelfTrainingSettings
from wsss.store import Artefact

STAGES = [step.stage for step in planned()]
WHY = "the test would have it so"


def test_a_stage_is_found_by_its_name_and_round() -> None:
    for place, stage in enumerate(STAGES):
        assert find_stage(STAGES, stage.title, "until") == place


def test_a_name_alone_means_its_first_round() -> None:
    assert find_stage(STAGES, "crf", "until") == find_stage(STAGES, "crf:0", "until")
    assert find_stage(STAGES, "scores", "start") == find_stage(STAGES, "scores:1", "start")


@pytest.mark.parametrize(("wanted", "near"), [("segmentr", "segmenter"), ("crf:7", "crf:1"), ("Seeds", "seeds")])
def test_an_unknown_stage_is_refused_with_those_near_it(wanted: str, near: str) -> None:
    with pytest.raises(SettingsError, match=near) as refused:
        find_stage(STAGES, wanted, "until")
    assert wanted in str(refused.value)
    assert "until" in str(refused.value)
    assert str(refused.value).splitlines()[-1] == "see all with: wsss run --dry-run"


def test_start_and_until_are_places_and_without_them_everything_is_asked_for() -> None:
    assert asked_for(CONFIG, STAGES) == (0, len(STAGES) - 1)
    one = Config(start="crf", until="crf")
    assert asked_for(one, STAGES) == (find_stage(STAGES, "crf:0", "start"),) * 2
    assert asked_for(Config(until="seeds:1"), STAGES) == (0, find_stage(STAGES, "seeds:1", "until"))


def test_an_end_that_comes_before_the_beginning_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"until must not come before start=crf, .* got 'seeds:0'"):
        asked_for(Config(start="crf", until="seeds:0"), STAGES)


def test_the_cost_of_labels_is_told_in_all_and_for_an_image() -> None:
    three = DrawnDataset(dict.fromkeys(["one", "two", "six", "val 1"], torch.zeros(2, 2, dtype=torch.uint8)))
    none = DrawnDataset({"val 1": torch.zeros(2, 2, dtype=torch.uint8)})
    expected = {"kinds": ["points", "masks"], "seconds": 20.1, "per_image_seconds": 6.69}
    config = Config(labels=LabelSettings(kinds=("points",)))
    assert annotation_row(config, three, Price(seconds=20.06, images={"tags": 3, "masks": 1})) == expected
    row = annotation_row(Config(), none, Price(seconds=0.0, images={}))
    assert row == {"kinds": ["tags"], "seconds": 0.0, "per_image_seconds": None}


def test_the_leading_process_alone_has_something_to_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank in (0, 1):
        monkeypatch.setattr(ranks, "world", lambda rank=rank: ranks.World(rank, 2))
        watcher = Watcher()
        watcher.say(f"process {rank} speaks")
        with watcher.progress("looking", 3) as advance:
            advance(3)
        # nobody listens
        watcher.metrics({"loss": 1.0})
    told = capsys.readouterr().err
    assert "process 0 speaks" in told
    assert "looking" in told
    assert "process 1" not in told


@pytest.fixture(scope="module")
def taken_back(toy: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The toy run again, now of three rounds, of which the rule takes the second back."""

    def strict(earlier: Sequence[Signal], latest: Signal, settings: SelfTrainingSettings) -> Verdict:
        return Verdict(1, False, WHY) if earlier else judge(earlier, latest, settings)

    root = Path(shutil.copytree(toy.folder.parent, tmp_path_factory.mktemp("taken back") / "runs", symlinks=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wsss.execution.judge", strict)
        return run_toy(root, "rounds=3")


def test_no_round_follows_one_that_is_taken_back_but_the_ceiling_does(toy: Run, taken_back: Run) -> None:
    assert {step.stage.round for step in taken_back.plan} == {0, 1, 2}
    # not a stage of the third round, not even begun
    assert [(row["name"], row["round"]) for row in taken_back.summary["work"]] == [
        (row["name"], row["round"]) for row in toy.summary["work"]
    ]
    assert {row["round"] for row in taken_back.summary["stages"]} == {0, 1}
    assert taken_back.artefact("scores", 2) is None
    assert taken_back.summary["full_supervision"] == toy.summary["full_supervision"]


def test_the_round_before_stands_and_the_summary_says_why(toy: Run, taken_back: Run) -> None:
    assert toy.final_round == 1
    assert taken_back.final_round == 0
    first, second = taken_back.summary["rounds"]
    assert (first["round"], first["kept"]) == (0, True)
    assert (second["round"], second["kept"], second["reason"]) == (1, False, WHY)
    # what was taken back was measured all the same
    assert [row["miou"] for row in (first, second)] == [row["miou"] for row in toy.summary["rounds"]]
    assert [row["signal"] for row in (first, second)] == [row["signal"] for row in toy.summary["rounds"]]
    segmenter = taken_back.summary["segmenter"]
    assert (segmenter["round"], segmenter["miou"]) == (0, first["miou"])
    full = taken_back.summary["full_supervision"]["miou"]
    assert taken_back.summary["percent_of_full"] == pytest.approx(100 * segmenter["miou"] / full, rel=0.01)
    assert "segmenter of round 0" in taken_back.table()


def test_photographs_are_labelled_by_the_network_of_the_round_that_stands(
    taken_back: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, asked = load_run(taken_back.folder), []
    PillowImage.new("RGB", (20, 24)).save(tmp_path / "one.png")

    def watched(config: Config, segmenter: Artefact) -> Predictor:
        asked.append(segmenter.folder)
        return Predictor(config, segmenter)

    monkeypatch.setattr("wsss.runs.Predictor", watched)
    run.predict(tmp_path / "one.png", out=tmp_path)
    first, second = (run.artefact("segmenter", round) for round in (0, 1))
    assert first is not None
    assert second is not None
    assert asked == [first.folder]
    assert first.files != second.files
