"""`ple forget` and the user's own files: a customer goes from kept deliveries of any form, and of the others every row
is read as before."""

from __future__ import annotations

import codecs
import gzip
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

from feature_assets.data.dataset import DatasetConfig, load_dataset
from feature_assets.sources.arrivals import ARRIVED
from feature_assets.sources.own.places import extract_file
from pipeline.erasure.erase import Outcome, erase
from pipeline.erasure.places import ErasureError
from pipeline.home.folder import Home
from pipeline.intake.arrivals import DELIVERED
from pipeline.intake.extracts import _write
from pipeline.intake.forgotten import Forgotten
from pipeline.resources.digests import broken
from tests.deliveries.arriving import Night

WHO = "00918273645"
DAYS = (date(2023, 2, 1), date(2023, 2, 2), date(2023, 2, 3))
SALES = ("Bon", "Kunde", "Datum", "Preis", "Notiz")
PEOPLE = ("Nummer", "Karte")
NOTES = ('said "ja; oder, nein"', "für\r\nAnna", "", "a | b")
Rows = list[tuple[str, ...]]


def sales(day: int, customers: list[str]) -> Rows:
    """Three sales a customer, some of them with notes that need quotes."""
    return [
        (f"{day}{c}{i}", customer, f"2023-01-{day + 1:02}", f"{c + i}.50", NOTES[(c + i) % len(NOTES)])
        for c, customer in enumerate(customers)
        for i in range(3)
    ]


def quoted(lines: Rows, names: tuple[str, ...], separator: str, ending: str, before: str = "") -> str:
    """Text with quotes where they are needed, written by hand."""

    def cell(value: str) -> str:
        needs = any(sign in value for sign in (separator, '"', "\n"))
        return '"' + value.replace('"', '""') + '"' if needs else value

    return before + "".join(separator.join(map(cell, line)) + ending for line in [names, *lines] if line)


def plain(lines: Rows, names: tuple[str, ...], separator: str) -> str:
    """Text without quotes: the notes are letters."""
    letters = [(*line[:-1], "abc"[len(line[-1]) % 3]) for line in lines]
    return "".join(separator.join(line) + "\n" for line in [names, *letters])


def parquet(lines: Rows, names: tuple[str, ...]) -> bytes:
    content = io.BytesIO()
    pl.DataFrame(lines, schema=dict.fromkeys(names, pl.String), orient="row").write_parquet(content)
    return content.getvalue()


@dataclass(frozen=True)
class Form:
    """How the files of a delivery are written: end of their names, format in the description, content."""

    suffix: str
    content: Callable[[Rows, tuple[str, ...]], bytes]
    text: dict[str, Any] = field(default_factory=dict)
    key: str = "text"
    spelled: tuple[str, ...] = (WHO,)


FORMS = {
    "sep= line, CRLF": Form(".csv", lambda rows, names: quoted(rows, names, ";", "\r\n", "sep=;\r\n").encode()),
    "comma, mark of UTF-8": Form(".txt", lambda rows, names: codecs.BOM_UTF8 + quoted(rows, names, ",", "\n").encode()),
    "UTF-16": Form(
        ".tsv",
        lambda rows, names: quoted(rows, names, "\t", "\r\n").encode("utf-16"),
        {"encoding": "utf-16"},
    ),
    "UTF-16 of the other order": Form(
        ".csv",
        lambda rows, names: codecs.BOM_UTF16_BE + quoted(rows, names, ";", "\n").encode("utf-16-be"),
        {"encoding": "utf-16"},
    ),
    "cp1252": Form(
        ".csv",
        lambda rows, names: quoted(rows, names, ";", "\n").encode("cp1252"),
        {"encoding": "cp1252"},
    ),
    "packed": Form(".csv.gz", lambda rows, names: gzip.compress(quoted(rows, names, ",", "\n").encode(), mtime=0)),
    "no header": Form(
        ".csv", lambda rows, _: quoted(rows, (), "|", "\n").encode(), {"separator": "|", "header": False}
    ),
    "no quotes": Form(".tsv", lambda rows, names: plain(rows, names, "\t").encode(), {"quote": ""}),
    "blanks": Form(".txt", lambda rows, names: plain(rows, names, " ").encode(), {"separator": "blanks"}),
    "keys with zeros": Form(
        ".csv",
        lambda rows, names: quoted(rows, names, ",", "\n").encode(),
        key="whole",
        spelled=(WHO, "918273645", "918273645.0"),
    ),
    "Parquet": Form(".pq", parquet),
}


