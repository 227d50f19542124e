"""Fitted tasks as a folder: LightGBM's text of every model, and `trees.json` with their digests.

trees.json              task → kind, constant, rows, rounds, note, and its files with their SHA-256
<task>.txt              the one model of a task
<task>.<column>.txt     the model of one brand or output
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ple_model.boosting.boosted import Boosted

INDEX = "trees.json"


class TreesError(ValueError):
    """A folder of trees that is not whole or was altered; the message names the file."""


def save_trees(folder: Path, fitted: Mapping[str, Boosted]) -> list[str]:
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
        for i, text in enumerate(boosted.models):
            name = f"{task}.{boosted.columns[i]}.txt" if boosted.columns else f"{task}.txt"
            data = text.encode()
            (folder / name).write_bytes(data)
            files[name] = hashlib.sha256(data).hexdigest()
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


def load_trees(folder: Path) -> dict[str, Boosted]:
    """Read what `save_trees` wrote.

    Raises:
        TreesError: a file is missing or is not the one that was saved.
    """
    fitted = {}
    for task, kept in _index(folder).items():
        texts = []
        for name in model_files(kept):
            if not (folder / name).is_file():
                raise TreesError(f"{folder} lacks {name}; train again")
            data = (folder / name).read_bytes()
            if hashlib.sha256(data).hexdigest() != kept["files"][name]:
                raise TreesError(f"{folder / name} is not the file that was saved; train again")
            texts.append(data.decode())
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
    return [by_column[str(column)] for column in kept["columns"]] if kept["columns"] else list(kept["files"])


def _index(folder: Path) -> dict[str, dict[str, Any]]:
    file = folder / INDEX
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError as error:
        raise TreesError(f"{folder} holds no trees: it lacks {INDEX}") from error
    except ValueError as error:
        raise TreesError(f"{file} is not readable JSON: {error}") from error
