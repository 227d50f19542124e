"""A table of a PostgreSQL database, night by night: only new days, what a past night saw, and faults in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import psycopg2
import psycopg2.extras
import psycopg2.sql
import pytest
import yaml
from click.testing import CliRunner

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.dataset import DatasetConfig, load_dataset
from feature_assets.data.tables import Tables
from feature_assets.sources import ingest, read_delivery
from pipeline import faults
from pipeline.cli import main
from pipeline.intake import deliveries, extracts, source_database
from pipeline.intake.arrivals import READ, Ledger
from pipeline.monitoring import volume
from pipeline.resources.lake import Lake
from pipeline.settings import VolumeLimits
from tests.deliveries import shop
from tests.deliveries.arriving import digests
from tests.pipeline.postgres_server import PASSWORD, Server

FIRST, SECOND = date(2023, 10, 2), date(2023, 10, 4)
REREAD = 5
COLUMNS: dict[str, Any] = {
    "transaction_id": "Bon Nr",
    "customer_id": {"column": "Kunde", "key": "text"},
    "at": "sold_at",
    "amount": "paid",
    "product_id": "item",
    "basket_id": "basket",
}
SALES = (
    'CREATE TABLE {schema}.sales ("Bon Nr" bigint PRIMARY KEY, "Kunde" text, sold_at timestamptz, paid numeric(10, 2), '
    "item varchar(20), basket text, secret text)"
)
INJECTED = "'; DROP TABLE sales; --%s"


@pytest.fixture(scope="module")
def lines() -> pl.DataFrame:
    """What the small shop sold, with a number a line. A customer's name is an attempt to break out."""
    sold = (
        shop.tables()["transactions"]
        .gather_every(5)
        .with_columns(number=pl.int_range(pl.len()), customer_id=pl.col("customer_id").replace("n01", INJECTED))
    )
    return sold.select(
        "number", "customer_id", pl.col("at").dt.replace_time_zone("UTC"), "amount", "product_id", "basket_id"
    )


class Till:
    """A database with a table of sales in the schema `shop's "own"`, and the lake of a home that reads it."""

    def __init__(self, server: Server, folder: Path, template: str = "template0") -> None:
        self.server, self.folder = server, folder
        self.url = server.database(template)
        self.name = self.url.rpartition("/")[2]
        self.schema = 'shop\'s "own"'
        self.run("ALTER DATABASE {name} SET enable_seqscan = off", name=self.name)  # rows read are rows asked for
        self.lake, self.said = Lake(root=str(folder / "home" / "lake")), list[str]()

    def make(self) -> None:
        """The tables of a new database."""
        self.run("CREATE SCHEMA {schema}")
        self.run(SALES)
        self.run("CREATE INDEX ON {schema}.sales (sold_at)")
        self.run("CREATE TABLE {schema}.items (item text, department text, brand text)")
        self.fill("items", shop.tables()["products"].select("product_id", "category_l1", "brand"))

    def run(self, command: str, **names: str) -> list[tuple[Any, ...]]:
        return self.server.run(
            command, self.name, **({"schema": self.schema} if "{schema}" in command else {}), **names
        )

    def fill(self, table: str, rows: pl.DataFrame) -> None:
        with psycopg2.connect(self.url, password=PASSWORD) as connection, connection.cursor() as cursor:
            into = psycopg2.sql.SQL("INSERT INTO {} VALUES %s").format(psycopg2.sql.Identifier(self.schema, table))
            width = f"({', '.join(['%s'] * rows.width)})"
            psycopg2.extras.execute_values(cursor, into, rows.rows(), template=width)
        connection.close()

    def sell(self, lines: pl.DataFrame) -> None:
        self.fill("sales", lines.with_columns(secret=pl.lit("not read")))

    def describe(self, name: str = "till", **database: Any) -> DatasetConfig:
        at = {"url": self.url, "table": f"{self.schema}.sales", "since": "sold_at", "reread_days": REREAD} | database
        tables: dict[str, Any] = {
            "transactions": {"database": {key: value for key, value in at.items() if value is not None}},
            "products": {"database": {"url": self.url, "table": f"{self.schema}.items"}},
        }
        tables["transactions"]["columns"] = COLUMNS
        tables["products"]["columns"] = {"product_id": "item", "category_l1": "department", "brand": "brand"}
        return described(self.folder, name, tables)

    def night(self, dataset: DatasetConfig, day: date) -> deliveries.NightsDelivery:
        self.said.clear()
        judge = volume.judge_of_arrivals(VolumeLimits())
        return deliveries.of_night(dataset, None, self.lake, day, self.said.append, judge)

    def tables(self, dataset: DatasetConfig, day: date) -> dict[str, pl.DataFrame]:
        return Tables.load(self.lake.delivery(self.night(dataset, day).digest)).frames

    def fetched(self) -> int:
        """Rows of the sales that the server has read from the table since it was made, by its own statistics."""
        [(rows,)] = self.run(
            "SELECT coalesce(idx_tup_fetch, 0) + seq_tup_read FROM pg_stat_user_tables WHERE relname = 'sales'"
        )
        return int(rows)

    def counts(self, dataset: DatasetConfig, day: date) -> list[dict[str, int]]:
        rows = Ledger(self.lake, dataset).counts(day).filter(pl.col("table") == "transactions")
        return rows.select("new", "corrected", "repeated", "late").to_dicts()


