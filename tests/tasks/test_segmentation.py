from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from tests.tasks.scenes import Halves, segmentation_task
from tests.tasks.toys import identical, train, weights
from wsss.tasks.segmentation import SegmentationTask, balance_weights, predict_scores
from wsss.tasks.settings import SegmenterSettings
from wsss.types import IGNORE


def test_a_segmenter_learns_from_labels(tmp_path: Path) -> None:
    task = segmentation_task()
    rows = train(task, tmp_path, loader=Halves(batches=20), epochs=3)
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    batch = next(iter(Halves()))
    with torch.no_grad():
        scores = predict_scores(task.network, batch["image"], scales=(1.0, 2.0), flip=True)
    found = interpolate(scores, (32, 32), mode="bilinear").argmax(dim=1)
    assert (found == batch["labels"]).float().mean() > 0.85


def test_the_loss_is_the_weighted_mean_of_the_pixels_that_are_known() -> None:
    task, batch = segmentation_task(), next(iter(Halves()))
    batch["labels"][:, 5:9] = IGNORE
    total, count = task.losses(batch)
    logits = interpolate(task.network(batch["image"]), (32, 32), mode="bilinear", align_corners=False)
    each = cross_entropy(logits, batch["labels"], ignore_index=IGNORE, reduction="none")
    known = batch["labels"] != IGNORE
    assert float((total / count).detach()) == pytest.approx(
        float((each * batch["weights"])[known].sum().detach() / batch["weights"][known].sum()), rel=1e-4
    )


def test_labels_are_judged_by_the_loss_of_the_settings_as_they_steer_it() -> None:
    batch = next(iter(Halves()))
    plain = segmentation_task()
    logits = interpolate(plain.network(batch["image"]), (32, 32), mode="bilinear", align_corners=False).detach()
    sure = logits.softmax(1).gather(1, batch["labels"][:, None])[:, 0]
    expected = {
        SegmenterSettings(loss="generalised", width=16): (1 - sure**0.7) / 0.7,
        SegmenterSettings(loss="generalised", width=16, generalised_exponent=0.3): (1 - sure**0.3) / 0.3,
        SegmenterSettings(loss="symmetric", width=16): 4 * (1 - sure) - 0.1 * sure.log(),
        SegmenterSettings(loss="symmetric", width=16, symmetric_forward=0.5, symmetric_reverse=0.25): (
            1 - sure - 0.5 * sure.log()
        ),
    }
    for settings, each in expected.items():
        total, count = SegmentationTask(plain.network, settings).losses(batch)
        wanted = (each * batch["weights"]).sum() / batch["weights"].sum()
        assert float((total / count).detach()) == pytest.approx(float(wanted), rel=1e-4)


def test_a_rare_label_counts_by_its_weight() -> None:
    task, batch = segmentation_task(), next(iter(Halves()))
    batch["labels"][:, :4] = IGNORE
    by_label = torch.tensor([0.5, 2.0, 4.0])
    task.class_weights = by_label
    total, count = task.losses(batch)
    known = batch["labels"] != IGNORE
    batch["weights"] = batch["weights"] * by_label[batch["labels"].where(known, 0)]
    task.class_weights = None
    expected, expected_count = task.losses(batch)
    torch.testing.assert_close((total, count), (expected, expected_count))


def test_balance_weights_by_hand() -> None:
    # shares 0.8 and 0.2: inverse roots 1 : 2, and 16 * w + 4 * 2 * w = 20
    found = balance_weights(torch.tensor([16.0, 4.0, 0.0]), 0.5)
    torch.testing.assert_close(found, torch.tensor([20 / 24, 40 / 24, 40 / 24]))
    assert balance_weights(torch.tensor([16.0, 4.0]), 0.0).tolist() == [1.0, 1.0]
    assert balance_weights(torch.zeros(3), 0.5).tolist() == [1.0, 1.0, 1.0]


def test_a_batch_of_nothing_but_ignore_has_loss_0_and_moves_no_weight(tmp_path: Path) -> None:
    task = segmentation_task()
    before = weights(task)
    rows = train(task, tmp_path, loader=Halves(everything=True), epochs=2)
    assert [row["loss"] for row in rows] == [0.0, 0.0]
    assert identical(weights(task), before)


def test_without_a_background_class_its_channel_neither_learns_nor_scores(tmp_path: Path) -> None:
    task = segmentation_task(background=False)
    before = task.network.head.weight[0].detach().clone()  # type: ignore[union-attr, index]
    train(task, tmp_path, loader=Halves(background=False), epochs=1)
    assert torch.equal(task.network.head.weight[0], before)  # type: ignore[union-attr, index]
    with torch.no_grad():
        scores = predict_scores(task.network, torch.rand(1, 3, 32, 32), background=False)
    assert (scores[:, 0] == 0).all()
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(1, 8, 8))


class Channels(nn.Module):
    """Logits are the channels at a quarter of the resolution."""

    def forward(self, images: Tensor) -> Tensor:
        return 4 * interpolate(images, scale_factor=0.25, mode="area")


def test_scores_are_the_mean_of_the_probabilities_of_all_views() -> None:
    network, images = Channels(), torch.rand(2, 3, 32, 48)
    found = predict_scores(network, images, scales=(1.0, 1.5), flip=True)
    slow = torch.zeros(2, 3, 8, 12)
    for size in ((32, 48), (48, 72)):
        shown = images if size == (32, 48) else interpolate(images, size, mode="bilinear")
        plain, mirrored = network(shown).softmax(1), network(shown.flip(-1)).softmax(1).flip(-1)
        slow += interpolate(plain, (8, 12), mode="bilinear") + interpolate(mirrored, (8, 12), mode="bilinear")
    torch.testing.assert_close(found, slow / 4)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, 8, 12))


class Edges(torch.nn.Module):
    """A perfect network at stride 4: it says where in each image the bright part begins, as a share of each cell."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows, columns = (-(-side // 4) * 4 - side for side in images.shape[2:])
        bright = torch.nn.functional.pad(images[:, :1], (0, columns, 0, rows), mode="replicate")
        share = torch.nn.functional.avg_pool2d(bright, 4)
        return torch.cat([1 - share, share], dim=1) * 1000 - 500


@pytest.mark.parametrize("width", [320, 321, 322, 323])
@pytest.mark.parametrize("flip", [False, True])
def test_what_the_last_cells_see_is_not_stretched_over_the_image(width: int, flip: bool) -> None:
    images = torch.zeros(1, 3, 32, width)
    images[..., 296:] = 1
    labels = (images[:, 0] > 0).long()
    task = SegmentationTask(Edges(), SegmenterSettings())
    total, count = task.losses({"image": images, "labels": labels})
    assert float(total) / float(count) < 1e-3
    scores = predict_scores(Edges(), images, flip=flip)
    assert scores.shape[2:] == (8, -(-width // 4))
    full = torch.nn.functional.interpolate(scores, (32, width), mode="bilinear", align_corners=False)
    found = int((full[0, 1, 16] > 0.5).nonzero()[0])
    assert abs(found - 296) <= 1
