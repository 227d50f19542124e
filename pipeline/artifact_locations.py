"""MLflow's artifact locations, which are absolute, kept true for a home that is copied, moved or restored.

MLflow writes the full path of every experiment, run and model into its database: a copied home would read and write the
original's folders. They are rewritten here when a home is opened elsewhere than it lay before. A tracking server of
another kind (PostgreSQL, http) has locations of its own, which nobody changes.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where MLflow's tables hold a location."""
DEFAULT_EXPERIMENT = 0
_OF_A_HOME = re.compile(r"(file://.*/mlflow/artifacts)(?:/\d+)?")


def follow(database: Path, artifacts: Path) -> bool:
    """Point every location in a home's database at the folder where its artifacts lie now. One transaction.

    The experiment `Default`, which MLflow puts below the folder that it is first started in, moves there as well; its
    runs keep their own locations.

    Args:
        database: the home's sqlite file.
        artifacts: the home's folder of artifacts.

    Returns:
        Whether the home lay elsewhere before.

    Raises:
        sqlite3.Error: the file is damaged, or cannot be written.
    """
    here = artifacts.as_uri()
    default = f"{here}/{DEFAULT_EXPERIMENT}"
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        found = dict(connection.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall())
        homes = [_OF_A_HOME.fullmatch(location or "") for location in found.values()]
        before = {match[1] for match in homes if match} - {here}
        for old in sorted(before):
            for table, column in COLUMNS:
                connection.execute(
                    f"UPDATE {table} SET {column} = :new || substr({column}, :rest) "
                    f"WHERE {column} = :old OR substr({column}, 1, :rest) = :old || '/'",
                    {"new": here, "old": old, "rest": len(old) + 1},
                )
        if found.get(DEFAULT_EXPERIMENT, default) != default:
            connection.execute(
                "UPDATE experiments SET artifact_location = :new WHERE experiment_id = :id",
                {"new": default, "id": DEFAULT_EXPERIMENT},
            )
        return bool(before)