def described(folder: Path, name: str, tables: dict[str, Any], **settings: Any) -> DatasetConfig:
    values = {
        "name": name, "title": "A till", "notice": "Written by a test.", "zone": "Europe/Lisbon",
        "covers_from": date(2023, 1, 1), "covers_until": date(2099, 1, 1), "tables": tables,
    }  # fmt: skip
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values | settings, sort_keys=False), encoding="utf-8")
    return load_dataset(str(path), folder)


@pytest.fixture(scope="module")
def filled(postgres: Server, tmp_path_factory: pytest.TempPathFactory, lines: pl.DataFrame) -> str:
    """Name of a database that has everything that was sold before the first night."""
    till = Till(postgres, tmp_path_factory.mktemp("till"))
    till.make()
    till.sell(lines.filter(before(FIRST)))
    return till.name


@pytest.fixture
def till(postgres: Server, tmp_path: Path, filled: str) -> Till:
    """A copy of it."""
    return Till(postgres, tmp_path, filled)


def before(day: date) -> pl.Expr:
    return pl.col("at").dt.convert_time_zone("Europe/Lisbon").dt.date() < day


def of_files(till: Till, lines: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The same rows as CSV files, read in full."""
    folder = till.folder / "files"
    folder.mkdir()
    names = dict(zip(lines.columns, ("Bon Nr", "Kunde", "sold_at", "paid", "item", "basket"), strict=True))
    lines.rename(names).write_csv(folder / "sales.csv")
    shop.tables()["products"].rename({"product_id": "item", "category_l1": "department"}).write_csv(
        folder / "items.csv"
    )
    tables = {
        "transactions": {"files": "sales.csv", "columns": COLUMNS},
        "products": {
            "files": "items.csv",
            "columns": {"product_id": "item", "category_l1": "department", "brand": "brand"},
        },
    }
    return ingest(read_delivery(described(folder, "filed", tables))).tables.frames


def test_a_night_reads_only_new_days_and_those_that_are_read_again(till: Till, lines: pl.DataFrame) -> None:
    dataset = till.describe()
    start = till.fetched()
    first = till.tables(dataset, FIRST)
    known = lines.filter(before(FIRST))
    assert till.fetched() - start == known.height
    corrected, unseen = known.filter(~before(date(2023, 9, 29))).row(0)[0], known.row(0)[0]
    late = lines.filter(before(SECOND)).tail(1).select(
        pl.lit(10**6).alias("number"), "customer_id",
        pl.lit("2023-09-30 12:00").str.to_datetime(time_zone="UTC").alias("at"),
        pl.lit(7.25).alias("amount"), "product_id", "basket_id",
    )  # fmt: skip
    till.sell(pl.concat([lines.filter(~before(FIRST)), late.cast({"number": pl.Int64, "at": lines.schema["at"]})]))
    till.run(f'UPDATE {{schema}}.sales SET paid = 99.5 WHERE "Bon Nr" IN ({corrected}, {unseen})')
    start = till.fetched()
    second = till.tables(dataset, SECOND)
    again = pl.concat([lines, late.cast(dict(lines.schema))]).filter(before(SECOND), ~before(date(2023, 9, 27)))
    assert 0 < again.height < known.height / 5
    assert till.fetched() - start == again.height
    assert f"read {again.height:,} rows of" in till.said[0]
    assert "sold_at from 2023-09-27 on and before 2023-10-04" in till.said[0]
    new = again.filter(~before(FIRST)).height
    assert till.counts(dataset, SECOND) == [
        {"new": known.height, "corrected": 0, "repeated": 0, "late": 0},
        {"new": new + 1, "corrected": 1, "repeated": again.height - new - 2, "late": 1},
    ]
    now = pl.concat([lines, late.cast(dict(lines.schema))]).filter(before(SECOND))
    now = now.with_columns(amount=pl.when(pl.col("number") == corrected).then(99.5).otherwise("amount"))
    files = of_files(till, now)
    assert files.keys() == second.keys()
    for name, frame in files.items():
        assert frame.sort(frame.columns).equals(second[name].select(frame.columns).sort(frame.columns)), name
    assert INJECTED in second["customers"]["customer_id"].to_list()
    past = till.tables(dataset, FIRST)
    assert all(frame.equals(past[name]) for name, frame in first.items())
    assert till.fetched() - start == again.height
    kept = sorted((till.folder / "home").rglob("*.parquet"))
    assert all("secret" not in pl.read_parquet_schema(file) for file in kept)


def test_no_file_of_a_home_holds_the_password(till: Till) -> None:
    dataset = till.describe()
    till.night(dataset, FIRST)
    files = [file for file in (till.folder / "home").rglob("*") if file.is_file()]
    assert any(file.name == READ for file in files)
    assert not any(PASSWORD.encode() in file.read_bytes() for file in files)
    assert not list(till.lake.path("extracts", "till").iterdir())


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize(
    ("place", "reads"),
    [
        ("pipeline.intake.extracts.publish_folder", True),
        ("pipeline.intake.arrivals.publish_folder", False),
        ("pipeline.intake.extracts.discard", False),
    ],
)
def test_a_night_that_was_killed_goes_on(
    place: str, reads: bool, till: Till, lines: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read whole before the kill is not read again; what was not is read anew."""
    dataset = till.describe()

    def kill(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(place, kill)
        with pytest.raises(Killed):
            till.night(dataset, FIRST)
    start = till.fetched()
    tables = till.tables(dataset, FIRST)
    assert (till.fetched() > start) == reads
    assert tables["transactions"].height == lines.filter(before(FIRST)).height
    assert len(Ledger(till.lake, dataset).entries()) == 1
    kept = digests(till.lake.path("arrivals"))
    till.night(dataset, FIRST)
    assert digests(till.lake.path("arrivals")) == kept


def test_what_is_refused_is_read_again(till: Till) -> None:
    dataset = till.describe()
    till.run("UPDATE {schema}.sales SET paid = NULL")
    refused = till.night(dataset, FIRST)
    assert refused.digest.startswith("refused-")
    assert not list(till.lake.path("extracts", "till").iterdir())
    till.run("UPDATE {schema}.sales SET paid = 2.5")
    assert set(till.tables(dataset, FIRST)["transactions"]["amount"]) == {2.5}


def test_an_extract_of_another_description_or_day_is_not_used(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = till.describe()

    def kill(*_: Any) -> None:
        raise Killed

    for day in (date(2023, 9, 30), FIRST):
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.intake.arrivals.publish_folder", kill)
            with pytest.raises(Killed):
                till.night(dataset, day)
    assert [folder.name for folder in till.lake.path("extracts", "till").iterdir()] == [f"arrived_on={FIRST}"]
    start = till.fetched()
    till.night(
        till.describe(table=None, query=f'SELECT * FROM "{till.schema.replace(chr(34), chr(34) * 2)}".sales'), FIRST
    )
    assert till.fetched() > start


def test_another_column_or_table_reads_all_of_it_again(till: Till, lines: pl.DataFrame) -> None:
    """Earlier extracts lack what nobody asked for then, and what they hold goes on to count."""
    dataset = till.describe()
    till.night(dataset, FIRST)
    text = (till.folder / "till.yaml").read_text().replace("basket_id: basket", "basket_id: secret")
    (till.folder / "till.yaml").write_text(text)
    changed = load_dataset(str(till.folder / "till.yaml"), till.folder)
    start = till.fetched()
    tables = till.tables(changed, SECOND)
    assert till.fetched() - start == lines.filter(before(FIRST)).height
    assert set(tables["transactions"]["basket_id"]) == {"not read"}
    start = till.fetched()
    till.night(changed, date(2023, 10, 5))
    assert 0 < till.fetched() - start < lines.filter(before(FIRST)).height / 5


def test_rows_of_the_rest_of_the_day_come_with_the_next_night(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    """A night ahead of the clock leaves no gap, though nothing is read again."""
    dataset = till.describe(reread_days=0)
    now = source_database.Source.__init__

    def earlier(source: source_database.Source, *given: Any) -> None:
        now(source, *given)
        source.now = source.now.replace(year=2023, month=10, day=1, hour=12)

    with monkeypatch.context() as patch:
        patch.setattr(source_database.Source, "__init__", earlier)
        till.night(dataset, FIRST)
    till.night(dataset, SECOND)
    assert "sold_at from 2023-10-01 on" in till.said[0]
    till.night(dataset, date(2023, 10, 5))
    assert "sold_at from 2023-10-04 on" in till.said[0]


@pytest.mark.parametrize(
    ("of", "day"), [("date", "sold_at::date"), ("timestamp", "(sold_at AT TIME ZONE 'Europe/Lisbon')::timestamp")]
)
def test_days_and_local_times_tell_what_is_new(of: str, day: str, till: Till, lines: pl.DataFrame) -> None:
    till.sell(lines.filter(~before(FIRST), before(SECOND)))
    own = '"' + till.schema.replace('"', '""') + '"'
    query = f"SELECT *, {day} AS day FROM {own}.sales WHERE paid::text NOT LIKE '%;%' -- 100% of it".replace(";", "x")
    dataset = till.describe(of, table=None, query=query, since="day")
    counts = [till.tables(dataset, each)["transactions"].height for each in (FIRST, SECOND)]
    assert counts == [lines.filter(before(each)).height for each in (FIRST, SECOND)]


def test_names_that_try_to_break_out_are_names(till: Till) -> None:
    nasty = 'x"; DROP TABLE sales; --%s'
    till.run(
        "CREATE TABLE {schema}.{nasty} ({nasty} text, {at} date, {paid} money)",
        nasty=nasty,
        at="at %(before)s",
        paid="{}",
    )
    with psycopg2.connect(till.url, password=PASSWORD) as connection, connection.cursor() as cursor:
        names, row = psycopg2.sql.Identifier(till.schema, nasty), (INJECTED, FIRST.replace(day=1))
        cursor.execute(
            psycopg2.sql.SQL("INSERT INTO {} VALUES ({}, {}, 4.5)").format(names, *map(psycopg2.sql.Literal, row))
        )
    connection.close()
    tables = {
        "transactions": {
            "database": {"url": till.url, "table": f"{till.schema}.{nasty}", "since": "at %(before)s"},
            "text": {"symbols": "$"},
            "columns": {"transaction_id": nasty, "customer_id": nasty, "at": "at %(before)s", "amount": "{}"},
        }
    }
    dataset = described(till.folder, "nasty", tables)
    found = till.tables(dataset, FIRST)["transactions"]
    assert found.select("customer_id", "transaction_id", "amount").rows() == [(INJECTED, INJECTED, 4.5)]
    assert till.run("SELECT count(*) > 0 FROM {schema}.sales") == [(True,)]


def test_a_query_cannot_write(till: Till) -> None:
    own = '"' + till.schema.replace('"', '""') + '"'
    till.run(
        "CREATE FUNCTION emptied() RETURNS SETOF {schema}.sales LANGUAGE sql AS "
        f"'DELETE FROM {own.replace(chr(39), chr(39) * 2)}.sales RETURNING *'"
    )
    with pytest.raises(DeliveryError, match="read-only transaction"):
        till.night(till.describe(table=None, query="SELECT * FROM emptied()"), FIRST)
    assert till.run("SELECT count(*) > 0 FROM {schema}.sales") == [(True,)]


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"url": "postgresql://ple@127.0.0.1:1/till"}, "database", "127.0.0.1:1 does not answer"),
    ({"url": "{url}_gone"}, "database", "has no database '{name}_gone': correct url"),
    ({"url": "{other}"}, "database", "the password of nobody is missing or wrong: set PGPASSWORD"),
    ({"table": "{schema}.sale"}, "table", "{place} has no table {sale!r}: did you mean {sales!r}?"),
    ({"since": "sold"}, "since", "{schema}.sales has no column 'sold': did you mean 'sold_at'?"),
    ({"since": "item"}, "since", "item is of type character varying, and days are told by a date"),
    ({"table": None, "query": "SELECT itm FROM sales"}, "query", 'says: relation "sales" does not exist'),
    ({"table": None, "query": "SELECT 1 +"}, "query", "says: syntax error"),
]


@pytest.mark.parametrize(("change", "key", "words"), FAULTS, ids=[words[:30] for _, _, words in FAULTS])
def test_what_is_wrong_is_said_in_one_line(change: dict[str, Any], key: str, words: str, till: Till) -> None:
    known = {
        "url": till.url, "name": till.name, "schema": till.schema, "place": till.url.partition("@")[2],
        "other": till.url.replace("//ple@", "//nobody@"),
        "sale": f"{till.schema}.sale", "sales": f"{till.schema}.sales",
    }  # fmt: skip
    change = {name: value.format(**known) if value else None for name, value in change.items()}
    with pytest.raises(DeliveryError) as raised:
        till.night(till.describe(**change), FIRST)
    line = key_line(till.folder / "till.yaml", key)
    said = str(raised.value)
    assert said.startswith(f"{till.folder / 'till.yaml'}, line {line}: tables.transactions.database")
    assert words.format(**known) in said
    assert "\n" not in said
    assert PASSWORD not in said


def key_line(file: Path, key: str) -> int:
    return next(n for n, line in enumerate(file.read_text().splitlines(), 1) if line.strip().startswith(f"{key}:"))


def test_a_column_that_is_missing_is_said_where_it_is_mapped(till: Till) -> None:
    till.run("ALTER TABLE {schema}.sales RENAME paid TO payd")
    with pytest.raises(DeliveryError, match=r"line \d+: tables.transactions.columns.amount: .* did you mean 'payd'"):
        till.night(till.describe(), FIRST)


def test_a_wrong_password_and_missing_rights_say_what_to_set(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PGPASSWORD", "wrong")
        with pytest.raises(
            DeliveryError, match="the password of ple is missing or wrong: set PGPASSWORD, or a line"
        ) as raised:
            till.night(till.describe(), FIRST)
        assert not faults.passes(raised.value)
    till.run("CREATE ROLE {name} LOGIN PASSWORD 'reads'", name=f"reader_{till.name}")
    monkeypatch.setenv("PGPASSWORD", "reads")
    till.url = till.url.replace("//ple@", f"//reader_{till.name}@")
    mine = till.describe()
    with pytest.raises(DeliveryError, match=r"may not read .*: GRANT SELECT ON it, and USAGE ON its schema") as raised:
        till.night(mine, FIRST)
    assert faults.in_words(raised.value) == ""  # it is no file's rights, and does not pass
    till.run("GRANT USAGE ON SCHEMA {schema} TO {name}", name=f"reader_{till.name}")
    with pytest.raises(DeliveryError, match=r"may not read .*sales \(table sales\): GRANT SELECT"):
        till.night(mine, FIRST)


def test_a_server_that_is_lost_is_tried_again(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and in the middle; the second attempt reads everything."""
    monkeypatch.setattr("pipeline.intake.source_database.BATCH", 100)
    monkeypatch.setattr("pipeline.intake.extracts._write", lost_after_the_first(extracts._write, till))
    with pytest.raises(DeliveryError) as raised:
        till.night(till.describe(), FIRST)
    assert faults.passes(raised.value)
    assert "the server does not answer" in faults.in_words(raised.value)
    assert till.tables(till.describe(), FIRST)["transactions"].height > 0
    with pytest.raises(DeliveryError) as raised:
        till.night(till.describe(url="postgresql://ple@127.0.0.1:1/till"), SECOND)
    assert faults.passes(raised.value)


def lost_after_the_first(write: Callable[..., int], till: Till) -> Callable[..., int]:
    """Ends every other connection to the database after a batch, once."""
    left = [1]

    def batches(given: Iterator[Any]) -> Iterator[Any]:
        yield next(given)
        if left:
            left.clear()
            till.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        yield from given

    return lambda given, *rest: write(batches(given), *rest)


def test_rows_without_a_day_and_those_of_forgotten_customers(till: Till, lines: pl.DataFrame) -> None:
    """The first are counted, once; the second can be found in what is kept by the column `ple forget` looks at."""
    till.sell(lines.tail(3).with_columns(number=pl.col("number") + 10**6, at=pl.lit(None, lines.schema["at"])))
    dataset = till.describe()
    till.night(dataset, FIRST)
    assert any("3 rows of" in line and "have no sold_at and are never read" in line for line in till.said)
    till.night(dataset, SECOND)
    assert not any("never read" in line for line in till.said)
    [kept] = till.lake.path("arrivals", "till").glob("00001_*/delivered/.database/transactions.parquet")
    frame = pl.read_parquet(kept)
    assert frame["customer_id"].to_list() == frame["Kunde"].to_list()


def test_files_beside_a_database_are_read_whole_every_night(till: Till) -> None:
    dataset = till.describe()
    (till.folder / "items.csv").write_text("item,department\np1,before\n")
    text = yaml.safe_load((till.folder / "till.yaml").read_text())
    text["tables"]["products"] = {
        "files": "items*.csv",
        "columns": {"product_id": "item", "category_l1": "department"},
    }
    (till.folder / "till.yaml").write_text(yaml.safe_dump(text))
    dataset = load_dataset(str(till.folder / "till.yaml"), till.folder)
    assert till.tables(dataset, FIRST)["products"].rows()[0][:2] == ("p1", "before")
    (till.folder / "items.csv").write_text("item,department\np1,after\n")
    assert till.tables(dataset, SECOND)["products"].rows()[0][:2] == ("p1", "after")
    (till.folder / "items.csv").unlink()
    with pytest.raises(DeliveryError, match=r"items\*\.csv' leads to no file"):
        till.night(dataset, date(2023, 10, 5))


def test_check_reads_a_database_without_a_home(till: Till) -> None:
    """Of a few customers, for whom no label is worth computing."""
    own = '"' + till.schema.replace('"', '""') + '"'
    till.describe(table=None, query=f"""SELECT * FROM {own}.sales WHERE "Kunde" < 'n10'""")
    [(rows,)] = till.run("""SELECT count(*) FROM {schema}.sales WHERE "Kunde" < 'n10'""")
    result = CliRunner().invoke(main, ["data", "check", str(till.folder / "till.yaml"), "--json"])
    found = json.loads(result.output[result.output.index("{") :])
    assert result.exit_code == 1, result.output
    assert {row["table"]: row["rows"] for row in found["tables"]}["transactions"] == rows > 100
    assert "customers" in found["problems"][0]
    assert sorted(path.name for path in till.folder.iterdir()) == ["till.yaml"]
    till.describe(table="sales")
    result = CliRunner().invoke(main, ["data", "check", str(till.folder / "till.yaml")])
    assert result.exit_code == 1
    assert "has no table 'sales': known keys: " in result.output
    assert "Traceback" not in result.output
