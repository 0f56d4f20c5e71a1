from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from tests.drawing import picture
from wsss.functional.region_graph import (
    EDGE_FEATURES,
    REGION_FEATURES,
    adjacent_regions,
    build_region_graph,
    majority_labels,
    pool_regions,
    region_areas,
    region_features,
    similar_regions,
)
from wsss.functional.superpixels import SuperpixelSettings, slic_segments
from wsss.types import IGNORE


def random_segments(seed: int, height: int, width: int, regions: int) -> Tensor:
    """Scatter regions, none empty, not connected: no function may count on more."""
    numbers = np.arange(height * width) % min(regions, height * width)
    return torch.from_numpy(np.random.default_rng(seed).permutation(numbers).reshape(height, width))


def random_image(seed: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def slow_means(values: Tensor, segments: Tensor) -> Tensor:
    return torch.stack([values[:, segments == number].mean(dim=1) for number in range(int(segments.max()) + 1)])


def at_centres(values: Tensor, height: int, width: int) -> Tensor:
    """Enlarge or shrink a map: each pixel takes the cell that its centre lies in, the later one of two."""
    _, rows, columns = values.shape
    row = [int(Fraction(2 * place + 1, 2 * height) * rows) for place in range(height)]
    column = [int(Fraction(2 * place + 1, 2 * width) * columns) for place in range(width)]
    return values[:, row][:, :, column]


def edges_of(edge_index: Tensor) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in edge_index.T]


sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(seed=st.integers(0, 10_000), size=sizes, regions=st.integers(1, 20))
def test_means_equal_those_of_a_plain_loop(seed: int, size: tuple[int, int], regions: int) -> None:
    segments = random_segments(seed, *size, regions)
    values = torch.rand(4, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(pool_regions(values, segments), slow_means(values, segments))


@given(seed=st.integers(0, 10_000), size=sizes, other=sizes, regions=st.integers(2, 20))
def test_a_pixel_takes_the_cell_of_a_map_of_another_size_that_its_centre_lies_in(
    seed: int, size: tuple[int, int], other: tuple[int, int], regions: int
) -> None:
    segments = random_segments(seed, *size, regions)
    values = torch.rand(4, *other, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(pool_regions(values, segments), slow_means(at_centres(values, *size), segments))


def test_a_pixel_takes_the_nearest_of_cells_that_are_centred_elsewhere_in_their_blocks() -> None:
    values = torch.arange(3.0).view(1, 1, 3)
    segments = torch.arange(12).view(1, 12)
    # centred on pixels 0, 4 and 8; those as near to two cells take the latter
    first = pool_regions(values, segments, anchor=1 / 8).flatten()
    assert first.tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]
    last = pool_regions(values, segments, anchor=7 / 8).flatten()
    assert last.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    image = random_image(0, 1, 12)
    graph = build_region_graph(image, segments, [values + 1, values + 1], anchors=[1 / 8, 0.5])
    assert torch.equal(graph.x[:, :2], torch.ones(12, 2))


def test_large_regions_are_read_on_a_lattice_as_if_everywhere() -> None:
    image = functional.interpolate(random_image(0, 6, 8)[None], scale_factor=16)[0]
    segments = slic_segments(image, SuperpixelSettings(count=12))
    smooth = functional.interpolate(torch.rand(1, 5, 3, 4), (24, 32), mode="bilinear")[0].double()
    found = pool_regions(smooth, segments)
    torch.testing.assert_close(found, slow_means(at_centres(smooth, 96, 128), segments), atol=0.02, rtol=0)
    # no rough guess either: a row of the map more or less would be seen
    assert (found - slow_means(at_centres(smooth.roll(2, dims=1), 96, 128), segments)).abs().max() > 0.05


def test_a_region_that_the_lattice_misses_is_read_at_all_its_pixels() -> None:
    segments = torch.zeros(40, 40, dtype=torch.int64)
    segments[0, 0] = segments[20, 39] = 1
    values = torch.arange(100.0).view(1, 10, 10)
    # cells 0 and 59
    assert pool_regions(values, segments)[1].tolist() == [29.5]


@given(seed=st.integers(0, 10_000), size=sizes, other=sizes, regions=st.integers(1, 20))
def test_a_constant_stays_what_it_is(seed: int, size: tuple[int, int], other: tuple[int, int], regions: int) -> None:
    segments = random_segments(seed, *size, regions)
    means = pool_regions(torch.full((1, *other), 0.7), segments)
    torch.testing.assert_close(means, torch.full_like(means, 0.7))


def test_means_are_float32_unless_the_map_is_float64() -> None:
    segments = random_segments(0, 8, 8, 5)
    for kind in (torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32):
        values = torch.randint(0, 256, (2, 4, 4)).to(kind)
        means = pool_regions(values, segments)
        assert means.dtype == torch.float32
        torch.testing.assert_close(means, pool_regions(values.double(), segments).float())


def test_regions_numbered_with_a_gap_are_refused() -> None:
    gap, below = torch.tensor([[0, 2, 3]]), torch.tensor([[0, -1]])
    with pytest.raises(ValueError, match="numbered without gaps, no pixel has 1"):
        region_areas(gap)
    with pytest.raises(ValueError, match="numbered from 0, got -1"):
        region_areas(below)
    with pytest.raises(ValueError, match="without gaps"):
        pool_regions(torch.zeros(1, 1, 3), gap)


def test_a_region_takes_the_label_of_most_of_its_labelled_pixels() -> None:
    segments = picture("00112233", "00112233")
    labels = picture(".1220..2", "..121..2")
    # region 0: one 1; region 1: three 2, one 1; region 2: a draw of 0 and 1; region 3: two 2
    assert majority_labels(labels, segments, classes=3).tolist() == [1, 2, 0, 2]


def test_a_region_without_a_labelled_pixel_stays_open() -> None:
    assert majority_labels(picture("..11"), picture("0011"), classes=2).tolist() == [IGNORE, 1]


@given(seed=st.integers(0, 10_000), classes=st.integers(1, 30))
def test_majorities_equal_those_of_a_plain_loop(seed: int, classes: int) -> None:
    segments = random_segments(seed, 8, 9, 12)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (8, 9), generator=generator)
    labels[torch.rand(8, 9, generator=generator) < 0.6] = IGNORE
    expected = []
    for number in range(12):
        marks = [mark for mark in labels[segments == number].tolist() if mark != IGNORE]
        expected.append(min(set(marks), key=lambda mark: (-marks.count(mark), mark)) if marks else IGNORE)
    assert majority_labels(labels, segments, classes=classes).tolist() == expected


