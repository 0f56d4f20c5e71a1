"""Minimum spanning trees of pixel grids, their nodes ordered by depth."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor
from torch.autograd.function import once_differentiable

MOST_PIXELS = 2**21
"""Per image: rank of the distance and index of an edge must fit into the 53 bits of a float64."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SpanningTrees:
    """One tree per image, all in one list of nodes: first the roots, then level by level downwards.

    Within a level, nodes with more children come first, so that the nodes with at least n children are contiguous.
    """

    order: Integer[Tensor, " N"]
    """Pixel of each node, as an index into the flattened batch."""

    place: Integer[Tensor, " N"]
    """Node of each pixel."""

    parent: Integer[Tensor, " N"]
    """Parent of each node; a root is its own parent."""

    edges: Integer[Tensor, " E"]
    """Edge from each node except the roots to its parent, as an index into the flattened neighbour distances."""

    starts: tuple[int, ...]
    """First node of each level, and finally the number of nodes."""

    children: tuple[tuple[np.ndarray, ...], ...]
    """For each level, the first children of its nodes, then their second children …, as indices into the next level."""


def neighbour_distances(features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 2 H W"]:
    """Compute the squared feature distance of each pixel to its right and lower neighbour.

    Args:
        features: A colour image, or features of a network.

    Returns:
        Squared distance to the right and to the lower neighbour; 0 where there is none.
    """
    return _NeighbourDistances.apply(features)


class _NeighbourDistances(torch.autograd.Function):
    """Gradient in eight passes over the features; autograd's own takes more than twice as many."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:  # noqa: ANN401 - torch creates a class of its own for it
        ctx.save_for_backward(features)
        batch, _, height, width = features.shape
        distances = features.new_zeros(batch, 2, height, width)
        distances[:, 0, :, :-1] = _steps(features, axis=3).square_().sum(dim=1)
        distances[:, 1, :-1] = _steps(features, axis=2).square_().sum(dim=1)
        return distances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401 - see above
        (features,) = ctx.saved_tensors
        result = torch.zeros_like(features)
        for direction, axis in enumerate((3, 2)):
            most = features.shape[axis] - 1
            pull = 2 * gradient[:, direction].unsqueeze(1).narrow(axis, 0, most)
            steps = _steps(features, axis).mul_(pull)
            result.narrow(axis, 1, most).add_(steps)
            result.narrow(axis, 0, most).sub_(steps)
        return result


def _steps(features: Tensor, axis: int) -> Tensor:
    most = features.shape[axis] - 1
    return features.narrow(axis, 1, most) - features.narrow(axis, 0, most)


@torch.no_grad()
def minimum_spanning_trees(distances: Float[Tensor, "B 2 H W"]) -> SpanningTrees:
    """Compute the minimum spanning tree of each image's pixel grid.

    Distances are compared in float32; of equally long edges the earlier one is taken, edges to the right first, row by
    row. The root is the pixel in the middle, which keeps the trees shallow.

    Args:
        distances: At least 0, see :func:`neighbour_distances`.

    Returns:
        The trees, on the device of the distances. They are computed on the CPU.

    Raises:
        ValueError: If an image has more than ``MOST_PIXELS`` pixels.
    """
    batch, _, height, width = distances.shape
    if height * width > MOST_PIXELS:
        raise ValueError(f"an image may have {MOST_PIXELS} pixels at most, got {height} × {width}; downscale it first")
    nodes = batch * height * width
    tree = minimum_spanning_tree(_graph(distances))
    visited, before = breadth_first_order(tree, nodes, directed=False)
    # an extra node above the roots of all images connects them; it is removed again
    pixels = visited[1:].astype(np.int64)
    places = np.empty(nodes + 1, np.int64)
    places[visited] = np.arange(-1, nodes)
    return _sorted_trees(pixels, places[before[pixels]], distances)


def _graph(distances: Tensor) -> csr_array:
    """Build one graph of all images; edge weights are replaced by keys that are unique within an image and never 0."""
    batch, _, height, width = distances.shape
    size = height * width
    exists = np.ones((batch, height, width, 2), bool)
    exists[:, :, -1, 0] = exists[:, -1, :, 1] = False
    # the bit patterns of non-negative floats have the same order as the floats
    bits = distances.float().contiguous().cpu().numpy().view(np.int32)
    keys = bits * float(2 * MOST_PIXELS) + np.arange(1, 2 * size + 1).reshape(2, height, width)
    pixels = np.arange(batch * size, dtype=np.int32).reshape(batch, height, width, 1)
    ends = (pixels + np.array([1, width], np.int32))[exists]
    middles = np.arange(batch, dtype=np.int32) * size + (height // 2) * width + width // 2
    pointers = np.zeros(batch * size + 2, np.int32)
    np.cumsum(exists.sum(axis=-1), out=pointers[1:-1])
    pointers[-1] = pointers[-2] + batch
    values = np.concatenate([keys.transpose(0, 2, 3, 1)[exists], np.ones(batch)])
    return csr_array((values, np.concatenate([ends, middles]), pointers), shape=(len(pointers) - 1,) * 2)


def _sorted_trees(pixels: np.ndarray, parents: np.ndarray, distances: Tensor) -> SpanningTrees:
    """Sort nodes in breadth-first order such that their parents (-1 above a root) never decrease."""
    batch = len(distances)
    following = np.bincount(parents + 1, minlength=len(pixels) + 1)
    first_child, counts = np.cumsum(following), following[1:]
    starts = _starts(first_child, batch)
    levels = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    ranked = np.argsort(8 * levels - counts, kind="stable")
    nodes = _inverse(ranked)
    order, parent = pixels[ranked], nodes[parents[ranked]]
    parent[:batch] = np.arange(batch)
    parts = {"order": order, "place": _inverse(order), "parent": parent, "edges": _edges(order, parent, distances)}
    return SpanningTrees(
        **{name: torch.from_numpy(part).to(distances.device) for name, part in parts.items()},
        starts=starts,
        children=_children(first_child[:-1][ranked], counts[ranked], nodes, starts),
    )


def _inverse(permutation: np.ndarray) -> np.ndarray:
    inverse = np.empty_like(permutation)
    inverse[permutation] = np.arange(len(permutation))
    return inverse


def _starts(first_child: np.ndarray, roots: int) -> tuple[int, ...]:
    """Return where levels begin: each level begins at the first child of the first node of the level above."""
    following = first_child.tolist()
    starts = [0, roots]
    while starts[-1] < len(following) - 1:
        starts.append(following[starts[-1]])
    return tuple(starts)


def _edges(order: np.ndarray, parent: np.ndarray, distances: Tensor) -> np.ndarray:
    """Find the index of each node's edge in the flattened distances."""
    batch, _, height, width = distances.shape
    pixels, above = order[batch:], order[parent[batch:]]
    upper = np.minimum(pixels, above)
    # in an image one pixel wide the lower neighbour is at distance 1 too
    vertical = np.abs(pixels - above) == width
    image, place = np.divmod(upper, height * width)
    return (2 * image + vertical) * (height * width) + place


def _children(
    first: np.ndarray, counts: np.ndarray, nodes: np.ndarray, starts: tuple[int, ...]
) -> tuple[tuple[np.ndarray, ...], ...]:
    """List the children of each level, see :class:`SpanningTrees`; ``first`` indexes nodes through ``nodes``."""
    most = int(counts.max(initial=1))
    parents = np.stack([np.add.reduceat(counts > rank, starts[:-1]) for rank in range(most)], axis=1).tolist()
    kids = [nodes[np.minimum(first + rank, len(nodes) - 1)] for rank in range(most)]
    return tuple(
        tuple(kids[rank][begin : begin + many] - end for rank, many in enumerate(level) if many)
        for begin, end, level in zip(starts[:-2], starts[1:-1], parents, strict=False)
    )
