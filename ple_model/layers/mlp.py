"""The plain network of this library: linear layers, each normalised, activated and thinned out."""

from __future__ import annotations

from torch import nn

from ple_model.layers.dropout import Dropout


def mlp(width: int, hidden: tuple[int, ...], dropout: float) -> nn.Sequential:
    """Linear, LayerNorm, SiLU, dropout for each hidden width."""
    layers: list[nn.Module] = []
    for out in hidden:
        layers += [nn.Linear(width, out), nn.LayerNorm(out), nn.SiLU(), Dropout(dropout)]
        width = out
    return nn.Sequential(*layers)
