"""Networks: backbones, classification and segmentation heads, and the region graph network."""

from wsss.networks.deeplabv3plus import DeepLabV3Plus

NETWORKS: dict[str, type[DeepLabV3Plus]] = {"deeplabv3plus": DeepLabV3Plus}
"""Segmentation networks by name, each made from a backbone and a number of labels; see `segmenter.network`."""
