"""Region graphs: one node per superpixel with its features, edges between adjacent and similar regions."""

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
"""Number of `region_features` of a region; the last one is its area."""

EDGE_FEATURES = 4
"""Number of edge features that `build_region_graph` computes."""

EdgeIndex = Int64[Tensor, "2 E"]


def region_areas(segments: Segments) -> Int64[Tensor, " S"]:
    """Count the pixels of each region.

    Args:
        segments: Region of each pixel.

    Returns:
        Pixels of region 0 … S-1.

    Raises:
        ValueError: If the numbers of the regions have gaps or start below 0.
    """
    return torch.from_numpy(_Regions(segments).areas.astype(np.int64))


def pool_regions(values: Real[Tensor, "D h w"], segments: Segments, *, anchor: float = 0.5) -> Float[Tensor, "S D"]:
    """Average a map over each region.

    A map of another resolution than the segments is not resized: each pixel takes the value of the nearest cell. Where
    regions are large, not all pixels are read but only those on a lattice, whose spacing is at most a cell of the map
    and a sixth of the mean region's side; regions that the lattice misses are read completely.

    Args:
        values: The map, at any resolution.
        segments: Region of each pixel, 0 … S-1 without gaps.
        anchor: Position of a cell's centre in its block of pixels, as a share of the block; see ``Backbone.anchor``.

    Returns:
        Means; float64 if the map is, else float32.

    Raises:
        ValueError: If the numbers of the regions have gaps.
    """
    return _Regions(segments).pool(values, anchor)


