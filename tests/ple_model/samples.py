"""A small model and learnable data for tests of training, bundles and serving; importable from a subprocess as well."""

from datetime import date
from typing import Any

import numpy as np
import polars as pl

from ple_model.config import (
    AdaTTConfig,
    AutoencoderConfig,
    DeepFMConfig,
    InputConfig,
    ModelConfig,
    RawScaleConfig,
    Relation,
    SideConfig,
    TaskConfig,
    TemporalConfig,
    TowerConfig,
    TransferConfig,
)
from ple_model.config import TransformerBranchConfig as Branch
from ple_model.training.config import TrainingConfig
from ple_model.training.data import TensorTable, targets_from_frame
from ple_model.training.initial import build

COLUMNS = tuple(f"column_{i:02d}" for i in range(24))
PRESENT = tuple(i for i in range(24) if i not in (3, 17))
TASKS = ("churn", "retention", "engagement", "ltv", "life_stage", "brand_prediction")
CLASSES = {"life_stage": [f"stage {i}" for i in range(6)], "brand_prediction": [f"brand {i}" for i in range(15)]}
INVERSES = {"ltv": lambda label: np.expm1(label / 40), "engagement": np.exp}
SETTINGS: tuple[dict[str, Any], ...] = (
    {"name": "engagement", "group": "engagement", "kind": "regression", "loss": "mse", "weight": 0.8, "hmm": "journey"},
    {
        "name": "churn",
        "group": "lifecycle",
        "kind": "binary",
        "loss": "focal",
        "weight": 1.2,
        "hmm": "lifecycle",
        "focal_alpha": 0.6,
    },
    {
        "name": "retention",
        "group": "lifecycle",
        "kind": "binary",
        "loss": "focal",
        "hmm": "lifecycle",
        "focal_alpha": 0.2,
    },
    {
        "name": "life_stage",
        "group": "lifecycle",
        "kind": "multiclass",
        "loss": "nll",
        "weight": 0.8,
        "hmm": "lifecycle",
        "out": 6,
        "none_class": "stage 0",
    },
    {"name": "ltv", "group": "lifecycle", "kind": "regression", "loss": "huber", "weight": 1.5, "hmm": "lifecycle"},
    {
        "name": "brand_prediction",
        "group": "consumption",
        "kind": "contrastive",
        "loss": "infonce",
        "weight": 2.0,
        "out": 128,
        "candidates": 15,
    },
)
PREFERRED = {
    "engagement": ("temporal",),
    "ltv": ("temporal", "deepfm"),
    "brand_prediction": ("unified_hgcn",),
}
STEPS, WIDTH, CLUSTERS = 28, 4, 3
SIDES = (SideConfig(name="txn_seq", shape=(STEPS, WIDTH), masked=True), SideConfig(name="hmm_journey", shape=(4,)))


def config(**changes: object) -> ModelConfig:
    """Two dozen columns, four weeks of daily steps, three small experts, one task of each kind of loss."""
    settings: dict[str, object] = {
        "inputs": InputConfig(columns=COLUMNS, present=PRESENT, normalised=16, clusters=CLUSTERS, sides=SIDES),
        "transfer": TransferConfig(relations=(Relation(source="churn", target="retention", kind="inverse"),)),
        "tasks": tuple(
            TaskConfig(experts=PREFERRED.get(task["name"], ("perslay", "temporal")), **task) for task in SETTINGS
        ),
        "experts": (
            DeepFMConfig(width=16, bins=4, embedding=4, hidden=(16,)),
            TemporalConfig(width=16, branches=(Branch(model_width=16, layers=1, heads=2, feedforward=16),)),
            RawScaleConfig(width=16, hidden=(16,)),
        ),
    }
    return ModelConfig(**(settings | changes))


