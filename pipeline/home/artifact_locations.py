"""MLflow's artifact locations, which are absolute, kept true for a home that is copied, moved or restored.

MLflow writes the full path of every experiment, run and model into its database: a copied home would read and write the
original's folders. They are rewritten here when a home is opened elsewhere than it lay before, in its sqlite file or in
its PostgreSQL database. A tracking server has locations of its own, which nobody changes.
"""

import re
from pathlib import Path

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

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


def sqlite(database: Path) -> Engine:
    """The sqlite file of a home."""
    return create_engine(f"sqlite:///{database}", poolclass=NullPool, connect_args={"timeout": 60})


def follow(database: Engine, artifacts: Path) -> bool:
    """Point every location in a home's database at the folder where its artifacts lie now. One transaction.

    The experiment `Default`, which MLflow puts below the folder that it is first started in, moves there as well; its
    runs keep their own locations.

    Args:
        database: the home's.
        artifacts: the home's folder of artifacts.

    Returns:
        Whether the home lay elsewhere before.

    Raises:
        DBAPIError: the file is damaged, or cannot be written, or the server fails.
    """
    here = artifacts.as_uri()
    default = f"{here}/{DEFAULT_EXPERIMENT}"
    with database.begin() as connection:
        rows = connection.execute(text("SELECT experiment_id, artifact_location FROM experiments")).all()
        found = {int(id_): location for id_, location in rows}
        homes = [_OF_A_HOME.fullmatch(location or "") for location in found.values()]
        before = {match[1] for match in homes if match} - {here}
        for old in sorted(before):
            for table, column in COLUMNS:
                connection.execute(
                    text(
                        f"UPDATE {table} SET {column} = :new || substr({column}, :rest) "
                        f"WHERE {column} = :old OR substr({column}, 1, :rest) = :below"
                    ),
                    {"new": here, "old": old, "below": f"{old}/", "rest": len(old) + 1},
                )
        if found.get(DEFAULT_EXPERIMENT, default) != default:
            connection.execute(
                text("UPDATE experiments SET artifact_location = :new WHERE experiment_id = :id"),
                {"new": default, "id": DEFAULT_EXPERIMENT},
            )
        return bool(before)
