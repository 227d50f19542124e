"""Published PLE at equal shapes three times: ours, torch-rechub's and DeepCTR-Torch's, each with its own loader.

100 dense columns and 8 categorical ones embedded in 16 numbers each; `experts` specific and as many shared experts of
one ReLU layer, one extraction layer, a tower of one layer; binary tasks. The two libraries come with the extra
`[bench]`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.baselines.mixtures import PLE
from ple_model.config import TaskConfig, TowerConfig
from ple_model.config.baselines import PLEConfig
from ple_model.layers.towers import TowerLevel
from ple_model.training.data import permuted_batches

DENSE, SPARSE, VOCABULARY, EMBEDDING = 100, 8, 1_000, 16
WIDTH = DENSE + SPARSE * EMBEDDING


@dataclass(frozen=True)
class Shape:
    """tasks; experts: of each task and shared; unit: width of an expert; tower: its hidden layer; rows: of a batch."""

    tasks: int
    experts: int = 8
    unit: int = 64
    tower: int = 32
    rows: int = 4_096

    @property
    def products(self) -> float:
        """Operations of the matrix products that one step needs: two a weight and row, forward and for the weight's
        gradient, and for the input's, but that of the experts' dense columns, which nothing learns."""
        experts = (self.tasks + 1) * self.experts * (WIDTH - DENSE / 3) * self.unit
        gates = self.tasks * 2 * self.experts * (WIDTH + self.unit)
        towers = self.tasks * (self.unit * self.tower + self.tower)
        return 6.0 * self.rows * (experts + gates + towers)


@dataclass(frozen=True)
class Rows:
    """dense [R, 100] float32, sparse [R, 8] int64 in [0, 1000), labels [R, T] float32."""

    dense: Tensor
    sparse: Tensor
    labels: Tensor

    @classmethod
    def drawn(cls, rows: int, tasks: int) -> Rows:
        generator = torch.Generator().manual_seed(0)
        dense = torch.randn(rows, DENSE, generator=generator)
        sparse = torch.randint(0, VOCABULARY, (rows, SPARSE), generator=generator)
        noise = torch.randn(rows, tasks, generator=generator)
        return cls(dense, sparse, (dense[:, :1] + noise > 0).float())


@dataclass(frozen=True)
class Side:
    """One implementation: `step`, on one batch that lies ready, with the same optimizer everywhere; `epoch`, over all
    rows with its own loader, optimizer and loop."""

    name: str
    step: Callable[[], None]
    epoch: Callable[[], None]


class Published(nn.Module):
    """Ours: one look-up for all categories, then `PLE` and stacked towers. → logits [B, T]."""

    offsets: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        tasks = [TaskConfig(name=f"t{i}", group="g", kind="binary", loss="focal") for i in range(shape.tasks)]
        config = PLEConfig(hidden=(shape.unit,), specific=shape.experts, shared=shape.experts, levels=1, dropout=0.0)
        self.register_buffer("offsets", torch.arange(SPARSE) * VOCABULARY)
        self.embedding = nn.Embedding(SPARSE * VOCABULARY, EMBEDDING)
        self.network = PLE(config, tasks, WIDTH)
        self.tower = TowerLevel(TowerConfig(hidden=(shape.tower,), dropout=0.0), tasks, shape.unit)

    def forward(self, dense: Tensor, sparse: Tensor) -> Tensor:
        embedded = self.embedding(sparse + self.offsets).flatten(1)
        return torch.cat(list(self.tower(self.network([dense, embedded]).vectors).values()), dim=1)


def ours(shape: Shape, rows: Rows) -> Side:
    model = Published(shape)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    passed = 0

    def learn(dense: Tensor, sparse: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        F.binary_cross_entropy_with_logits(model(dense, sparse), labels).backward()
        optimizer.step()

    def epoch() -> None:
        nonlocal passed
        passed += 1
        for index in permuted_batches(len(rows.labels), shape.rows, 0, 1, passed):
            learn(*(t.index_select(0, index) for t in (rows.dense, rows.sparse, rows.labels)))

    batch = rows.dense[: shape.rows], rows.sparse[: shape.rows], rows.labels[: shape.rows]
    return Side("ours", lambda: learn(*batch), epoch)


def rechub(shape: Shape, rows: Rows) -> Side:
    """torch-rechub's `PLE`, its `DataGenerator` and the epoch of its `MTLTrainer`."""
    from torch_rechub.basic.features import DenseFeature, SparseFeature
    from torch_rechub.models.multi_task import PLE as RechubPLE
    from torch_rechub.trainers import MTLTrainer
    from torch_rechub.utils.data import DataGenerator

    features = [DenseFeature(f"d{i}") for i in range(DENSE)]
    features += [SparseFeature(f"s{i}", VOCABULARY, embed_dim=EMBEDDING) for i in range(SPARSE)]
    kinds = ["classification"] * shape.tasks
    towers = [{"dims": [shape.tower]} for _ in range(shape.tasks)]
    model = RechubPLE(features, kinds, 1, shape.experts, shape.experts, {"dims": [shape.unit]}, towers)
    columns = {f"d{i}": rows.dense[:, i].numpy() for i in range(DENSE)}
    columns |= {f"s{i}": rows.sparse[:, i].numpy() for i in range(SPARSE)}
    nothing = {name: values[:1] for name, values in columns.items()}
    labels = rows.labels.numpy()
    loader, _, _ = DataGenerator(columns, labels).generate_dataloader(
        nothing, labels[:1], nothing, labels[:1], batch_size=shape.rows
    )
    trainer = MTLTrainer(model, kinds, n_epoch=1)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    batch = {name: torch.from_numpy(values[: shape.rows]) for name, values in columns.items()}

    def step() -> None:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        F.binary_cross_entropy(model(batch), rows.labels[: shape.rows]).backward()
        optimizer.step()

    def epoch() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trainer.train_one_epoch(loader)

    return Side("torch-rechub", step, epoch)


