"""A small home made by hand, and its browser asked as a server asks an application."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl

from pipeline.browser.app import application
from pipeline.resources.lake import Lake
from pipeline.servers.webserver import own_pages_only

DAYS = ("2018-01-01", "2018-01-02")
SCRIPT = "<script>alert(1)</script>"
IDS = ("00123", "123", "A-17", "77", "=1+1", SCRIPT)
STAGES = ["steady", "dormant"]
TASKS = [
    {"name": "churn", "kind": "binary", "meaning": "No purchase", "eligibility": "buyers", "classes": []},
    {"name": "ltv", "kind": "regression", "meaning": "Spend", "unit": "log1p", "natural_unit": "currency",
     "region_level": "90%", "classes": []},
    {"name": "life_stage", "kind": "multiclass", "meaning": "Stage", "classes": STAGES, "region_level": "90%"},
]  # fmt: skip
NOTICE = "Simulated: no customer in it exists."
ZONE = "America/New_York"


@dataclass(frozen=True)
class Answer:
    """Of the application."""

    status: int
    headers: dict[str, str]
    text: str


def ask(app: Any, address: str, method: str = "GET", **headers: str) -> Answer:
    """What an application answers."""
    path, _, query = address.partition("?")
    sent: list[Any] = []

    async def receive() -> Any:
        """The browser stays connected and sends nothing."""
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"host": "127.0.0.1:4000"} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "root_path": "", "scheme": "http",
        "query_string": query.encode(), "headers": [(k.encode(), v.encode()) for k, v in given.items()],
        "server": ("127.0.0.1", 4000), "client": ("127.0.0.1", 1), "http_version": "1.1", "asgi": {"version": "3.0"},
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], found, body.decode())


def scores(day: str) -> pl.DataFrame:
    """Scores of six customers; of the last one the tasks are not defined."""
    count = len(IDS)
    same = {"hindsight": False, "missing_sources": [], "model_version": "3", "state_version": "s1"}
    rows = [
        {
            "customer_id": name, "as_of": datetime.fromisoformat(day).date(),
            "churn": at / 10, "churn__u": at / count, "churn__fallback": at == 1, "churn__eligible": name != SCRIPT,
            "ltv": 1.0 + at, "ltv__value": -2.5 + at, "ltv__value_low": -3.0 + at, "ltv__value_high": 30.0,
            "ltv__u": None, "ltv__fallback": False, "ltv__eligible": True,
            "life_stage": "steady", "life_stage__p": [0.75, 0.25], "life_stage__probability": 0.75,
            "life_stage__eligible": True, **same,
        }
        for at, name in enumerate(IDS)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"ltv__u": pl.Float64, "missing_sources": pl.List(pl.String)})


def lake(folder: Path) -> Lake:
    """Two dates of scores, features and a delivery with an event on the as-of date."""
    made = Lake(root=str(folder / "lake"))
    for day in DAYS:
        made.published("scores").publish(scores(day), day)
    clusters = [[0.0, 1.0] if at % 2 else [1.0, 0.0] for at in range(len(IDS))]
    matrix = {"customer_id": IDS, "segment": [[float(at % 3)] for at in range(len(IDS))], "cluster_probs": clusters}
    made.published("features/matrix").publish(pl.DataFrame({**matrix, "state_version": ["s1"] * len(IDS)}), DAYS[1])
    delivery = folder / "lake" / "deliveries" / "d1"
    delivery.mkdir(parents=True)
    for day in DAYS:
        pointer = folder / "lake" / "tables" / f"as_of={day}"
        pointer.mkdir(parents=True)
        (pointer / "delivery.json").write_text('{"digest": "d1"}')
    evening = datetime(2018, 1, 2, 4, 59, tzinfo=UTC)  # still 2018-01-01 in New York
    instants = [datetime(2017, 12, 1 + at % 28, 12, at, tzinfo=UTC) for at in range(55)]
    instants += [evening, datetime(2018, 1, 2, 5, tzinfo=UTC), datetime(2018, 3, 1, tzinfo=UTC)]
    pl.DataFrame(
        {
            "transaction_id": [f"t{at}" for at in range(len(instants))], "customer_id": ["123"] * len(instants),
            "at": instants, "amount": [float(at) for at in range(len(instants))], "product_id": ["p1"] * len(instants),
            "kind": ["purchase"] * len(instants),
        }
    ).write_parquet(delivery / "transactions.parquet")  # fmt: skip
    product = {"product_id": ["p1"], "category_l1": ["DELI"], "category_l2": ["<b>HAM</b>"], "brand": [None]}
    pl.DataFrame(product, schema_overrides={"brand": pl.String}).write_parquet(delivery / "products.parquet")
    return made


def browser(made: Lake, tasks: Any = TASKS, guarded: bool = False) -> Any:
    """The application over a lake, and a registry that knows the version. `tasks`: its tasks.json, or what reads it."""
    version = SimpleNamespace(version="3", state_version="s1", folder=Path())
    read = tasks if callable(tasks) else lambda *_: tasks
    tracking: Any = SimpleNamespace(version=lambda _: version, read_json=read)
    dataset: Any = SimpleNamespace(title="Shop", notice=NOTICE, zone=ZONE)
    app = application(tracking, made, dataset)
    return own_pages_only(app, 4000) if guarded else app


def addresses_in(page: str) -> list[str]:
    """Where the links of a page lead."""
    return [address.replace("&amp;", "&") for address in re.findall(r'href="([^"#][^"]*)"', page)]
