"""`ple plan`: the table for people, the same as JSON, prices, and nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main

NIGHT = ("--customers", "50e6", "--events-per-customer", "400")
PRICES = ("--core-hour", "0.05", "--gb-month", "0.02")


pytestmark = pytest.mark.usefixtures("home")


def ple(*words: str) -> Result:
    return CliRunner().invoke(main, ["plan", *words])


def test_a_plan_says_what_a_night_takes_and_what_ends_first() -> None:
    done = ple(*NIGHT)
    assert done.exit_code == 0, done.output
    found = json.loads(ple(*NIGHT, "--json").stdout)
    assert f"first limit  {found['first_limit']}" in done.stdout
    for step in found["steps"]:
        assert any(line.split()[0] == step["step"] for line in done.stdout.splitlines() if line)
    assert found["hours"] == pytest.approx(sum(step["hours"] for step in found["steps"]))
    assert not found["fits"]
    assert found["limits"][0]["what"] in found["first_limit"]
    assert found["blocks"] == 2_000
    assert all(words in done.stdout for words in found["assumptions"])
    assert "no price is given" in done.stdout


def test_a_small_deployment_fits() -> None:
    found = json.loads(ple("--customers", "20000", "--json").stdout)
    assert found["fits"]
    assert found["hours"] < 0.2
    assert found["events_per_customer"] == 175


def test_prices_make_a_cost_and_each_part_is_its_own() -> None:
    found = json.loads(ple(*NIGHT, *PRICES, "--cores", "8", "--json").stdout)
    assert found["cost"]["cores"] == pytest.approx(8 * found["hours"] * 0.05)
    assert found["cost"]["storage"] == pytest.approx(found["kept_gb"] * 0.02 * 12 / 365)
    parts = [value for name, value in found["cost"].items() if name != "night"]
    assert found["cost"]["night"] == pytest.approx(sum(parts))
    assert set(json.loads(ple(*NIGHT, *PRICES[2:], "--json").stdout)["cost"]) == {"storage", "night"}


def test_the_settings_say_what_is_kept_and_how_many_are_read_at_a_time(home: Path) -> None:
    before = json.loads(ple(*NIGHT, "--json").stdout)
    (home / "settings.yaml").write_text("customers_at_a_time: 50_000\nretention: {keep_nights: 18}\n")
    after = json.loads(ple(*NIGHT, "--json").stdout)
    assert after["blocks"] == before["blocks"] / 2
    kept = [{row["table"]: row["kept_gb"] for row in found["storage"]} for found in (before, after)]
    assert kept[1]["scores"] == pytest.approx(kept[0]["scores"] / 10)
    assert json.loads(ple(*NIGHT, "--at-a-time", "25000", "--json").stdout)["blocks"] == before["blocks"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--customers", "0"), "customers: 0, expected a number from 1 to 1e+12"),
        (("--customers", "nan"), "customers: nan, expected"),
        ((*NIGHT[:2], "--events-per-customer", "-1"), "events of a customer: -1, expected"),
        ((*NIGHT, "--cores", "0"), "cores: 0, expected a number from 1"),
        ((*NIGHT, "--memory", "-4"), "memory: -4, expected"),
        ((*NIGHT, "--at-a-time", "0"), "customers at a time: 0, expected"),
        ((*NIGHT, "--core-hour", "-1"), "price of a core-hour: -1, expected"),
        (("--customers", "many"), "'many' is not a valid float"),
        ((), "Missing option '--customers'"),
    ],
)
def test_nonsense_is_told_in_a_line(words: tuple[str, ...], told: str) -> None:
    done = ple(*words)
    assert done.exit_code in (1, 2)
    assert told in done.output
