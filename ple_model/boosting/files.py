"""Fitted tasks as a folder: LightGBM's text of every model, and `trees.json` with their digests.

trees.json              task → kind, constant, rows, rounds, note, and its files with their SHA-256
<task>.txt              the one model of a task
<task>.<column>.txt     the model of one brand or output

The one model over pairs of a row and a candidate (`ple_model.boosting.candidates`) is kept as that of a task, with
popularity and history in place of constant and columns.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ple_model.boosting.boosted import Boosted
from ple_model.boosting.candidates import CandidateTrees

Trees = Boosted | CandidateTrees

INDEX = "trees.json"


class TreesError(ValueError):
    """A folder of trees that is not whole or was altered; the message names the file."""


def save_trees(folder: Path, fitted: Mapping[str, Trees]) -> list[str]:
    """Write fitted tasks; equal trees give equal bytes.

    Args:
        folder: created if needed.
        fitted: by task.

    Returns:
        Names of the files in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, dict[str, Any]] = {}
    for task, boosted in sorted(fitted.items()):
        files = {}
        for name, text in _texts(task, boosted).items():
            data = text.encode()
            (folder / name).write_bytes(data)
            files[name] = hashlib.sha256(data).hexdigest()
        if isinstance(boosted, CandidateTrees):
            kept = {name: value for name, value in asdict(boosted).items() if name != "model"}
            index[task] = {**kept, "files": files}
            continue
        index[task] = {
            "kind": boosted.kind,
            "constant": boosted.constant,
            "columns": list(boosted.columns),
            "rounds": list(boosted.rounds),
            "features": boosted.features,
            "train_rows": boosted.train_rows,
            "trees": boosted.trees,
            "note": boosted.note,
            "files": files,
        }
    (folder / INDEX).write_text(json.dumps(index, indent=1, sort_keys=True, allow_nan=False))
    return [INDEX, *(name for task in index.values() for name in task["files"])]


def load_trees(folder: Path) -> dict[str, Trees]:
    """Read what `save_trees` wrote.

    Raises:
        TreesError: a file is missing or is not the one that was saved.
    """
    fitted: dict[str, Trees] = {}
    for task, kept in _index(folder).items():
        texts = []
        for name in model_files(kept):
            if Path(name).name != name:
                raise TreesError(f"{folder / INDEX} names a file outside the folder: {name!r}")
            if not (folder / name).is_file():
                raise TreesError(f"{folder} lacks {name}; train again")
            data = (folder / name).read_bytes()
            if hashlib.sha256(data).hexdigest() != kept["files"][name]:
                raise TreesError(f"{folder / name} is not the file that was saved; train again")
            texts.append(data.decode())
        if "history" in kept:
            fitted[task] = CandidateTrees(
                kind=kept["kind"],
                model=texts[0],
                popularity=tuple(kept["popularity"]),
                history=tuple(kept["history"]),
                trees=kept["trees"],
                train_rows=kept["train_rows"],
                pairs=kept["pairs"],
            )
            continue
        fitted[task] = Boosted(
            kind=kept["kind"],
            constant=tuple(kept["constant"]) if isinstance(kept["constant"], list) else kept["constant"],
            models=tuple(texts),
            columns=tuple(kept["columns"]),
            rounds=tuple(kept["rounds"]),
            features=kept["features"],
            train_rows=kept["train_rows"],
            trees=kept["trees"],
            note=kept["note"],
        )
    return fitted


def model_files(kept: Mapping[str, Any]) -> list[str]:
    """Files of one task of the index in the order of its models: JSON sorts names, and "10" before "9"."""
    by_column = {name.split(".")[-2]: name for name in kept["files"]}
    return [by_column[str(column)] for column in kept["columns"]] if kept.get("columns") else list(kept["files"])


def _texts(task: str, grown: Trees) -> dict[str, str]:
    """File name → text of each model."""
    if isinstance(grown, CandidateTrees):
        return {f"{task}.txt": grown.model}
    names = [f"{task}.{column}.txt" for column in grown.columns] or [f"{task}.txt"]
    return dict(zip(names, grown.models, strict=False))


def _index(folder: Path) -> dict[str, dict[str, Any]]:
    file = folder / INDEX
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError as error:
        raise TreesError(f"{folder} holds no trees: it lacks {INDEX}") from error
    except ValueError as error:
        raise TreesError(f"{file} is not readable JSON: {error}") from error
