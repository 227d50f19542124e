"""The network of a training: its configuration from the data set's inputs, its fit, its calibration, its bundle."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from feature_assets import registry
from feature_assets.build import groups_of
from feature_assets.data.dataset import DatasetConfig
from feature_assets.group import PADDING
from feature_assets.labels import LabelState, describe, get_task, relations
from feature_assets.snapshots import SnapshotPlan
from feature_assets.state import FeatureState
from pipeline.resources.files import publish_json
from pipeline.settings import Settings
from pipeline.training.training_set import rows_of
from pipeline.training.workspace import Workspace

if TYPE_CHECKING:
    from ple_model.config import InputConfig, ModelConfig, NetworkConfig, SideConfig
    from ple_model.interpretation.parts import Parts
    from ple_model.training.data import TensorTable
    from ple_model.training.report import EpochReport
    from ple_model.training.trainer import FitResult

EXAMINED_ROWS = 512


def input_config(state: FeatureState) -> "InputConfig":
    """The model's inputs that this data set delivers, from the schema and the fitted state."""
    from ple_model.config import InputConfig

    clusters = next(side for side in registry.side_inputs() if side.name == "cluster_probs")
    return InputConfig(
        columns=registry.names(),
        present=tuple(sorted(registry.positions()[name] for name in state.present)),
        normalised=registry.normalised(),
        clusters=clusters.shape[0],
        sides=side_inputs_of(state),
    )


def side_inputs_of(state: FeatureState) -> "tuple[SideConfig, ...]":
    """The model's side inputs that the data set has, each with the channels that it has."""
    from ple_model.config import DEFAULT_SIDES, SideConfig

    wanted = {side.name for side in DEFAULT_SIDES}
    names = {side.name for side in registry.side_inputs()}
    sides = []
    for group in groups_of(state):
        present = state.groups[group].meta.get("channels_present")
        for side in registry.registry()[group].side_inputs:
            kept = [
                i
                for i, channel in enumerate(side.channels)
                if channel != PADDING and (present is None or channel in present)
            ]
            if side.name in wanted and (kept or not side.channels):
                channels = tuple(kept) if 0 < len(kept) < len(side.channels) else None
                described = {"name": side.name, "shape": side.shape, "channels": channels}
                sides.append(SideConfig.from_dict({**described, "masked": f"{side.name}_mask" in names}))
    return tuple(sides)


def model_config(
    network: "NetworkConfig", state: FeatureState, label_state: LabelState, plan: SnapshotPlan
) -> "ModelConfig":
    """The network for the inputs of a fitted state and the tasks that are on."""
    from ple_model.config import ModelConfig

    counts = {task: len(names) for task, names in label_state.classes.items()}
    tasks = [get_task(name).for_model(counts.get(name)) for name in plan.windows]
    values = with_relations(network, plan.windows)
    return ModelConfig.from_dict({"inputs": input_config(state), "tasks": tasks, **values})


def with_relations(network: "NetworkConfig", tasks: Iterable[str]) -> dict[str, Any]:
    """The network's settings as plain values; without relations of its own, those declared with the tasks."""
    values = network.to_dict()
    values["transfer"]["relations"] = values["transfer"]["relations"] or relations(tasks)
    return values


def model_columns(inputs: "InputConfig", state: FeatureState) -> list[str]:
    """Columns of the feature matrix that the model reads, `customer_id` first."""
    from ple_model.serving.scorer import side_columns

    return ["customer_id", *state.present, *side_columns(inputs)]


def tensors(workspace: Workspace, role: str, config: "ModelConfig") -> "TensorTable":
    """Inputs and targets of all rows of a role, snapshot by snapshot."""
    from ple_model.serving.scorer import inputs_from_frame
    from ple_model.training.data import TensorTable, targets_from_frame

    columns = model_columns(config.inputs, workspace.state())
    return TensorTable.concat(
        [
            TensorTable.of(inputs_from_frame(features, config.inputs), targets_from_frame(labels, config.tasks))
            for features, labels in rows_of(workspace, role, columns)
        ]
    )


def train(
    workspace: Workspace,
    plan: SnapshotPlan,
    dataset: DatasetConfig,
    settings: Settings,
    on_epoch: "Callable[[EpochReport], None]",
    log: Callable[[str], None],
) -> "tuple[FitResult, Parts]":
    """Fit the network, calibrate it on validation rows, write the bundle, and examine which parts take part.

    Resumes at the last checkpoint of an interrupted training.
    """
    from ple_model.experts.base import spread_rows
    from ple_model.interpretation.parts import examine
    from ple_model.training.finish import finish
    from ple_model.training.initial import build
    from ple_model.training.trainer import fit

    state, label_state = workspace.state(), workspace.label_state()
    config = model_config(settings.network, state, label_state, plan)
    training, validation = (tensors(workspace, role, config) for role in ("train", "validation"))
    log(f"{len(training):,} training rows, {len(validation):,} validation rows")
    model = build(config, training, seed=settings.seed)
    result = fit(
        model,
        training,
        validation,
        settings.training.model_copy(update={"seed": settings.seed}),
        workspace.checkpoints,
        on_epoch=on_epoch,
        progress=True,
    )
    classes = {task.name: label_state.classes[task.name] for task in config.tasks if task.name in label_state.classes}
    meta = {
        "dataset": dataset.name,
        "as_of": plan.as_of.isoformat(),
        "state_version": state.version,
        "seed": settings.seed,
    }

    customers = pl.concat([rows for rows, _ in rows_of(workspace, "validation", ["customer_id"])])["customer_id"]

    def write(folder: Path) -> None:
        described = {task["name"]: task for task in describe(dataset)}
        finish(model, training, validation, folder, classes, meta, described, customers.to_numpy())
        complete_bundle(folder, state, label_state, dataset)

    workspace.save_bundle(write)
    some = training.batch(spread_rows(len(training), EXAMINED_ROWS), next(model.parameters()).device)
    return result, examine(model, *some)


def complete_bundle(folder: Path, state: FeatureState, label_state: LabelState, dataset: DatasetConfig) -> None:
    """Put the schema, the fitted state, the label vocabularies and the data set's description beside the weights."""
    digest = registry.digest(state.present)
    publish_json({"digest": digest, "columns": registry.names(), "present": state.present}, folder / "schema.json")
    publish_json(label_state.to_dict(), folder / "labels.json")
    publish_json(dataset.model_dump(mode="json"), folder / "dataset.json")
    state.save(folder / "state")