def test_a_wrong_label_is_named() -> None:
    with pytest.raises(ValueError, match="labels must be below 2 or 255, got 4"):
        majority_labels(picture("014"), picture("000"), classes=2)
    with pytest.raises(ValueError, match="labels must lie in 0 … 255, got -3 … 1"):
        majority_labels(torch.tensor([[0, 1, -3]]), picture("000"), classes=2)


def test_colour_place_and_extent_are_told_by_hand() -> None:
    image = torch.zeros(3, 2, 4, dtype=torch.uint8)
    image[0, :, :2] = 255
    image[1] = torch.tensor([[0, 0, 51, 51], [0, 0, 102, 204]])
    features = region_features(image, picture("0011", "0022"))
    expected = [
        # mean RGB, deviation RGB, row, column, height, width, area
        [1.0, 0.0, 0.0, 0, 0, 0, 0.5, 0.25, 1, 0.5, 4 / 8],
        [0.0, 0.2, 0.0, 0, 0, 0, 0.25, 0.75, 0.5, 0.5, 2 / 8],
        [0.0, 0.6, 0.0, 0, 0.2, 0, 0.75, 0.75, 0.5, 0.5, 2 / 8],
    ]
    torch.testing.assert_close(features, torch.tensor(expected), atol=1e-6, rtol=0)


@given(seed=st.integers(0, 10_000), size=sizes, regions=st.integers(1, 20))
def test_features_equal_those_of_a_plain_loop(seed: int, size: tuple[int, int], regions: int) -> None:
    image, segments = random_image(seed, *size), random_segments(seed, *size, regions)
    rows = []
    for number in range(int(segments.max()) + 1):
        mask = (segments == number).numpy()
        colours = image.numpy()[:, mask] / 255
        row, column = mask.nonzero()
        place = [(row + 0.5).mean() / size[0], (column + 0.5).mean() / size[1]]
        extent = [len(set(row)) / size[0], len(set(column)) / size[1], mask.mean()]
        rows.append([*colours.mean(axis=1), *colours.std(axis=1), *place, *extent])
    expected = torch.from_numpy(np.array(rows)).float()
    torch.testing.assert_close(region_features(image, segments), expected, atol=1e-6, rtol=1e-5)


