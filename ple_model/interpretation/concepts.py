"""Report of concepts: the meaning of each latent of the sparse autoencoder.

For every latent that is ever active: how selective it is, how often it is active, the features and tasks whose values
it rises and falls with, and the customers in whom it is strongest. Rows come in batches and only sums are kept, so
memory does not grow with customers.
Source: MODEL §10; Vinje and Gallant, "Sparse coding and decorrelation in primary visual cortex during natural vision"
(2000), selectivity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ple_model.config import InputConfig
from ple_model.epochs import Network
from ple_model.inputs import Inputs
from ple_model.multitask import evaluating
from ple_model.serving.inference import BLOCK
from ple_model.tasks import kind_of

COMMON = 10
"""Customers that a latent must be active in to stand among the selective ones: one of a few is a coincidence."""


class _Correlations:
    """Sums for the Pearson correlation of L latents with C columns over the rows where a column has a value.

    Columns are shifted by their first mean and summed in float64, so large means cost no digits.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.shift: Tensor | None = None
        self.sums: list[Tensor] = []

    def add(self, latents: Tensor, values: Tensor, given: Tensor) -> None:
        """latents [R, L], values [R, C], arbitrary where `given` [R, C] is False."""
        z, mask = latents.double(), given.double()
        values = values.double().masked_fill(~given, 0.0)
        if self.shift is None:
            self.shift = values.sum(0) / mask.sum(0).clamp(min=1.0)
        x = (values - self.shift) * mask
        sums = [mask.sum(0), x.sum(0), x.square().sum(0), z.T @ mask, z.square().T @ mask, z.T @ x]
        self.sums = [a + b for a, b in zip(self.sums, sums, strict=True)] if self.sums else sums

    def result(self) -> Tensor:
        """[L, C] in [−1, 1]; 0 where a latent or a column does not vary."""
        n, x, xx, z, zz, zx = self.sums
        n = n.clamp(min=1.0)
        covariance = zx - z * x / n
        spread_z, spread_x = zz - z.square() / n, xx - x.square() / n
        tiny_z, tiny_x = 1e-12 * zz, 1e-12 * xx  # rounding errors of a constant
        varies = (spread_z > tiny_z) & (spread_x > tiny_x)
        scale = (spread_z.clamp(min=0.0) * spread_x.clamp(min=0.0)).sqrt()
        return torch.where(varies, covariance / torch.where(varies, scale, 1.0), 0.0).clamp(-1.0, 1.0)


