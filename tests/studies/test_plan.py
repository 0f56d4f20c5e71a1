from pathlib import Path

import pytest

from tests.studies.pretence import FILE, planned, write_study
from tests.toy_run import TOY
from wsss.config import load, studies
from wsss.errors import SettingsError
from wsss.studies.plan import Budget, StudyPlan, plan_study, with_setting

BUDGETS = FILE + "budgets: [25%, 600]\nbudgeted: [weak]\n"


@pytest.fixture
def plan(tmp_path: Path) -> StudyPlan:
    return planned(write_study(tmp_path, BUDGETS))


def refusal(tmp_path: Path, text: str, *settings: str) -> str:
    with pytest.raises(SettingsError) as caught:
        planned(write_study(tmp_path, text), *settings)
    return str(caught.value)


def test_all_images_come_first_seed_by_seed_and_budgets_after_them(plan: StudyPlan) -> None:
    assert [run.title for run in plan.runs] == [
        *("weak · seed 0", "strong · seed 0", "weak · seed 1", "strong · seed 1"),
        *("weak · 25 % · seed 0", "weak · 25 % · seed 1", "weak · 600 s · seed 0", "weak · 600 s · seed 1"),
    ]
    assert plan.labels == ("weak", "weak · 25 %", "weak · 600 s", "strong")
    assert (plan.name, plan.question) == ("which_crf", "Which CRF?")


def test_runs_have_the_settings_of_their_variant_and_seed(plan: StudyPlan) -> None:
    settings = [(run.whole.crf.iterations, run.whole.seed) for run in plan.runs[:4]]
    assert settings == [(1, 0), (5, 0), (1, 1), (5, 1)]
    assert len({run.config().hash for run in plan.runs[:4]}) == 4


def test_a_share_waits_for_the_cost_of_the_same_variant_and_seed(plan: StudyPlan) -> None:
    share, seconds = plan.runs[5], plan.runs[7]
    assert (share.waits, seconds.waits) == (True, False)
    assert plan.unlimited(share) is plan.runs[2]
    assert share.config(1000.0).labels.budget_seconds == 250
    assert seconds.config().labels.budget_seconds == 600
    assert share.config(1000.0).seed == 1


@pytest.mark.parametrize(
    ("settings", "titles"),
    [
        (["seeds=[3]"], ["weak · seed 3", "strong · seed 3"]),
        (["seeds=4", "runs=strong"], ["strong · seed 4"]),
        (["seeds=[0]", "runs=['strong','weak']", "budgets=['50%']"], ["weak · seed 0", "strong · seed 0"]),
    ],
)
def test_the_command_line_chooses_seeds_and_runs(settings: list[str], titles: list[str], tmp_path: Path) -> None:
    found = planned(write_study(tmp_path), *settings)
    assert [run.title for run in found.runs if run.budget is None] == titles
    assert {run.budget for run in found.runs} == {None, *([Budget(share=0.5)] if len(settings) == 3 else [])}


def test_settings_of_the_command_line_are_those_of_every_run(tmp_path: Path) -> None:
    found = planned(write_study(tmp_path), "graph.epochs=7", "seeds=0")
    assert {run.whole.graph.epochs for run in found.runs} == {7}


def test_an_experiment_of_the_command_line_takes_the_place_of_the_one_in_the_file(tmp_path: Path) -> None:
    path = write_study(tmp_path, FILE + "base: {experiment: synthetic, crf.bilateral_compat: 3.0}\n")
    found = plan_study(str(path), ["experiment=voc21", "data.root=photos", "seeds=0", "runs=weak"])
    (run,) = found.runs
    assert (run.whole.dataset, run.whole.network) == ("voc", "mobilenet_v2")
    assert run.whole.crf.bilateral_compat == 3  # what the file says of all runs still holds


def test_a_seed_may_decide_more_than_one_setting(tmp_path: Path) -> None:
    found = planned(write_study(tmp_path, FILE + "seeded: [seed, labels.seed]\n"), "seeds=[5]", "runs=weak")
    assert (found.runs[0].whole.seed, found.runs[0].whole.labels.seed) == (5, 5)
    told = refusal(tmp_path, FILE + "seeded: [seed, labels.seed]\n", "labels.seed=3")
    assert told == "labels.seed is set by the seeds of study 'which_crf'; choose them with seeds=[…]"


def test_a_study_with_another_base_has_another_folder(tmp_path: Path) -> None:
    path = str(write_study(tmp_path))
    assert plan_study(path).folder == Path("runs/studies/which_crf")
    changed = [plan_study(path, settings).folder.name for settings in (["rounds=1"], ["rounds=1", "graph.epochs=7"])]
    assert len(set(changed)) == 2
    assert all(name.startswith("which_crf-synthetic-") for name in changed)
    assert plan_study(path, ["rounds=1", "seeds=0"]).folder.name == f"{changed[0]}-seeds=0"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (["seeds=0"], "which_crf-seeds=0"),
        (["seeds=[1,0]"], "which_crf-seeds=1,0"),
        (["budgets=['50%',600]", "runs=[strong,weak]"], "which_crf-runs=weak,strong-budgets=50%,600s"),
        (["budgets=[]"], "which_crf-budgets=none"),
    ],
)
def test_what_is_chosen_of_a_study_has_a_folder_that_says_what(settings: list[str], name: str, tmp_path: Path) -> None:
    assert plan_study(str(write_study(tmp_path)), settings).folder == Path("runs/studies") / name


