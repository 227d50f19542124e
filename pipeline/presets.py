"""Named settings of a training: what a deployment starts from.

`default` follows the measurements (docs/decisions/0010), `reference` are the numbers of MODEL, `reference_members` the
same with members and a wide expert, and `trunk` is the default without any other expert: what gates and experts have
to beat. A setting that an operator gives replaces that of the preset, key by key.
"""

from collections.abc import Mapping
from typing import Any

Values = dict[str, Any]

_RATE_OF_EXPERTS = 0.2


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> Values:
    """`above` over `below`, key by key in mappings; anything else is replaced as a whole."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def _wide_and(*experts: str) -> Values:
    """The wide expert and others, whose rate is a part of its: they learn customers by heart sooner."""
    return {
        "network": {"experts": [{"name": name} for name in ("wide", *experts)]},
        "training": {"expert_rates": dict.fromkeys(experts, _RATE_OF_EXPERTS)},
    }


_LEAN: Values = {
    "losses": "plain",
    "network": {
        "members": 8,
        "gate": {"preferred": ["wide"], "dropout": 0.3},
        "basket": {"hidden": [], "width": 128},
        "tower": {"hidden": [], "dropout": 0.0},
        "weighting": {"strategy": "fixed"},
        "evidential": {"enabled": False},
        "autoencoder": {"enabled": False, "active": 32},
        "repeat": {"enabled": True},
        "linear": {"enabled": True},
        "classes": {"enabled": True},
        "task_experts": {"enabled": True},
        "adatt": {"enabled": False},
    },
    "training": {
        "phase1_epochs": 5,
        "phase2_epochs": 0,
        "warmup_epochs": 0,
        "restart_epochs": 5,
        "batch_size_cpu": 256,
        "batch_size_gpu": 256,
        "precision": "float32",  # docs/results/gpu.md
        "learning_rate": 2e-3,
        "weight_decay": 3e-4,
        "clip_norm": 1.0,
        "best_epoch": "task",
        "average": 0.99,
    },
}
_REFERENCE: Values = {
    "losses": "task",
    "network": {
        "experts": [
            {"name": name}
            for name in (
                *("unified_hgcn", "perslay", "deepfm", "temporal", "lightgcn", "causal"),
                *("optimal_transport", "raw_scale"),
            )
        ],
    },
}

PRESETS: dict[str, Values] = {
    "default": merged(_LEAN, _wide_and("lightgcn", "unified_hgcn")),
    "trunk": merged(_LEAN, _wide_and()),
    "reference": _REFERENCE,
    "reference_members": merged(
        _REFERENCE,
        {"network": {"members": 8, "experts": [*_REFERENCE["network"]["experts"], {"name": "wide"}]}},
    ),
}
