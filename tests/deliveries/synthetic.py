"""A small data set of every contract table, for tests that need many variants of the same delivery.

Customers "c000" … buy from 40 products in 6 departments at 5 merchants over 200 days of 2017. "c000" has no purchase,
"c001" a single line on the 30th day; some products have no brand, some lines no product or quantity. The other contract
tables (merchants, sessions, holdings, balances, contacts, inflows and outflows) say nothing of these two either.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from feature_assets.data.contract import (
    BALANCE_KINDS,
    CONTACT_KINDS,
    INFLOWS,
    OUTFLOWS,
    PRODUCT_FAMILIES,
    SESSION_EVENTS,
    conform,
)
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.tables import Tables

FIRST, DAYS = date(2017, 1, 1), 200
TRAIN = (date(2017, 4, 2), date(2017, 4, 30), date(2017, 5, 21))
AS_OF = date(2017, 6, 11)  # a Sunday, 39 days before the last event
OUTSIDE = 10  # customers, the last ones, that `training_tables` leaves out
ZONE = "America/New_York"


def dataset() -> DatasetConfig:
    return DatasetConfig(
        name="synthetic",
        title="made by a test",
        notice="made by a test",
        source="completejourney",
        channels=("mailer", "display", "shelf"),
        zone=ZONE,
        covers_from=FIRST,
        covers_until=FIRST + timedelta(days=DAYS),
        click_kinds_off={"Type A": "everybody clicks"},
    )


def tables(customers: int = 90, seed: int = 0) -> Tables:
    """All contract tables."""
    rng = np.random.default_rng(seed)
    frames = {"products": _products(rng), "campaigns": _campaigns()}
    purchases = _transactions(rng, customers)
    first = purchases.group_by("customer_id").agg(joined_on=pl.col("at").min().dt.convert_time_zone(ZONE).dt.date())
    ids = pl.DataFrame({"customer_id": [f"c{i:03d}" for i in range(customers)]})
    frames["customers"] = ids.join(first, on="customer_id", how="left").with_columns(
        pl.col("joined_on").fill_null(FIRST + timedelta(days=50))
    )
    frames["campaign_events"] = _campaign_events(rng, customers)
    more = np.random.default_rng(seed + 1)
    abroad = purchases.with_columns(is_overseas=pl.Series(more.random(purchases.height) < 0.1))
    frames["transactions"] = pl.concat([abroad, _refunds(more, abroad), _flows(more, customers)], how="diagonal")
    frames["customers"] = _with_facts(more, frames["customers"])
    frames["merchants"] = _merchants()
    frames["sessions"] = _sessions(more, customers)
    frames["holdings"] = _holdings(more, customers)
    frames["balances"] = _balances(more, customers)
    frames["contacts"] = _contacts(more, customers)
    return Tables(dataset(), {name: conform(name, frame) for name, frame in frames.items()})


def training_tables(whole: Tables) -> Tables:
    """The same without the last `OUTSIDE` customers."""
    ids = whole.frames["customers"]["customer_id"].to_list()[:-OUTSIDE]
    kept = {
        name: frame.filter(pl.col("customer_id").is_in(ids)) if "customer_id" in frame.columns else frame
        for name, frame in whole.frames.items()
    }
    return Tables(whole.dataset, kept)


def _products(rng: np.random.Generator) -> pl.DataFrame:
    n = 40
    level_1 = rng.choice(
        ["GROCERY", "PRODUCE", "MEAT", "DELI", "FUEL", "FLORAL"], n, p=[0.4, 0.2, 0.15, 0.1, 0.1, 0.05]
    )
    level_2 = [f"{a} {b}" for a, b in zip(level_1, rng.integers(0, 3, n), strict=True)]
    return pl.DataFrame(
        {
            "product_id": [f"p{i:02d}" for i in range(n)],
            "category_l1": level_1,
            "category_l2": [None if i % 17 == 0 else v for i, v in enumerate(level_2)],
            "category_l3": [f"{v}.{k}" for v, k in zip(level_2, rng.integers(0, 2, n), strict=True)],
            "brand": [None if k == 0 else f"b{k}" for k in rng.integers(0, 8, n)],
        }
    )


def _transactions(rng: np.random.Generator, customers: int) -> pl.DataFrame:
    rate = rng.gamma(2.0, 0.08, customers)  # baskets a day
    favourite = rng.integers(0, 40, customers)
    rows: list[tuple[int, str, datetime, int, int, float]] = []
    for c in range(2, customers):
        start = int(rng.integers(0, 100)) if c % 4 == 0 else 0
        for day in np.flatnonzero(rng.random(DAYS) < rate[c]).tolist():
            if day < start:
                continue
            at = datetime(2017, 1, 1, tzinfo=UTC) + timedelta(days=day, seconds=int(rng.integers(12 * 3600, 26 * 3600)))
            chosen = {int(favourite[c]), *rng.integers(0, 40, int(rng.integers(1, 7))).tolist()}
            rows += [(c, f"k{c}-{day}", at, p, int(rng.integers(0, 5)), float(rng.gamma(1.5, 3.0))) for p in chosen]
    rows.append((1, "k1-30", datetime(2017, 1, 31, 17, tzinfo=UTC), 3, 1, 4.5))
    n = len(rows)
    product = [None if i % 97 == 0 else f"p{r[3]:02d}" for i, r in enumerate(rows)]
    return pl.DataFrame(
        {
            "transaction_id": [f"{r[1]}:{r[3]}" for r in rows],
            "basket_id": [r[1] for r in rows],
            "customer_id": [f"c{r[0]:03d}" for r in rows],
            "at": pl.Series([r[2] for r in rows], dtype=pl.Datetime("us", "UTC")),
            "amount": np.round([r[5] for r in rows], 2),
            "discount": np.round(np.where(rng.random(n) < 0.3, rng.gamma(1.0, 1.0, n), 0.0), 2),
            "quantity": pl.Series(
                [None if i % 53 == 0 else int(v) for i, v in enumerate(rng.integers(1, 4, n))], dtype=pl.Int64
            ),
            "merchant_id": [f"m{r[4]}" for r in rows],
            "product_id": product,
            "channel": rng.choice(["shelf", "mailer", "display"], n, p=[0.6, 0.3, 0.1]),
            "kind": ["purchase"] * n,
        }
    )


def _campaigns() -> pl.DataFrame:
    starts = [FIRST + timedelta(days=20 + 25 * k) for k in range(7)]
    return pl.DataFrame(
        {
            "campaign_id": [f"a{k}" for k in range(7)],
            "kind": [f"Type {'ABC'[k % 3]}" for k in range(7)],
            "starts_on": starts,
            "ends_on": [day + timedelta(days=30) for day in starts],
        }
    )


def _campaign_events(rng: np.random.Generator, customers: int) -> pl.DataFrame:
    rows: list[tuple[str, str, datetime, str]] = []
    for k in range(7):
        shown = datetime(2017, 1, 1, 5, tzinfo=UTC) + timedelta(days=20 + 25 * k)
        for c in np.flatnonzero(rng.random(customers) < 0.5).tolist():
            name = (f"c{c:03d}", f"a{k}")
            rows.append((*name, shown, "impression"))
            for event, odds in (("click", 0.2 + 0.6 * (c % 3 == 0)), ("conversion", 0.15)):
                seconds = rng.integers(1, 30 * 86400, int(rng.binomial(2, odds))).tolist()
                rows += [(*name, shown + timedelta(seconds=s), event) for s in seconds]
    schema = {"customer_id": pl.String, "campaign_id": pl.String, "at": pl.Datetime("us", "UTC"), "event": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _refunds(rng: np.random.Generator, purchases: pl.DataFrame) -> pl.DataFrame:
    back = purchases.filter(pl.Series(rng.random(purchases.height) < 0.02) & (pl.col("customer_id") > "c001"))
    return back.with_columns(
        transaction_id="r" + pl.col("transaction_id"),
        basket_id="r" + pl.col("basket_id"),
        amount=-pl.col("amount"),
        kind=pl.lit("refund"),
    )


def _instants(rng: np.random.Generator, day: np.ndarray) -> pl.Series:
    """An instant of daytime on each day (days since `FIRST`)."""
    seconds = day.astype(np.int64) * 86_400 + rng.integers(12 * 3600, 26 * 3600, len(day))
    return pl.Series(np.datetime64("2017-01-01", "us") + seconds.astype("timedelta64[s]")).dt.replace_time_zone("UTC")


def _ids(customers: np.ndarray) -> list[str]:
    return [f"c{c:03d}" for c in customers.tolist()]


def _choose(rng: np.random.Generator, values: list[str], n: int, odds: list[float] | None = None) -> list[str]:
    return rng.choice(values, n, p=odds).tolist()


def _flows(rng: np.random.Generator, customers: int) -> pl.DataFrame:
    """Salaries around the 25th of most customers, and other inflows and outflows of any kind."""
    paid = [(c, 24 + 30 * k + int(rng.integers(0, 2))) for c in range(2, customers) if c % 5 for k in range(6)]
    others = 12 * customers
    who = np.concatenate([[c for c, _ in paid], rng.integers(2, customers, others)])
    day = np.concatenate([[d for _, d in paid], rng.integers(0, DAYS, others)])
    kinds = [k for k in (*INFLOWS, *OUTFLOWS) if k != "salary"]
    amount = np.concatenate([800 + 20.0 * who[: len(paid)] + rng.normal(0, 30, len(paid)), rng.gamma(2, 60, others)])
    n = len(who)
    return pl.DataFrame(
        {
            "transaction_id": [f"f{i:05d}" for i in range(n)],
            "basket_id": [f"f{i:05d}" for i in range(n)],
            "customer_id": _ids(who),
            "at": _instants(rng, day),
            "amount": np.round(amount, 2),
            "discount": np.zeros(n),
            "kind": ["salary"] * len(paid) + _choose(rng, kinds, others),
        }
    )


def _with_facts(rng: np.random.Generator, customers: pl.DataFrame) -> pl.DataFrame:
    n = customers.height
    some = pl.Series(rng.random(n) < 0.9)
    return customers.with_columns(
        birth_year=pl.when(some).then(pl.Series(rng.integers(1940, 2000, n), dtype=pl.Int32)),
        gender=pl.when(some).then(pl.Series(_choose(rng, ["f", "m"], n))),
        region_l1=pl.Series(region := _choose(rng, ["north", "south", "west"], n)),
        region_l2=pl.Series([f"{r} {k}" for r, k in zip(region, rng.integers(0, 3, n).tolist(), strict=True)]),
        segment=pl.Series(_choose(rng, ["customer", "anonymous"], n, [0.9, 0.1])),
        occupation=pl.when(some).then(pl.Series(_choose(rng, ["clerk", "nurse", "retired", "student"], n))),
        device=pl.Series(_choose(rng, ["phone", "desktop"], n)),
        referrer=pl.Series(_choose(rng, ["search", "friend", "advert"], n)),
    )


def _merchants() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "merchant_id": [f"m{i}" for i in range(5)],
            "category_l1": ["food", "food", "home", "home", "travel"],
            "category_l2": ["food a", "food b", "home a", "home a", "travel a"],
            "category_l3": ["food a1", None, "home a1", "home a2", "travel a1"],
            "brand": ["chain 1", "chain 1", None, "chain 2", None],
            "region_l1": ["north", "south", "west", "north", "south"],
        }
    )


def _sessions(rng: np.random.Generator, customers: int) -> pl.DataFrame:
    n = 25 * customers
    campaign = pl.Series([f"a{k}" for k in rng.integers(0, 7, n).tolist()])
    return pl.DataFrame(
        {
            "customer_id": _ids(rng.integers(2, customers, n)),
            "at": _instants(rng, rng.integers(0, DAYS, n)),
            "channel": _choose(rng, ["web", "app"], n),
            "event": _choose(rng, list(SESSION_EVENTS), n),
            "seconds": np.round(rng.gamma(1.5, 90, n), 1),
            "pages": pl.Series(rng.integers(1, 20, n), dtype=pl.Int32),
            "campaign_id": pl.select(pl.when(pl.Series(rng.random(n) < 0.1)).then(campaign)).to_series(),
        }
    )


def _days(day: np.ndarray) -> pl.Series:
    return pl.Series(np.datetime64(FIRST) + day.astype("timedelta64[D]"))


def _holdings(rng: np.random.Generator, customers: int) -> pl.DataFrame:
    """Products stated on opening, restated every 45 days, and once more when they are closed."""
    rows: list[tuple[str, str, int, int | None, int]] = []
    for c in range(2, customers):
        for kind in rng.choice(list(PRODUCT_FAMILIES), int(rng.integers(0, 9)), replace=False).tolist():
            opened = int(rng.integers(0, DAYS - 20))
            ends = int(rng.integers(opened + 10, 3 * DAYS))
            stated = [*range(opened, min(ends, DAYS), 45), *([ends] if ends < DAYS else [])]
            rows += [(f"c{c:03d}", kind, opened, ends if day == ends else None, day) for day in stated]
    n = len(rows)
    start = np.datetime64(FIRST)
    kind = pl.Series([r[1] for r in rows])
    credit = kind.is_in(["credit_card", "personal_loan", "mortgage"])
    return pl.DataFrame(
        {
            "customer_id": [r[0] for r in rows],
            "product_kind": kind,
            "opened_on": _days(np.array([r[2] for r in rows])),
            "as_of": _days(np.array([r[4] for r in rows])),
            "closed_on": pl.Series([None if r[3] is None else (start + r[3]).item() for r in rows], dtype=pl.Date),
            "balance": np.round(rng.gamma(1.2, 900, n), 2),
            "limit": pl.select(pl.when(credit).then(pl.Series(1000.0 * rng.integers(1, 9, n)))).to_series(),
        }
    )


def _balances(rng: np.random.Generator, customers: int) -> pl.DataFrame:
    """Statements every 14 days of one to four accounts a customer, of every kind."""
    rows: list[tuple[int, str, int]] = []
    for c in range(2, customers):
        for kind in ["current", *rng.choice(BALANCE_KINDS[1:], int(rng.integers(0, 4)), replace=False).tolist()]:
            rows += [(c, kind, day) for day in range(int(rng.integers(0, 60)), DAYS, 14)]
    n = len(rows)
    kind = pl.Series([r[1] for r in rows])
    return pl.DataFrame(
        {
            "customer_id": _ids(np.array([r[0] for r in rows])),
            "account_id": [f"{r[1]}-{r[0]}" for r in rows],
            "on": _days(np.array([r[2] for r in rows])),
            "balance": np.round(rng.gamma(1.5, 600, n), 2),
            "limit": pl.select(
                pl.when(kind == "credit_card").then(pl.Series([1000.0 * (1 + r[0] % 5) for r in rows]))
            ).to_series(),
            "kind": kind,
        }
    )


def _contacts(rng: np.random.Generator, customers: int) -> pl.DataFrame:
    n = 6 * customers
    topic = pl.Series(_choose(rng, ["card", "loan", "account"], n))
    return pl.DataFrame(
        {
            "customer_id": _ids(rng.integers(2, customers, n)),
            "at": _instants(rng, rng.integers(0, DAYS, n)),
            "kind": _choose(rng, list(CONTACT_KINDS), n),
            "topic": pl.select(pl.when(pl.Series(rng.random(n) < 0.8)).then(topic)).to_series(),
        }
    )
