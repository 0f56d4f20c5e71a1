import torch
from hypothesis import given
from hypothesis import strategies as some

from wsss.data.chance import repeated_order, seed_of

COUNTS, SAMPLES, SEEDS = some.integers(1, 12), some.integers(0, 40), some.integers(0, 99)


def test_seeds_are_the_same_on_every_machine_and_differ_between_parts() -> None:
    assert seed_of("view", 0, 1, "cat") == 7291170486501603725
    seeds = {seed_of(seed, epoch, str(id)) for seed in range(10) for epoch in range(10) for id in range(10)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_number_is_another_part_than_its_word_and_parts_are_not_glued_together() -> None:
    assert len({seed_of(1), seed_of("1"), seed_of(1, 1), seed_of(11), seed_of("1", "1"), seed_of("11")}) == 6


@given(COUNTS, SAMPLES, SEEDS)
def test_no_thing_comes_again_before_all_have_come(count: int, samples: int, seed: int) -> None:
    order = repeated_order(count, samples, seed)
    assert order.dtype == torch.int64
    assert order.shape == (samples,)
    for start in range(0, samples, count):
        turn = order[start : start + count].tolist()
        assert len(set(turn)) == len(turn)
        assert set(turn) <= set(range(count))


@given(COUNTS, SAMPLES, SAMPLES, SEEDS)
def test_a_longer_order_begins_as_a_shorter_one(count: int, one: int, other: int, seed: int) -> None:
    shorter, longer = sorted((one, other))
    assert torch.equal(repeated_order(count, longer, seed)[:shorter], repeated_order(count, shorter, seed))


def test_each_turn_and_each_seed_has_an_order_of_its_own() -> None:
    turns = repeated_order(20, 60, 0).view(3, 20).tolist()
    assert len({tuple(turn) for turn in [*turns, repeated_order(20, 20, 1).tolist()]}) == 4


def test_of_nothing_comes_nothing() -> None:
    assert repeated_order(0, 0, 0).tolist() == repeated_order(5, 0, 0).tolist() == []


def test_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    repeated_order(5, 12, 3)
    assert torch.equal(torch.get_rng_state(), state)
