"""The files of one training, in one folder, each read and written here and nowhere else.

    decision.json     why this training runs          material.json  digest of everything that decides the content
    state/            fitted feature state            snapshots/<date>.parquet  feature matrix of a training date
    label_state.json  vocabularies and edges          labels.parquet            labels, roles and masks of all rows
    columns.json      columns that the model reads    trees/                    boosted trees of every task
    checkpoints/      of the trainer                  bundle/                   the evaluation fit, what is measured
    run.json          MLflow run                      evaluation.json           the comparison with the baselines
    found.json        epochs that the fit found       registered.json           number of the version
    leaks.json        columns that solve a task       challenge.json            beside the champion, and trees
    rehearsal.json    a night of what is registered   processes/                rows for several training processes
    digests.json      of the files above; each folder holds its own (seal.json)

and of a refit, beside what the evaluation reads:

    refit_labels.parquet  all matured labels          refit_trees/   trees of the tasks that blend them in
    refit_checkpoints/    of the trainer              refit_bundle/  both fits: the folder that is registered

Nothing else about a training belongs here: the steps compute, this class stores.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from feature_assets.labels import LabelState
from feature_assets.state import FeatureState
from pipeline.resources.digests import broken, file_digest, seal
from pipeline.resources.files import discard, empty_beside, publish_folder, publish_frame, publish_json
from pipeline.training.decision import Decision

if TYPE_CHECKING:
    from ple_model.boosting.files import Trees


Fit = Literal["evaluation", "refit"]
DIGESTS = "digests.json"
_NOTED = ("label_state.json", "labels.parquet", "refit_labels.parquet", "columns.json", "found.json")
_SEALED = ("state", "trees", "refit_trees", "bundle", "refit_bundle")
_TREES: dict[Fit, str] = {"evaluation": "trees", "refit": "refit_trees"}


@dataclass(frozen=True)
class Found:
    """What a refit takes over of the evaluation fit beside its bundle.

    epochs: task → (phase, epoch) that answers it. phase2_from: the epoch of phase 1 that phase 2 went on from.
    """

    epochs: dict[str, tuple[int, int]]
    phase2_from: int


@dataclass(frozen=True)
class Workspace:
    """One training's folder. A step that was interrupted leaves nothing under a final name."""

    folder: Path

    # --- material -----------------------------------------------------------------------------------------------
    def take_up(self, digest: str) -> bool:
        """Keep the files of an interrupted training of the same material, or empty the folder for a new one.

        Returns:
            Whether files of the same material are kept.
        """
        if self.material() == digest:
            return True
        if self.folder.exists():
            for path in self.folder.iterdir():
                if path != self._decision:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        publish_json({"digest": digest}, self.folder / "material.json")
        return False

    def forget_altered(self) -> list[str]:
        """Delete what is not what was written, so that it is made again; the names of what was."""
        noted = self._noted()
        files = [*self.folder.glob("snapshots/*.parquet"), *(self.folder / name for name in _NOTED)]
        altered = [f for f in files if f.is_file() and noted.get(self._name(f)) != file_digest(f)]
        altered += [f for name in _SEALED if (f := self.folder / name).is_dir() and broken(f)]
        for path in altered:
            discard(path)
        return sorted(self._name(path) for path in altered)

    def note_again(self, file: Path) -> None:
        """Note the digest of a file that was changed on purpose, if it had one."""
        if self._name(file) in self._noted():
            self._note(file)

    def sealed(self) -> list[Path]:
        """The folders that hold digests of their own."""
        return [self.folder / name for name in _SEALED if (self.folder / name).is_dir()]

    def material(self) -> str | None:
        """Digest of the material behind the files, None before the first `take_up`."""
        return self._json("material.json", "digest")

    @property
    def _decision(self) -> Path:
        return self.folder / "decision.json"

    def save_decision(self, decision: Decision) -> None:
        """Write why this training runs."""
        publish_json(asdict(decision), self._decision)

    def decision(self) -> Decision:
        """Why this training runs."""
        return Decision(**json.loads(self._decision.read_text()))

    # --- fitted states ------------------------------------------------------------------------------------------
    def has_state(self) -> bool:
        """Whether the feature state is fitted."""
        return (self.folder / "state").is_dir()

    def save_state(self, state: FeatureState) -> None:
        """Write the fitted feature state."""
        self._publish_folder("state", state.save)

    def state(self) -> FeatureState:
        """The fitted feature state; its content is verified against its version."""
        return FeatureState.load(self.folder / "state")

    def has_label_state(self) -> bool:
        """Whether the label state is fitted."""
        return (self.folder / "label_state.json").is_file()

    def save_label_state(self, state: LabelState) -> None:
        """Write the vocabularies and edges of the labels."""
        publish_json(state.to_dict(), self.folder / "label_state.json")
        self._note(self.folder / "label_state.json")

    def label_state(self) -> LabelState:
        """Vocabularies and edges of the labels, fitted on training windows."""
        return LabelState.from_dict(json.loads((self.folder / "label_state.json").read_text()))

    # --- training set -------------------------------------------------------------------------------------------
    def snapshot(self, day: date) -> Path:
        """File of the feature matrix of one snapshot."""
        return self.folder / "snapshots" / f"{day}.parquet"

    def save_snapshot(self, day: date, matrix: pl.DataFrame) -> None:
        """Write the feature matrix of one snapshot."""
        publish_frame(matrix, self.snapshot(day))
        self._note(self.snapshot(day))

    def save_labels(self, labels: pl.DataFrame) -> None:
        """Write the labels of all rows."""
        publish_frame(labels, self.folder / "labels.parquet")
        self._note(self.folder / "labels.parquet")

    def labels(self) -> pl.DataFrame:
        """Labels of all rows: customer_id, as_of, role, one column a task (null = masked)."""
        return pl.read_parquet(self.folder / "labels.parquet")

    def save_refit_labels(self, labels: pl.DataFrame) -> None:
        """Write the labels of the rows of a refit."""
        publish_frame(labels, self.folder / "refit_labels.parquet")
        self._note(self.folder / "refit_labels.parquet")

    def refit_labels(self) -> pl.DataFrame:
        """Labels of the rows of a refit, in the form of `labels`."""
        return pl.read_parquet(self.folder / "refit_labels.parquet")

    def for_another_model(self, folder: Path) -> "Workspace":
        """A workspace in `folder` that reads this one's states, training set, columns and trees through links: several
        models are trained on them. Files that it has already stay; what it writes stays its own."""
        folder.mkdir(parents=True, exist_ok=True)
        given = ("state", "label_state.json", "snapshots", "labels.parquet", "refit_labels.parquet")
        for name in (*given, "columns.json", "trees"):
            if (self.folder / name).exists() and not (folder / name).exists():
                (folder / name).symlink_to((self.folder / name).resolve())
        return Workspace(folder)

    # --- model --------------------------------------------------------------------------------------------------
    def has_columns(self) -> bool:
        """Whether the columns are chosen."""
        return (self.folder / "columns.json").is_file()

    def save_columns(self, choice: dict[str, Any]) -> None:
        """Write the columns that the model reads."""
        publish_json(choice, self.folder / "columns.json")
        self._note(self.folder / "columns.json")

    def columns(self) -> dict[str, Any]:
        """The columns that the model reads, as `ColumnChoice.to_dict` gives them."""
        return dict(json.loads((self.folder / "columns.json").read_text()))

    def has_trees(self, fit: Fit = "evaluation") -> bool:
        """Whether the boosted trees are grown."""
        return (self.folder / _TREES[fit]).is_dir()

    def save_trees(self, fitted: "Mapping[str, Trees]", fit: Fit = "evaluation") -> None:
        """Write the boosted trees: of every task, or those of a refit."""
        from ple_model.boosting.files import save_trees

        self._publish_folder(_TREES[fit], lambda folder: save_trees(folder, fitted))

    def trees(self, fit: Fit = "evaluation") -> "dict[str, Trees]":
        """What `save_trees` wrote; their texts are verified against their digests."""
        from ple_model.boosting.files import load_trees

        return load_trees(self.folder / _TREES[fit])

    @property
    def checkpoints(self) -> Path:
        """Folder of the trainer's checkpoints."""
        return self.folder / "checkpoints"

    @property
    def refit_checkpoints(self) -> Path:
        """Folder of the checkpoints of a refit."""
        return self.folder / "refit_checkpoints"

    @property
    def processes(self) -> Path:
        """Folder of what several processes share while they train the network; none where one does."""
        return self.folder / "processes"

    def save_found(self, found: Found) -> None:
        """Write the epochs that the evaluation fit found."""
        publish_json(asdict(found), self.folder / "found.json")
        self._note(self.folder / "found.json")

    def found(self) -> Found:
        """The epochs that the evaluation fit found."""
        content = json.loads((self.folder / "found.json").read_text())
        epochs = {task: (int(phase), int(epoch)) for task, (phase, epoch) in content["epochs"].items()}
        return Found(epochs, int(content["phase2_from"]))

    @property
    def bundle(self) -> Path:
        """The bundle of the evaluation fit: weights, configuration, calibration, schema, fitted state."""
        return self.folder / "bundle"

    def save_bundle(self, write: Callable[[Path], Any]) -> None:
        """Let `write` fill an empty folder and publish it as the bundle of the evaluation fit."""
        self._publish_folder("bundle", write)

    def save_refit_bundle(self, write: Callable[[Path], Any]) -> None:
        """Let `write` fill an empty folder and publish it as the bundle of both fits."""
        self._publish_folder("refit_bundle", write)

    @property
    def candidate(self) -> Path:
        """The bundle that is registered: that of both fits where there was a refit, else that of the evaluation."""
        refit = self.folder / "refit_bundle"
        return refit if refit.is_dir() else self.bundle

    @property
    def evaluation(self) -> Path:
        """File of the comparison with the baselines (`Evaluation`)."""
        return self.folder / "evaluation.json"

    def save_leaks(self, leaks: list[str]) -> None:
        """Write what the search for leaks found: `column → task`, none where all is well."""
        publish_json({"leaks": leaks}, self.folder / "leaks.json")

    def leaks(self) -> list[str] | None:
        """What the search for leaks found; None where nobody looked."""
        file = self.folder / "leaks.json"
        return list(json.loads(file.read_text())["leaks"]) if file.is_file() else None

    # --- promotion ----------------------------------------------------------------------------------------------
    @property
    def challenge(self) -> Path:
        """File of the comparison with the champion (`Challenge`)."""
        return self.folder / "challenge.json"

    @property
    def rehearsal(self) -> Path:
        """File of the rehearsal of a night (`Rehearsal`)."""
        return self.folder / "rehearsal.json"

    # --- registration -------------------------------------------------------------------------------------------
    def save_run(self, run_id: str) -> None:
        """Write the MLflow run of this training."""
        publish_json({"run_id": run_id}, self.folder / "run.json")

    def run(self) -> str | None:
        """The MLflow run of this training, None before it is opened."""
        return self._json("run.json", "run_id")

    def save_version(self, version: str) -> None:
        """Write the number of the registered version."""
        publish_json({"version": version}, self.folder / "registered.json")

    def version(self) -> str | None:
        """Number of the registered version, None before its registration."""
        return self._json("registered.json", "version")

    def clean_up(self) -> None:
        """Delete what can be computed again; labels, bundle and evaluation stay."""
        for name in ("snapshots", "checkpoints", "refit_checkpoints", "processes"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _publish_folder(self, name: str, write: Callable[[Path], Any]) -> None:
        beside = empty_beside(self.folder / name)
        write(beside)
        seal(beside)
        publish_folder(beside, self.folder / name)

    def _note(self, file: Path) -> None:
        """Note the digest of a file that was written."""
        publish_json({**self._noted(), self._name(file): file_digest(file)}, self.folder / DIGESTS)

    def _noted(self) -> dict[str, str]:
        try:
            return dict(json.loads((self.folder / DIGESTS).read_text()))
        except (FileNotFoundError, ValueError):  # without it everything is made again
            return {}

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _json(self, name: str, key: str) -> str | None:
        file = self.folder / name
        return str(json.loads(file.read_text())[key]) if file.is_file() else None
