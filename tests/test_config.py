import copy
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss.config import (
    ELSEWHERE,
    Config,
    annotated_yaml,
    describe,
    experiments,
    from_dict,
    help_of,
    keys,
    load,
    studies,
    to_dict,
    to_yaml,
    written,
)
from wsss.data import DATASETS
from wsss.errors import SettingsError, require
from wsss.tasks.settings import GraphSettings, LearningSettings

KINDS = sorted(DATASETS)


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text("data: {name: voc, root: photos}\nrounds: 5\nnetwork: resnet18\ncrf: {iterations: 4}\n")
    return path


def classes_of_settings(config: Config) -> Iterator[type]:
    yield type(config)
    yield from (type(value) for entry in fields(config) if is_dataclass(value := getattr(config, entry.name)))


def refusal(*overrides: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(overrides)
    return str(caught.value).splitlines()


def test_without_a_word_the_synthetic_experiment_is_meant() -> None:
    config = load()
    assert (config.experiment, config.dataset, config.network, config.ceiling) == (
        "synthetic",
        "synthetic",
        "tiny",
        True,
    )
    assert config == load(["experiment=synthetic"])


def test_defaults_come_before_the_experiment_and_that_before_what_is_given(experiment: Path) -> None:
    config = load(["crf.iterations=7", f"experiment={experiment}", "seed=3"])
    assert config.crf.iterations == 7  # given, though before the experiment is named
    assert (config.rounds, config.network, config.dataset) == (5, "resnet18", "voc")  # the experiment
    assert config.seeds == Config().seeds  # the default
    assert config.seed == 3


def test_what_is_given_last_counts() -> None:
    assert load(["rounds=3", "rounds=4"]).rounds == 4


def test_a_data_set_without_an_experiment_starts_from_plain_defaults() -> None:
    config = load(["data=folder", "data.root=here"])
    assert config == replace(Config(), data=DATASETS["folder"].settings(root="here"))  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["data", "data.name"])
def test_an_experiment_may_be_given_another_data_set(experiment: Path, name: str) -> None:
    config = load([f"experiment={experiment}", f"{name}=folder"])
    assert (config.dataset, config.data.root, config.rounds) == ("folder", "photos", 5)  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["data: voc\ndata.root: photos\n", "data: {name: voc, root: photos}\n", "{}", ""])
def test_an_experiment_may_name_its_data_in_two_ways_or_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "short.yaml").write_text(text)
    config = load([f"experiment={tmp_path / 'short.yaml'}"])
    assert config.dataset == ("voc" if "voc" in text else "synthetic")
    assert getattr(config.data, "root", "photos") == "photos"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("refine=[]", ()),
        ("refine=[crf,growing]", ("crf", "growing")),
        ("cams.scales=[1,0.5]", (1.0, 0.5)),
        ("segmenter.weights=null", None),
        ("crf.reference_side=null", None),
        ("classifier.learning_rate=1e-4", 1e-4),
        ("data.background=false", False),
        ("until=crf:1", "crf:1"),
    ],
)
def test_values_of_every_kind_are_read(override: str, expected: object) -> None:
    value: Any = load([override])
    for name in override.partition("=")[0].split("."):
        value = getattr(value, name)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    "root",
    ["/data/VOC (2012)", "split=train/day=1", "Ü b,c/~d", "C:\\photos\\", "it's", "[a]", "{a: 1}", "123", "true"],
)
def test_a_path_may_have_any_characters(root: str) -> None:
    config = load(["data=voc", f"data.root={root}", f"store.root={root}"])
    assert config.data.root == config.store.root == root  # type: ignore[attr-defined]
    assert from_dict(yaml.safe_load(to_yaml(config))) == config


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_text_may_stand_in_quotes(quote: str) -> None:
    assert load([f"store.root={quote}a b{quote}", f"data={quote}voc{quote}"]).store.root == "a b"


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_survives_the_way_to_yaml_and_back(kind: str, tmp_path: Path) -> None:
    config = load([f"data={kind}", "rounds=3", "refine=[crf]", "seed=7", "segmenter.weights=a b.pth", "until=cams"])
    assert from_dict(to_dict(config)) == config
    assert from_dict(yaml.safe_load(to_yaml(config))) == config
    for name, text in (("plain", to_yaml(config)), ("annotated", annotated_yaml(config))):
        (tmp_path / f"{name}.yaml").write_text(text)
        again = load([f"experiment={tmp_path / name}.yaml"])
        assert replace(again, experiment=None) == config
        assert again.hash == config.hash


