"""The refit: what gets registered is fitted again, after its evaluation, on every label that had matured.

The evaluation fit leaves the newest labels of a training date to validation and test rows. Once it is measured, the
same model is fitted again on all of them: with its columns and their bounds, its settings and seed, its epochs and
numbers of trees. Steps grow with the rows: an epoch is a pass over them, however many they are. A number of trees stays
as it was found: it belongs to a learning rate, and blend weights and calibrators were fitted to predictions that sharp.

Everything that is reported stays the evaluation fit's, and so do blend weights and calibration (`save_refit` says where
another one would go). The bundle holds both fits and says which is which.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from feature_assets.data.tables import Tables
from feature_assets.snapshots import SnapshotPlan
from pipeline.settings import Settings
from pipeline.training import fits, training_set, trees
from pipeline.training.model import network_rows, tensors
from pipeline.training.processes import fit_network
from pipeline.training.training_set import REFIT
from pipeline.training.workspace import Workspace

if TYPE_CHECKING:
    from ple_model.training.report import EpochReport
    from ple_model.training.trainer import FitResult


def refit(
    workspace: Workspace, tables: Tables, plan: SnapshotPlan, settings: Settings, log: Callable[[str], None]
) -> "FitResult":
    """Compute what is missing of the rows, fit again, write the bundle of both fits."""
    training_set.build_refit(workspace, tables, plan, settings.max_training_rows, log)
    return fit_again(workspace, settings, log)


def fit_again(workspace: Workspace, settings: Settings, log: Callable[[str], None]) -> "FitResult":
    """Fit network and trees of the evaluated bundle again on the rows of `Workspace.refit_labels`, and write the bundle
    of both fits (`Workspace.candidate`).

    Goes on at the last checkpoint of an interrupted refit; trees that are there are not grown again.
    """
    from ple_model.epochs import at_epochs
    from ple_model.serving.bundle import load_bundle, save_refit
    from ple_model.training.initial import build

    evaluated, found = load_bundle(workspace.bundle), workspace.found()
    config = evaluated.model.config
    rows = tensors(workspace, REFIT, config)
    own = network_rows(workspace, REFIT, rows, settings)
    log(f"fitting again on {len(rows):,} rows ({len(own):,} for the network), as many epochs as the evaluation fit")

    def report(epoch: "EpochReport") -> None:
        log(f"refit, phase {epoch.phase}, epoch {epoch.epoch}: {epoch.seconds:.0f} s, loss {epoch.loss:.4f}")

    model = build(config, own, seed=settings.seed)
    result = fit_network(
        workspace.processes,
        model,
        own,
        None,
        settings,
        workspace.refit_checkpoints,
        report,
        log,
        found.epochs,
        found.phase2_from,
    )
    grown = trees.grow_again(workspace, rows, config, settings, evaluated.trees, log)
    labels, told = workspace.refit_labels(), {}
    for task, words in fits.trained_on(labels, REFIT).items():
        told[task] = {"trained_on": words, "figures_of_a_fit_on": evaluated.described[task]["trained_on"]}

    def write(folder: Path) -> None:
        network = at_epochs(model, result.epochs, result.weights)
        notes = fits.notes(evaluated.meta["as_of"], labels)
        save_refit(folder, workspace.bundle, network, grown, notes, told)

    workspace.save_refit_bundle(write)
    return result
