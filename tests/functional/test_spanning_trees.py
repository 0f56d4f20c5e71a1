import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

from tests.functional.slow_trees import sorted_edges
from wsss.functional.spanning_trees import SpanningTrees, minimum_spanning_trees, neighbour_distances

seeds, sides = st.integers(0, 10_000), st.integers(1, 12)


def joined(trees: SpanningTrees, image: int, pixels: int) -> set[tuple[int, int]]:
    """Pairs of pixels of one image that are parent and child."""
    pairs = torch.stack([trees.order, trees.order[trees.parent]]).sort(dim=0).values.T.tolist()
    return {(a % pixels, b % pixels) for a, b in pairs if a != b and a // pixels == image}


def draw_distances(seed: int, *shape: int, levels: int) -> Tensor:
    """Random lengths; few levels make many of them equal."""
    return torch.randint(levels, shape, generator=torch.Generator().manual_seed(seed)) / levels


def test_neighbours_are_compared_to_the_right_and_below() -> None:
    image = torch.tensor([[[0, 1, 3], [4, 6, 9]], [[0, 2, 2], [0, 0, 0]]]).float()
    right, below = [[5, 4, 0], [4, 9, 0]], [[16, 29, 40], [0, 0, 0]]
    assert neighbour_distances(image[None]).tolist() == [[right, below]]


def test_a_tree_takes_the_shortest_edges_and_hangs_from_the_middle() -> None:
    # pixels 0 1 2    lengths to the right 5 1   below 2 3 9
    #        3 4 5                         4 6
    distances = torch.tensor([[[5, 1, 0], [4, 6, 0]], [[2, 3, 9], [0, 0, 0]]]).float()[None]
    trees = minimum_spanning_trees(distances)
    # 12 (1), 03 (2), 14 (3), 34 (4), not 01 (5: a loop), 45 (6); from 4 down: 1 3 5, then 2 0
    assert joined(trees, 0, 6) == {(1, 2), (0, 3), (1, 4), (3, 4), (4, 5)}
    assert trees.order[0] == 4
    assert trees.starts == (0, 1, 4, 6)
    assert distances.flatten()[trees.edges].sum() == 1 + 2 + 3 + 4 + 6


def test_of_equal_edges_those_to_the_right_come_first_and_then_the_upper_left_ones() -> None:
    comb = {(0, 1), (1, 2), (3, 4), (4, 5), (6, 7), (7, 8), (0, 3), (3, 6)}
    assert joined(minimum_spanning_trees(torch.zeros(1, 2, 3, 3)), 0, 9) == comb


@settings(max_examples=40)
@given(seed=seeds, height=sides, width=sides, levels=st.sampled_from([1, 3, 2**20]))
def test_trees_are_those_of_kruskal_whatever_the_ties_and_the_rest_of_the_batch(
    seed: int, height: int, width: int, levels: int
) -> None:
    distances = draw_distances(seed, 3, 2, height, width, levels=levels)
    trees = minimum_spanning_trees(distances)
    for image in range(3):
        groups = list(range(height * width))
        expected = set()
        for _, pixel, neighbour in sorted_edges(distances[image]):
            here, there = groups[pixel], groups[neighbour]
            if here != there:
                expected.add((pixel, neighbour))
                groups = [here if group == there else group for group in groups]
        assert joined(trees, image, height * width) == expected


@settings(max_examples=20)
@given(seed=seeds)
def test_trees_are_as_short_as_those_of_scipy(seed: int) -> None:
    distances = torch.rand(1, 2, 20, 30, generator=torch.Generator().manual_seed(seed))
    trees = minimum_spanning_trees(distances)
    lengths, here, there = (np.array(part) for part in zip(*sorted_edges(distances[0]), strict=True))
    # SciPy would take an edge of length 0 for none
    shortest = minimum_spanning_tree(coo_array((lengths + 1, (here, there)), shape=(600, 600)))
    assert distances.flatten()[trees.edges].double().sum().item() == pytest.approx(shortest.sum() - 599, rel=1e-6)


@settings(max_examples=40)
@given(seed=seeds, height=sides, width=sides)
def test_nodes_come_level_by_level_and_know_their_pixels_edges_and_children(seed: int, height: int, width: int) -> None:
    distances = draw_distances(seed, 2, 2, height, width, levels=5)
    trees = minimum_spanning_trees(distances)
    nodes = torch.arange(2 * height * width)
    assert torch.equal(trees.order[trees.place], nodes)
    assert torch.equal(trees.parent[:2], nodes[:2])
    levels = torch.repeat_interleave(torch.tensor(trees.starts).diff())
    assert torch.equal(levels[trees.parent[2:]] + 1, levels[2:])
    ends = torch.stack([trees.order, trees.order[trees.parent]])[:, 2:]
    image, place = ends.min(dim=0).values // (height * width), ends.min(dim=0).values % (height * width)
    below = (ends.diff(dim=0)[0].abs() == width).long()
    assert torch.equal(trees.edges, (2 * image + below) * height * width + place)
    found = [
        (trees.starts[level] + number, trees.starts[level + 1] + child)
        for level, ranks in enumerate(trees.children)
        for children in ranks
        for number, child in enumerate(children.tolist())
    ]
    assert sorted(found) == sorted(zip(trees.parent[2:].tolist(), nodes[2:].tolist(), strict=True))


def test_an_image_too_large_for_a_tree_is_refused() -> None:
    with pytest.raises(ValueError, match="2097152 pixels at most, got 2048 × 1025"):
        minimum_spanning_trees(torch.zeros(1).expand(1, 2, 2048, 1025))
