"""Regions of an image as the nodes of a graph: what each is like, and which belong together."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64, Integer, Real
from scipy import sparse
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
    if segments.min() < 0:
        raise ValueError(f"segments must be numbered from 0, got {int(segments.min())}")
    areas = torch.bincount(segments.flatten())
    if not areas.all():
        raise ValueError(f"segments must be numbered without gaps, no pixel has {int(areas.argmin())}")
    return areas


def pool_regions(values: Real[Tensor, "D h w"], segments: Segments) -> Float[Tensor, "S D"]:
    """Average a map over each region.

    A map coarser or finer than the segments is read as if ``interpolate`` had resized it (bilinear, corners not
    aligned). But not the map is resized: the weight of each of its cells in each region is found, once for all
    channels.

    Args:
        values: The map, at any resolution.
        segments: Region of each pixel, 0 … S-1 without gaps.

    Returns:
        Means; float64 when the map is, else float32.

    Raises:
        ValueError: If the numbers of the regions leave a gap.
    """
    return _Pooling(segments)(values)


class _Pooling:
    """Averages maps over the regions of one image; what it needs for a size of maps is found once.

    Args:
        segments: Region of each pixel, 0 … S-1 without gaps.
    """

    def __init__(self, segments: Segments) -> None:
        self.segments = segments
        self.areas = region_areas(segments).numpy()
        self._weights: dict[tuple[int, int, type], sparse.sparray] = {}

    def __call__(self, values: Real[Tensor, "D h w"]) -> Float[Tensor, "S D"]:
        dtype = np.float64 if values.dtype == torch.float64 else np.float32
        place = (values.shape[1], values.shape[2], dtype)
        if place not in self._weights:
            self._weights[place] = self._weigh(*place)
        cells = values.flatten(1).T.to(torch.float64 if dtype == np.float64 else torch.float32)
        return torch.from_numpy((self._weights[place] @ cells.numpy()) / self.areas[:, None].astype(dtype))

    def _weigh(self, rows: int, columns: int, dtype: type) -> sparse.sparray:
        """Return the weight of each cell of a map in each region, (S, rows · columns)."""
        (height, width), pixels = self.segments.shape, self.segments.numel()
        # Column p of the membership has its only one in the row of the region of pixel p.
        owners, starts = self.segments.flatten().int().numpy(), np.arange(pixels + 1, dtype=np.int32)
        weights = sparse.csc_array((np.ones(pixels, dtype), owners, starts), shape=(len(self.areas), pixels))
        if (rows, columns) == (height, width):
            return weights
        weights = weights.tocsr() @ _interpolation(height, columns, width, 1, dtype)
        return weights @ _interpolation(1, rows, height, columns, dtype)


def _interpolation(outer: int, source: int, target: int, inner: int, dtype: type) -> sparse.csr_array:
    """Return the matrix of linear resizing along the middle axis: (outer, source, inner) to (outer, target, inner)."""
    places = ((np.arange(target) + 0.5) * source / target - 0.5).clip(0, source - 1)
    before = np.floor(places).astype(np.int32)
    beyond = (places - before).astype(dtype)
    pair = np.stack([before, np.minimum(before + 1, source - 1)], axis=1).astype(np.int32)
    share = np.stack([1 - beyond, beyond], axis=1)
    planes, lanes = np.arange(outer, dtype=np.int32), np.arange(inner, dtype=np.int32)
    cells = (planes[:, None, None, None] * source + pair[:, None, :]) * inner + lanes[:, None]
    shares = np.broadcast_to(share[:, None, :], cells.shape)
    starts = np.arange(0, cells.size + 1, 2, dtype=np.int32)
    shape = (outer * target * inner, outer * source * inner)
    return sparse.csr_array((shares.ravel(), cells.ravel(), starts), shape=shape)


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
    areas = region_areas(segments).double()
    height, width = segments.shape
    levels = torch.arange(256, dtype=torch.float64) / 255
    colours = [_histogram(channel, segments, len(areas), 256) for channel in image]
    means = torch.stack([counts @ levels for counts in colours], dim=1) / areas[:, None]
    squares = torch.stack([counts @ levels.square() for counts in colours], dim=1) / areas[:, None]
    # Rounding may leave the variance of a region of one colour just below zero.
    deviations = (squares - means.square()).clamp(min=0).sqrt()
    rows = _histogram(torch.arange(height)[:, None].expand(height, width), segments, len(areas), height)
    columns = _histogram(torch.arange(width).expand(height, width), segments, len(areas), width)
    centres = [counts @ _centres(counts.shape[1]) / areas for counts in (rows, columns)]
    extents = [(counts > 0).double().mean(dim=1) for counts in (rows, columns)]
    place = torch.stack([*centres, *extents, areas / segments.numel()], dim=1)
    return torch.cat([means, deviations, place], dim=1).float()


def _centres(cells: int) -> Float64[Tensor, "{cells}"]:
    return (torch.arange(cells, dtype=torch.float64) + 0.5) / cells


def adjacent_regions(segments: Segments) -> tuple[EdgeIndex, Float[Tensor, " E"]]:
    """Join the regions that share a border.

    Args:
        segments: Region of each pixel, 0 … S-1.

    Returns:
        Pairs of regions, each in both directions, in rising order; and the length of their common border (in pixel
        sides) as a share of the border of the one that has less of it, in (0, 1]. The edge of the image is no border.
    """
    regions = int(segments.max()) + 1
    numbers = segments.int()
    lengths = torch.zeros(regions * regions, dtype=torch.int64)
    for before, after in ((numbers[:, :-1], numbers[:, 1:]), (numbers[:-1], numbers[1:])):
        lengths += torch.bincount((before * regions + after).flatten(), minlength=regions * regions)
    square = lengths.view(regions, regions)
    square = (square + square.T).fill_diagonal_(0)
    edges = square.nonzero().T
    borders = square.sum(dim=1)
    return edges, square[edges[0], edges[1]] / torch.minimum(borders[edges[0]], borders[edges[1]])


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
    cosines = _cosines(features)
    edges = _nearest(cosines, neighbours, exclude)
    return edges, _edge_cosines(cosines, edges)


def build_region_graph(
    image: Image,
    segments: Segments,
    levels: Sequence[Float[Tensor, "_ _ _"]],
    *,
    neighbours: int = 8,
    adjacency: bool = True,
    similarity: bool = True,
) -> Data:
    """Make the graph of an image: a node for each region, edges between neighbours and between look-alikes.

    Args:
        image: RGB bytes.
        segments: Region of each pixel, 0 … S-1 without gaps.
        levels: Feature maps of a network, each at any resolution.
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
    pool = _Pooling(segments)
    pooled = torch.cat([functional.normalize(pool(level.float()), dim=1) for level in levels], dim=1)
    regions = region_features(image, segments)
    areas = regions[:, -1:]
    cosines = _cosines(pooled - (pooled * areas).sum(dim=0) / areas.sum())
    near, shares = adjacent_regions(segments)
    alike = _nearest(cosines, neighbours, near) if similarity else near[:, :0]
    if not adjacency:
        near, shares = near[:, :0], shares[:0]
    edges = torch.cat([near, alike], dim=1)
    adjacent = torch.cat([torch.ones_like(shares), shares.new_zeros(alike.shape[1])])
    border = torch.cat([shares, shares.new_zeros(alike.shape[1])])
    contrast = (regions[edges[0], :3] - regions[edges[1], :3]).norm(dim=1) / math.sqrt(3)
    return Data(
        x=torch.cat([pooled, regions], dim=1),
        edge_index=edges,
        edge_attr=torch.stack([adjacent, border, contrast, _edge_cosines(cosines, edges)], dim=1),
    )