def test_choices_that_no_folder_can_be_called_by_have_folders_of_their_own(tmp_path: Path) -> None:
    names = ["a b", "a/b", "a,b", "a", "b", "long" * 20, "long" * 20 + "er"]
    rows = "".join(f"  - {{name: '{name}', crf.iterations: {number + 1}}}\n" for number, name in enumerate(names))
    path = str(write_study(tmp_path, f"study: Q\nruns:\n{rows}"))
    chosen = [*([name] for name in names), ["a", "b"]]
    folders = [plan_study(path, [f"runs={[*each]}"]).folder for each in chosen]
    assert len(set(folders)) == len(chosen)
    assert {folder.parent for folder in folders} == {Path("runs/studies")}
    assert max(len(folder.name) for folder in folders) < 100


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("runs: []", "is not a study"),
        ("[1, 2]", "is not a study"),
        ("study: [1", "is not YAML"),
        ("study: Q", "runs must not be empty"),
        ("study: Q\nruns: [{crf.iterations: 2}]", "runs must each have a name and settings"),
        ("study: Q\nruns: [weak]", "runs must each have a name and settings"),
        ("study: Q\nruns: [{name: a}, {name: a}]", "runs must each have a name of their own, got 'a'"),
        ("study: Q\nruns: [{name: a}]\nbases: {}", "did you mean base"),
        ("study: Q\nruns: [{name: a}]\nbase: [1]", "base must hold settings"),
        ("study: Q\nruns: [{name: a, seed: 3}]", "write seeds=[0,1]"),
        ("study: Q\nruns: [{name: a}]\nbase: {run: mine}", "run is set by the study for each run"),
        ("study: Q\nruns: [{name: a}]\nseeds: [zero]", "seeds must be whole numbers"),
        ("study: Q\nruns: [{name: a}]\nseeds: [1, 1]", "seeds must differ"),
        ("study: Q\nruns: [{name: a}]\nseeds: [-1]", "seed must lie in"),
        ("study: Q\nruns: [{name: a}]\nbudgets: [half]", "budgets must be shares of the cost, such as 25%"),
        ("study: Q\nruns: [{name: a}]\nbudgets: [100%]", "got '100%'"),
        ("study: Q\nruns: [{name: a}]\nbudgets: [5, 5]", "budgets must differ"),
        ("study: Q\nruns: [{name: a}]\nbudgeted: [b]", "budgeted knows no 'b'"),
        ("study: Q\nruns: [{name: a}]\nseeded: [sede]", "did you mean seed"),
        ("study: Q\nruns: [{name: a}, {name: b, crf.iteration: 2}]", "run 'b': crf.iteration is not a setting"),
        ("study: Q\nruns: [{name: a}, {name: b, crf.iterations: -2}]", "run 'b': crf.iterations must"),
        ("study: Q\nruns: [{name: a}, {name: b, crf.iterations: 10}]", "'a' and 'b' have the same settings"),
        ("study: Q\nruns: [{name: a}]\nbase: {crf.iteration: 2}", "did you mean crf.iterations"),
    ],
)
def test_a_malformed_study_is_refused_with_what_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path, text)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("roundz=3", "roundz is not a setting\ndid you mean rounds"),
        ("crf.iterations=3", "crf.iterations is what runs of study 'which_crf' differ in; choose them with runs=[…]"),
        ("seed=3", "seed is set by the study for each run; write seeds=[0,1]"),
        ("run=mine", "run is set by the study for each run; write store.root=PATH"),
        ("runs=[stron]", "did you mean strong?"),
        ("seeds=[1", "seeds must be a list, seeds=[…], got '[1'"),
        ("seeds=[]", "seeds must not be empty"),
        ("weak", "'weak' is not a setting"),
    ],
)
def test_a_setting_that_a_study_can_not_take_is_refused(setting: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path, FILE, setting)


def test_an_unknown_study_is_answered_with_those_that_there_are() -> None:
    for name in ("week_labels", "nothing_like_it", "nowhere/mine.yaml"):
        with pytest.raises(SettingsError) as caught:
            plan_study(name)
        assert str(caught.value).startswith(f"study knows no '{name}'; there are: {', '.join(sorted(studies()))};")
    assert "weak_labels" in studies()


def test_one_setting_is_changed_and_its_rule_still_holds() -> None:
    config = load([*TOY, "data=synthetic"])
    changed = with_setting(config, "crf.iterations", 4)
    assert (changed.crf.iterations, config.crf.iterations) == (4, 1)
    assert changed == load([*TOY, "data=synthetic", "crf.iterations=4"])
    with pytest.raises(SettingsError, match=r"^crf\.iterations must"):
        with_setting(config, "crf.iterations", -1)
    with pytest.raises(SettingsError, match=r"^crf\.iteration is not a setting; did you mean iterations"):
        with_setting(config, "crf.iteration", 1)


@pytest.mark.parametrize("name", sorted(studies()))
def test_every_study_can_be_planned(name: str) -> None:
    found = plan_study(name)
    assert len({run.title for run in found.runs}) == len(found.runs)
    assert {run.label for run in found.runs} == set(found.labels)


def test_the_study_of_weak_labels_asks_for_every_kind_and_for_budgets() -> None:
    found = plan_study("weak_labels", ["seeds=0"])
    kinds = {"tags", "points", "scribbles", "boxes", "points_end_to_end", "scribbles_end_to_end"}
    assert kinds | {"points_and_scribbles", "all_four", "tags_and_masks"} == {run.variant for run in found.runs}
    assert {run.variant for run in found.runs if run.budget} == {"tags", "points", "scribbles", "boxes"}
    assert all(run.whole.ceiling for run in found.runs)
