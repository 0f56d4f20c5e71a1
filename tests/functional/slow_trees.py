"""Spanning trees and their filter, by the book: every pair of pixels by itself."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


def sorted_edges(distances: Tensor) -> list[tuple[float, int, int]]:
    """Length and both pixels of each edge of one image, (2, H, W), shortest first, the earlier first of equal ones."""

    def edges() -> Iterator[tuple[float, int, int, int]]:
        _, height, width = distances.shape
        lengths = distances.tolist()
        for direction, step in enumerate((1, width)):
            for row in range(height - direction):
                for column in range(width - 1 + direction):
                    pixel = row * width + column
                    yield lengths[direction][row][column], direction, pixel, pixel + step

    return [(length, pixel, neighbour) for length, _, pixel, neighbour in sorted(edges())]


def path_lengths(distances: Tensor) -> np.ndarray:
    """Length of the way between any two pixels of one image along its tree (Kruskal, the table grows as trees join)."""
    pixels = distances[0].numel()
    groups = [[pixel] for pixel in range(pixels)]
    lengths = np.zeros((pixels, pixels))
    for length, pixel, neighbour in sorted_edges(distances):
        here, there = groups[pixel], groups[neighbour]
        if here is there:
            continue
        ways = lengths[here, pixel][:, None] + length + lengths[neighbour, there]
        lengths[np.ix_(here, there)], lengths[np.ix_(there, here)] = ways, ways.T
        for member in there:
            groups[member] = here
        here.extend(there)
    return lengths


def slow_filter(values: Tensor, distances: Tensor, sigma: float) -> Tensor:
    """Average the values (B, K, H, W), for neighbour distances (B, 2, H, W), by the table of all ways, in float64."""
    averages = torch.empty(values.shape, dtype=torch.float64)
    for image in range(len(values)):
        weights = torch.from_numpy(np.exp(-path_lengths(distances[image]) / sigma))
        rows = values[image].detach().double().flatten(1).T
        averages[image] = (weights @ rows / weights.sum(dim=1, keepdim=True)).T.reshape(values[image].shape)
    return averages