@settings(deadline=None)
@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(st.characters(codec="utf-8")),
        st.lists(st.one_of(st.integers(), st.text("a'\"\\, [{=$("))),
    )
)
def test_a_value_is_read_by_hydra_as_it_was_written(value: object) -> None:
    def plain(read: object) -> object:
        if isinstance(read, list):
            return [plain(entry) for entry in read]
        return read.text if isinstance(read, QuotedString) else read

    found = plain(OverridesParser.create().parse_override(f"key={written(value)}")._value)
    assert found == value
    assert type(found) is type(value)


def test_a_run_can_be_read_again_when_its_experiment_has_gone_or_changed(experiment: Path) -> None:
    config = load([f"experiment={experiment}"])
    plain = to_dict(config)
    experiment.write_text("rounds: 9\nno_such_setting: 1\n")
    assert from_dict(plain) == config
    experiment.unlink()
    assert from_dict(plain) == config


@pytest.mark.parametrize(
    "override",
    [
        "store.root=elsewhere",
        "trainer.devices=2",
        "trainer.threads=1",
        "trainer.workers=3",
        "trainer.precision=auto",
        "palette=colour_blind",
        "tracking.mode=none",
        "tracking.project=mine",
        "until=cams",
        "start=cams",
        "run=mine",
    ],
)
def test_what_can_not_change_a_result_is_no_part_of_the_hash(override: str) -> None:
    assert load([override]).hash == load().hash


@pytest.mark.parametrize(
    "override",
    ["seed=1", "data.train=9", "refine=[crf,growing]", "network=resnet18", "data=voc", "trainer.precision=32-true"],
)
def test_what_can_change_a_result_changes_the_hash(override: str) -> None:
    assert load([override]).hash != load().hash


def with_another_value(tree: Any, key: str) -> Any:
    """A copy in which one setting has a value of its own, whatever its rule."""
    name, _, below = key.partition(".")
    changed = copy.copy(tree)
    object.__setattr__(changed, name, with_another_value(getattr(tree, name), below) if below else "another value")
    return changed


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_of_the_method_is_part_of_the_hash_and_no_other(kind: str) -> None:
    config = Config(data=DATASETS[kind].settings())
    for key, _, _ in describe(config):
        if key == "data":
            continue
        changed = with_another_value(config, key)
        elsewhere = key.partition(".")[0] in ELSEWHERE and key != "trainer.precision"
        assert (changed.hash == config.hash) == elsewhere, key


def test_the_folder_of_a_run_is_named_after_experiment_and_hash_unless_it_has_a_name(experiment: Path) -> None:
    config = load([f"experiment={experiment}", "store.root=out"])
    assert config.folder == Path("out") / f"mine-{config.hash[:8]}"
    assert load(["data=voc", "run=first"]).folder == Path("runs/first")
    assert load(["data=voc"]).folder.name.startswith("voc-")


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_has_a_help_text_of_one_line(kind: str) -> None:
    config = Config(data=DATASETS[kind].settings())
    for cls in classes_of_settings(config):
        helps = help_of(cls)
        for entry in fields(cls):
            text = helps.get(entry.name, "")
            assert text.endswith((".", ")")), f"{cls.__name__}.{entry.name} has the help {text!r}"
            assert "\n" not in text


