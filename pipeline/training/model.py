"""The network of a training: its configuration from the data set's inputs, its fit, its calibration, its bundle."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from feature_assets import registry
from feature_assets.build import groups_of
from feature_assets.data.dataset import DatasetConfig
from feature_assets.group import PADDING
from feature_assets.labels import LabelState, describe, get_task, relations
from feature_assets.labels.natural import Natural
from feature_assets.snapshots import SnapshotPlan
from feature_assets.state import FeatureState
from pipeline.resources.files import publish_json
from pipeline.settings import Settings
from pipeline.training import fits, trees
from pipeline.training.columns import ColumnChoice, measures_of
from pipeline.training.processes import fit_network
from pipeline.training.training_set import customers_of, rows_of, spaced
from pipeline.training.workspace import Found, Workspace

if TYPE_CHECKING:
    from ple_model.config import InputConfig, ModelConfig, SideConfig
    from ple_model.evaluation.calibration.natural import Inverse
    from ple_model.interpretation.parts import Parts
    from ple_model.training.data import TensorTable
    from ple_model.training.report import EpochReport
    from ple_model.training.trainer import FitResult

EXAMINED_ROWS = 512


def input_config(state: FeatureState, choice: ColumnChoice) -> "InputConfig":
    """The model's inputs: of what this data set delivers, the chosen columns in the range of their training values."""
    from ple_model.config import InputConfig

    clusters = next(side for side in registry.side_inputs() if side.name == "cluster_probs")
    read = sorted(choice.read, key=registry.positions().__getitem__)
    return InputConfig(
        columns=registry.names(),
        present=tuple(registry.positions()[name] for name in read),
        bounds=tuple(choice.bounds[name] for name in read),
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
    settings: Settings, state: FeatureState, label_state: LabelState, plan: SnapshotPlan, choice: ColumnChoice
) -> "ModelConfig":
    """The network for the chosen inputs of a fitted state and the tasks that are on."""
    from ple_model.config import ModelConfig

    counts = {task: len(names) for task, names in label_state.classes.items()}
    inputs, position = input_config(state, choice), registry.positions()
    given: dict[str, dict[str, Any]] = {}
    for task in plan.windows:
        names = label_state.classes.get(task, ())
        given[task] = {
            "history": candidates_of(state, names),
            "by_class": columns_of_classes(state, names, inputs),
            "columns": tuple(position[name] for name in choice.by_task.get(task, ())),
        }
    values = network_for(settings, plan.windows, counts, given)
    return ModelConfig.from_dict({"inputs": inputs, **values})


def columns_of_classes(
    state: FeatureState, classes: Sequence[str], inputs: "InputConfig"
) -> tuple[tuple[int, ...], ...]:
    """For each class the columns that measure it and are read, each measure at its place, −1 = none
    (`TaskConfig.by_class`); empty where no class has one."""
    place = {inputs.columns[i]: i for i in inputs.present}
    known = [{m: place[c] for m, c in found.items() if c in place} for found in measures_of(state, classes)]
    measures = sorted({measure for of_class in known for measure in of_class})
    return tuple(tuple(of_class.get(m, -1) for m in measures) for of_class in known) if measures else ()


def candidates_of(state: FeatureState, candidates: Sequence[str]) -> tuple[int, ...]:
    """For each brand in the vocabulary of the customers' history the candidate of the same name, −1 = none; empty where
    the data set has no history of these candidates. Both are ordered by how often they occur, but in other days."""
    group = state.groups.get("brand_history")
    place = {name: i for i, name in enumerate(candidates)}
    found = [place.get(name, -1) for name in ([] if group is None else group.meta["brands"])]
    return tuple(found) if max(found, default=-1) >= 0 else ()