def features(rows: int, seed: int = 0) -> pl.DataFrame:
    """A feature matrix: a tenth of the values is missing, every seventh row has no daily steps
    and no HMM mode."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, len(COLUMNS))).astype(np.float32)
    values[:, 16:] = np.exp(values[:, 16:])
    values[rng.random(values.shape) < 0.1] = np.nan
    posterior = rng.dirichlet(np.ones(CLUSTERS), rows).astype(np.float32)
    steps = rng.random((rows, STEPS * WIDTH)).astype(np.float32)
    valid = np.arange(STEPS) >= rng.integers(0, STEPS - 1, rows)[:, None]
    frame = pl.DataFrame(
        {
            "customer_id": [f"c{i:05d}" for i in rng.permutation(rows)],
            "as_of": [date(2017, 10, 1)] * rows,
            **{COLUMNS[i]: pl.Series(values[:, i]).fill_nan(None) for i in PRESENT},
            "cluster_probs": posterior.tolist(),
            "txn_seq": steps.tolist(),
            "txn_seq_mask": valid.tolist(),
            "hmm_journey": rng.random((rows, 4)).astype(np.float32).tolist(),
        },
        schema_overrides=dict.fromkeys(("cluster_probs", "txn_seq", "hmm_journey"), pl.List(pl.Float32)),
    )
    without = pl.int_range(pl.len()) % 7 == 0
    return frame.with_columns(
        pl.when(~without).then(name).alias(name) for name in ("txn_seq", "txn_seq_mask", "hmm_journey")
    )


def labels(frame: pl.DataFrame, seed: int = 0) -> pl.DataFrame:
    """Labels that follow from the features with some noise; a fifth of each is masked."""
    rng = np.random.default_rng(seed + 1000)

    def signal(*columns: int) -> np.ndarray:
        parts = [frame[COLUMNS[i]].fill_null(0.0).to_numpy() for i in columns]
        return np.sum(parts, axis=0) + rng.normal(scale=0.3, size=len(frame))

    brands = np.clip((signal(0) * 2.5 + 7).astype(int), 0, 13)
    table = pl.DataFrame(
        {
            "customer_id": frame["customer_id"],
            "churn": (signal(0, 1) > 0.5).astype(np.int8),
            "retention": (signal(2) > -0.5).astype(np.int8),
            "engagement": 0.2 + 0.1 * signal(4, 5),
            "ltv": 100.0 + 30.0 * signal(6),
            "life_stage": np.clip((signal(7) + 3).astype(int), 0, 5).astype(np.int16),
            "brand_prediction": [[int(b), 14] if b % 2 else [int(b)] for b in brands],
        }
    )
    masked = rng.random((len(frame), len(TASKS))) < 0.2
    return table.with_columns(
        pl.when(pl.Series(~masked[:, i])).then(pl.col(task)).alias(task) for i, task in enumerate(TASKS)
    )


def table(rows: int, seed: int = 0, settings: ModelConfig | None = None) -> TensorTable:
    """Inputs and targets of `features` and `labels`."""
    from ple_model.serving.scorer import inputs_from_frame

    settings, frame = settings or config(), features(rows, seed)
    return TensorTable.of(
        inputs_from_frame(frame, settings.inputs), targets_from_frame(labels(frame, seed), settings.tasks)
    )


def training(**changes: object) -> TrainingConfig:
    """A few short epochs with a rate that learns in them."""
    settings: dict[str, object] = {
        "phase1_epochs": 3,
        "phase2_epochs": 2,
        "warmup_epochs": 1,
        "phase2_warmup_epochs": 0,
        "learning_rate": 5e-3,
        "batch_size_cpu": 64,
        "min_steps": 1,
        "device": "cpu",
    }
    return TrainingConfig(**(settings | changes))


def ready(rows: int = 512) -> tuple:
    """(model, training table, validation table)."""
    train, valid = table(rows, 0), table(200, 1)
    return build(config(), train, seed=0), train, valid


def without_dropout(rows: int, adatt: bool = True, autoencoder: bool = True) -> tuple:
    """As `ready`, of a model without any draw while it trains, and with nothing that only a whole batch can tell."""
    settings = config(
        experts=(
            DeepFMConfig(width=16, bins=4, embedding=4, hidden=(16,), dropout=0.0),
            RawScaleConfig(width=16, hidden=(16,), dropout=0.0),
        ),
        tower=TowerConfig(dropout=0.0),
        autoencoder=AutoencoderConfig(enabled=autoencoder, share=1.0),
        adatt=AdaTTConfig(enabled=adatt, warmup_epochs=1, freeze_epoch=4, every=2),
    )
    train, valid = table(rows, 0, settings), table(100, 1, settings)
    return build(settings, train, seed=0), train, valid
