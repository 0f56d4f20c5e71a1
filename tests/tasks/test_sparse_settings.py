import pytest

from wsss.annotations import Boxes, ImageTags, Mask, Points, Scribbles
from wsss.errors import SettingsError
from wsss.tasks.sparse_settings import USUAL_WEIGHTS, SparseSettings

KINDS = (ImageTags, Points, Scribbles, Boxes, Mask)


@pytest.mark.parametrize("name", USUAL_WEIGHTS)
def test_a_loss_that_nothing_is_said_of_takes_part_where_the_labels_ask_for_it(name: str) -> None:
    assert SparseSettings().weights({name}) == {name: USUAL_WEIGHTS[name]}
    assert SparseSettings().weights(()) == {}


@pytest.mark.parametrize("name", USUAL_WEIGHTS)
def test_a_weight_that_is_given_counts_whatever_the_labels_ask_for(name: str) -> None:
    given, off = SparseSettings(**{name: 0.7}), SparseSettings(**{name: 0.0})  # type: ignore[arg-type]
    others = {other: weight for other, weight in USUAL_WEIGHTS.items() if other != name}
    assert given.weights(()) == {name: 0.7}
    assert given.weights(USUAL_WEIGHTS) == others | {name: 0.7}
    assert off.weights(USUAL_WEIGHTS) == others


def test_labels_ask_only_for_losses_that_have_a_weight() -> None:
    asked = {loss for kind in KINDS for loss in kind.losses}
    assert asked
    assert asked <= set(USUAL_WEIGHTS)
    # whose help says "no kind asks for it"
    assert not asked & {"dense_crf", "entropy", "size"}


@pytest.mark.parametrize("name", USUAL_WEIGHTS)
def test_no_loss_counts_less_than_nothing(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} must not be negative, or be null, got -0.1"):
        SparseSettings(**{name: -0.1})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_colours_differ_at_some_distance(value: float) -> None:
    with pytest.raises(SettingsError, match=f"^tree_sigma must be positive, got {value}"):
        SparseSettings(tree_sigma=value)
