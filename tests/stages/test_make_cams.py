from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, enlarged, finished, given_weights, workbench
from wsss.functional.resampling import spread_over
from wsss.stages.base import Stage
from wsss.stages.make_cams import make_cams
from wsss.stages.networks import NetworkPlan, build_classifier, weights_of
from wsss.stages.settings import CamSettings
from wsss.store import stride_size
from wsss.tasks.settings import ClassifierSettings

NETWORK = NetworkPlan("tiny", ClassifierSettings(output_stride=8), "none")
DATA = DrawnDataset(
    {
        "on the grid": enlarged(picture("0011", "0222"), 16),
        "small": enlarged(picture("01", "01"), 12),
        "none": enlarged(picture("00", "00"), 16),
        "unknown": enlarged(picture("12", "12"), 16),
        "val": picture("0"),
    },
    tags={"unknown": None, "on the grid": [1, 2]},
)
PLAIN = CamSettings(scales=(1.0,), flip=False)


def classifier() -> Stage:
    torch.manual_seed(1)
    network = build_classifier(NETWORK, 2)
    torch.nn.init.normal_(network.head.weight, std=1.0)
    return given_weights("classifier", weights_of(network))


def drawn(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps at a quarter of an image's size."""
    return spread_over(maps, stride_size(size), size, stride=8, anchor=0.5)


def cams_of(folder: Path, settings: CamSettings) -> dict[str, torch.Tensor]:
    found = finished(workbench(folder, DATA), make_cams(DATA, NETWORK, settings, classifier(), "32-true"))
    return {name: found.read_scores(name, 3) for name in DATA.ids("train")}


def test_a_map_is_what_the_classifier_answers_at_each_place(tmp_path: Path) -> None:
    found = cams_of(tmp_path, PLAIN)
    torch.manual_seed(1)
    network = build_classifier(NETWORK, 2)
    torch.nn.init.normal_(network.head.weight, std=1.0)
    with torch.inference_mode():
        maps = network.activation_maps(DATA.image("on the grid")[None].float() / 255)[0].relu()
    expected = drawn(maps[None], (32, 64))[0]
    expected = expected / (expected.amax((1, 2), keepdim=True) + 1e-5)
    torch.testing.assert_close(found["on the grid"][1:], expected, atol=2e-3, rtol=0)
    assert not found["on the grid"][0].any()


def test_maps_have_a_quarter_of_the_size_and_reach_1(tmp_path: Path) -> None:
    found = cams_of(tmp_path, CamSettings(scales=(1.0, 0.5)))
    assert {name: tuple(cams.shape[1:]) for name, cams in found.items()} == {
        "on the grid": (8, 16),
        "small": (6, 6),
        "none": (8, 8),
        "unknown": (8, 8),
    }
    for cams in found.values():
        assert cams.min() >= 0
        assert cams.max() <= 1
    # of two classes that may be there, the one that the classifier believes in more
    peaks = found["unknown"][1:].amax((1, 2))
    assert peaks.max() > 0.99
    assert 0 < peaks.min() < 0.95


def test_only_present_classes_have_a_map(tmp_path: Path) -> None:
    found = cams_of(tmp_path, PLAIN)
    assert not found["small"][2].any()
    assert found["small"][1].any()
    assert not found["none"].any()


def test_what_is_batched_together_does_not_change_a_map(tmp_path: Path) -> None:
    together = cams_of(tmp_path / "8", PLAIN)
    apart = cams_of(tmp_path / "1", CamSettings(scales=(1.0,), flip=False, batch_size=1))
    for name, cams in together.items():
        torch.testing.assert_close(cams, apart[name], atol=2e-3, rtol=0)


def test_with_flips_the_map_of_the_mirror_image_is_the_mirror_image_of_the_map(tmp_path: Path) -> None:
    shown = DATA.image("on the grid")
    views = []
    for number, image in enumerate((shown, shown.flip(2))):
        data = DrawnDataset({"one": image[0]}, tags={"one": None}, images={"one": image})
        stage = make_cams(data, NETWORK, CamSettings(scales=(1.0,), flip=True), classifier(), "32-true")
        views.append(finished(workbench(tmp_path / str(number), data), stage).read_scores("one", 3))
    torch.testing.assert_close(views[0], views[1].flip(2), atol=2e-3, rtol=0)


def test_what_the_classifier_answers_on_images_without_a_class_counts_as_none(tmp_path: Path) -> None:
    pictures = {"both": picture("0011", "0222"), "first": picture("01", "11"), "none": picture("00", "00")}
    data = DrawnDataset(
        {name: enlarged(drawn, 16) for name, drawn in pictures.items()}
        | {"unknown": enlarged(picture("12", "21"), 16)},
        tags={"unknown": None},
    )
    settings = CamSettings(scales=(1.0,), flip=False, negative_quantile=0.8)
    found = finished(workbench(tmp_path, data), make_cams(data, NETWORK, settings, classifier(), "32-true"))
    torch.manual_seed(1)
    network = build_classifier(NETWORK, 2)
    torch.nn.init.normal_(network.head.weight, std=1.0)
    maps = {}
    with torch.inference_mode():
        for name in data.ids("train"):
            answer = network.activation_maps(data.image(name)[None].float() / 255).relu()
            maps[name] = drawn(answer, data.size(name))[0]
    # what nobody knows of "unknown" counts for neither class
    for label, names in enumerate([["none"], ["none", "first"]]):
        values = torch.cat([maps[name][label].flatten().quantile(torch.linspace(0, 1, 101)) for name in names])
        shown = maps["both"][label]
        expected = (shown - min(values.quantile(0.8), shown.amax() / 2)).relu()
        expected = expected / (expected.amax() + 1e-5)
        torch.testing.assert_close(found.read_scores("both", 3)[label + 1], expected, atol=2e-3, rtol=0)
    assert not found.read_scores("first", 3)[2].any()
    assert found.read_scores("unknown", 3)[1:].max() > 0.99


def test_maps_that_waited_are_gone_when_the_stage_is_finished(tmp_path: Path) -> None:
    stage = make_cams(DATA, NETWORK, CamSettings(scales=(1.0,), negative_quantile=0.5), classifier(), "32-true")
    found = finished(workbench(tmp_path, DATA), stage)
    assert not found.progress.exists()
    assert {Path(name).parts[0] for name in found.files} == {"scores"}


def test_a_stage_that_was_killed_between_its_two_passes_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = CamSettings(scales=(1.0,), flip=False, batch_size=1, negative_quantile=0.8)
    expected = cams_of(tmp_path / "undisturbed", settings)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("wsss.stages.make_cams._offsets", killed)
        with pytest.raises(KeyboardInterrupt):
            cams_of(tmp_path / "killed", settings)
    # the maps are there already, so the network is not asked again
    monkeypatch.setattr("wsss.tasks.classification.predict_cams", killed)
    resumed = cams_of(tmp_path / "killed", settings)
    assert all(torch.equal(resumed[name], cams) for name, cams in expected.items())


def test_grad_cam_of_the_linear_head_is_the_class_activation_map(tmp_path: Path) -> None:
    cams = cams_of(tmp_path / "cam", CamSettings(scales=(1.0, 0.5)))
    found = cams_of(tmp_path / "gradcam", CamSettings(scales=(1.0, 0.5), method="gradcam"))
    for name, maps in cams.items():
        torch.testing.assert_close(found[name], maps, atol=2e-3, rtol=0)


@pytest.mark.parametrize("method", ["gradcam", "gradcam++"])
@pytest.mark.parametrize("backbone", ["tiny", "timm/test_vit"])
def test_a_classifier_with_a_hidden_layer_has_maps_by_gradients(tmp_path: Path, backbone: str, method: str) -> None:
    network = NetworkPlan(backbone, ClassifierSettings(output_stride=16), "none", hidden=8)
    torch.manual_seed(1)
    model = build_classifier(network, 2)
    torch.nn.init.normal_(model.head.weight, std=1.0)
    before = given_weights("classifier", weights_of(model))
    settings = CamSettings(scales=(1.0, 0.5), method=method)
    found = finished(workbench(tmp_path, DATA), make_cams(DATA, network, settings, before, "bf16-mixed"))
    maps = {name: found.read_scores(name, 3) for name in DATA.ids("train")}
    assert maps["unknown"][1:].max() > 0.99
    assert not maps["small"][2].any()
    assert not maps["none"].any()


@pytest.mark.parametrize(
    "changed",
    [
        CamSettings(method="gradcam"),
        CamSettings(scales=(1.0,)),
        CamSettings(flip=False),
        CamSettings(batch_size=3),
        CamSettings(negative_quantile=0.0),
    ],
)
def test_every_setting_changes_the_key(changed: CamSettings) -> None:
    before = classifier()
    assert (
        make_cams(DATA, NETWORK, changed, before, "32-true").key
        != make_cams(DATA, NETWORK, CamSettings(), before, "32-true").key
    )


def test_the_key_follows_the_precision() -> None:
    before = classifier()
    keys = {make_cams(DATA, NETWORK, PLAIN, before, precision).key for precision in ("32-true", "bf16-mixed")}
    assert len(keys) == 2
