"""Filtering along minimum spanning trees (Song et al., NeurIPS 2019)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from wsss.functional.spanning_trees import SpanningTrees, minimum_spanning_trees, neighbour_distances


def tree_filter(
    values: Float[Tensor, "B K H W"], features: Float[Tensor, "B C H W"], *, sigma: float = 1.0
) -> Float[Tensor, "B K H W"]:
    """Average each pixel with all others of its image, weighted by similarity along the minimum spanning tree.

    The weight of a pair of pixels is exp(-d / sigma), d being the sum of the squared feature distances along the tree
    path between them. Run time is linear in the number of pixels: sums are passed from the leaves to the root and back.
    Gradients flow to the values, and to the features if they require one, with the tree held fixed.

    Args:
        values: The values to filter.
        features: The features that define similarity.
        sigma: Squared distance at which the weight has fallen to 1/e, greater than 0.

    Returns:
        Filtered values, in float32 or wider.

    Raises:
        ValueError: If sigma is not positive, values and features are not of as many images of one size, an image has no
            pixel, or too many for a tree.
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be greater than 0, got {sigma}")
    shapes = [(len(maps), *maps.shape[2:]) for maps in (values, features)]
    if shapes[0] != shapes[1] or not all(shapes[0][1:]):
        raise ValueError(f"values and features must have one batch, height and width, got {shapes[0]} and {shapes[1]}")
    kind = torch.promote_types(torch.promote_types(values.dtype, features.dtype), torch.float32)
    if not len(values):
        return values.to(kind)
    distances = neighbour_distances(features.to(kind))
    trees = minimum_spanning_trees(distances)
    batch, channels, height, width = values.shape
    lengths = distances.flatten().index_select(0, trees.edges)
    weights = torch.nn.functional.pad((-lengths / sigma).exp(), (batch, 0))
    rows = values.to(kind).permute(0, 2, 3, 1).reshape(-1, channels)
    sums = _TreeSums.apply(torch.nn.functional.pad(rows, (0, 1), value=1), weights, trees)
    averages = sums[:, :-1] / sums[:, -1:]
    return averages.reshape(batch, height, width, channels).permute(0, 3, 1, 2)


class _TreeSums(torch.autograd.Function):
    """Sums over all pixels of an image, each weighted by the product of the weights along the path to it.

    The matrix of these products is symmetric, so the gradient with respect to the values is the filtered gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch creates a class of its own for it
        rows: Tensor,
        weights: Tensor,
        trees: SpanningTrees,
    ) -> Tensor:
        below, sums = _both_ways(rows.index_select(0, trees.order), weights, trees)
        ctx.trees = trees
        ctx.save_for_backward(weights, *((below, sums) if ctx.needs_input_grad[1] else ()))
        return sums.index_select(0, trees.place)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:  # noqa: ANN401 - see above
        trees, (weights, *saved) = ctx.trees, ctx.saved_tensors
        pulled = _both_ways(gradient.index_select(0, trees.order), weights, trees)
        of_weights = _gradient_of_weights(saved, pulled, weights, trees) if saved else None
        return pulled[1].index_select(0, trees.place), of_weights, None


def _gradient_of_weights(
    saved: list[Tensor], pulled: tuple[Tensor, Tensor], weights: Tensor, trees: SpanningTrees
) -> Tensor:
    """Multiply the sums below each edge with the gradient sums beyond it, and vice versa."""
    (below, sums), (pulled_below, pulled_sums) = saved, pulled
    beyond = sums.index_select(0, trees.parent) - weights[:, None] * below
    pulled_beyond = pulled_sums.index_select(0, trees.parent) - weights[:, None] * pulled_below
    gradient = (pulled_below * beyond + below * pulled_beyond).sum(dim=1)
    gradient[: trees.starts[1]] = 0  # above a root there is no edge
    return gradient


def _both_ways(rows: Tensor, weights: Tensor, trees: SpanningTrees) -> tuple[Tensor, Tensor]:
    """Compute the weighted sum over each node's subtree, itself included, and then over the whole tree."""
    weights = weights[:, None]
    climb, descend = (_climb, _descend) if rows.device.type == "cpu" else (_climb_doubling, _descend_doubling)
    below = climb(rows, weights, trees)
    # the parent's sum already contains the node's own subtree, weighted once
    return below, descend(below * (1 - weights.square()), weights, trees)


def _climb(rows: Tensor, weights: Tensor, trees: SpanningTrees) -> Tensor:
    """Add the children to each node, level by level; in NumPy, whose call overhead is a third of torch's."""
    result = rows.detach().numpy().copy()
    factors, starts = weights.detach().numpy(), trees.starts
    for level in range(len(trees.children) - 1, -1, -1):
        begin, middle, end = starts[level : level + 3]
        lower = result[middle:end] * factors[middle:end]
        for children in trees.children[level]:
            result[begin : begin + len(children)] += lower.take(children, axis=0)
    return torch.from_numpy(result)


def _descend(rows: Tensor, weights: Tensor, trees: SpanningTrees) -> Tensor:
    """Add the parent to each node, level by level."""
    result = rows.detach().numpy().copy()
    factors, parent = weights.detach().numpy(), trees.parent.numpy()
    for begin, end in zip(trees.starts[1:-1], trees.starts[2:], strict=True):
        upper = result.take(parent[begin:end], axis=0)
        result[begin:end] += np.multiply(upper, factors[begin:end], out=upper)
    return torch.from_numpy(result)


def _climb_doubling(rows: Tensor, weights: Tensor, trees: SpanningTrees) -> Tensor:
    """Add the descendants 1, 2, 4 … levels below to each node: few kernel launches for a GPU."""
    for reach, ancestors in _doublings(weights, trees):
        rows = rows.index_add(0, ancestors, rows * reach)
    return rows


def _descend_doubling(rows: Tensor, weights: Tensor, trees: SpanningTrees) -> Tensor:
    """Add the ancestors 1, 2, 4 … levels above to each node."""
    for reach, ancestors in _doublings(weights, trees):
        rows = torch.addcmul(rows, reach, rows.index_select(0, ancestors))
    return rows


def _doublings(weights: Tensor, trees: SpanningTrees) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the ancestors 1, 2, 4 … levels above, and the products of the weights up to them; 0 where there is none."""
    ancestors = trees.parent
    for _ in range((len(trees.starts) - 2).bit_length()):
        yield weights, ancestors
        weights, ancestors = weights * weights.index_select(0, ancestors), ancestors.index_select(0, ancestors)
