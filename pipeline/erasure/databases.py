"""Customers in the texts of Dagster's and MLflow's databases: events with previews, messages of failures, notes."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.erasure.words import Who, without_pictures

if TYPE_CHECKING:
    import sqlalchemy as sa

AT_A_TIME = 100
"""Ids in one question to a database."""
PICTURES_OF_ONE = ("hmm_summary", "tda_short", "tda_long")
"""Groups whose picture in the UI shows single customers, who are named in it: their pictures go with anybody."""


def clean_sqlite(file: Path, who: Who, dry: bool) -> int:
    """Take them out of the texts of a sqlite file, and what is deleted out of its bytes; how many texts.

    Raises:
        OperationalError: another process keeps it locked.
    """
    import sqlalchemy as sa

    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(file)), connect_args={"timeout": 60}, isolation_level="AUTOCOMMIT"
    )
    try:
        with engine.connect() as connection:
            found = sum(clean_table(connection, table, who, dry) for table in _tables(connection))
            if not dry:
                connection.exec_driver_sql("VACUUM")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        engine.dispose()
    return found


def _tables(connection: "sa.Connection") -> "Iterator[sa.Table]":
    import sqlalchemy as sa

    known = sa.MetaData()
    known.reflect(connection)
    yield from known.sorted_tables


def clean_table(connection: "sa.Connection", table: "sa.Table", who: Who, dry: bool) -> int:
    """Take them out of the texts of a table of any database; how many texts. Keys of rows stay."""
    import sqlalchemy as sa

    keys: list[Any] = list(table.primary_key) or [sa.column("rowid")]
    texts = [column for column in table.c if isinstance(column.type, sa.String) and not column.primary_key]
    if not texts:
        return 0
    wanted = [*sorted(who.ids), "data:image/"]
    found = 0
    for start in range(0, len(wanted), AT_A_TIME):
        some = wanted[start : start + AT_A_TIME]
        holds = sa.or_(*(column.contains(each, autoescape=True) for column in texts for each in some))
        rows = connection.execute(sa.select(*keys, *texts).select_from(table).where(holds)).all()
        for row in rows:
            before = dict(zip([column.name for column in texts], row[len(keys) :], strict=True))
            after = {name: cleaned for name, text in before.items() if (cleaned := _cleaned(text, who)) != text}
            found += len(after)
            if after and not dry:
                at = [key == value for key, value in zip(keys, row[: len(keys)], strict=True)]
                connection.execute(sa.update(table).where(*at).values(after))
    return found


def _cleaned(text: Any, who: Who) -> Any:
    if not isinstance(text, str):
        return text
    if "data:image/" in text and any(f'"{group}"' in text for group in PICTURES_OF_ONE):
        text = without_pictures(text)
    return who.document(text)