def deepctr(shape: Shape, rows: Rows) -> Side:
    """DeepCTR-Torch's `PLE` and its `fit`. Without its penalty on embeddings, as the others have none."""
    with mock.patch("threading.Thread.start"):  # importing it asks a package index for its newest version
        from deepctr_torch.inputs import DenseFeat, SparseFeat
        from deepctr_torch.models import PLE as DeepCTRPLE
    columns = [SparseFeat(f"s{i}", VOCABULARY, embedding_dim=EMBEDDING) for i in range(SPARSE)]
    columns += [DenseFeat(f"d{i}", 1) for i in range(DENSE)]
    model = DeepCTRPLE(
        columns,
        shared_expert_num=shape.experts,
        specific_expert_num=shape.experts,
        num_levels=1,
        expert_dnn_hidden_units=(shape.unit,),
        gate_dnn_hidden_units=(),
        tower_dnn_hidden_units=(shape.tower,),
        l2_reg_linear=0.0,
        l2_reg_embedding=0.0,
        task_types=["binary"] * shape.tasks,
        task_names=[f"t{i}" for i in range(shape.tasks)],
    )
    model.compile("adam", loss=["binary_crossentropy"] * shape.tasks, metrics=[])
    named = {f"d{i}": rows.dense[:, i].numpy() for i in range(DENSE)}
    named |= {f"s{i}": rows.sparse[:, i].numpy() for i in range(SPARSE)}
    order = list(model.feature_index)
    whole = torch.from_numpy(np.stack([named[name][: shape.rows] for name in order], axis=1)).float()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> None:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        F.binary_cross_entropy(model(whole), rows.labels[: shape.rows]).backward()
        optimizer.step()

    def epoch() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            model.fit(dict(named), rows.labels.numpy(), batch_size=shape.rows, epochs=1, verbose=0)

    return Side("DeepCTR-Torch", step, epoch)
