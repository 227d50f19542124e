"""`ple data init` and `ple data check` on files that nobody described."""

from __future__ import annotations

import json
import re
import shutil
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result

from feature_assets.data.dataset import load_dataset
from pipeline.cli import main
from tests.deliveries import shop
from tests.deliveries.real import REAL


def ple(*words: str | Path) -> Result:
    result = CliRunner().invoke(main, ["data", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in result.output
    return result


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small shop as a person would export it: one file, names of columns of one's own."""
    folder = tmp_path_factory.mktemp("sold")
    tables = shop.tables()
    lines = tables["transactions"].join(tables["products"], on="product_id", how="left")
    exported = lines.select(
        pl.col("customer_id").alias("Customer ID"),
        pl.col("at").dt.to_string("%d.%m.%Y %H:%M").alias("Date"),
        pl.col("product_id").alias("Item"),
        pl.col("category_l1").alias("Department"),
        pl.col("amount").map_elements(lambda v: f"{v:.2f}".replace(".", ","), pl.String).alias("Total"),
        pl.col("channel").alias("Channel"),
    )
    (folder / "export.csv").write_bytes(exported.write_csv(separator=";").encode("utf-16"))
    return folder


def test_init_describes_what_it_sees_and_marks_its_guesses(sold: Path) -> None:
    output = sold / "shop.yaml"
    output.unlink(missing_ok=True)
    result = ple("init", sold, "--output", output)
    assert result.exit_code == 0, result.output
    text = output.read_text(encoding="utf-8")
    described = yaml.safe_load(text)
    assert described["channels"] == ["phone", "till", "web"]
    sales = described["tables"]["transactions"]
    assert sales["text"] == {"encoding": "utf-16", "decimal": ","}
    assert sales["columns"] == {
        "customer_id": "Customer ID",
        "at": {"column": "Date", "format": "%d.%m.%Y %H:%M"},
        "amount": "Total",
        "product_id": "Item",
        "channel": "Channel",
    }
    assert described["tables"]["products"]["rows_of"] == "transactions"
    assert all("GUESS" in line for line in text.splitlines() if "column:" in line)
    assert "tasks can be fed: " in result.output
    assert "no click of a campaign was delivered" in result.output
    again = ple("init", sold, "--output", output)
    assert again.exit_code == 1
    assert "exists" in again.output


def test_check_says_what_a_night_would_find(sold: Path) -> None:
    output = sold / "checked.yaml"
    if not output.exists():
        assert ple("init", sold, "--output", output).exit_code == 0
    result = ple("check", output, "--json")
    found = json.loads(result.output[result.output.index("{") :])
    assert result.exit_code == 0, found["problems"]
    assert found["coverage"]["customers"] == shop.CUSTOMERS
    assert {row["table"]: row["dropped"] for row in found["tables"]} == {
        "customers": 0,
        "products": 0,
        "transactions": 0,
    }
    off = {row["task"]: row["why not"] for row in found["tasks"] if row["state"] == "off"}
    assert off["merchant_affinity"] == "all purchases are at one merchant"
    assert off["churn"] == "5 of 60 customers have a positive training label, 20 are needed"
    rates = {row["task"] for row in found["base_rates"]}
    assert rates.isdisjoint(off)
    assert {"timing", "ltv", "spending_category"} <= rates
    assert len({row["date"] for row in found["base_rates"]}) == 3
    assert any(group["group"] == "campaign" and group["state"] == "off" for group in found["groups"])
    assert found["cost"]["training rows"] > 0


def test_base_rates_have_the_names_of_classes(sold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLE_HOME", str(tmp_path))
    output = sold / "rated.yaml"
    assert ple("init", sold, "--output", output).exit_code == 0
    words = ["base-rates", "--dataset-file", str(output), "--as-of", "2023-09-01"]
    found = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)
    rates = {rate["task"]: rate for rate in found["base_rates"]}
    channel = rates["channel"]["classes"]
    assert {each["class"] for each in channel} == {"phone", "till"}  # most bought in no other on those days
    assert sum(each["share"] for each in channel) == pytest.approx(1.0)
    assert len(rates["timing"]["classes"]) == rates["timing"]["classes_present"] > 4
    printed = CliRunner().invoke(main, words).stdout
    line = next(line for line in printed.splitlines() if line.startswith("timing"))
    assert all(each["class"] in line for each in rates["timing"]["classes"])


@pytest.mark.parametrize(("name", "rows", "open_words"), [
    ("CDNOW_master.txt", 69_659, "no column says what is bought"),
    ("example_transactions.csv", 15_273, "no column says what was paid"),
])  # fmt: skip
def test_real_files_are_described_and_read_without_an_edit(
    tmp_path: Path, name: str, rows: int, open_words: str
) -> None:
    shutil.copy(REAL / name, tmp_path)
    result = ple("init", tmp_path, "--output", tmp_path / "real.yaml")
    assert result.exit_code == 0, result.output
    assert f"{rows:,}" in result.output
    assert open_words in result.output
    assert "the files do not fit it yet" not in result.output
    assert load_dataset(str(tmp_path / "real.yaml"), tmp_path).mapped("transactions")[:2] == ("customer_id", "at")


def test_few_customers_with_months_of_data_have_the_tasks_that_they_can_teach(tmp_path: Path) -> None:
    """60 customers, of whom 25 stay away for some months: they can churn."""
    lines = []
    for c in range(60):
        away = range(100, 220) if c < 25 else range(0)
        lines += [f"{c},{date(2023, 1, 1) + timedelta(days=d)},2.5" for d in range(c % 7, 400, 10) if d not in away]
    (tmp_path / "few.csv").write_text("\n".join(["customer,date,price", *lines]), encoding="utf-8")
    assert ple("init", tmp_path, "--output", tmp_path / "few.yaml").exit_code == 0
    result = ple("check", tmp_path / "few.yaml", "--json")
    found = json.loads(result.output[result.output.index("{") :])
    assert result.exit_code == 0, found["problems"]
    assert {row["task"] for row in found["tasks"] if row["state"] == "on"} >= {
        "churn",
        "retention",
        "ltv",
        "life_stage",
    }
    one_less = [line for line in lines if line.partition(",")[0] not in map(str, range(6))]
    (tmp_path / "few.csv").write_text("\n".join(["customer,date,price", *one_less]), encoding="utf-8")
    result = ple("check", tmp_path / "few.yaml", "--json")
    found = json.loads(result.output[result.output.index("{") :])
    off = {row["task"]: row["why not"] for row in found["tasks"] if row["state"] == "off"}
    assert off["churn"] == "19 of 54 customers have a positive training label, 20 are needed"


def test_nothing_to_learn_is_one_sentence(tmp_path: Path) -> None:
    """Forty customers of long ago, and one who goes on."""
    lines = [
        f"{c},{date(2023, 1, 1) + timedelta(days=d)},2.5" for c in range(41) for d in range(0, 400 if c == 7 else 20, 8)
    ]
    (tmp_path / "gone.csv").write_text("\n".join(["customer,date,price", *lines]), encoding="utf-8")
    assert ple("init", tmp_path, "--output", tmp_path / "gone.yaml").exit_code == 0
    result = ple("check", tmp_path / "gone.yaml")
    assert result.exit_code == 1
    assert "no task has enough training labels as of 2024-01-29" in result.output
    assert "ltv: 1 of 41 customers have a training label other than 0, 10 are needed" in result.output


@pytest.mark.parametrize("days", [60, 30])
def test_few_customers_and_days_end_in_a_short_horizon_or_in_one_sentence(days: int, tmp_path: Path) -> None:
    """Fifty customers who buy every 6 to 20 days, for two months and for one."""
    lines = [
        f"{c},{date(2023, 1, 1) + timedelta(days=d)},{1 + c % 9}.5"
        for c in range(50)
        for d in range(c % 7, days, 6 + c % 15)
    ]
    (tmp_path / "thin.csv").write_text("\n".join(["customer,date,price", *lines]), encoding="utf-8")
    assert ple("init", tmp_path, "--output", tmp_path / "thin.yaml").exit_code == 0
    text = (tmp_path / "thin.yaml").read_text(encoding="utf-8")
    result = ple("check", tmp_path / "thin.yaml", "--json")
    found = json.loads(result.output[result.output.index("{") :])
    if days == 30:
        assert result.exit_code == 1
        assert re.search(r"which are (29|30) of the 35 days that are needed", found["problems"][0])
        return
    assert result.exit_code == 0, found["problems"]
    assert any("labels look 7 days ahead, and customers count as active for 14 days" in note for note in found["notes"])
    assert any(note.startswith("no purchase has a time of day") for note in found["notes"])
    timing = next(note for note in found["notes"] if note.startswith("task timing: 28 classes are merged into "))
    shown = {each["class"] for row in found["base_rates"] if row["task"] == "timing" for each in row["shares"]}
    assert shown
    assert all(name in timing and "–" not in name for name in shown)
    off = {row["task"]: row["why not"] for row in found["tasks"] if row["state"] == "off"}
    assert off["ltv"].startswith("its label looks 21 days ahead: ")
    assert {"churn", "spending_bucket"}.isdisjoint(off)
    assert found["base_rates"]
    (tmp_path / "thin.yaml").write_text(f"{text}\nhorizon_days: 28\n", encoding="utf-8")
    stated = ple("check", tmp_path / "thin.yaml", "--json")
    problems = json.loads(stated.output[stated.output.index("{") :])["problems"]
    assert "of the 231 days that are needed" in problems[0], "what is stated stays"


@pytest.mark.parametrize(("content", "words"), [
    (None, "holds no file that can be read"),
    ("a,b\n1,2\n", "no file in"),
    ("", "is empty"),
])  # fmt: skip
def test_a_folder_without_sales_says_what_is_looked_for(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "x.csv").write_text(content, encoding="utf-8")
    result = ple("init", tmp_path)
    assert result.exit_code == 1
    assert words in result.output
    assert list(tmp_path.glob("*.yaml")) == []


def test_a_name_that_no_data_set_can_have_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    result = ple("init", tmp_path, "--output", tmp_path / "Sales 2024.txt.yaml")
    assert result.exit_code == 1
    assert "is no name of a data set" in result.output
    assert "sales_2024_txt.yaml" in result.output, "one that it can have"


def test_wrong_files_to_check_are_named(tmp_path: Path) -> None:
    assert "no data set description" in ple("check", tmp_path / "none.yaml").output
    assert "ends in .yaml" in ple("check", tmp_path).output
    (tmp_path / "x.yaml").write_text("name: x\nzon: UTC\n", encoding="utf-8")
    assert "line 2: zon: unknown key 'zon': did you mean 'zone'?" in ple("check", tmp_path / "x.yaml").output
