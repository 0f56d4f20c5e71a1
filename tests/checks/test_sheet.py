from collections.abc import Iterable

from wsss.checks.looks import Look
from wsss.checks.sheet import EXTRAS, IMAGES, choose_for_sheet


def look(id: str, tags: Iterable[int] | None, *, readable: bool = True, shows: Iterable[int] = ()) -> Look:
    return Look(
        split="train",
        id=id,
        place=id,
        size=(4, 4) if readable else None,
        digest=b"",
        signature=b"",
        tags=None if tags is None else frozenset(tags),
        pixels=dict.fromkeys(shows, 1),
        findings=(),
    )


def test_each_class_is_shown_by_images_spread_over_those_that_have_it() -> None:
    looks = [look(str(number), [1 + number // 100]) for number in range(200)]
    chosen = choose_for_sheet(looks, classes=2)
    assert len(chosen) == IMAGES
    assert [shown.id for shown in chosen][:3] == ["0", "4", "8"]
    assert sum(shown.tags == frozenset([2]) for shown in chosen) == IMAGES // 2


def test_images_of_a_class_come_from_its_whole_list_though_there_are_few_more_than_places() -> None:
    chosen = choose_for_sheet([look(str(number), [1]) for number in range(2 * IMAGES - 1)], classes=1)
    # every second one, the first pair aside
    assert [int(shown.id) for shown in chosen] == [0, *range(1, 2 * IMAGES - 2, 2)]


def test_a_class_has_a_place_however_many_there_are() -> None:
    looks = [look(str(label), [label, 1]) for label in range(1, 201)]
    chosen = choose_for_sheet(looks, classes=200)
    assert {label for shown in chosen for label in shown.tags or ()} == set(range(1, 201))
    assert len(chosen) == len({shown.id for shown in chosen}) == 200


def test_images_without_tags_are_shown_by_their_masks_and_unreadable_ones_not_at_all() -> None:
    looks = [
        look("broken", [1], readable=False),
        look("empty", []),
        look("masked", None, shows=[0, 1, 255]),
        *(look(f"nobody {number}", None) for number in range(EXTRAS + 2)),
    ]
    assert [shown.id for shown in choose_for_sheet(looks, classes=1)] == ["masked", "empty", "nobody 0", "nobody 2"]