def test_colours_of_a_large_bright_image_are_added_up_in_full() -> None:
    # the squares of all pixels, 3.9e9, and even those of a region, are more than 32 bits hold
    image = torch.full((3, 200, 300), 255, dtype=torch.uint8)
    image[0, 150:, :200] = 0
    segments = torch.zeros(200, 300, dtype=torch.int64)
    segments[:, 200:] = 1
    colours = region_features(image, segments)[:, :6]
    expected = [[0.75, 1, 1, 0.1875**0.5, 0, 0], [1, 1, 1, 0, 0, 0]]
    torch.testing.assert_close(colours, torch.tensor(expected))


def test_borders_are_measured_by_hand() -> None:
    edges, shares = adjacent_regions(picture("0011", "0011", "0222", "3222"))
    # sides: 0|1 2, 0|2 2 (below its right pixel, right of its lowest), 0|3 1, 1|2 2, 2|3 1
    # borders: 0 has 5, 1 has 4, 2 has 5, 3 has 2
    assert edges_of(edges) == [(0, 1), (0, 2), (0, 3), (1, 0), (1, 2), (2, 0), (2, 1), (2, 3), (3, 0), (3, 2)]
    lengths = {(0, 1): 2 / 4, (0, 2): 2 / 5, (0, 3): 1 / 2, (1, 2): 2 / 4, (2, 3): 1 / 2}
    expected = [lengths[min(pair), max(pair)] for pair in edges_of(edges)]
    assert shares.tolist() == pytest.approx(expected)


def test_a_region_enclosed_by_another_shares_its_whole_border() -> None:
    edges, shares = adjacent_regions(picture("0000", "0110", "0000"))
    assert edges_of(edges) == [(0, 1), (1, 0)]
    assert shares.tolist() == [1, 1]


def test_regions_that_touch_at_a_corner_only_are_not_adjacent() -> None:
    edges, _ = adjacent_regions(picture("01", "20"))
    assert edges_of(edges) == [(0, 1), (0, 2), (1, 0), (2, 0)]


@given(seed=st.integers(0, 10_000), size=sizes, regions=st.integers(1, 20))
def test_borders_equal_those_of_a_plain_loop(seed: int, size: tuple[int, int], regions: int) -> None:
    segments = random_segments(seed, *size, regions)
    lengths: dict[tuple[int, int], int] = {}
    for lines in (segments.tolist(), segments.T.tolist()):
        for line in lines:
            for a, b in pairwise(line):
                if a != b:
                    lengths[a, b] = lengths.get((a, b), 0) + 1
                    lengths[b, a] = lengths.get((b, a), 0) + 1
    borders = [sum(length for (a, _), length in lengths.items() if a == number) for number in range(regions)]
    edges, shares = adjacent_regions(segments)
    assert edges_of(edges) == sorted(lengths)
    expected = [length / min(borders[a], borders[b]) for (a, b), length in sorted(lengths.items())]
    assert shares.tolist() == pytest.approx(expected)


