"""The user's own files as contract tables: as people and programs write them, and what becomes of each row."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.dataset import DatasetConfig, load_dataset
from feature_assets.events.view import View
from feature_assets.sources import Ingested, ingest, read_delivery, reader_of
from feature_assets.sources.arrivals import Arrival, check, meet, merge, stack
from tests.deliveries.real import REAL

COLUMNS: dict[str, Any] = {"customer_id": "customer", "at": "date", "amount": "price"}
LINES = "customer,date,price\na,2023-03-01,2.5\na,2023-03-04,1\nb,2023-03-02,4\n"


def described(folder: Path, transactions: dict[str, Any], /, **settings: Any) -> DatasetConfig:
    """The description of a folder of files."""
    tables = {"transactions": {"files": "sales.csv", "columns": COLUMNS} | transactions, **settings.pop("tables", {})}
    values = {
        "name": "mine", "title": "Mine", "notice": "Written by a test.", "zone": "Europe/Berlin",
        "covers_from": date(2023, 1, 1), "covers_until": date(2024, 1, 1), "tables": tables,
    }  # fmt: skip
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(values | settings, sort_keys=False), encoding="utf-8")
    return load_dataset(str(path), folder)


def taken(folder: Path, content: str | bytes, transactions: dict[str, Any] | None = None, **settings: Any) -> Ingested:
    """The validated tables of one file of transactions."""
    (folder / "sales.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return ingest(read_delivery(described(folder, transactions or {}, **settings)))


def lines(found: Ingested) -> pl.DataFrame:
    return found.tables.frames["transactions"]


def reasons(found: Ingested, table: str = "transactions") -> dict[str, int]:
    return {count.reason: count.rows for count in found.validated[table].counts}


def test_customer_date_and_price_are_enough(tmp_path: Path) -> None:
    found = taken(tmp_path, LINES)
    assert found.tables.frames["customers"].rows() == [("a", date(2023, 3, 1)), ("b", date(2023, 3, 2))]
    first = lines(found).row(0, named=True)
    assert first["at"] == datetime(2023, 2, 28, 23, tzinfo=UTC)  # midnight in Berlin
    assert (first["kind"], first["merchant_id"], first["discount"]) == ("purchase", "the shop", 0.0)
    assert lines(found)["transaction_id"].n_unique() == 3
    off = found.tables.dataset.tasks_off
    assert off["channel"] == "no transaction states its channel"
    assert off["merchant_affinity"] == "all purchases are at one merchant"
    assert {"churn", "spending_bucket", "consumption_cycle"}.isdisjoint(off)
    assert off["ltv"] == "its label looks 21 days ahead: 4 days of data are too few, 63 are needed"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\xef\xbb\xbf" + LINES.encode(), {}),
        (LINES.replace("\n", "\r\n").encode(), {}),
        (LINES.replace(",", ";").encode(), {}),
        (("sep=;\r\n" + LINES.replace(",", ";")).encode(), {}),
        (b"\xef\xbb\xbf" + ("sep=\t\n" + LINES.replace(",", "\t")).encode(), {}),
        (LINES.encode("utf-16"), {"encoding": "utf-16"}),
        (LINES.replace(",", "|").encode("cp1252"), {"encoding": "cp1252"}),
        (LINES.replace(",", "   ").encode(), {"separator": "blanks"}),
        (LINES.split("\n", 1)[1].encode(), {"header": False, "separator": ",", "names": ["customer", "date", "price"]}),
        (LINES.replace("2.5", '"2,5"').replace("customer,", '"customer",').encode(), {"decimal": ","}),
        (LINES.replace("a,", "'a',").encode(), {"quote": "'"}),
        (LINES.replace("2.5", "€ 2.5").encode(), {"symbols": "€"}),
        (LINES.replace(",", " , ").encode(), {"separator": ",", "strip": True}),
    ],
)  # fmt: skip
def test_text_files_as_they_come(tmp_path: Path, content: bytes, text: dict[str, Any]) -> None:
    assert lines(taken(tmp_path, content, {"text": text})).equals(lines(taken(tmp_path, LINES)))


def test_a_packed_file_and_parquet_are_read_alike(tmp_path: Path) -> None:
    whole = lines(taken(tmp_path, LINES))
    (tmp_path / "sales.csv.gz").write_bytes(gzip.compress(LINES.encode()))
    assert lines(ingest(read_delivery(described(tmp_path, {"files": "sales.csv.gz"})))).equals(whole)
    typed = pl.read_csv(LINES.encode(), try_parse_dates=True)
    typed.write_parquet(tmp_path / "sales.parquet")
    assert lines(ingest(read_delivery(described(tmp_path, {"files": "sales.parquet"})))).equals(whole)


@pytest.mark.parametrize(
    ("text", "form", "value"),
    [
        ("1.234,50", {"decimal": ",", "thousands": "."}, 1234.5),
        ("1234,5", {"decimal": ",", "thousands": "."}, 1234.5),
        ("1 234,50", {"decimal": ",", "thousands": " "}, 1234.5),
        ("1\u00a0234,50", {"decimal": ",", "thousands": " "}, 1234.5),
        ("1'234.50", {"thousands": "'"}, 1234.5),
        ("$1,234.50", {"thousands": ",", "symbols": "$"}, 1234.5),
        ("+.5", {}, 0.5),
        ("1.5e3", {}, 1500.0),
        ("1.234", {"decimal": ",", "thousands": "."}, 1234.0),
        ("1.23", {"decimal": ",", "thousands": "."}, None),
        ("1,5", {}, None),
        ("1.2.3", {}, None),
        ("12 000", {}, None),
        ("NaN", {}, None),
        ("inf", {}, None),
        ("abc", {}, None),
    ],
)
def test_numbers_have_the_declared_form_or_are_set_aside(
    tmp_path: Path, text: str, form: dict[str, str], value: float | None
) -> None:
    content = f"customer;date;price\na;2023-03-01;{text}\nb;2023-03-01;7\n"
    found = taken(tmp_path, content, {"text": form}, quarantine_limits={"transactions": 1.0, "customers": 1.0})
    amounts = dict(lines(found).select("customer_id", "amount").iter_rows())
    assert amounts.get("a") == value
    if value is None:
        form = {"decimal": ".", "thousands": ""} | form
        form_shown = f"1{form['thousands']}234{form['decimal']}5"
        assert reasons(found) == {f"transactions.amount is no number in the form {form_shown} ('price')": 1}
        assert f'"amount as delivered":"{text}"' in found.validated["transactions"].quarantine["row"][0]


def test_a_minus_may_stand_behind_and_makes_a_refund(tmp_path: Path) -> None:
    found = taken(tmp_path, LINES + "a,2023-03-05,2.50-\n")
    assert lines(found).filter(kind="refund")["amount"].to_list() == [-2.5]


def test_zeros_of_keys_stay(tmp_path: Path) -> None:
    found = taken(tmp_path, "customer,date,price\n00123,2023-03-01,1\n0045,2023-03-01,1\n")
    assert found.tables.frames["customers"]["customer_id"].to_list() == ["00123", "0045"]


@pytest.mark.parametrize("other", ["12345.0", "012345"])
def test_two_forms_of_a_key_are_one_or_two_or_an_error(tmp_path: Path, other: str) -> None:
    content = f"customer,date,price\n12345,2023-03-01,1\n{other},2023-03-02,1\n"
    with pytest.raises(DeliveryError, match=r"customer_id holds .*12345.*`key: whole` if they are one"):
        taken(tmp_path, content)
    for key, customers in (("whole", ["12345"]), ("text", sorted(["12345", other]))):
        columns = COLUMNS | {"customer_id": {"column": "customer", "key": key}}
        found = taken(tmp_path, content, {"columns": columns})
        assert found.tables.frames["customers"]["customer_id"].to_list() == customers


def test_a_key_that_is_no_whole_number_is_set_aside(tmp_path: Path) -> None:
    columns = COLUMNS | {"customer_id": {"column": "customer", "key": "whole"}}
    content = "customer,date,price\n12,2023-03-01,1\n12.5,2023-03-02,1\nx,2023-03-02,1\n"
    found = taken(tmp_path, content, {"columns": columns}, quarantine_limits={"transactions": 1.0})
    assert reasons(found) == {"transactions.customer_id is no whole number ('customer')": 2}


def test_keys_that_are_floats_of_parquet_are_whole_numbers(tmp_path: Path) -> None:
    frame = pl.DataFrame({"customer": [7.0, 2.0**60], "date": [date(2023, 3, 1)] * 2, "price": [1, 2]})
    frame.write_parquet(tmp_path / "sales.parquet")
    settings = {"quarantine_limits": {"transactions": 1.0}}
    found = ingest(read_delivery(described(tmp_path, {"files": "sales.parquet"}, **settings)))
    assert lines(found)["customer_id"].to_list() == ["7"]
    assert found.validated["transactions"].dropped == 1


@pytest.mark.parametrize(
    ("text", "column", "instant"),
    [
        ("2023-07-01 12:30:00", {}, datetime(2023, 7, 1, 10, 30)),
        ("2023-07-01T12:30", {}, datetime(2023, 7, 1, 10, 30)),
        ("2023-07-01T12:30:00Z", {}, datetime(2023, 7, 1, 12, 30)),
        ("2023-07-01 12:30:00.25+05:30", {}, datetime(2023, 7, 1, 7, 0, 0, 250_000)),
        ("20230701", {}, datetime(2023, 6, 30, 22)),
        ("01.07.2023", {"format": "%d.%m.%Y"}, datetime(2023, 6, 30, 22)),
        ("07/01/2023 03:04 PM", {"format": "%m/%d/%Y %I:%M %p"}, datetime(2023, 7, 1, 13, 4)),
        ("1.7.2023", {"format": ["%Y-%m-%d", "%d.%m.%Y"]}, datetime(2023, 6, 30, 22)),
        ("1688214600", {"format": "epoch_s"}, datetime(2023, 7, 1, 12, 30)),
        ("1688214600000", {"format": "epoch_ms"}, datetime(2023, 7, 1, 12, 30)),
        ("45108.5", {"format": "excel"}, datetime(2023, 7, 1, 10)),
        ("2023-07-01 12:30", {"zone": "UTC"}, datetime(2023, 7, 1, 12, 30)),
        ("2023-03-26 02:30", {}, datetime(2023, 3, 26, 1, 30)),  # removed: 03:30 by the new clock
        ("2023-03-26 02:30", {"removed_hour": "earlier"}, datetime(2023, 3, 26, 0, 30)),
        ("2023-03-26 02:30", {"removed_hour": "error"}, None),
        ("2023-10-29 02:30", {}, datetime(2023, 10, 29, 0, 30)),
        ("2023-10-29 02:30", {"doubled_hour": "later"}, datetime(2023, 10, 29, 1, 30)),
        ("2023-10-29 02:30", {"doubled_hour": "error"}, None),
        ("31.02.2023", {"format": "%d.%m.%Y"}, None),
        ("2023-13-01", {}, None),
        ("01.07.2023", {}, None),
    ],
)
def test_times(tmp_path: Path, text: str, column: dict[str, Any], instant: datetime | None) -> None:
    columns = COLUMNS | {"at": {"column": "date", **column}}
    settings = {"quarantine_limits": {"transactions": 1.0, "customers": 1.0}}
    content = f"customer;date;price\na;{text};1\n"
    if instant is None:
        with pytest.raises(DeliveryError, match=r"transactions\.at is no time in the form"):
            taken(tmp_path, content, {"columns": columns}, **settings)
    else:
        found = taken(tmp_path, content, {"columns": columns}, **settings)
        assert lines(found)["at"].to_list() == [instant.replace(tzinfo=UTC)]


def test_a_day_without_a_midnight_begins_where_it_begins(tmp_path: Path) -> None:
    columns = COLUMNS | {"at": {"column": "date", "removed_hour": "error", "doubled_hour": "later"}}
    content = "customer,date,price\na,2018-11-04,1\n"
    days = {"covers_from": date(2018, 1, 1), "covers_until": date(2019, 1, 1), "zone": "America/Sao_Paulo"}
    found = taken(tmp_path, content, {"columns": columns}, **days)
    assert lines(found)["at"].to_list() == [datetime(2018, 11, 4, 3, tzinfo=UTC)]
    assert found.tables.frames["customers"]["joined_on"].to_list() == [date(2018, 11, 4)]


def test_values_have_names_of_the_contract(tmp_path: Path) -> None:
    content = "customer,date,price,type\na,2023-03-01,2,S\na,2023-03-02,2,R\na,2023-03-02,3,?\n"
    amount = {"expression": "-price if type == 'R' else price"}
    kind: dict[str, Any] = {"column": "type", "map": {"S": "purchase", "R": "refund"}}
    settings = {"quarantine_limits": {"transactions": 1.0}}
    found = taken(tmp_path, content, {"columns": COLUMNS | {"amount": amount, "kind": kind}}, **settings)
    assert lines(found).select("kind", "amount").rows() == [("purchase", 2.0), ("refund", -2.0)]
    assert reasons(found) == {"transactions.kind is none of the values that map names ('type')": 1}
    kind["default"] = "purchase"
    found = taken(tmp_path, content, {"columns": COLUMNS | {"amount": amount, "kind": kind}})
    assert lines(found)["kind"].to_list().count("purchase") == 2


def test_an_expression_multiplies_what_it_can_read(tmp_path: Path) -> None:
    content = "customer;date;Unit Price;n\na;2023-03-01;1.000,50;2\na;2023-03-02;x;2\n"
    amount = {"expression": "round(column('Unit Price') * n, 2)"}
    mapping = {"columns": COLUMNS | {"amount": amount, "quantity": "n"}, "text": {"decimal": ",", "thousands": "."}}
    found = taken(tmp_path, content, mapping, quarantine_limits={"transactions": 1.0})
    assert lines(found).select("amount", "quantity").rows() == [(2001.0, 2)]
    assert '"amount as delivered":"x | 2"' in found.validated["transactions"].quarantine["row"][0]


def test_rows_that_do_not_count_are_left_out_and_counted(tmp_path: Path) -> None:
    content = "customer,date,price,status\na,2023-03-01,2,paid\na,2023-03-02,2,open\nb,2023-03-01,0,open\n"
    found = taken(tmp_path, content, {"where": "status == 'paid'"})
    assert lines(found).height == 1
    assert found.tables.frames["customers"]["customer_id"].to_list() == ["a"]
    assert "table transactions: 2 of 3 rows are left out: not as where says (status == 'paid')" in found.notes
    counted = "customer,date,price,n\na,2023-03-01,2,1\na,2023-03-02,2,x\n"
    unclear = taken(tmp_path, counted, {"where": "n > 0"}, quarantine_limits={"transactions": 1.0})
    assert reasons(unclear) == {"transactions: whether it counts cannot be told (n > 0)": 1}
    assert '"where as delivered":"x"' in unclear.validated["transactions"].quarantine["row"][0]


def test_the_newest_row_of_a_key_holds(tmp_path: Path) -> None:
    content = (
        "customer,date,price,id,changed\na,2023-03-01,2,1,2023-03-01\na,2023-03-01,5,1,2023-03-03\n"
        "a,2023-03-01,4,1,2023-03-02\nb,2023-03-01,1,2,\n"
    )
    mapping = {"columns": COLUMNS | {"transaction_id": "id"}, "latest": {"by": "changed"}}
    found = taken(tmp_path, content, mapping)
    assert lines(found).select("customer_id", "amount").rows() == [("a", 5.0), ("b", 1.0)]
    assert "table transactions: 2 rows are replaced by a newer one of their key (changed)" in found.notes


def test_equal_lines_without_a_number_are_two_purchases_in_any_order(tmp_path: Path) -> None:
    twice = LINES + "a,2023-03-01,2.5\n"
    found = taken(tmp_path, twice)
    assert lines(found).height == 4
    head, *rows = twice.splitlines()
    assert lines(taken(tmp_path, "\n".join([head, *reversed(rows)]))).equals(lines(found))


def test_parts_of_different_schemas_are_read_by_the_declared_one(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "1.csv").write_text(LINES, encoding="utf-8")
    (tmp_path / "parts" / "2.csv").write_text("price;note;date;customer;n\n9;x;2023-03-09;c;3\n", encoding="utf-8")
    with pytest.raises(DeliveryError, match=r"1\.csv lacks column 'n'.*`optional: true`"):
        read_delivery(described(tmp_path, {"files": "parts", "columns": COLUMNS | {"quantity": "n"}}))
    columns = COLUMNS | {"quantity": {"column": "n", "optional": True}}
    for files in ("parts", "parts/*.csv"):
        found = ingest(read_delivery(described(tmp_path, {"files": files, "columns": columns})))
        assert lines(found)["quantity"].to_list() == [None, None, None, 3]


def test_products_are_the_rows_of_the_sales(tmp_path: Path) -> None:
    content = (
        "customer,date,price,product,category\na,2023-03-01,2,p1,tea\na,2023-03-02,2,p1,tea\nb,2023-03-01,1,p1,coffee\n"
    )
    products = {"rows_of": "transactions", "columns": {"product_id": "product", "category_l1": "category"}}
    mapping = {"columns": COLUMNS | {"product_id": "product"}}
    found = taken(tmp_path, content, mapping, tables={"products": products})
    assert found.tables.frames["products"].select("product_id", "category_l1").rows() == [("p1", "tea")]
    assert lines(found)["product_id"].to_list() == ["p1"] * 3


def test_protected_columns_are_kept_beside_the_tables(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("id,sex,town,card\na,f,X,gold\nb,m,Y,\n", encoding="utf-8")
    columns = {"customer_id": "id", "gender": "sex", "region_l1": "town", "loyalty_card": "card"}
    people = {"files": "people.csv", "columns": columns}
    found = taken(tmp_path, LINES, tables={"customers": people}, protected=["gender", "region_l1"])
    assert found.tables.frames["customers"].columns == ["customer_id", "joined_on", "loyalty_card"]
    assert found.tables.protected.rows() == [("a", "f", "X"), ("b", "m", "Y")]
    found.tables.save(tmp_path / "saved")
    again = type(found.tables).load(tmp_path / "saved")
    assert again.protected.equals(found.tables.protected)
    assert again.frames["customers"].equals(found.tables.frames["customers"])


def test_customers_join_with_their_first_transaction(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("id\na\nb\nnever\n", encoding="utf-8")
    found = taken(tmp_path, LINES, tables={"customers": {"files": "people.csv", "columns": {"customer_id": "id"}}})
    assert found.tables.frames["customers"].rows() == [("a", date(2023, 3, 1)), ("b", date(2023, 3, 2))]
    assert reasons(found, "customers") == {}
    why = "without a transaction, which tells when a customer joined"
    assert f"table customers: 1 of 3 rows are left out: {why}" in found.notes


def test_what_is_protected_changes_nothing_that_is_computed_from(tmp_path: Path) -> None:
    columns = {"customer_id": "id", "gender": "sex", "birth_year": "born", "loyalty_card": "card"}
    people = {"files": "people.csv", "columns": columns}
    found = []
    for rows in ("a,f,1970,gold\nb,m,1980,\n", "a,m,1999,gold\nb,,,\n"):
        (tmp_path / "people.csv").write_text("id,sex,born,card\n" + rows, encoding="utf-8")
        found.append(taken(tmp_path, LINES, tables={"customers": people}, protected=["gender", "birth_year"]).tables)
    one, other = found
    assert not one.protected.equals(other.protected)
    assert one.frames.keys() == other.frames.keys()
    assert all(one.frames[name].equals(other.frames[name]) for name in one.frames)
    view = View(one, date(2023, 6, 1))
    assert view.customers.columns == ["customer_id", "joined_on", "loyalty_card"]


def test_deliveries_of_own_files_add_up(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(LINES, encoding="utf-8")
    people = {"files": "people.csv", "columns": {"customer_id": "id"}}
    mapping = {"columns": COLUMNS | {"transaction_id": "id"}}
    dataset = described(tmp_path, mapping, delivery="append", tables={"customers": people})
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, rows in ((first, "1,a,2023-03-01,2\n2,b,2023-03-01,x\n"), (second, "1,a,2023-03-01,5\n")):
        folder.mkdir()
        (folder / "sales.csv").write_text("id,customer,date,price\n" + rows, encoding="utf-8")
    (first / "people.csv").write_text("id\na\nb\n", encoding="utf-8")
    reader = reader_of(dataset)
    arrivals: list[Arrival] = []
    for day, folder in ((date(2023, 3, 2), first), (date(2023, 3, 3), second)):
        checked = check(reader, read_delivery(dataset, folder), day)
        arrivals.append(meet(checked, dataset, day, arrivals, stack(arrivals)))
    assert arrivals[0].aside["transactions"].dropped == 1
    merged = merge(reader, dataset, arrivals, dict.fromkeys(("customers", "transactions"), tmp_path))
    assert lines(merged).select("transaction_id", "amount").rows() == [("1", 5.0)]


@pytest.mark.parametrize(
    ("content", "mapping", "words"),
    [
        (LINES.encode("utf-16"), {}, "is in UTF-16. Write `text: {encoding: utf-16}`"),
        ("customer,date,price\nJosé,2023-03-01,1\n".encode("latin-1"), {}, "not text in utf-8 (byte 23)"),
        (b"customer,date,price\n" + b"a,2023-03-01,1\n" * 5000 + b"\xe9,2023-03-01,1\n", {}, "is not text in UTF-8"),
        (b"", {}, "sales.csv is empty"),
        (b"customer,date,date\na,b,c\n", {}, "names two columns 'date'"),
        (b"customer,date,price\na,2023-03-01,1,5,5\n", {}, "Does the separator or the quote fit?"),
        (b"Customer,date,price\na,2023-03-01,1\n", {}, "lacks column 'customer': did you mean 'Customer'?"),
        (LINES.encode(), {"files": "sale.csv"}, "'sale.csv' leads to no file in"),
        (LINES.encode(), {"files": "*.xlsx"}, "'*.xlsx' leads to no file in"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_to_do(
    tmp_path: Path, content: bytes, mapping: dict[str, Any], words: str
) -> None:
    with pytest.raises(DeliveryError) as raised:
        taken(tmp_path, content, mapping)
    assert words in str(raised.value)
    assert len(str(raised.value)) < 400 + 2 * len(str(tmp_path))


def test_cdnow_is_read_as_it_comes(tmp_path: Path) -> None:
    columns = {"customer_id": "customer_id", "at": "date", "amount": "dollar_value", "quantity": "number_of_cds"}
    mapping = {"files": "CDNOW_master.txt", "text": {"separator": "blanks"}, "columns": columns}
    days = {"covers_from": date(1997, 1, 1), "covers_until": date(1998, 7, 1), "folder": str(REAL)}
    found = ingest(read_delivery(described(tmp_path, mapping, **days)))
    assert (found.tables.customers, lines(found).height) == (23_570, 69_659)
    assert lines(found)["amount"].sum() == pytest.approx(2_500_315.63)
    assert lines(found)["quantity"].sum() == 167_881
    assert found.validated["transactions"].dropped == 0
    names = ["master_id", "customer_id", "date", "number_of_cds", "dollar_value"]
    mapping |= {"files": "CDNOW_sample.txt", "text": {"separator": "blanks", "header": False, "names": names}}
    sample = ingest(read_delivery(described(tmp_path, mapping, **days)))
    assert (sample.tables.customers, lines(sample).height) == (2_357, 6_919)


def test_purchases_without_a_price_are_read(tmp_path: Path) -> None:
    mapping = {
        "files": "example_transactions.csv",
        "columns": {"customer_id": "id", "at": "date", "amount": {"value": 1}},
    }
    days = {"covers_from": date(2014, 1, 1), "covers_until": date(2015, 1, 1), "folder": str(REAL)}
    found = ingest(read_delivery(described(tmp_path, mapping, **days)))
    assert lines(found).height == 15_273 - found.validated["transactions"].dropped
    assert found.validated["transactions"].dropped == 0