def network_for(
    settings: Settings,
    tasks: Iterable[str],
    counts: Mapping[str, int],
    given: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> dict[str, Any]:
    """The network's settings and those of its tasks as plain values; without relations of its own, the network has
    those declared with the tasks. counts: task → classes or candidates of the data set; given: task → what else the
    data set decides of its `TaskConfig`, by name; what its kind does not read is left out."""
    from ple_model.tasks import TaskConfig, kind_of

    tasks = list(tasks)
    configured = []
    for name in tasks:
        task = TaskConfig.from_dict(get_task(name).for_model(counts.get(name)))
        kind, own = kind_of(task), given.get(name, {})
        read = ("history",) if kind.retrieves else ("columns", "by_class") if kind.exclusive else ("columns",)
        configured.append(TaskConfig.from_dict({**task.to_dict(), **{key: own[key] for key in read if key in own}}))
    values = settings.network.to_dict()
    values["tasks"] = [task.plain() if settings.losses == "plain" else task for task in configured]
    values["transfer"]["relations"] = values["transfer"]["relations"] or relations(tasks)
    return values


def natural_inverses(state: LabelState, tasks: Iterable[str]) -> "dict[str, Inverse]":
    """Task → the way from its labels to their natural unit, for the tasks whose labels are on another scale."""
    declared = {name: get_task(name).natural for name in tasks}
    return {name: _with_state(natural, state) for name, natural in declared.items() if natural is not None}


def _with_state(natural: Natural, state: LabelState) -> "Inverse":
    return lambda values: natural.inverse(values, state)


def model_columns(inputs: "InputConfig") -> list[str]:
    """Columns of the feature matrix that the model reads, `customer_id` first."""
    from ple_model.serving.scorer import side_columns

    return ["customer_id", *(inputs.columns[i] for i in inputs.present), *side_columns(inputs)]


def tensors(workspace: Workspace, role: str, config: "ModelConfig") -> "TensorTable":
    """Inputs and targets of all rows of a role, snapshot by snapshot."""
    from ple_model.serving.scorer import inputs_from_frame
    from ple_model.training.data import TensorTable, targets_from_frame

    columns = model_columns(config.inputs)
    return TensorTable.concat(
        [
            TensorTable.of(inputs_from_frame(features, config.inputs), targets_from_frame(labels, config.tasks))
            for features, labels in rows_of(workspace, role, columns)
        ]
    )


def network_rows(workspace: Workspace, role: str, table: "TensorTable", settings: Settings) -> "TensorTable":
    """The rows of a role's table that the network learns from (`training_set.spaced`)."""
    import torch

    kept = spaced(workspace, role, settings.row_spacing_days)
    return table if len(kept) == len(table) else table.index(torch.from_numpy(kept))


def train(
    workspace: Workspace,
    plan: SnapshotPlan,
    dataset: DatasetConfig,
    settings: Settings,
    on_epoch: "Callable[[EpochReport], None]",
    log: Callable[[str], None],
) -> "tuple[FitResult, Parts]":
    """Fit the network, grow the trees, blend and calibrate both on validation rows, write the bundle, and examine which
    parts of the network take part.

    Resumes at the last checkpoint of an interrupted training.
    """
    from ple_model.epochs import at_epochs
    from ple_model.experts.base import spread_rows
    from ple_model.interpretation.parts import examine
    from ple_model.training.finish import finish
    from ple_model.training.initial import build

    state, label_state = workspace.state(), workspace.label_state()
    config = model_config(settings, state, label_state, plan, ColumnChoice.from_dict(workspace.columns()))
    training, validation = (tensors(workspace, role, config) for role in ("train", "validation"))
    own = network_rows(workspace, "train", training, settings)
    log(f"{len(training):,} training rows, {len(own):,} of them for the network; {len(validation):,} validation rows")
    model = build(config, own, seed=settings.seed)
    result = fit_network(workspace.processes, model, own, validation, settings, workspace.checkpoints, on_epoch, log)
    workspace.save_found(Found(result.epochs, result.phase2_from))
    grown = trees.grow(workspace, training, validation, config, settings, log)
    classes = {task.name: label_state.classes[task.name] for task in config.tasks if task.name in label_state.classes}
    meta = {
        "dataset": dataset.name,
        "as_of": plan.as_of.isoformat(),
        "state_version": state.version,
        "seed": settings.seed,
        fits.LEARNT_UNTIL: plan.holdout_start.isoformat(),
        **fits.notes(plan.as_of.isoformat()),
    }

    def write(folder: Path) -> None:
        described = {task["name"]: task for task in describe(dataset, label_state.merged)}
        for name, words in fits.trained_on(workspace.labels(), "train").items():
            described[name] = {**described.get(name, {}), "trained_on": words}
        network = at_epochs(model, result.epochs, result.weights)
        finish(
            network,
            training,
            validation,
            folder,
            classes,
            meta,
            described,
            grown,
            blended=settings.blend == "auto",
            inverses=natural_inverses(label_state, (task.name for task in config.tasks)),
            customers=customers_of(workspace, "validation"),
        )
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


def predicted_by(bundle: Path) -> list[dict[str, str]]:
    """Task, and in words what predicts it: the network, or a blend with trees."""
    tasks = json.loads((bundle / "tasks.json").read_text())
    return [{"task": task["name"], "predicted by": task["predicted_by"]} for task in tasks]
