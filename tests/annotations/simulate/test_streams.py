"""Streams of chance."""

from wsss.annotations.simulate.streams import stream


def test_a_stream_is_the_same_each_time_and_unlike_all_others() -> None:
    purposes: list[tuple[int | str, ...]] = [(), ("points",), ("points", 0), ("points", 1), ("boxes", 1), ("boxes", 11)]
    drawn = {(seed, purpose): stream(seed, *purpose).random() for seed in (0, 1, 2**60) for purpose in purposes}
    assert len(set(drawn.values())) == len(drawn)
    assert drawn[1, ("points", 1)] == stream(1, "points", 1).random()


def test_a_stream_never_changes() -> None:
    # labels that were simulated once must be the same in every later version
    assert stream(3, "points", 7).integers(1000, size=4).tolist() == [898, 43, 83, 26]
