"""The published PLE of two libraries on a table: torch-rechub's and DeepCTR-Torch's, with the shapes of ours.

Both embed the categories and read the numbers standardised, as their own examples do. Neither library's loop stops
early or keeps the best epoch, so one plain loop trains both: Adam, log loss or squared error added up over the tasks,
the epoch of the least validation loss. The libraries are in the extra `[bench]`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.tables.table import Table
from benchmarks.studies.training import parameters_of

if TYPE_CHECKING:
    from torch import Tensor, nn

EPOCHS = 8
BATCH = 512
RATE = 1e-3
EMBEDDING = 8
Predict = Callable[[NDArray[np.int64]], dict[str, NDArray[np.float64]]]


def rechub(table: Table, seed: int) -> tuple[Predict, int]:
    """torch-rechub's PLE."""
    from torch_rechub.basic.features import DenseFeature, SparseFeature
    from torch_rechub.models.multi_task import PLE

    from ple_model.config.baselines import PLEConfig

    shape = PLEConfig()
    features = [DenseFeature(name) for name in table.number_names]
    features += [SparseFeature(*pair, embed_dim=EMBEDDING) for pair in _vocabularies(table).items()]
    kinds = ["classification" if kind == "binary" else "regression" for kind in table.kinds.values()]
    experts, towers = {"dims": list(shape.hidden), "dropout": shape.dropout}, [{"dims": [32]} for _ in kinds]
    names = [*table.number_names, *table.category_names]

    def make() -> nn.Module:
        return PLE(features, kinds, shape.levels, shape.specific, shape.shared, experts, towers)

    def call(model: nn.Module, numbers: Tensor, codes: Tensor) -> Tensor:
        columns = [*numbers.unbind(1), *codes.unbind(1)]
        return model(dict(zip(names, columns, strict=True)))

    return _fit(table, make, call, seed)


def deepctr(table: Table, seed: int) -> tuple[Predict, int]:
    """DeepCTR-Torch's PLE, without its penalty on embeddings, as the other has none. It builds as many shared experts
    as a task has of its own (0.3.0), so a task has more of its own than in ours."""
    import torch

    with mock.patch("threading.Thread.start"):  # importing it asks a package index for its newest version
        from deepctr_torch.inputs import DenseFeat, SparseFeat
        from deepctr_torch.models import PLE

    from ple_model.config.baselines import PLEConfig

    shape = PLEConfig()
    columns = [SparseFeat(*pair, embedding_dim=EMBEDDING) for pair in _vocabularies(table).items()]
    columns += [DenseFeat(name, 1) for name in table.number_names]

    def make() -> nn.Module:
        return PLE(
            columns,
            shared_expert_num=shape.shared,
            specific_expert_num=shape.shared,
            num_levels=shape.levels,
            expert_dnn_hidden_units=shape.hidden,
            gate_dnn_hidden_units=(),
            tower_dnn_hidden_units=(32,),
            l2_reg_linear=0.0,
            l2_reg_embedding=0.0,
            dnn_dropout=shape.dropout,
            task_types=["binary" if kind == "binary" else "regression" for kind in table.kinds.values()],
            task_names=[f"t{i}" for i in range(len(table.kinds))],
        )

    def call(model: nn.Module, numbers: Tensor, codes: Tensor) -> Tensor:
        return model(torch.cat([codes.to(numbers.dtype), numbers], dim=1))

    return _fit(table, make, call, seed)


LIBRARIES: Mapping[str, Callable[[Table, int], tuple[Predict, int]]] = {
    "torch-rechub": rechub,
    "DeepCTR-Torch": deepctr,
}


def _vocabularies(table: Table) -> dict[str, int]:
    return {name: len(levels) for name, levels in zip(table.category_names, table.levels, strict=True)}


def _fit(table: Table, make: Callable[[], nn.Module], call: Callable[..., Tensor], seed: int) -> tuple[Predict, int]:
    """Train a model whose call gives probabilities or values [B, tasks]."""
    import torch
    from torch.nn import functional as F

    from ple_model.training.data import permuted_batches

    train = table.rows("train")
    middle, spread = table.numbers[train].mean(0), table.numbers[train].std(0) + 1e-9
    numbers = torch.from_numpy((table.numbers - middle) / spread)
    codes = torch.from_numpy(table.codes.astype(np.int64))
    labels = torch.from_numpy(np.stack([values.astype(np.float32) for values in table.labels.values()], axis=1))
    binary = [kind == "binary" for kind in table.kinds.values()]
    torch.manual_seed(seed)
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)

    def loss_of(told: Tensor, known: Tensor) -> Tensor:
        parts = [
            F.binary_cross_entropy(told[:, i].clamp(0, 1), known[:, i])
            if is_binary
            else F.mse_loss(told[:, i], known[:, i])
            for i, is_binary in enumerate(binary)
        ]
        return torch.stack(parts).sum()

    @torch.inference_mode()
    def outputs(rows: NDArray[np.int64]) -> Tensor:
        model.eval()
        index = torch.from_numpy(rows)
        return torch.cat([call(model, numbers[part], codes[part]) for part in index.split(8_192)])

    validation, places = table.rows("validation"), torch.from_numpy(train)
    least, kept = float("inf"), copy.deepcopy(model.state_dict())
    for epoch in range(1, EPOCHS + 1):
        model.train()
        for batch in permuted_batches(len(train), BATCH, seed, 1, epoch):
            rows = places[batch]
            optimizer.zero_grad(set_to_none=True)
            loss_of(call(model, numbers[rows], codes[rows]), labels[rows]).backward()
            optimizer.step()
        found = float(loss_of(outputs(validation), labels[validation]))
        if found < least:
            least, kept = found, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)

    def predict(rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        told = outputs(rows).double().numpy()
        return {task: told[:, i] for i, task in enumerate(table.labels)}

    return predict, parameters_of(model)
