"""One network for the region graphs of all images: attention over neighbouring regions."""

import warnings

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

with warnings.catch_warnings():
    # importing torch-geometric scripts a class, which torch has begun to warn about
    warnings.simplefilter("ignore", FutureWarning)
    from torch_geometric.nn import GATv2Conv


class RegionLayer(nn.Module):
    """Message passing from neighbours, then a per-node MLP; both are pre-normalised residual branches.

    Without edges the first branch adds exactly nothing, so the same layer is then a plain per-node network.

    Args:
        hidden: Channels of a node.
        heads: Attention heads; must divide ``hidden``.
        edge_channels: Channels of an edge.
        dropout: Dropout rate of attention weights and channels.
    """

    def __init__(self, hidden: int, heads: int, edge_channels: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden)
        # own state passes through the residual; a self loop or a bias would affect nodes without neighbours too
        self.attention = GATv2Conv(
            hidden,
            hidden // heads,
            heads=heads,
            dropout=dropout,
            add_self_loops=False,
            edge_dim=edge_channels,
            bias=False,
        )
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(hidden),
            nn.Linear(hidden, 2 * hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * hidden, hidden),
            nn.Dropout(dropout),
        )

    def forward(
        self,
        nodes: Float[Tensor, "N hidden"],
        edge_index: Int[Tensor, "2 E"],
        edge_attr: Float[Tensor, "E edge_channels"],
    ) -> Float[Tensor, "N hidden"]:
        """Update the nodes."""
        nodes = nodes + self.attention(self.attention_norm(nodes), edge_index, edge_attr)
        return nodes + self.feed_forward(nodes)


class RegionGNN(nn.Module):
    """Classifies every region from its own features and its neighbours' (GATv2: Brody et al., ICLR 2022).

    Args:
        node_channels: Channels of ``x``.
        cam_channels: Channels of ``cams``, including a flag for hidden ones; 0 for a network without CAM input.
        edge_channels: Channels of ``edge_attr``.
        classes: Number K of labels, background included.
        hidden: Hidden channels of a node; a multiple of ``heads``.
        layers: Number of message passing layers.
        heads: Attention heads.
        dropout: Dropout rate of channels and attention weights.
    """

    node_mean: Tensor
    node_deviation: Tensor

    def __init__(
        self,
        node_channels: int,
        cam_channels: int,
        edge_channels: int,
        classes: int,
        *,
        hidden: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise ValueError(f"hidden must be a multiple of heads ({heads}), got {hidden}")
        self.register_buffer("node_mean", torch.zeros(node_channels))
        self.register_buffer("node_deviation", torch.ones(node_channels))
        self.enter = nn.Sequential(nn.Dropout(dropout), nn.Linear(node_channels + cam_channels, hidden), nn.GELU())
        self.layers = nn.ModuleList(RegionLayer(hidden, heads, edge_channels, dropout) for _ in range(layers))
        self.leave = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, classes))

    def standardise_by(self, mean: Float[Tensor, " node_channels"], deviation: Float[Tensor, " node_channels"]) -> None:
        """Set the feature statistics of the training set, by which ``x`` is standardised from then on.

        They are part of the state dict. Without them a few colours outweigh a thousand L2-normalised features.

        Args:
            mean: Mean of each channel.
            deviation: Standard deviation of each channel; a constant channel is only shifted.
        """
        self.node_mean.copy_(mean)
        self.node_deviation.copy_(torch.where(deviation > 1e-6, deviation, 1))

    def forward(
        self,
        x: Float[Tensor, "N node_channels"],
        cams: Float[Tensor, "N cam_channels"],
        edge_index: Int[Tensor, "2 E"],
        edge_attr: Float[Tensor, "E edge_channels"],
    ) -> Float[Tensor, "N K"]:
        """Compute one logit per label for every node.

        Args:
            x: Features of the nodes.
            cams: CAM scores of the nodes, partly hidden by the caller.
            edge_index: From row 0 to row 1; may be empty.
            edge_attr: Features of the edges.
        """
        nodes = self.enter(torch.cat([(x - self.node_mean) / self.node_deviation, cams], dim=1))
        for layer in self.layers:
            nodes = layer(nodes, edge_index, edge_attr)
        return self.leave(nodes)
