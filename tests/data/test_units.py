import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsss.data.units import Portion, plan_units


def test_images_that_round_to_the_same_grid_share_a_unit() -> None:
    sizes = [(320, 240), (333, 250), (240, 320), (300, 239), (320, 241)]
    assert plan_units("abcde", sizes, 3) == [
        Portion("0000000", ("c",), (256, 320)),
        Portion("0000001", ("d",), (288, 224)),
        Portion("0000002", ("a", "b", "e"), (320, 256)),
    ]


def test_a_unit_holds_no_more_than_a_batch() -> None:
    units = plan_units("abcde", [(64, 64)] * 5, 2)
    assert [unit.ids for unit in units] == [("a", "b"), ("c", "d"), ("e",)]


def test_a_unit_of_large_images_is_smaller_than_a_batch() -> None:
    units = plan_units("abcd", [(2048, 2048), (2048, 2048), (1024, 1024), (1024, 1024)], 16, most_pixels=1 << 21)
    assert [unit.ids for unit in units] == [("c", "d"), ("a",), ("b",)]


def test_an_image_of_one_pixel_gets_a_whole_grid_cell() -> None:
    assert plan_units(["dot"], [(1, 1)], 4) == [Portion("0000000", ("dot",), (32, 32))]


@given(
    sizes=st.lists(st.tuples(st.integers(1, 700), st.integers(1, 700)), max_size=60),
    batch_size=st.integers(1, 9),
)
def test_each_image_is_in_one_unit_near_its_own_size(sizes: list[tuple[int, int]], batch_size: int) -> None:
    ids = [str(index) for index in range(len(sizes))]
    units = plan_units(ids, sizes, batch_size)
    assert sorted(id for unit in units for id in unit.ids) == sorted(ids)
    assert [int(unit.name) for unit in units] == list(range(len(units)))
    for unit in units:
        assert 1 <= len(unit.ids) <= batch_size
        for id in unit.ids:
            for side, common in zip(sizes[int(id)], unit.size, strict=True):
                assert common % 32 == 0
                assert abs(side - common) <= 16 or (common == 32 and side < 16)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="sizes must be as many as the 2 ids, got 1"):
        plan_units("ab", [(1, 1)], 4)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        plan_units("a", [(1, 1)], 0)
