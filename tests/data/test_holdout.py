import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wsss.data.holdout import stratified_holdout


def tags(*rows: str) -> list[Tensor | None]:
    """Tags of one image a row: x present, . absent; an empty row is unknown."""
    return [torch.tensor([mark == "x" for mark in row]) if row else None for row in rows]


def held_of_class(images: list[Tensor | None], held: list[int], label: int) -> int:
    chosen = [images[index] for index in held]
    return sum(int(entry[label]) for entry in chosen if entry is not None)


def test_each_class_is_split_in_the_same_ratio() -> None:
    images = tags(*["x.."] * 50, *[".x."] * 20, *["..x"] * 5, *["..."] * 10)
    kept, held = stratified_holdout(images, 0.2, seed=0)
    assert [held_of_class(images, held, label) for label in range(3)] == [10, 4, 1]
    assert len(held) == 17  # and two of the ten that show nothing
    assert sorted(kept + held) == list(range(85))


def test_a_class_with_one_image_keeps_it_and_one_with_two_is_divided() -> None:
    images = tags("x.", ".x", ".x")
    for seed in range(20):
        _, held = stratified_holdout(images, 0.5, seed)
        assert held in ([1], [2])


def test_no_class_loses_its_last_image_to_another_class() -> None:
    # the only image of the second class also shows the first, of which half is wanted
    images = tags("xx", "x.", "x.", "x.")
    for seed in range(20):
        _, held = stratified_holdout(images, 0.5, seed)
        assert 0 not in held
        assert len(held) == 2


def test_images_with_unknown_tags_are_kept() -> None:
    images = tags("", "x", "x", "x", "x", "")
    kept, held = stratified_holdout(images, 0.5, seed=1)
    assert {0, 5} <= set(kept)
    assert len(held) == 2
    assert stratified_holdout(tags("", ""), 0.5, seed=1) == ([0, 1], [])


def test_nothing_is_held_out_at_a_share_of_zero() -> None:
    assert stratified_holdout(tags("x", "x"), 0.0, seed=0) == ([0, 1], [])


def test_the_seed_decides_and_nothing_else() -> None:
    images = tags(*["x."] * 30, *[".x"] * 30)
    first = stratified_holdout(images, 0.3, seed=5)
    torch.manual_seed(0)
    assert stratified_holdout(images, 0.3, seed=5) == first
    assert stratified_holdout(images, 0.3, seed=6) != first


@given(
    rows=st.lists(st.text("x.", min_size=4, max_size=4), min_size=1, max_size=40),
    share=st.floats(0.0, 0.9),
    seed=st.integers(0, 5),
)
def test_every_class_keeps_an_image(rows: list[str], share: float, seed: int) -> None:
    images = tags(*rows)
    kept, held = stratified_holdout(images, share, seed)
    assert sorted(kept + held) == list(range(len(rows)))
    for label in range(4):
        if any(row[label] == "x" for row in rows):
            assert held_of_class(images, kept, label) >= 1


def test_a_share_of_everything_is_refused() -> None:
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\), got 1"):
        stratified_holdout([], 1.0, 0)