def names_below(tree: Any, prefix: str = "") -> Iterator[str]:
    """Full names of all settings in a tree."""
    for entry in fields(tree):
        value = getattr(tree, entry.name)
        if is_dataclass(value):
            yield from names_below(value, f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_is_described_once(kind: str) -> None:
    config = Config(data=DATASETS[kind].settings())
    described = [key for key, _, _ in describe(config)]
    assert described == keys(kind)
    assert len(set(described)) == len(described)
    assert set(names_below(config)) <= set(described)


def test_a_class_inherits_help_and_may_overwrite_it() -> None:
    class Below(GraphSettings):
        """Overwrites nothing."""

    assert help_of(GraphSettings)["epochs"] == help_of(Below)["epochs"] == "Passes over the training graphs."
    assert help_of(Below)["power"] == help_of(LearningSettings)["power"]


def test_the_annotated_yaml_has_the_help_of_each_setting_behind_it() -> None:
    text = annotated_yaml(load(["rounds=3"]))
    assert "rounds: 3  # Number of segmenter trainings" in text
    assert "  name: synthetic  # The data set" in text
    sections = {key.rpartition(".")[0] for key in keys("synthetic") if "." in key}
    assert len(text.splitlines()) == len(keys("synthetic")) + len(sections)
    nested = yaml.safe_load(text)["dsrg"]
    assert (nested["stride"], nested["crf"]["unary"]) == (4, "linear")


@pytest.mark.parametrize("name", sorted(experiments()))
def test_every_experiment_can_be_loaded(name: str) -> None:
    assert load([f"experiment={name}"]).experiment == name


def test_the_experiments_of_the_issue_are_there() -> None:
    assert {"synthetic", "voc21"} <= set(experiments())
    assert load(["experiment=synthetic"]).ceiling
    voc = load(["experiment=voc21", "data.root=photos", "classifier.weights=weights.pth"])
    assert (voc.dataset, voc.ceiling, voc.segmenter.weights) == ("voc", True, None)


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("roundz=3", "rounds"),
        ("classifer.epochs=3", "classifier.epochs"),
        ("epochs=3", "classifier.epochs or graph.epochs or segmenter.epochs"),
        ("data=vok", "voc"),
        ("experiment=voc12", "voc21"),
        ("network=mobilnet", "mobilenet_v2"),
        ("network=squeeznet", "squeezenet"),
        ("network=timm/convnext_ato", "timm/convnext_atto"),
        ("network=timm/convnext_atto.d3_in1k", "timm/convnext_atto.d2_in1k"),
        ("refine=[growing,crff]", "crf"),
        ("data.backgroud=false", "data.background"),
        ("tracking=none", "tracking.mode"),
    ],
)
def test_a_misspelt_word_is_answered_in_three_lines_with_what_is_near(override: str, near: str) -> None:
    lines = refusal(override)
    assert len(lines) == 3
    assert override.partition("=")[0] in lines[0]
    assert lines[1].startswith("did you mean ")
    assert near in lines[1]
    told = (
        f"there are: {', '.join(experiments())}" if override.startswith("experiment") else "see all with: wsss config"
    )
    assert lines[2] == told


def test_a_word_that_is_near_nothing_is_answered_with_what_there_is() -> None:
    lines = refusal("data=xxxxxxxx")
    assert lines[:2] == ["data knows no 'xxxxxxxx'", "there are: synthetic, voc, coco, folder"]


def test_what_is_near_in_two_ways_is_named_once() -> None:
    assert refusal("devices=2")[1] == "did you mean trainer.devices?"


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("cams.method=grad-cam", "cams.method must be one of cam, gradcam, gradcam++, got 'grad-cam'"),
        ("classifier.hidden=-1", "classifier.hidden must not be negative, got -1"),
        (
            "classifier.hidden=64",
            "cams.method must be gradcam or gradcam++ with a hidden layer (classifier.hidden) before the "
            "classes, got 'cam'",
        ),
        ("classifier.epochs=0", "classifier.epochs must be at least 1, got 0"),
        ("growing.foreground_threshold=2", "growing.foreground_threshold must lie in [0, 1], got 2.0"),
        ("graph.heads=3", "graph.hidden must be a multiple of heads (3), got 64"),
        ("data.size=3", "data.size must lie in [32, 182], got 3"),
        ("trainer.devices=0", "trainer.devices must be at least 1, got 0"),
        ("tracking.mode=of", "tracking.mode must be one of offline, online, none, got 'of'"),
        ("dsrg.crf.iterations=0", "dsrg.crf.iterations must be at least 1, got 0"),
        ("segmenter.scale=[2,1]", "segmenter.scale must be two positive numbers, the lesser first, got [2.0, 1.0]"),
        ("store.root=", "store.root must name a folder, got ''"),
        ("rounds=0", "rounds must be at least 1, got 0"),
        ("refine=[crf,crf]", "refine may name a refiner once, got ['crf', 'crf']"),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused_by_its_full_name(override: str, answer: str) -> None:
    assert refusal(override) == [answer]


