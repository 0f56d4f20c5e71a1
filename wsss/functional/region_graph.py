"""Regions of an image as the nodes of a graph: what each is like, and which belong together."""

import math
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64, Integer, Real
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wsss.types import IGNORE, Image, LabelMap, Segments

with warnings.catch_warnings():
    # Importing torch-geometric scripts a class, which torch has begun to warn about.
    warnings.simplefilter("ignore", FutureWarning)
    from torch_geometric.data import Data as Data

REGION_FEATURES = 11
"""How many numbers `region_features` gives a region; the last is its area."""

EDGE_FEATURES = 4
"""How many numbers `build_region_graph` gives an edge."""

EdgeIndex = Int64[Tensor, "2 E"]


def region_areas(segments: Segments) -> Int64[Tensor, " S"]:
    """Count the pixels of each region.

    Args:
        segments: Region of each pixel.

    Returns:
        Pixels of region 0 … S-1.

    Raises:
        ValueError: If the numbers of the regions leave a gap or fall below 0.
    """
    return torch.from_numpy(_Regions(segments).areas.astype(np.int64))


def pool_regions(values: Real[Tensor, "D h w"], segments: Segments, *, anchor: float = 0.5) -> Float[Tensor, "S D"]:
    """Average a map over each region.

    A map coarser or finer than the segments is not resized: each pixel takes the cell that is nearest to it. Where
    regions are large, not all pixels are asked but those on a lattice, at most a cell of the map and a sixth of the
    mean region's side apart; of a region that it misses, all.

    Args:
        values: The map, at any resolution.
        segments: Region of each pixel, 0 … S-1 without gaps.
        anchor: Where in its block of pixels a cell is centred, as a share of the block; see ``Backbone.anchor``.

    Returns:
        Means; float64 when the map is, else float32.

    Raises:
        ValueError: If the numbers of the regions leave a gap.
    """
    return _Regions(segments).pool(values, anchor)