def described(folder: Path, form: Form, **more: Any) -> DatasetConfig:
    def text(names: tuple[str, ...]) -> dict[str, Any]:
        return form.text | ({} if form.text.get("header", True) else {"names": list(names)})

    customer = {"key": form.key}
    tables = {
        "transactions": {
            "files": f"sales*{form.suffix}",
            "text": text(SALES),
            "columns": {
                "transaction_id": "Bon", "customer_id": customer | {"column": "Kunde"}, "at": "Datum", "amount": "Preis"
            },
        },
        "customers": {
            "files": f"people{form.suffix}",
            "text": text(PEOPLE),
            "columns": {"customer_id": customer | {"column": "Nummer"}, "loyalty_card": "Karte"},
        },
    }  # fmt: skip
    values = {
        "name": "own", "title": "Own", "notice": "Written by a test.", "zone": "Europe/Berlin", "delivery": "append",
        "covers_from": date(2023, 1, 1), "covers_until": date(2099, 1, 1), "folder": "inbox", "tables": tables,
    }  # fmt: skip
    (folder / "inbox").mkdir(parents=True, exist_ok=True)
    (folder / "own.yaml").write_text(yaml.safe_dump(values | more, sort_keys=False))
    return load_dataset(str(folder / "own.yaml"), folder)


def delivered(form: Form, whose: tuple[str, ...]) -> list[dict[str, bytes]]:
    """The files of three days: sales, those of the second day of the customer alone, and people on the first."""
    found = []
    for i in range(len(DAYS)):
        others = ["00000000017", "00000000023", "31"] if i != 1 else []
        found.append({f"sales_{i}{form.suffix}": form.content(sales(i, [*others, *whose]), SALES)})
        if i == 0:
            people = [(number, "gold") for number in [*others, *whose[:1]]]
            found[0][f"people{form.suffix}"] = form.content(people, PEOPLE)
    return found


def deliver(inbox: Path, days: dict[date, dict[str, bytes]]) -> None:
    for day, files in days.items():
        folder = inbox / f"{ARRIVED}={day}"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)


def arrived(folder: Path, form: Form) -> tuple[DatasetConfig, Path]:
    """The description of a data set whose deliveries of `DAYS` lie in its folder, and where its home is made."""
    dataset = described(folder, form)
    assert dataset.folder is not None
    deliver(dataset.folder, dict(zip(DAYS, delivered(form, form.spelled), strict=True)))
    return dataset, folder / "home"


def forget(home: Path, dataset: DatasetConfig, *ids: str, dry: bool = False) -> Outcome:
    no_model = cast("Any", SimpleNamespace(numbers=list))
    return erase(Home(home), dataset, no_model, ids, dry, lambda _: None)


def kept(home: Path) -> dict[str, bytes]:
    """Number of an arrival and name of a file → its content."""
    files = sorted((home / "lake" / "arrivals").glob(f"*/*/{DELIVERED}/**/*.*"))
    return {f"{file.relative_to(home).parts[3][:5]} {file.name}": file.read_bytes() for file in files if file.is_file()}


@pytest.mark.parametrize("name", FORMS)
def test_a_customer_goes_from_kept_files_of_any_form_and_every_other_row_is_read_as_before(
    name: str, tmp_path: Path
) -> None:
    form = FORMS[name]
    dataset, home = arrived(tmp_path, form)
    night = Night(home, dataset)
    night(DAYS[1])
    was = night.ledger.merged(DAYS[1]).tables.frames
    contract_id = "918273645" if form.key == "whole" else WHO
    told = forget(home, dataset, contract_id, dry=True)
    outcome = forget(home, dataset, contract_id)
    assert (outcome.problems, outcome.remaining) == ([], [])
    assert told.erased == outcome.erased
    assert Forgotten.read(home).finished
    now = night.ledger.merged(DAYS[1]).tables.frames
    for table, frame in was.items():
        others = frame.filter(pl.col("customer_id") != contract_id) if "customer_id" in frame.columns else frame
        assert_frame_equal(now[table], others, check_exact=True)
        assert others.height < frame.height or "customer_id" not in frame.columns
    last = night(DAYS[2])  # a delivery that brings them again is cleaned when it is taken in
    assert contract_id not in last.frames["transactions"]["customer_id"].to_list()
    clean, others = Night(tmp_path / "clean", described(tmp_path / "cleaned", form)), delivered(form, ())
    assert clean.dataset.folder is not None
    deliver(clean.dataset.folder, {DAYS[0]: others[0], DAYS[2]: others[2]})
    assert_frame_equal(last.frames["transactions"], clean(DAYS[2]).frames["transactions"], check_exact=True)
    for entry in night.ledger.entries():
        assert not broken(home / "lake" / "arrivals" / "own" / entry.name)
    if form.suffix != ".pq":  # byte for byte the lines of the others, as they were delivered
        if not form.text.get("header", True):
            others[1] = {}  # an empty file would have no form
        assert kept(home) == {f"{i:05} {name}": each for i, day in enumerate(others, 1) for name, each in day.items()}