class ConceptReport:
    """Gathers latents [R, L] with features and predictions of the same rows; `frame` is the report so far."""

    def __init__(
        self,
        inputs: InputConfig,
        strongest: int = 5,
        customers: int = 5,
        classes: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """strongest: features and tasks named for each latent. customers: named for each latent. classes: task → names
        of its classes or outputs."""
        self.config, self.strongest, self.kept, self.classes = inputs, strongest, customers, classes or {}
        self.features = _Correlations([inputs.columns[i] for i in inputs.present])
        self.tasks: _Correlations | None = None
        self.rows = 0
        self.active: Tensor | None = None
        self.total: Tensor | None = None
        self.squares: Tensor | None = None
        self.top_values = torch.zeros(0, 0)
        self.top_rows = torch.zeros(0, 0, dtype=torch.int64)
        self.customers: dict[int, str] = {}

    @torch.no_grad()
    def add(self, latents: Tensor, inputs: Inputs, tasks: Mapping[str, Tensor], customers: Sequence[str]) -> None:
        """One batch of R customers, each of them in one batch only.

        tasks: name → predictions [R], or [R, K] whose columns are named `name[class]`. Raw columns count as
        sign·log1p|x|: their largest values would otherwise be all that a correlation sees.
        Raises ValueError where the numbers of rows differ.
        """
        latents = latents.detach().float().cpu()
        lengths = {"inputs": len(inputs), "customers": len(customers)} | {n: len(v) for n, v in tasks.items()}
        if wrong := {name: rows for name, rows in lengths.items() if rows != len(latents)}:
            raise ValueError(f"{len(latents)} rows of latents, but {wrong}")
        present = list(self.config.present)
        values, given = inputs.features[:, present].cpu().float(), inputs.features_mask[:, present].cpu()
        raw = torch.tensor(present) >= self.config.normalised
        values = torch.where(raw, values.abs().log1p().copysign(values), values)
        self.features.add(latents, values, given)
        self._add_tasks(latents, tasks)
        counts, totals, squares = (latents > 0).sum(0), latents.double().sum(0), latents.double().square().sum(0)
        self.active = counts if self.active is None else self.active + counts
        self.total = totals if self.total is None else self.total + totals
        self.squares = squares if self.squares is None else self.squares + squares
        self._add_top(latents, customers)
        self.rows += len(latents)

    def frame(self) -> pl.DataFrame:
        """One row for each active latent: first those that enough customers have (`COMMON`), the most selective first.

        latent, selectivity (1 − mean² / mean of squares; 0: equal in all customers, 1: in one of many), frequency
        (share of customers), mean_activation (over active customers), features and tasks: lists of {name,
        correlation}, strongest first; top_customers: list of {customer_id, activation}, highest first.
        Raises ValueError before the first batch.
        """
        if self.active is None or self.total is None or self.squares is None:
            raise ValueError("the report of concepts has no rows yet; add a batch first")
        alive = self.active.nonzero().squeeze(1)
        selectivity = 1.0 - self.total.square() / (self.rows * self.squares).clamp(min=1e-300)
        alive = alive[selectivity[alive].argsort(descending=True, stable=True)]
        rare = self.active[alive] < min(COMMON, self.rows)
        alive = torch.cat([alive[~rare], alive[rare]])
        counts = self.active[alive]
        return pl.DataFrame(
            {
                "latent": alive.numpy(),
                "selectivity": selectivity[alive].clamp(0.0, 1.0).numpy(),
                "frequency": (counts / self.rows).numpy().astype(np.float64),
                "mean_activation": (self.total[alive] / counts).numpy(),
                "features": self._strongest(self.features, alive),
                "tasks": self._strongest(self.tasks, alive) if self.tasks else [[] for _ in alive],
                "top_customers": [self._top(latent) for latent in alive.tolist()],
            },
            schema={
                "latent": pl.Int64,
                "selectivity": pl.Float64,
                "frequency": pl.Float64,
                "mean_activation": pl.Float64,
                "features": pl.List(pl.Struct({"name": pl.String, "correlation": pl.Float64})),
                "tasks": pl.List(pl.Struct({"name": pl.String, "correlation": pl.Float64})),
                "top_customers": pl.List(pl.Struct({"customer_id": pl.String, "activation": pl.Float64})),
            },
        )

    def _add_tasks(self, latents: Tensor, tasks: Mapping[str, Tensor]) -> None:
        names, columns = [], []
        for name, values in tasks.items():
            flat = values.detach().cpu().double()
            own = self.classes.get(name, range(flat.shape[1] if flat.dim() > 1 else 0))
            names += [name] if flat.dim() == 1 else [f"{name}[{part}]" for part in own]
            columns.append(flat.reshape(len(flat), -1))
        if not columns:
            return
        if self.tasks is None:
            self.tasks = _Correlations(names)
        elif self.tasks.names != names:
            raise ValueError(f"this batch has the tasks {names}, the ones before had {self.tasks.names}")
        joined = torch.cat(columns, dim=1)
        self.tasks.add(latents, joined, joined.isfinite())

    def _add_top(self, latents: Tensor, customers: Sequence[str]) -> None:
        """Keeps the `kept` highest rows of each latent, [≤ kept, L], and the names of those rows."""
        here = torch.arange(self.rows, self.rows + len(latents)).unsqueeze(1).expand(-1, latents.shape[1])
        values = torch.cat([self.top_values.reshape(-1, latents.shape[1]), latents])
        rows = torch.cat([self.top_rows.reshape(-1, latents.shape[1]), here])
        self.top_values, order = values.topk(min(self.kept, len(values)), dim=0)
        self.top_rows = rows.gather(0, order)
        names = {self.rows + i: customer for i, customer in enumerate(customers)}
        names |= self.customers
        self.customers = {row: names[row] for row in self.top_rows.unique().tolist()}

    def _strongest(self, correlations: _Correlations, latents: Tensor) -> list[list[dict[str, object]]]:
        found = correlations.result()[latents]
        order = found.abs().argsort(dim=1, descending=True, stable=True)[:, : self.strongest]
        return [
            [{"name": correlations.names[i], "correlation": row[i]} for i in best if row[i] != 0.0]
            for row, best in zip(found.tolist(), order.tolist(), strict=True)
        ]

    def _top(self, latent: int) -> list[dict[str, object]]:
        pairs = zip(self.top_rows[:, latent].tolist(), self.top_values[:, latent].tolist(), strict=True)
        return [{"customer_id": self.customers[row], "activation": value} for row, value in pairs if value > 0]


@torch.inference_mode()
def concepts(
    model: Network, inputs: Inputs, customers: Sequence[str], classes: Mapping[str, Sequence[str]] | None = None
) -> tuple[pl.DataFrame, dict[str, float]]:
    """The report over rows of different customers, and the autoencoder's statistics over them (`Decomposition`).

    `classes`: task → names of its classes or outputs.

    Raises ValueError where the model has no autoencoder.
    """
    if model.autoencoder is None:
        raise ValueError("the model has no autoencoder: switch `autoencoder.enabled` on")
    with evaluating(model):
        report, shared = ConceptReport(model.config.inputs, classes=classes), []
        for rows in torch.arange(len(inputs)).split(BLOCK):
            part = inputs.index(rows)
            outputs = model(part)
            shared.append(outputs.shared[: len(part)])  # the first member's
            tasks = {
                name: model.to_units(name, raw)
                for name, raw in model.averaged(outputs).predictions.items()
                if not kind_of(model.config.task(name)).retrieves
            }
            report.add(model.autoencoder.encode(shared[-1]), part, tasks, [customers[i] for i in rows.tolist()])
        statistics = model.autoencoder(torch.cat(shared)).statistics
    return report.frame(), {name: float(value) for name, value in statistics.items()}