class _Regions:
    """The regions of one image; what counting and pooling need is found once.

    Args:
        segments: Region of each pixel, 0 … S-1 without gaps.
    """

    def __init__(self, segments: Segments) -> None:
        self.numbers = segments.int().contiguous().numpy()
        pixels, width = self.numbers.ravel(), self.numbers.shape[1]
        # a run: pixels of one region beside each other
        begins = np.ones(pixels.size, bool)
        np.not_equal(pixels[1:], pixels[:-1], out=begins[1:])
        begins[::width] = True
        starts = np.flatnonzero(begins)
        self.owners = pixels[starts].astype(np.int64)
        if self.owners.min() < 0:
            raise ValueError(f"segments must be numbered from 0, got {self.owners.min()}")
        self.ends = np.append(starts[1:], pixels.size) - 1
        self.lengths = self.ends + 1 - starts
        self.rows = starts // width
        self.columns = starts - self.rows * width
        self.areas = self.total(self.lengths)
        if not self.areas.all():
            raise ValueError(f"segments must be numbered without gaps, no pixel has {self.areas.argmin()}")
        self._shares: dict[tuple[int, int, float], _Shares] = {}

    def total(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Add up over each region what its runs have."""
        return np.bincount(self.owners, weights=values).astype(np.float64, copy=False)

    @cached_property
    def borders(self) -> NDArray[np.int64]:
        """Where a pixel and the one below it are of two regions: the place of the upper one, counted row by row."""
        return np.flatnonzero(self.numbers[1:] != self.numbers[:-1])

    def pool(self, values: Real[Tensor, "D h w"], anchor: float = 0.5) -> Float[Tensor, "S D"]:
        """Average a map over each region."""
        dtype = torch.float64 if values.dtype == torch.float64 else torch.float32
        grid = (values.shape[1], values.shape[2], anchor)
        if grid not in self._shares:
            self._shares[grid] = self._share(*grid)
        cells, starts, shares = self._shares[grid]
        features = values.flatten(1).T.to(dtype)
        return functional.embedding_bag(cells, features, starts, per_sample_weights=shares.to(dtype), mode="sum")

    def _share(self, rows: int, columns: int, anchor: float) -> "_Shares":
        """Find which cells of a map each region lies in, and how much of it in each."""
        numbers, regions, cells = self.numbers, len(self.areas), rows * columns
        height, width = numbers.shape
        row, column = _nearest_cells(height, rows, anchor) * columns, _nearest_cells(width, columns, anchor)
        asked = self._lattice(height, rows), self._lattice(width, columns)
        codes = (numbers[asked] * np.int64(cells) + row[asked[0], None] + column[asked[1]]).ravel()
        missed = np.bincount(numbers[asked].ravel(), minlength=regions) == 0
        if missed.any():
            rest = missed[numbers].nonzero()
            codes = np.append(codes, numbers[rest] * np.int64(cells) + row[rest[0]] + column[rest[1]])
        codes, points = np.unique(codes, return_counts=True)
        owners = codes // cells
        shares = points / np.bincount(owners, weights=points)[owners]
        starts = np.searchsorted(owners, np.arange(regions))
        return _Shares(*map(torch.from_numpy, (codes - owners * cells, starts, shares)))

    def _lattice(self, pixels: int, cells: int) -> slice:
        """Choose the rows (or columns) that are asked."""
        side = math.sqrt(self.numbers.size / len(self.areas))
        step = max(1, min(int(side / 6), round(pixels / cells)))
        return slice(step // 2, None, step)


def _nearest_cells(pixels: int, cells: int, anchor: float) -> NDArray[np.int64]:
    """Find the cell nearest to each pixel of a row (or column)."""
    places = (2 * np.arange(pixels) + 1) * cells / (2 * pixels) + (0.5 - anchor)
    return places.astype(np.int64).clip(0, cells - 1)


class _Shares(NamedTuple):
    """Cells of a map, region by region; where each region's begin; what share of the region lies in each."""

    cells: Int64[Tensor, " N"]
    starts: Int64[Tensor, " S"]
    shares: Float64[Tensor, " N"]


def majority_labels(labels: LabelMap, segments: Segments, *, classes: int) -> Int64[Tensor, " S"]:
    """Find the label that most labelled pixels of each region carry.

    Args:
        labels: Sparse labels, ``IGNORE`` where nothing is known.
        segments: Region of each pixel, 0 … S-1.
        classes: Number K of labels.

    Returns:
        A label for each region, the lowest of equals; ``IGNORE`` where no pixel is labelled.

    Raises:
        ValueError: If a label is neither below K nor ``IGNORE``.
    """
    if labels.min() < 0 or labels.max() > IGNORE:
        raise ValueError(f"labels must lie in 0 … {IGNORE}, got {int(labels.min())} … {int(labels.max())}")
    counts = _histogram(labels, segments, int(segments.max()) + 1, IGNORE + 1)
    wrong = counts[:, classes:IGNORE].any(dim=0).nonzero().flatten() + classes
    if len(wrong):
        raise ValueError(f"labels must be below {classes} or {IGNORE}, got {int(wrong[0])}")
    known = counts[:, :classes]
    return known.argmax(dim=1).where(known.any(dim=1), IGNORE)


def region_features(image: Image, segments: Segments) -> Float[Tensor, "S 11"]:
    """Describe the colour, the place and the extent of each region.

    Args:
        image: RGB bytes.
        segments: Region of each pixel, 0 … S-1 without gaps.

    Returns:
        float32 columns, all in [0, 1]: means of red, green, blue; their standard deviations; centre row and column;
        rows and columns that the region touches; its area. Lengths and areas are shares of the image.

    Raises:
        ValueError: If the numbers of the regions leave a gap.
    """
    return _describe(image, _Regions(segments))


def _describe(image: Image, regions: _Regions) -> Float[Tensor, "S 11"]:
    height, width = regions.numbers.shape
    means, squares = _colour_moments(image, regions) / regions.areas
    # Rounding may leave the variance of a region of one colour just below zero.
    deviations = np.sqrt((squares - means**2).clip(min=0))
    row = regions.total(regions.lengths * (regions.rows + 0.5)) / (regions.areas * height)
    column = regions.total(regions.lengths * (regions.columns + regions.lengths / 2)) / (regions.areas * width)
    place = [row, column, *_extents(regions), regions.areas / regions.numbers.size]
    return torch.from_numpy(np.concatenate([means, deviations, place]).T.astype(np.float32, order="C"))


def _colour_moments(image: Image, regions: _Regions) -> NDArray[np.float64]:
    """Add up the colours, in [0, 1], and their squares: (2, 3, S)."""
    totals = np.empty((2, 3, len(regions.areas)))
    for channel, colours in enumerate(image.flatten(1).numpy()):
        values = colours.astype(np.int32)
        totals[0, channel] = regions.total(_run_sums(values, regions.ends))
        totals[1, channel] = regions.total(_run_sums(values * values, regions.ends))
    return totals / np.array([255, 255**2])[:, None, None]


def _run_sums(values: NDArray[np.int32], ends: NDArray[np.int64]) -> NDArray[np.int32]:
    """Add up what lies in each run."""
    # The sums may overflow, but not what a run, which lies in one row, adds to them.
    sums = np.cumsum(values, dtype=np.int32)[ends]
    sums[1:] -= sums[:-1]
    return sums


def _extents(regions: _Regions) -> list[NDArray[np.float32]]:
    """Count the rows and the columns that each region touches, as shares of the image."""
    height, width = regions.numbers.shape
    rows = regions.owners * height + regions.rows
    # a region enters a column at the top of the image or at a border
    top = regions.numbers[0] * np.int64(width) + np.arange(width)
    lower = regions.numbers[1:].ravel()[regions.borders] * np.int64(width) + regions.borders % width
    return [
        _share_marked(rows, len(regions.areas), height),
        _share_marked(np.append(top, lower), len(regions.areas), width),
    ]


def _share_marked(places: NDArray[np.int64], rows: int, columns: int) -> NDArray[np.float32]:
    """Tell which share of each row of a table lies at the places given."""
    # numbers are averaged quicker than truth values
    table = np.zeros(rows * columns, np.float32)
    table[places] = 1
    return table.reshape(rows, columns).mean(axis=1)


def adjacent_regions(segments: Segments) -> tuple[EdgeIndex, Float[Tensor, " E"]]:
    """Join the regions that share a border.

    Args:
        segments: Region of each pixel, 0 … S-1.

    Returns:
        Pairs of regions, each in both directions, in rising order; and the length of their common border (in pixel
        sides) as a share of the border of the one that has less of it, in (0, 1]. The edge of the image is no border.
    """
    regions = _Regions(segments)
    places, shares = _adjacent(regions)
    return torch.from_numpy(_pairs(places, len(regions.areas))), torch.from_numpy(shares)


def _adjacent(regions: _Regions) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the places of neighbours in a square of all regions, and the shares of their borders."""
    count, numbers = len(regions.areas), regions.numbers.ravel()
    inner = np.flatnonzero(regions.columns > 0)
    before = np.append(regions.owners[inner - 1], numbers[regions.borders])
    after = np.append(regions.owners[inner], numbers[regions.borders + regions.numbers.shape[1]])
    sides = np.bincount(np.append(before * count + after, after * count + before), minlength=count * count)
    places = np.flatnonzero(sides > 0)
    first, second = _pairs(places, count)
    borders = np.bincount(first, weights=sides[places], minlength=count)
    shares = sides[places] / np.minimum(borders[first], borders[second])
    return places, shares.astype(np.float32)


def similar_regions(
    features: Float[Tensor, "S D"], neighbours: int, exclude: Int[Tensor, "2 F"] | None = None
) -> tuple[EdgeIndex, Float[Tensor, " E"]]:
    """Join each region to those most like it.

    Args:
        features: One row a region.
        neighbours: Most edges that one region asks for; it may be asked by more.
        exclude: Pairs that are not to be joined, in both directions.

    Returns:
        Pairs of regions, each in both directions, in rising order, no region with itself; and their cosines in [-1, 1].
    """
    count, cosines = len(features), _cosines(features)
    barred = None if exclude is None else (exclude[0] * count + exclude[1]).numpy()
    edges = _pairs(_nearest(cosines, neighbours, barred), count)
    return torch.from_numpy(edges), torch.from_numpy(_edge_cosines(cosines, edges))


def build_region_graph(
    image: Image,
    segments: Segments,
    levels: Sequence[Float[Tensor, "_ _ _"]],
    *,
    anchors: Sequence[float] | None = None,
    neighbours: int = 8,
    adjacency: bool = True,
    similarity: bool = True,
) -> Data:
    """Make the graph of an image: a node for each region, edges between neighbours and between look-alikes.

    Args:
        image: RGB bytes.
        segments: Region of each pixel, 0 … S-1 without gaps.
        levels: Feature maps of a network, each at any resolution.
        anchors: Where in its block of pixels a feature of each level is centred, as a share of the block; None takes
            the middle.
        neighbours: Look-alikes that each region asks for, beyond its neighbours in the image.
        adjacency: Whether neighbours in the image are joined.
        similarity: Whether look-alikes are joined; the same ones with and without ``adjacency``.

    Returns:
        A graph with ``x`` (S, D + 11): pooled network features, each level of length 1, then `region_features`;
        ``edge_index`` (2, E) in both directions; ``edge_attr`` (E, 4): 1 for neighbours and 0 for look-alikes, shared
        border (0 for look-alikes), distance of the mean colours in [0, 1], cosine of the network features, the mean
        over the image taken off, for all regions of a picture have much in common. All float32.

    Raises:
        ValueError: If the numbers of the regions leave a gap.
    """
    cut = _Regions(segments)
    regions = _describe(image, cut)
    anchors = [0.5] * len(levels) if anchors is None else anchors
    pooled = (cut.pool(level.float(), anchor) for level, anchor in zip(levels, anchors, strict=True))
    x = torch.cat([*(functional.normalize(level, dim=1) for level in pooled), regions], dim=1)
    seen, areas = x[:, :-REGION_FEATURES], regions[:, -1]
    cosines = _cosines(seen - areas @ seen / areas.sum())
    near, shares = _adjacent(cut)
    alike = _nearest(cosines, neighbours, near) if similarity else near[:0]
    if not adjacency:
        near, shares = near[:0], shares[:0]
    edges = _pairs(np.append(near, alike), len(x))
    attributes = np.zeros((edges.shape[1], EDGE_FEATURES), np.float32)
    attributes[: len(near), 0] = 1
    attributes[: len(near), 1] = shares
    attributes[:, 2] = _contrasts(regions[:, :3].numpy(), edges)
    attributes[:, 3] = _edge_cosines(cosines, edges)
    return Data(x=x, edge_index=torch.from_numpy(edges), edge_attr=torch.from_numpy(attributes))


def _cosines(features: Float[Tensor, "S D"]) -> NDArray[np.float32]:
    unit = functional.normalize(features, dim=1).numpy()
    # Of a matrix times itself numpy computes one half only.
    cosines = unit @ unit.T
    return cosines.clip(-1, 1, out=cosines)


def _nearest(cosines: NDArray[np.float32], neighbours: int, exclude: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Join each region to the ``neighbours`` of highest cosine that are neither itself nor excluded."""
    eligible = cosines.copy()
    np.fill_diagonal(eligible, -np.inf)
    if exclude is not None:
        eligible.ravel()[exclude] = -np.inf
    joined = _mark_largest(eligible, neighbours)
    return np.flatnonzero(joined | joined.T)


def _mark_largest(values: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Mark the ``count`` largest of each row of a square that are finite."""
    others = max(len(values) - count, 0)
    place = min(others, len(values) - 1)
    least = np.partition(values, place, axis=1)[:, place, None]
    marks = values >= np.maximum(least, np.finfo(values.dtype).min)
    # of several that equal the least, some are too many
    crowded = np.flatnonzero(np.count_nonzero(marks, axis=1) > count)
    if crowded.size:
        chosen = np.argpartition(values[crowded], place, axis=1)[:, others:]
        finite = np.isfinite(values[crowded[:, None], chosen])
        marks[crowded] = False
        marks[crowded[:, None], chosen] = finite
    return marks


def _pairs(places: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Tell the rows and the columns of places in a square."""
    rows = places // count
    return np.stack([rows, places - rows * count])


def _contrasts(colours: NDArray[np.float32], edges: NDArray[np.int64]) -> NDArray[np.float32]:
    """Measure how far the colours at the ends of each edge lie apart, in [0, 1]."""
    first, second = (colours.T.take(ends, axis=1) for ends in edges)
    return np.sqrt(np.square(first - second).sum(axis=0) / 3)


def _edge_cosines(cosines: NDArray[np.float32], edges: NDArray[np.int64]) -> NDArray[np.float32]:
    # A product of matrices may round its two halves differently, and both ways of an edge are to agree.
    return cosines[np.minimum(*edges), np.maximum(*edges)]


def _histogram(
    values: Integer[Tensor, "H W"], segments: Segments, regions: int, bins: int
) -> Int64[Tensor, "{regions} {bins}"]:
    """Count how often each value stands in each region."""
    codes = segments.int() * bins + values
    return torch.bincount(codes.flatten(), minlength=regions * bins).view(regions, bins)