@given(
    seed=st.integers(0, 10_000), regions=st.integers(1, 15), neighbours=st.integers(1, 20), barred=st.integers(0, 12)
)
def test_similar_regions_equal_those_of_brute_force(seed: int, regions: int, neighbours: int, barred: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(regions, 6, generator=generator)
    one_way = torch.randint(regions, (2, barred), generator=generator)
    exclude = torch.cat([one_way, one_way.flip(0)], dim=1)
    expected: dict[tuple[int, int], float] = {}
    for a in range(regions):
        cosines = {b: float(functional.cosine_similarity(features[a], features[b], dim=0)) for b in range(regions)}
        allowed = [b for b in cosines if b != a and (a, b) not in edges_of(exclude)]
        for b in sorted(allowed, key=lambda b: -cosines[b])[:neighbours]:
            expected[a, b] = expected[b, a] = cosines[b]
    edges, cosines_found = similar_regions(features, neighbours, exclude)
    assert edges_of(edges) == sorted(expected)
    assert cosines_found.tolist() == pytest.approx([expected[pair] for pair in sorted(expected)], abs=1e-5)


def test_both_ways_of_an_edge_have_the_same_cosine() -> None:
    features = torch.randn(70, 300, generator=torch.Generator().manual_seed(0))
    edges, cosines = similar_regions(features, 9)
    found = dict(zip(edges_of(edges), cosines.tolist(), strict=True))
    assert all(found[a, b] == found[b, a] for a, b in found)


def test_regions_without_features_are_joined_with_cosine_zero() -> None:
    edges, cosines = similar_regions(torch.zeros(3, 4), 1)
    assert edges.shape[1] > 0
    assert not cosines.any()


def test_of_more_equals_than_asked_for_a_region_takes_no_more() -> None:
    # three directions, six regions each: of five equals two are taken
    features = torch.eye(3).repeat(6, 1)
    edges, cosines = similar_regions(features, 2)
    assert cosines.tolist() == [1] * edges.shape[1]
    assert 2 * 18 <= edges.shape[1] <= 2 * 2 * 18
    # where one of them stands out, it is not passed over for an equal of the rest
    standing = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    assert {(0, 4), (4, 0)} <= set(edges_of(similar_regions(standing, 2)[0]))


@pytest.fixture(name="inputs")
def graph_inputs() -> tuple[Tensor, Tensor, list[Tensor]]:
    image = functional.interpolate(random_image(0, 6, 8)[None], scale_factor=8)[0]
    generator = torch.Generator().manual_seed(1)
    levels = [torch.randn(12, 6, 8, generator=generator), torch.randn(5, 3, 4, generator=generator)]
    return image, slic_segments(image, SuperpixelSettings(count=40)), levels


def test_a_graph_tells_regions_and_edges(inputs: tuple[Tensor, Tensor, list[Tensor]]) -> None:
    image, segments, levels = inputs
    graph = build_region_graph(image, segments, levels, neighbours=3)
    pooled = torch.cat([functional.normalize(pool_regions(level, segments)) for level in levels], dim=1)
    colours = region_features(image, segments)
    assert colours.shape[1] == REGION_FEATURES
    assert torch.equal(graph.x, torch.cat([pooled, colours], dim=1))

    near, shares = adjacent_regions(segments)
    areas = region_areas(segments).float()[:, None]
    special = pooled - (pooled * areas).sum(dim=0) / areas.sum()
    alike, _ = similar_regions(special, 3, exclude=near)
    assert torch.equal(graph.edge_index, torch.cat([near, alike], dim=1))
    assert not set(edges_of(near)) & set(edges_of(alike))

    a, b = graph.edge_index
    nearby = torch.arange(len(a)) < near.shape[1]
    contrast = (colours[a, :3] - colours[b, :3]).square().mean(dim=1).sqrt()
    torch.testing.assert_close(graph.edge_attr[:, 0], nearby.float())
    torch.testing.assert_close(graph.edge_attr[nearby, 1], shares)
    assert not graph.edge_attr[~nearby, 1].any()
    torch.testing.assert_close(graph.edge_attr[:, 2], contrast)
    torch.testing.assert_close(graph.edge_attr[:, 3], functional.cosine_similarity(special[a], special[b]))
    assert graph.edge_attr.shape[1] == EDGE_FEATURES
    assert graph.validate()
    assert graph.is_undirected()
    assert not graph.has_self_loops()


def test_each_kind_of_edge_can_be_left_out(inputs: tuple[Tensor, Tensor, list[Tensor]]) -> None:
    whole = build_region_graph(*inputs)
    near = build_region_graph(*inputs, similarity=False)
    alike = build_region_graph(*inputs, adjacency=False)
    none = build_region_graph(*inputs, adjacency=False, similarity=False)
    assert torch.equal(torch.cat([near.edge_index, alike.edge_index], dim=1), whole.edge_index)
    assert torch.equal(torch.cat([near.edge_attr, alike.edge_attr]), whole.edge_attr)
    assert none.edge_index.shape == (2, 0)
    assert none.edge_attr.shape == (0, 4)
    for graph in (near, alike, none):
        assert torch.equal(graph.x, whole.x)


def test_one_region_is_a_graph_without_edges() -> None:
    graph = build_region_graph(random_image(0, 1, 1), torch.zeros(1, 1, dtype=torch.int64), [torch.ones(5, 1, 1)])
    assert graph.x.shape == (1, 16)
    assert graph.edge_index.shape == (2, 0)
    assert graph.edge_attr.shape == (0, 4)


def test_the_inputs_are_left_alone(inputs: tuple[Tensor, Tensor, list[Tensor]]) -> None:
    image, segments, levels = inputs
    tensors = [image, segments, *levels]
    copies = [tensor.clone() for tensor in tensors]
    build_region_graph(image, segments, levels)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(tensors, copies, strict=True))
