"""Parameters by module beside the budgets of MODEL.

Budgets are guides: a module should lie within ±30 % of its own, the whole model, without the autoencoder, within ±20 %.
Source: MODEL §3, §6, §11, §15.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

#: Module → parameters that MODEL gives it, for the reference columns.
BUDGETS: dict[str, int] = {
    "experts.unified_hgcn": 200_000,
    "experts.perslay": 50_000,
    "experts.deepfm": 169_000,
    "experts.temporal": 500_000,
    "experts.lightgcn": 20_000,
    "experts.causal": 100_000,
    "experts.optimal_transport": 100_000,
    "experts.raw_scale": 12_000,
    "basket": 362_000,
    "auxiliary": 40_000,
}
WHOLE, BESIDE = 1_700_000, "autoencoder"
MODULE_LEEWAY, WHOLE_LEEWAY = 0.30, 0.20


@dataclass(frozen=True)
class Line:
    """One module's parameters; budget None where MODEL states none. `fits`: within its leeway, or without a budget."""

    module: str
    parameters: int
    budget: int | None
    leeway: float

    @property
    def fits(self) -> bool:
        return self.budget is None or abs(self.parameters / self.budget - 1) <= self.leeway


def lines(model: nn.Module) -> list[Line]:
    """Every expert and every other module, in order, and last the whole without the autoencoder."""
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        module = ".".join(parts[:2]) if parts[0] == "experts" else parts[0]
        counts[module] = counts.get(module, 0) + parameter.numel()
    found = [Line(module, count, BUDGETS.get(module), MODULE_LEEWAY) for module, count in counts.items()]
    whole = sum(counts.values()) - counts.get(BESIDE, 0)
    return [*found, Line(f"whole without {BESIDE}", whole, WHOLE, WHOLE_LEEWAY)]