class _Regions:
    """The regions of one image; what counting and pooling need is computed once.

    Args:
        segments: Region of each pixel, 0 … S-1 without gaps.
    """

    def __init__(self, segments: Segments) -> None:
        self.numbers = np.ascontiguousarray(segments.numpy(), dtype=np.int32)
        pixels, width = self.numbers.ravel(), self.numbers.shape[1]
        # a run: adjacent pixels of a row that belong to one region
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
        """Sum a value per run over each region."""
        return np.bincount(self.owners, weights=values).astype(np.float64, copy=False)

    @cached_property
    def borders(self) -> NDArray[np.int64]:
        """Flat indices of pixels whose lower neighbour belongs to another region."""
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
        """Find the map cells that each region overlaps, and the region's share in each of them."""
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
        """Choose the rows (or columns) that are read."""
        side = math.sqrt(self.numbers.size / len(self.areas))
        step = max(1, min(int(side / 6), round(pixels / cells)))
        return slice(step // 2, None, step)


def _nearest_cells(pixels: int, cells: int, anchor: float) -> NDArray[np.int64]:
    """Find the cell nearest to each pixel of a row (or column)."""
    places = (2 * np.arange(pixels) + 1) * cells / (2 * pixels) + (0.5 - anchor)
    return places.astype(np.int64).clip(0, cells - 1)


class _Shares(NamedTuple):
    """Map cells, region by region; start of each region's cells; share of the region in each cell."""

    cells: Int64[Tensor, " N"]
    starts: Int64[Tensor, " S"]
    shares: Float64[Tensor, " N"]


def majority_labels(labels: LabelMap, segments: Segments, *, classes: int) -> Int64[Tensor, " S"]:
    """Find the most frequent label among the labelled pixels of each region.

    Args:
        labels: Sparse labels, ``IGNORE`` where unlabelled.
        segments: Region of each pixel, 0 … S-1.
        classes: Number K of labels.

    Returns:
        A label for each region, the smallest of equally frequent ones; ``IGNORE`` where no pixel is labelled.

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
    """Compute colour, position and extent of each region.

    Args:
        image: RGB bytes.
        segments: Region of each pixel, 0 … S-1 without gaps.

    Returns:
        float32 columns, all in [0, 1]: means of red, green, blue; their standard deviations; centre row and column;
        number of rows and columns that the region touches; its area. Lengths and areas are relative to the image.

    Raises:
        ValueError: If the numbers of the regions have gaps.
    """
    return _describe(image, _Regions(segments))


def _describe(image: Image, regions: _Regions) -> Float[Tensor, "S 11"]:
    height, width = regions.numbers.shape
    means, squares = _colour_moments(image, regions) / regions.areas
    # rounding may make the variance of a region of one colour slightly negative
    deviations = np.sqrt((squares - means**2).clip(min=0))
    row = regions.total(regions.lengths * (regions.rows + 0.5)) / (regions.areas * height)
    column = regions.total(regions.lengths * (regions.columns + regions.lengths / 2)) / (regions.areas * width)
    place = [row, column, *_extents(regions), regions.areas / regions.numbers.size]
    return torch.from_numpy(np.concatenate([means, deviations, place]).T.astype(np.float32, order="C"))


def _colour_moments(image: Image, regions: _Regions) -> NDArray[np.float64]:
    """Sum the colours, in [0, 1], and their squares over each region: (2, 3, S)."""
    totals = np.empty((2, 3, len(regions.areas)))
    for channel, colours in enumerate(image.flatten(1).numpy()):
        values = colours.astype(np.int32)
        totals[0, channel] = regions.total(_run_sums(values, regions.ends))
        totals[1, channel] = regions.total(_run_sums(values * values, regions.ends))
    return totals / np.array([255, 255**2])[:, None, None]


def _run_sums(values: NDArray[np.int32], ends: NDArray[np.int64]) -> NDArray[np.int32]:
    """Sum the values of each run."""
    # the cumulative sums may overflow, but differences of them over a run, which lies in one row, are exact
    sums = np.cumsum(values, dtype=np.int32)[ends]
    sums[1:] -= sums[:-1]
    return sums


def _extents(regions: _Regions) -> list[NDArray[np.float32]]:
    """Count the rows and columns that each region touches, as shares of the image."""
    height, width = regions.numbers.shape
    rows = regions.owners * height + regions.rows
    # a region enters a column at the top of the image or at a border with another region
    top = regions.numbers[0] * np.int64(width) + np.arange(width)
    lower = regions.numbers[1:].ravel()[regions.borders] * np.int64(width) + regions.borders % width
    return [
        _share_marked(rows, len(regions.areas), height),
        _share_marked(np.append(top, lower), len(regions.areas), width),
    ]


def _share_marked(places: NDArray[np.int64], rows: int, columns: int) -> NDArray[np.float32]:
    """Return which share of each row of a table is marked by the given flat indices."""
    # averaging floats is faster than averaging booleans
    table = np.zeros(rows * columns, np.float32)
    table[places] = 1
    return table.reshape(rows, columns).mean(axis=1)


def adjacent_regions(segments: Segments) -> tuple[EdgeIndex, Float[Tensor, " E"]]:
    """Connect the regions that share a border.

    Args:
        segments: Region of each pixel, 0 … S-1.

    Returns:
        Pairs of regions, each in both directions, in ascending order; and the length of their common border (in pixel
        sides) divided by the shorter of their two perimeters, in (0, 1]. The edge of the image is not a border.
    """
    regions = _Regions(segments)
    places, shares = _adjacent(regions)
    return torch.from_numpy(_pairs(places, len(regions.areas))), torch.from_numpy(shares)


def _adjacent(regions: _Regions) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the adjacent pairs as flat indices of a square matrix, and their shares of the border."""
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
    """Connect each region to its nearest neighbours by cosine similarity.

    Args:
        features: One row per region.
        neighbours: Number of neighbours that each region selects; others may select it in addition.
        exclude: Pairs that must not be connected, in both directions.

    Returns:
        Pairs of regions, each in both directions, in ascending order, without loops; and their cosines in [-1, 1].
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
    """Build the graph of an image: one node per region, edges between adjacent and between similar regions.

    Args:
        image: RGB bytes.
        segments: Region of each pixel, 0 … S-1 without gaps.
        levels: Feature maps of a network, each at any resolution.
        anchors: Position of a feature's centre in its block of pixels at each level, as a share of the block; None
            means the middle.
        neighbours: Number of similar regions that each region selects, in addition to adjacent ones.
        adjacency: Whether adjacent regions are connected.
        similarity: Whether similar regions are connected; the same ones with and without ``adjacency``.

    Returns:
        A graph with ``x`` (S, D + 11): pooled network features, each level normalised to length 1, then
        `region_features`; ``edge_index`` (2, E) in both directions; ``edge_attr`` (E, 4): 1 for adjacent and 0 for
        similar regions, shared border (0 for similar regions), distance of the mean colours in [0, 1], cosine of the
        network features after subtracting their mean over the image, which all regions have in common. All float32.

    Raises:
        ValueError: If the numbers of the regions have gaps.
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
    unit = functional.normalize(features, dim=1)
    # numpy would compute only one half, but in threads of its own, which hold up those of torch for milliseconds
    return (unit @ unit.T).clamp_(-1, 1).numpy()


def _nearest(cosines: NDArray[np.float32], neighbours: int, exclude: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Connect each region to the ``neighbours`` regions of highest cosine that are neither itself nor excluded."""
    eligible = cosines.copy()
    np.fill_diagonal(eligible, -np.inf)
    if exclude is not None:
        eligible.ravel()[exclude] = -np.inf
    joined = _mark_largest(eligible, neighbours)
    return np.flatnonzero(joined | joined.T)


def _mark_largest(values: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Mark the ``count`` largest finite values of each row of a square matrix."""
    others = max(len(values) - count, 0)
    place = min(others, len(values) - 1)
    least = np.partition(values, place, axis=1)[:, place, None]
    marks = values >= np.maximum(least, np.finfo(values.dtype).min)
    # ties with the smallest selected value may select too many
    crowded = np.flatnonzero(np.count_nonzero(marks, axis=1) > count)
    if crowded.size:
        chosen = np.argpartition(values[crowded], place, axis=1)[:, others:]
        finite = np.isfinite(values[crowded[:, None], chosen])
        marks[crowded] = False
        marks[crowded[:, None], chosen] = finite
    return marks


def _pairs(places: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return rows and columns of flat indices of a square matrix."""
    rows = places // count
    return np.stack([rows, places - rows * count])


def _contrasts(colours: NDArray[np.float32], edges: NDArray[np.int64]) -> NDArray[np.float32]:
    """Compute the distance between the mean colours at the ends of each edge, in [0, 1]."""
    first, second = (colours.T.take(ends, axis=1) for ends in edges)
    return np.sqrt(np.square(first - second).sum(axis=0) / 3)


def _edge_cosines(cosines: NDArray[np.float32], edges: NDArray[np.int64]) -> NDArray[np.float32]:
    # a matrix product may round its two halves differently, but both directions of an edge must agree
    return cosines[np.minimum(*edges), np.maximum(*edges)]


def _histogram(
    values: Integer[Tensor, "H W"], segments: Segments, regions: int, bins: int
) -> Int64[Tensor, "{regions} {bins}"]:
    """Count how often each value occurs in each region."""
    codes = segments.int() * bins + values
    return torch.bincount(codes.flatten(), minlength=regions * bins).view(regions, bins)