@pytest.mark.parametrize(
    "override",
    [
        "seed=abc",
        "seed=1.5",
        "rounds=",
        "ceiling=maybe",
        "refine=growing",
        "classifier.scale=1",
        "classifier.epochs=null",
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_its_full_name(override: str) -> None:
    lines = refusal(override)
    assert len(lines) == 1
    assert lines[0].startswith(f"{override.partition('=')[0]} can't be read: ")


@pytest.mark.parametrize(
    ("key", "text"),
    [("labels.kinds", "points"), ("labels.kinds", "points,boxes"), ("refine", "crf"), ("cams.scales", "1")],
)
def test_a_list_without_brackets_is_answered_with_how_it_is_written(key: str, text: str) -> None:
    assert refusal(f"{key}={text}") == [f"{key} can't be read: must be a list; write {key}=[{text}]"]
    assert load([f"{key}=[{text}]"])


def test_masks_are_no_kind_that_all_images_have() -> None:
    for text in ("[masks]", "[tags,masks]"):
        (said,) = refusal(f"labels.kinds={text}")
        assert said.startswith("labels.kinds takes no masks")
        assert said.endswith("by labels.masks=k")
    assert load(["labels.masks=2"]).labels.masks == 2


def test_one_configuration_leaves_nothing_to_the_next() -> None:
    plain = load(["data=voc"])
    load(["data=voc", "rounds=5", "crf.iterations=3", "cams.scales=[2.0]", "data.root=there"])
    assert load(["data=voc"]) == plain


@pytest.mark.parametrize("override", ["rounds=1,2", "rounds=choice(1,2)", "rounds=range(1,3)"])
def test_several_values_for_one_setting_are_refused_by_its_name(override: str) -> None:
    assert refusal(override) == [f"rounds can't be read: must be one value, got '{override.partition('=')[2]}'"]


@pytest.mark.parametrize("override", ["rounds=[1", "cams.scales=[1,,2]", "seed=${nowhere}"])
def test_a_value_that_is_no_value_is_refused_in_a_line(override: str) -> None:
    lines = refusal(override)
    assert len(lines) == 1
    assert "can't be read" in lines[0]


@pytest.mark.parametrize("override", ["rounds", "=3", "", "--ceiling", 5, None])
def test_a_word_that_sets_nothing_is_refused(override: str) -> None:
    assert refusal(override) == [f"{override!r} is not a setting; write key=value, for example rounds=3"]


@pytest.mark.parametrize("text", [b"[1, 2]", b"rounds: [1", b"just words", b"rounds: \xff"])
def test_a_file_that_is_no_experiment_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(text)
    lines = refusal(f"experiment={path}")
    assert len(lines) == 1
    assert str(path) in lines[0]


def test_a_misspelt_key_in_an_experiment_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("crf: {iteration: 3}\n")
    assert "did you mean crf.iterations" in refusal(f"experiment={path}")[1]


def test_an_experiment_below_the_working_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mine.yaml").write_text("rounds: 4\n")
    monkeypatch.chdir(tmp_path)
    assert load(["experiment=mine"]).rounds == 4


def test_folders_and_links_to_nothing_among_the_experiments_are_no_experiments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experiments" / "folder.yaml").mkdir(parents=True)
    (tmp_path / "experiments" / "gone.yaml").symlink_to(tmp_path / "nowhere.yaml")
    monkeypatch.chdir(tmp_path)
    assert not {"folder", "gone"} & {*experiments(), *studies()}
    assert refusal("experiment=gone")[0].startswith("experiment knows no 'gone'")


def test_an_error_of_a_setting_is_told_with_its_rule_and_value() -> None:
    with pytest.raises(SettingsError, match=r"^share must lie in \[0, 1\], got 2$") as caught:
        require(False, "share", "must lie in [0, 1]", 2)
    assert (caught.value.field, caught.value.reason) == ("share", "must lie in [0, 1], got 2")


def test_a_network_of_timm_is_named_behind_its_house() -> None:
    assert load(["network=timm/vit_tiny_patch16_224"]).network == "timm/vit_tiny_patch16_224"
    assert load(["network=timm/convnext_atto.d2_in1k", "rounds=1"]).network == "timm/convnext_atto.d2_in1k"


def test_a_hidden_layer_goes_with_maps_by_gradients() -> None:
    config = load(["classifier.hidden=64", "cams.method=gradcam++"])
    assert (config.classifier.hidden, config.cams.method) == (64, "gradcam++")
