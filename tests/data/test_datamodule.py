from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import pytest
import torch

from tests.data.toys import read_truth
from wsss.data.base import Dataset
from wsss.data.datamodule import DataModule
from wsss.data.synthetic import SyntheticDataset, SyntheticSettings
from wsss.data.transforms import TransformSettings
from wsss.data.views import Batch, EpochSampler
from wsss.errors import DataError, SettingsError
from wsss.types import IGNORE, Tags

CROP = 16


class Silent(SyntheticDataset):
    """Images about every second of which nobody said anything."""

    def tags(self, id: str) -> Tags | None:  # type: ignore[override]
        return super().tags(id) if int(id[-1]) % 2 else None


def toys(count: int = 10, kind: Callable[[SyntheticSettings], Dataset] = SyntheticDataset) -> Dataset:
    return kind(SyntheticSettings(train=count, val=4, size=32))


def module(dataset: Dataset, **options: Any) -> DataModule:
    given: dict[str, Any] = {"batch_size": 4, "seed": 0, "transform": TransformSettings(crop=CROP)} | options
    return DataModule(dataset, given.pop("train_ids", dataset.ids("train")), **given)


def epoch_of(loader_of: DataModule, epoch: int = 0) -> list[Batch]:
    loader_of.sampler.set_epoch(epoch)
    return list(loader_of.train_dataloader())


def test_a_training_batch_holds_images_and_tags() -> None:
    dataset = toys(kind=Silent)
    for batch in epoch_of(module(dataset)):
        assert batch.keys() == {"image", "tags", "known", "index"}
        assert batch["image"].shape == (4, 3, CROP, CROP)
        assert batch["image"].dtype == torch.float32
        assert batch["image"].min() >= 0
        assert batch["image"].max() <= 1
        for place, index in enumerate(batch["index"].tolist()):
            tags = dataset.tags(dataset.ids("train")[index])
            assert batch["known"][place].tolist() == [tags is not None] * 6
            assert torch.equal(batch["tags"][place], torch.zeros(6, dtype=torch.bool) if tags is None else tags)


def test_a_target_adds_labels_and_weights() -> None:
    dataset = toys()
    batch = epoch_of(module(dataset, target=partial(read_truth, dataset)))[0]
    assert batch["labels"].shape == batch["weights"].shape == (4, CROP, CROP)
    assert batch["labels"].dtype == torch.int64
    assert torch.equal(batch["weights"] == 0, batch["labels"] == IGNORE)


def test_an_epoch_shows_each_image_and_fills_up_whole_batches_from_its_beginning() -> None:
    order = [index for _, _, index in EpochSampler(10, 4, seed=0)]
    assert len(order) == 12
    assert sorted(order[:10]) == list(range(10))
    assert order[10:] == order[:2]


def test_a_batch_larger_than_the_data_repeats_it() -> None:
    order = [index for _, _, index in EpochSampler(3, 8, seed=0)]
    assert len(order) == 8
    assert order[3:6] == order[:3]
    assert max(Counter(order).values()) == 3


def test_few_images_come_in_turns_until_an_epoch_is_as_long_as_asked() -> None:
    dealt = list(EpochSampler(3, 4, seed=0, samples=10))
    assert [turn for _, turn, _ in dealt] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 0, 0]
    order = [index for _, _, index in dealt]
    assert [sorted(order[start : start + 3]) for start in (0, 3, 6)] == [[0, 1, 2]] * 3
    assert len({tuple(order[start : start + 3]) for start in (0, 3, 6)}) > 1
    # what fills the last batch up is the beginning again
    assert order[10:] == order[:2]
    assert order[:3] == [index for _, _, index in EpochSampler(3, 4, seed=0)][:3]


def test_each_epoch_has_its_own_order_and_the_same_again() -> None:
    sampler = EpochSampler(20, 4, seed=0)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        assert {told for told, _, _ in sampler} == {epoch}
        orders.append([index for _, _, index in sampler])
    assert orders[0] == orders[2] != orders[1]
    assert orders[0] != [index for _, _, index in EpochSampler(20, 4, seed=1)]


@pytest.mark.parametrize("world_size", [2, 4])
def test_any_number_of_processes_sees_the_same_global_batches(world_size: int) -> None:
    dataset = toys()
    target = partial(read_truth, dataset)
    whole = epoch_of(module(dataset, target=target), epoch=3)
    parts = [
        epoch_of(module(dataset, target=target, rank=rank, world_size=world_size), epoch=3)
        for rank in range(world_size)
    ]
    assert {len(part) for part in parts} == {len(whole)}
    for step, batch in enumerate(whole):
        for name, tensor in batch.items():
            assert torch.equal(torch.cat([part[step][name] for part in parts]), tensor)


def test_a_view_changes_from_epoch_to_epoch_and_turn_to_turn_and_not_with_the_other_images() -> None:
    dataset = toys()
    few, all_ = module(dataset, train_ids=dataset.ids("train")[:1]), module(dataset)
    views = [few.views[epoch, turn, 0]["image"] for epoch, turn in ((0, 0), (1, 0), (0, 1), (1, 1))]
    assert not any(torch.equal(one, other) for one, other in combinations(views, 2))
    assert torch.equal(all_.views[1, 0, 0]["image"], views[1])


def test_loading_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    epoch_of(module(toys()))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_held_out_images_are_whole_and_spread_without_padding_or_repeats(world_size: int) -> None:
    dataset = toys()
    assert isinstance(dataset, SyntheticDataset)
    held_out = dataset.ids("train")[:5]
    seen: list[int] = []
    for rank in range(world_size):
        options = {"held_out_ids": held_out, "batch_size": 6, "rank": rank, "world_size": world_size}
        for batch in module(dataset, **options).val_dataloader():
            id = held_out[int(batch["index"])]
            assert batch["image"].shape == (1, 3, *dataset.size(id))
            assert torch.equal(batch["image"][0] * 255, dataset.image(id).float())
            assert batch["tags"][0].tolist() == dataset.tags(id).tolist()
            seen.append(int(batch["index"]))
    assert sorted(seen) == list(range(5))


def test_without_held_out_images_there_is_nothing_to_validate_on() -> None:
    assert len(module(toys()).val_dataloader()) == 0


@pytest.mark.timeout(120)
def test_workers_prepare_the_same_batches_in_each_epoch() -> None:
    dataset = toys()
    target = partial(read_truth, dataset)
    alone, helped = module(dataset, target=target), module(dataset, target=target, workers=1)
    loader = helped.train_dataloader()
    for epoch in range(2):
        helped.sampler.set_epoch(epoch)
        for ours, theirs in zip(epoch_of(alone, epoch), loader, strict=True):
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_batch_that_the_processes_cannot_share_is_refused() -> None:
    with pytest.raises(SettingsError, match="batch_size must be a multiple of the 3 processes, got 4"):
        module(toys(), world_size=3)


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(DataError, match="'synthetic' has no image to train on"):
        module(toys(), train_ids=())