def _cosines(features: Float[Tensor, "S D"]) -> Float[Tensor, "S S"]:
    unit = functional.normalize(features, dim=1)
    return (unit @ unit.T).clamp(-1, 1)


def _nearest(cosines: Float[Tensor, "S S"], neighbours: int, exclude: Int[Tensor, "2 F"] | None) -> EdgeIndex:
    """Join each region to the ``neighbours`` of highest cosine that are neither itself nor excluded."""
    regions = len(cosines)
    eligible = cosines.clone().fill_diagonal_(-torch.inf)
    if exclude is not None:
        eligible[exclude[0], exclude[1]] = -torch.inf
    best, nearest = eligible.topk(min(neighbours, regions), dim=1)
    asking, place = best.isfinite().nonzero(as_tuple=True)
    joined = torch.zeros_like(cosines, dtype=torch.bool)
    joined[asking, nearest[asking, place]] = True
    return (joined | joined.T).nonzero().T


def _edge_cosines(cosines: Float[Tensor, "S S"], edges: EdgeIndex) -> Float[Tensor, " E"]:
    # A product of matrices may round its two halves differently, and both ways of an edge are to agree.
    return cosines[torch.minimum(*edges), torch.maximum(*edges)]


def _histogram(
    values: Integer[Tensor, "H W"], segments: Segments, regions: int, bins: int
) -> Float64[Tensor, "{regions} {bins}"]:
    """Count how often each value stands in each region."""
    codes = segments.int() * bins + values
    return torch.bincount(codes.flatten(), minlength=regions * bins).view(regions, bins).double()
