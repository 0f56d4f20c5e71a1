import pytest

from wsss.data.faults import gathered_faults, raise_or_gather, stepping_over
from wsss.errors import DataError


def read(numbers: list[int]) -> list[int]:
    """Read even numbers."""
    kept = []
    for number in numbers:
        with stepping_over():
            if number % 2:
                raise DataError(f"{number} is odd", kind="odd")
            kept.append(number)
    return kept


def test_a_fault_stops_the_reading_unless_faults_are_gathered() -> None:
    with pytest.raises(DataError, match="1 is odd"):
        read([2, 1, 4, 3])
    with gathered_faults() as faults:
        assert read([2, 1, 4, 3]) == [2, 4]
    assert [(str(fault), fault.kind) for fault in faults] == [("1 is odd", "odd"), ("3 is odd", "odd")]
    with pytest.raises(DataError, match="1 is odd"):
        read([1])


def test_a_fault_that_is_found_is_raised_unless_faults_are_gathered() -> None:
    fault = DataError("1 is odd")
    with pytest.raises(DataError, match="1 is odd"):
        raise_or_gather(fault)
    with gathered_faults() as faults:
        raise_or_gather(fault)
    assert faults == [fault]


def test_other_errors_and_faults_that_nothing_steps_over_are_raised_even_then() -> None:
    with gathered_faults() as faults, pytest.raises(ZeroDivisionError), stepping_over():
        _ = 1 / 0
    with pytest.raises(DataError, match="no class list"), gathered_faults() as faults:
        raise DataError("no class list")
    assert faults == []