def test_what_a_backup_brings_back_is_found_by_the_description(tmp_path: Path) -> None:
    dataset, home = arrived(tmp_path, FORMS["UTF-16"])
    Night(home, dataset)(DAYS[1])
    shutil.rmtree(home / "lake" / "versions")
    Forgotten().with_more([WHO]).save(home)
    outcome = forget(home, dataset)
    assert any(each.place.startswith("arrivals/own") for each in outcome.erased)
    assert all(WHO not in content.decode("utf-16") for content in kept(home).values())


def test_an_unknown_description_is_said_before_anything_is_changed(tmp_path: Path) -> None:
    dataset, home = arrived(tmp_path, FORMS["no quotes"])
    Night(home, dataset)(DAYS[0])
    before = kept(home)
    with pytest.raises(ErasureError, match=r"--dataset-file own\.yaml"):
        forget(home, dataset.model_copy(update={"name": "another"}), WHO)
    assert kept(home) == before
    assert Forgotten.read(home) == Forgotten()


def test_a_file_without_the_column_that_names_its_customers_is_named_and_the_rest_is_done(tmp_path: Path) -> None:
    dataset, home = arrived(tmp_path, FORMS["no quotes"])
    Night(home, dataset)(DAYS[0])
    text = (tmp_path / "own.yaml").read_text().replace("column: Kunde", "column: Kundin")
    (tmp_path / "own.yaml").write_text(text)
    outcome = forget(home, load_dataset(str(tmp_path / "own.yaml"), tmp_path), WHO)
    assert "lacks column 'Kundin', which names its customers: mend the description" in outcome.problems[0]
    assert not Forgotten.read(home).finished
    assert forget(home, dataset, WHO).problems == []


def test_customers_are_never_an_expression(tmp_path: Path) -> None:
    """So the column that names them is always known."""
    described(tmp_path, FORMS["Parquet"])
    text = (
        (tmp_path / "own.yaml").read_text().replace("column: Kunde", "expression: Kunde + 1").replace("key: text", "")
    )
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ValueError, match="an expression is a number, and customer_id is none: map a column"):
        load_dataset(str(tmp_path / "own.yaml"), tmp_path)


@pytest.mark.parametrize("column", ["Kunde", "Kundin"], ids=["as described", "described otherwise by now"])
def test_a_customer_goes_from_what_was_read_from_a_database(column: str, tmp_path: Path) -> None:
    dataset = described(tmp_path, FORMS["Parquet"])
    mapping = dataset.tables["transactions"]
    text = yaml.safe_load((tmp_path / "own.yaml").read_text())
    url = {"url": "postgresql://nobody@db.example/shop", "table": "till.sales"}
    text["tables"] = {"transactions": {"database": url, "columns": text["tables"]["transactions"]["columns"]}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    dataset = load_dataset(str(tmp_path / "own.yaml"), tmp_path)
    assert dataset.folder is not None
    folder = dataset.folder / f"{ARRIVED}={DAYS[0]}"
    lines = [line[:4] for line in sales(0, ["17", WHO])]
    _write(iter([lines]), list(SALES[:4]), extract_file(folder, "transactions"), "transactions", mapping)
    home = tmp_path / "home"
    night = Night(home, dataset)
    was = night(DAYS[0]).frames
    left = home / "lake" / "extracts" / "own" / f"{ARRIVED}={DAYS[1]}" / "sales.csv"
    left.parent.mkdir(parents=True)
    left.write_text(WHO)
    (tmp_path / "own.yaml").write_text(
        (tmp_path / "own.yaml").read_text().replace("column: Kunde", f"column: {column}")
    )
    outcome = forget(home, load_dataset(str(tmp_path / "own.yaml"), tmp_path), WHO)
    assert (outcome.problems, outcome.remaining) == ([], [])
    now = night.ledger.merged(DAYS[0]).tables.frames
    for table, frame in was.items():
        assert_frame_equal(now[table], frame.filter(pl.col("customer_id") != WHO), check_exact=True)
    assert not left.parent.exists(), "the next night reads it again"
