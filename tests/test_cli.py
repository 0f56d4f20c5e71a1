import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import wsss
from tests.data.toys import make_voc
from tests.drawing import picture
from wsss import cli
from wsss.annotations.formats import FORMATS
from wsss.cli import main
from wsss.config import Config, load
from wsss.store import encode_labels

HEAVY = ("torch", "numpy", "hydra", "omegaconf", "yaml", "rich", "matplotlib", "wandb", "PIL", "wsss.config")
SMALL = ("data.train=3", "data.val=1", "data.size=32")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Labels and truth of two images."""
    labels, truth = tmp_path / "labels", tmp_path / "truth"
    for folder, drawn in ((labels, ("0112", "00..")), (truth, ("0122", "000."))):
        folder.mkdir()
        for name, row in zip(("a", "b"), drawn, strict=True):
            (folder / f"{name}.png").write_bytes(encode_labels(picture(row)))
    return labels, truth


def test_importing_the_package_and_asking_for_help_load_nothing_heavy() -> None:
    code = (
        "import sys, wsss; from wsss.cli import main\n"
        "try: main(['--help'])\n"
        f"finally: print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stdout.startswith("usage: wsss")


def test_help_names_the_formats_of_labels(capsys: pytest.CaptureFixture[str]) -> None:
    written = [name for name, format in FORMATS.items() if format.write]
    for verb, known in (("import", list(FORMATS)), ("export", written)):
        with pytest.raises(SystemExit):
            main(["data", verb, "--help"])
        said = " ".join(capsys.readouterr().out.split())
        assert f"--format NAME {', '.join(known)} " in said


def test_the_package_shows_its_names_without_loading_them() -> None:
    assert set(wsss.__all__) <= set(dir(wsss))
    assert wsss.load is load
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = wsss.laod


@pytest.mark.parametrize(
    "verb",
    [
        [],
        ["run"],
        ["study"],
        ["config"],
        ["check"],
        ["check", "data"],
        ["check", "env"],
        ["data"],
        ["evaluate"],
        ["show"],
        ["predict"],
    ],
)
def test_every_verb_has_a_help(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*verb, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: wsss", *verb]))


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"wsss {wsss.__version__}\n"


def test_settings_may_stand_before_and_behind_options(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    settings = [f"store.root={tmp_path}", "rounds=1", "refine=[]", "ceiling=false", "until=seeds"]
    assert main(["run", settings[0], "--dry-run", *settings[1:]]) == 0
    mixed = capsys.readouterr().out
    assert main(["run", *settings, "--dry-run"]) == 0
    assert capsys.readouterr().out == mixed


@pytest.mark.parametrize("verb", [["rnu"], [], ["run", "--dyr-run"], ["check"], ["evaluate"], ["evaluate", "--labels"]])
def test_a_misspelt_verb_or_option_is_answered_with_the_usage(
    verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(verb)
    assert caught.value.code == 2
    assert "usage: wsss" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["run"], ["run", "--dry-run"], ["config"], ["check", "data"], ["check", "env"]])
@pytest.mark.parametrize("setting", ["roundz=3", "experiment=voc12", "network=tinny", "refine=[crff]", "data=vok"])
def test_a_misspelt_setting_is_answered_in_three_lines(
    verb: list[str], setting: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*verb, f"store.root={tmp_path / 'runs'}", setting]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    lines = error.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"wsss: {setting.partition('=')[0]} ")
    assert "did you mean" in lines[1]
    assert not (tmp_path / "runs").exists()


def test_a_refusal_ends_the_process_with_code_2_and_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wsss", "run", "classifer.epochs=3"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[0] == "wsss: classifer.epochs is not a setting"
    assert len(done.stderr.splitlines()) == 3


@pytest.mark.parametrize("setting", ["until=cms", "start=crff:0"])
def test_a_misspelt_stage_is_answered_in_three_lines(
    setting: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", *SMALL, f"store.root={tmp_path}", "tracking.mode=none", setting]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"wsss: {setting.partition('=')[0]} knows no ")
    assert "did you mean c" in lines[1]
    assert not (tmp_path / "store").exists()


def test_config_prints_yaml_that_is_an_experiment_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["config", "experiment=voc21", "data.root=photos, mine", "rounds=3", "refine=[crf]"]) == 0
    text, error = capsys.readouterr()
    assert error == ""
    plain = yaml.safe_load(text)
    assert (plain["rounds"], plain["refine"], plain["data"]["root"]) == (3, ["crf"], "photos, mine")
    assert set(plain) == set(Config.__dataclass_fields__)
    (tmp_path / "again.yaml").write_text(text)
    again = load([f"experiment={tmp_path / 'again.yaml'}"])
    assert again.hash == load(["experiment=voc21", "data.root=photos, mine", "rounds=3", "refine=[crf]"]).hash


def test_a_dry_run_lists_the_stages_and_writes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    settings = [*SMALL, f"store.root={tmp_path / 'runs'}", "rounds=1", "refine=[growing,crf]", "ceiling=false"]
    assert main(["run", "--dry-run", *settings]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["stage", "key", "store"]
    rows = [line.split(maxsplit=2) for line in lines[3:]]
    stages = ["classifier", "cams", "seeds", "growing", "crf", "pseudo_labels", "segmenter", "predictions"]
    assert [row[0] for row in rows] == [f"{name}:0" for name in stages]
    assert {row[2] for row in rows} == {"to do"}
    assert all(len(row[1]) == 16 for row in rows)
    assert not (tmp_path / "runs").exists()


def test_evaluate_scores_a_folder_against_another(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    labels, truth = folders
    assert main(["evaluate", "--labels", str(labels), "--truth", str(truth)]) == 0
    out = capsys.readouterr().out
    # background 3 of 4, class 1 one of two, class 2 one of two
    assert re.search(r"^mIoU +58\.3$", out, re.MULTILINE)
    assert re.search(r"^pixel accuracy +71\.4$", out, re.MULTILINE)
    assert out.startswith("2 label maps, classes counted: union")


def test_evaluate_prints_json_when_asked_and_nothing_else(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    labels, truth = folders
    names = tmp_path / "classes.txt"
    names.write_text("background\ncat\ndog\ncow\n")
    options = ["--classes", str(names), "--convention", "zero", "--json"]
    assert main(["evaluate", "--labels", str(labels), "--truth", str(truth), *options]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["per_class"] == {"background": 75.0, "cat": 50.0, "dog": 50.0, "cow": None}
    assert scores["miou"] == pytest.approx((75 + 50 + 50 + 0) / 4)
    assert (scores["images"], scores["convention"]) == (2, "zero")
    assert {"pixel_accuracy", "coverage", "precision", "boundary_iou", "interval95"} <= set(scores)


def test_a_missing_truth_is_named(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    labels, truth = folders
    (truth / "b.png").unlink()
    assert main(["evaluate", "--labels", str(labels), "--truth", str(truth)]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(f"wsss: '{truth / 'b.png'}' is missing, the ground truth of '{labels / 'b.png'}'")
    assert len(error.splitlines()) == 1


def test_checked_data_end_with_1_where_something_is_wrong(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsss.checks.sheet.draw_tiles", lambda *_, **__: None)
    root = make_voc(tmp_path / "toy", train={"a": picture("0012"), "b": None}, val={"c": None}, tags=("a 1 2", "b"))
    command = ["check", "data", "data=voc", f"data.root={root}", "--out", str(tmp_path / "sheet.png")]
    # photographs of one seed are the same pixels where they are as large, and a and c are not
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith("data set toy\n")
    assert out.endswith(f"nothing is wrong, 1 remark\ncontact sheet: {tmp_path / 'sheet.png'}\n")
    assert main([*command, "--strict"]) == 1
    capsys.readouterr()
    (root / "JPEGImages" / "b.png").write_bytes(b"")
    assert main([*command, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [finding["kind"] for finding in told["findings"] if finding["fault"]] == ["unreadable image"]
    assert main(["check", "data", "data=voc", f"data.root={tmp_path / 'away'}"]) == 2


def test_a_checked_machine_ends_with_1_where_something_is_broken(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsss.checks.machine.requirements", lambda: [("rich", ">=13")])
    assert main(["check", "env", f"store.root={tmp_path / 'runs'}"]) == 0
    assert capsys.readouterr().out.endswith("\na run can start here\n")
    assert not (tmp_path / "runs").exists()
    monkeypatch.setattr("wsss.checks.machine.requirements", lambda: [("rich", ">=1300")])
    assert main(["check", "env", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [line["name"] for line in told["lines"] if line["state"] == "broken"] == ["rich"]


def test_show_refuses_a_folder_that_is_no_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["show", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"wsss: '{tmp_path}' is not a run")


def test_ctrl_c_is_answered_with_how_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_config", interrupt)
    assert main(["config"]) == 130
    assert capsys.readouterr().err == "wsss: interrupted; run the same command again to go on\n"


def test_whoever_stops_reading_gets_no_traceback() -> None:
    command = f"{sys.executable} -m wsss config | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


def test_an_error_of_our_own_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_config", fail)
    with pytest.raises(ZeroDivisionError):
        main(["config"])
