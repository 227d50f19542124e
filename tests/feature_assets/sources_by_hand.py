"""The measures of FEATURES §3.2 for one customer at a time, from their definitions, in plain Python.

An oracle: it shares no code with the groups, reads the contract tables directly, and loops.
"""

from __future__ import annotations

import math
import statistics as st
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from feature_assets.data.contract import CONTACT_KINDS, INFLOWS, OUTFLOWS, PRODUCT_FAMILIES
from feature_assets.data.tables import Tables

NAN = math.nan
Row = dict[str, Any]


@dataclass
class Person:
    """What is known of one customer: rows with `age`, whole days before the as-of date, oldest first."""

    as_of: date
    covers_from: date
    tables: dict[str, list[Row]]

    def rows(self, table: str, days: int | None = None, **equal: object) -> list[Row]:
        kept = [r for r in self.tables[table] if days is None or r["age"] <= days]
        for name, value in equal.items():
            wanted = value if isinstance(value, tuple) else (value,)
            kept = [r for r in kept if r[name] in wanted]
        return kept

    def level(self, kinds: Sequence[str], lag: int = 0, column: str = "balance", limited: bool = False) -> float:
        """Sum over accounts of the latest statement known `lag` days before t and not older than 100 days then."""
        latest: dict[str, Row] = {}
        for r in self.rows("balances", kind=tuple(kinds)):
            if r["age"] > lag and not (limited and not r["limit"]):
                latest[r["account_id"]] = r
        live = [r[column] for r in latest.values() if r["age"] <= lag + 100]
        return sum(live) if live else NAN

    def holdings(self, kinds: Sequence[str], lag: int = 0) -> list[Row]:
        latest: dict[tuple[str, date], Row] = {}
        for r in sorted(self.rows("holdings", product_kind=tuple(kinds)), key=lambda r: -r["age"]):
            if r["age"] > lag:
                latest[r["product_kind"], r["opened_on"]] = r
        return list(latest.values())

    def value(self, kinds: Sequence[str], lag: int = 0) -> float:
        if lag and not self.reaches(lag + 1):
            return NAN
        return sum((r["balance"] or 0.0 for r in self.holdings(kinds, lag) if r["closed_on"] is None), 0.0)

    def reaches(self, days: int) -> bool:
        """Whether the data set covers that many days before t."""
        return self.since(self.covers_from) >= days

    def since(self, day: date) -> int:
        return (self.as_of - day).days


def people(tables: Tables, as_of: date) -> dict[str, Person]:
    """Every customer who had joined, with what was known of it."""
    zone = ZoneInfo(tables.dataset.zone)
    joined = [c["customer_id"] for c in tables.frames["customers"].to_dicts() if c["joined_on"] < as_of]
    found = {name: Person(as_of, tables.dataset.covers_from, defaultdict(list)) for name in joined}
    for table, column in (
        ("transactions", "at"),
        ("sessions", "at"),
        ("contacts", "at"),
        ("campaign_events", "at"),
        ("balances", "on"),
        ("holdings", "as_of"),
    ):
        for row in tables.frames[table].to_dicts():
            local = row[column].astimezone(zone) if column == "at" else None
            day = local.date() if local is not None else row[column]
            if day >= as_of or row["customer_id"] not in found:
                continue
            hour = local.hour + local.minute / 60 if local is not None else NAN
            found[row["customer_id"]].tables[table].append(row | {"age": (as_of - day).days, "hour": hour})
    return found


def over(part: float, whole: float) -> float:
    return part / whole if whole > 0 else NAN


def newest(rows: Iterable[Row]) -> float:
    return min((r["age"] for r in rows), default=NAN)


def total(rows: Iterable[Row], column: str = "amount") -> float:
    return sum((r[column] for r in rows), 0.0)


def gaps(rows: Iterable[Row]) -> list[int]:
    days = sorted({r["age"] for r in rows}, reverse=True)
    return [a - b for a, b in pairwise(days)]


def mean(values: Sequence[float]) -> float:
    return st.fmean(values) if values else NAN


def variation(values: Sequence[float], least: int = 2) -> float:
    return over(st.pstdev(values), st.fmean(values)) if len(values) >= least else NAN


def entropy(weights: Iterable[float]) -> float:
    kept = [w for w in weights if w > 0]
    return -sum(w / sum(kept) * math.log(w / sum(kept)) for w in kept) if kept else NAN


def slope(newest_first: Sequence[float]) -> float:
    points = [(-i, y) for i, y in enumerate(newest_first) if not math.isnan(y)]
    return st.linear_regression(*zip(*points, strict=True)).slope if len(points) >= 3 else NAN


def known(values: Iterable[float]) -> list[float]:
    return [v for v in values if not math.isnan(v)]


def change(p: Person, rows: list[Row], days: int, weight: Callable[[Row], float] = lambda _: 1.0) -> float:
    if not p.reaches(2 * days):
        return NAN
    recent = sum(weight(r) for r in rows if r["age"] <= days)
    return recent - sum(weight(r) for r in rows if days < r["age"] <= 2 * days)


def family(*names: str) -> list[str]:
    return [kind for kind, f in PRODUCT_FAMILIES.items() if f in names]


def deposit(p: Person, state: Any) -> dict[str, float]:
    both = ("current", "savings")
    levels = [p.level(both, 31 * m) for m in range(13)]
    logs = [math.log1p(max(v, 0.0)) for v in levels[:7]]
    low = [r for r in p.rows("balances", kind="current") if r["balance"] < state.arrays["low"][0]]
    come, go = (lambda d: p.rows("transactions", d, kind=INFLOWS)), (lambda d: p.rows("transactions", d, kind=OUTFLOWS))
    savings = p.level(("savings",))
    moves = [*come(168), *go(168)]
    live = {r["account_id"]: r["age"] for r in p.rows("balances", kind=both)}
    return {
        "balance": levels[0],
        "savings_share": over(0.0 if math.isnan(savings) else savings, levels[0]),
        "accounts": sum(age <= 100 for age in live.values()),
        "balance_change_31d": levels[0] - levels[1],
        "balance_change_93d": levels[0] - levels[3],
        "balance_growth_186d": slope(logs),
        "balance_variation_372d": variation(known(levels), 3),
        "balance_least_372d": min(known(levels), default=NAN),
        "low_share_372d": over(sum(r["age"] <= 372 for r in low), len(p.rows("balances", 372, kind="current"))),
        "days_since_low": newest(low),
        "inflow_28d": total(come(28)),
        "inflow_84d": total(come(84)),
        "outflow_84d": total(go(84)),
        "inflow_count_84d": len(come(84)),
        "outflow_count_84d": len(go(84)),
        "flow_ratio_84d": over(total(come(84)) - total(go(84)), total(come(84)) + total(go(84))),
        "transfer_share_168d": over(total(r for r in moves if "transfer" in r["kind"]), total(moves)),
        "days_since_inflow": newest(come(None)),
        "inflow_gap_cv_364d": variation(gaps(come(364))),
        "term_balance": p.value(["term_deposit"]),
    }


def _steps(p: Person, kind: str) -> list[Row]:
    before: dict[str, float] = {}
    steps = []
    for r in p.rows("balances", kind=kind):
        if r["account_id"] in before:
            steps.append(r | {"before": before[r["account_id"]], "change": r["balance"] - before[r["account_id"]]})
        before[r["account_id"]] = r["balance"]
    return steps


def membership(p: Person, _: Any) -> dict[str, float]:
    levels = [p.level(("points",), 31 * m) for m in range(7)]
    levels = [0.0 if math.isnan(v) and (m == 0 or p.reaches(31 * m + 1)) else v for m, v in enumerate(levels)]
    steps = _steps(p, "points")
    year = [s for s in steps if s["age"] <= 372]

    def up(rows: list[Row]) -> float:
        return sum(max(s["change"], 0.0) for s in rows)

    def down(rows: list[Row]) -> float:
        return sum(max(-s["change"], 0.0) for s in rows)

    fallen = [s for s in steps if s["change"] < 0]
    programme = [p.since(h["opened_on"]) for h in p.holdings(["points"]) if h["closed_on"] is None]
    live = not math.isnan(p.level(("points",)))
    return {
        "points": levels[0],
        "change_31d": levels[0] - levels[1],
        "change_93d": levels[0] - levels[3],
        "earned_93d": up([s for s in steps if s["age"] <= 93]),
        "earned_372d": up(year),
        "redeemed_372d": down(year),
        "redeemed_share": over(down(steps), up(steps)),
        "redemptions_372d": sum(s["change"] < 0 for s in year),
        "days_since_redemption": newest(fallen),
        "earned_variation_372d": variation([max(s["change"], 0.0) for s in year], 2),
        "points_per_spend_364d": over(
            up([s for s in steps if s["age"] <= 364]), total(p.rows("transactions", 364, kind="purchase"))
        ),
        "share_of_peak": over(levels[0], max((r["balance"] for r in p.rows("balances", kind="points")), default=0.0)),
        "growth_186d": slope([math.log1p(v) for v in levels]) if live else NAN,
        "idle_share_372d": over(sum(s["change"] == 0 for s in year), len(year)),
        "tenure": min(programme, default=NAN),
    }


def investment(p: Person, _: Any) -> dict[str, float]:
    forms = family("investment")
    value, by_form = p.value(forms), [p.value([form]) for form in forms]
    held = p.holdings(forms)
    still = [h for h in held if h["closed_on"] is None]
    levels = [p.level(("investment",), 31 * m) for m in range(13)]
    steps = [s for s in _steps(p, "investment") if s["age"] <= 372 and s["balance"] > 0 and s["before"] > 0]
    logs = [math.log(s["balance"]) - math.log(s["before"]) for s in steps]
    deposits = p.level(("current", "savings"))
    buys = p.rows("transactions", kind="investment")
    return {
        "value": value,
        **{f"{form}_share": over(v, value) for form, v in zip(forms, by_form, strict=True)},
        "open_count": len(still),
        "mix_entropy": entropy(by_form),
        "value_change_93d": value - p.value(forms, 93),
        "value_change_372d": value - p.value(forms, 372),
        "volatility_372d": st.pstdev(logs) if len(logs) >= 2 else NAN,
        "drawdown_372d": over(levels[0], max(known(levels), default=NAN)) - 1,
        "growth_186d": slope([math.log1p(v) for v in levels[:7]]),
        "wealth_share": over(value, value + (0.0 if math.isnan(deposits) else deposits)),
        "bought_93d": total(r for r in buys if r["age"] <= 93),
        "buys_372d": sum(r["age"] <= 372 for r in buys),
        "days_since_buy": newest(buys),
        "mean_age": mean([p.since(h["opened_on"]) for h in still]),
        "days_since_opened": min((p.since(h["opened_on"]) for h in held), default=NAN),
    }


def credit(p: Person, _: Any) -> dict[str, float]:
    card = ("credit_card",)
    rows = [r | {"used": r["balance"] / r["limit"]} for r in p.rows("balances", kind=card) if r["limit"]]

    def used(lag: int = 0) -> float:
        return over(p.level(card, lag, limited=True), p.level(card, lag, "limit", limited=True))

    def recent(days: int) -> list[float]:
        return [r["used"] for r in rows if r["age"] <= days]

    repaid = p.rows("transactions", kind="repayment")
    return {
        "limit": p.level(card, 0, "limit", limited=True),
        "owed": p.level(card, limited=True),
        "utilisation": used(),
        "utilisation_mean_93d": mean(recent(93)),
        "utilisation_change_93d": used() - used(93),
        "utilisation_deviation_186d": st.pstdev(recent(186)) if len(recent(186)) >= 2 else NAN,
        "utilisation_most_372d": max(recent(372), default=NAN),
        "near_limit_share_372d": over(sum(u >= 0.8 for u in recent(372)), len(recent(372))),
        "repaid_93d": total(r for r in repaid if r["age"] <= 93),
        "days_since_repayment": newest(repaid),
        "loan_balance": p.value(["personal_loan", "mortgage"]),
        "open_count": sum(h["closed_on"] is None for h in p.holdings(family("credit"))),
    }


def digital(p: Person, _: Any) -> dict[str, float]:
    def rows(days: int, **equal: object) -> list[Row]:
        return p.rows("sessions", days, **equal)

    seconds = [r["seconds"] for r in rows(182)]
    angles = [r["hour"] * math.pi / 12 for r in rows(182)]
    length = math.hypot(sum(map(math.cos, angles)), sum(map(math.sin, angles)))
    return {
        "sessions_7d": len(rows(7)),
        "sessions_91d": len(rows(91)),
        "visits_28d": len(rows(28, event="visit")),
        "searches_91d": len(rows(91, event="search")),
        "logins_91d": len(rows(91, event="login")),
        "active_days_28d": len({r["age"] for r in rows(28)}),
        "pages_mean_91d": mean([r["pages"] for r in rows(91)]),
        "seconds_mean_91d": mean([r["seconds"] for r in rows(91)]),
        "seconds_variation_182d": variation(seconds),
        "days_since_session": newest(p.rows("sessions")),
        "gap_cv_182d": variation(gaps(rows(182))),
        "hour_resultant_182d": over(length, len(angles)),
        "campaign_share_182d": over(sum(r["campaign_id"] is not None for r in rows(182)), len(rows(182))),
        "change_28d": change(p, p.rows("sessions"), 28),
    }


def product(p: Person, _: Any) -> dict[str, float]:
    held = p.holdings(list(PRODUCT_FAMILIES))
    still = [h for h in held if h["closed_on"] is None]
    gone = [h for h in held if h["closed_on"] is not None]
    families = Counter(PRODUCT_FAMILIES[h["product_kind"]] for h in still)
    opened = sorted(p.since(h["opened_on"]) for h in held)
    lasted = [p.since(h["opened_on"]) for h in still] + [(h["closed_on"] - h["opened_on"]).days for h in gone]
    return {
        "open_count": len(still),
        "open_families": len(families),
        "opened_182d": sum(age <= 182 for age in opened),
        "closed_364d": sum(p.since(h["closed_on"]) <= 364 for h in gone),
        "days_since_opened": min(opened, default=NAN),
        "days_since_closed": min((p.since(h["closed_on"]) for h in gone), default=NAN),
        "mean_age": mean([p.since(h["opened_on"]) for h in still]),
        "longest_held": max(lasted, default=NAN),
        "kinds_ever": len({h["product_kind"] for h in held}),
        "closed_share": over(len(gone), len(held)),
        "family_entropy": entropy(families.values()),
        "opening_gap_mean": mean([b - a for a, b in pairwise(opened)]),
    }


def insurance(p: Person, _: Any) -> dict[str, float]:
    covers = family("insurance")
    held = p.holdings(covers)
    still = [h for h in held if h["closed_on"] is None]
    gone = [h for h in held if h["closed_on"] is not None]
    sums = {cover: p.value([cover]) for cover in covers}
    paid, claims = p.rows("transactions", kind="premium"), p.rows("transactions", kind="claim")
    ages = {
        cover: min((p.since(h["opened_on"]) for h in still if h["product_kind"] == cover), default=NAN)
        for cover in covers
    }
    return {
        **{f"insured_{cover}": v for cover, v in sums.items()},
        **{f"age_{cover}": v for cover, v in ages.items()},
        "open_count": len(still),
        "kinds_ever": len({h["product_kind"] for h in held}),
        "lapsed_share": over(len(gone), len(held)),
        "days_since_opened": min((p.since(h["opened_on"]) for h in held), default=NAN),
        "days_since_lapse": min((p.since(h["closed_on"]) for h in gone), default=NAN),
        "cover_entropy": entropy(sums.values()),
        "insured_change_186d": sum(sums.values()) - p.value(covers, 186),
        "premium_364d": total(r for r in paid if r["age"] <= 364),
        "premiums_91d": sum(r["age"] <= 91 for r in paid),
        "days_since_premium": newest(paid),
        "premium_change_182d": change(p, paid, 182, lambda r: r["amount"]),
        "premium_rate_364d": over(total(r for r in paid if r["age"] <= 364), sum(sums.values())),
        "claimed_364d": total(r for r in claims if r["age"] <= 364),
        "days_since_claim": newest(claims),
        "loss_ratio": over(total(claims), total(paid)),
    }


def consultation(p: Person, _: Any) -> dict[str, float]:
    rows = p.rows("contacts")
    about = [r["topic"] for r in rows if r["topic"] is not None]
    opened = [p.since(h["opened_on"]) for h in p.holdings(list(PRODUCT_FAMILIES))]
    asked = p.rows("contacts", kind="consultation")
    taken = [any(r["age"] - 28 <= age <= r["age"] for age in opened) for r in asked]
    same = [a == b for a, b in pairwise(about)]
    return {
        "contacts_91d": len(p.rows("contacts", 91)),
        "contacts": len(rows),
        **{f"{kind}_364d": len(p.rows("contacts", 364, kind=kind)) for kind in CONTACT_KINDS},
        "days_since_contact": newest(rows),
        "days_since_consultation": newest(asked),
        "days_since_complaint": newest(p.rows("contacts", kind="complaint")),
        "gap_mean": mean(gaps(rows)),
        "gap_cv": variation(gaps(rows)),
        "kind_entropy": entropy(Counter(r["kind"] for r in rows).values()),
        "topics_364d": len({r["topic"] for r in p.rows("contacts", 364)} - {None}),
        "repeated_topic_share": over(sum(same), len(same)),
        "office_hours_share": over(sum(9 <= r["hour"] < 17 for r in rows), len(rows)),
        "change_182d": change(p, rows, 182),
        "intensity": sum(0.5 ** (r["age"] / 28) for r in rows),
        "taken_up_share": over(sum(taken), len(taken)),
    }


def overseas(p: Person, _: Any) -> dict[str, float]:
    rows = [r for r in p.rows("transactions", kind="purchase") if r["is_overseas"]]
    days = sorted({r["age"] for r in rows}, reverse=True)
    trips: list[list[int]] = []
    for age in days:
        if trips and trips[-1][-1] - age <= 7:
            trips[-1].append(age)
        else:
            trips.append([age])
    year = [r for r in rows if r["age"] <= 364]
    return {
        "spend_364d": total(year),
        "spend_share_364d": over(total(year), total(p.rows("transactions", 364, kind="purchase"))),
        "purchases_91d": sum(r["age"] <= 91 for r in rows),
        "days_since_purchase": newest(rows),
        "trips_364d": sum(trip[0] <= 364 for trip in trips),
        "trip_length": mean([trip[0] - trip[-1] + 1 for trip in trips]),
    }


def other_channel(p: Person, state: Any, channels: Sequence[str] = ("mailer", "display", "shelf")) -> dict[str, float]:
    bought = p.rows("transactions", kind="purchase")
    visits, asked = p.rows("sessions"), p.rows("contacts")
    ways = list(state.meta["session_channels"])
    spend = Counter[str]()
    for r in bought:
        if r["age"] <= 364:
            spend[r["channel"]] += r["amount"]
    recent = [r for r in visits if r["age"] <= 91]
    earlier = [r for r in visits if r["age"] > 91]

    def second(rows: list[Row]) -> float:
        return over(sum(r["channel"] == ways[1] for r in rows), len(rows))

    def assisted(low: int, high: int) -> float:
        talked = sum(low < r["age"] <= high for r in asked)
        return over(talked, talked + sum(low < r["age"] <= high for r in visits))

    support = [r for r in visits if r["event"] == "support"]
    followed = [any(s["age"] - 7 <= r["age"] <= s["age"] for r in asked) for s in support]
    days = {r["age"] for r in bought if r["age"] <= 364}
    switched = [a["channel"] != b["channel"] for a, b in pairwise(bought)]
    used = [{r["channel"] for r in bought if r["age"] <= 91}, {r["channel"] for r in recent}]
    used.append({r["kind"] for r in asked if r["age"] <= 91})
    return {
        **{
            f"bought_channel_{k + 1}_91d": sum(r["channel"] == c and r["age"] <= 91 for r in bought)
            for k, c in enumerate(channels)
        },
        **{
            f"days_since_channel_{k + 1}": newest(r for r in bought if r["channel"] == c)
            for k, c in enumerate(channels)
        },
        **{f"spend_share_channel_{k}_364d": over(spend[channels[k - 1]], spend.total()) for k in (2, 3)},
        "channel_entropy_364d": entropy(spend.values()),
        "switch_share": over(sum(switched), len(switched)),
        **{f"sessions_channel_{k + 1}_91d": sum(r["channel"] == c for r in recent) for k, c in enumerate(ways)},
        **{
            f"days_since_session_channel_{k + 1}": newest(r for r in visits if r["channel"] == c)
            for k, c in enumerate(ways)
        },
        "session_entropy_182d": entropy(Counter(r["channel"] for r in visits if r["age"] <= 182).values()),
        "session_shift_91d": second(recent) - second(earlier),
        "support_91d": sum(r["age"] <= 91 for r in support),
        "days_since_support": newest(support),
        "assisted_share_364d": assisted(0, 364),
        "assisted_change_182d": assisted(0, 182) - assisted(182, 364),
        "followed_share": over(sum(followed), len(followed)),
        "researched_share_364d": over(sum(any(r["age"] in (d, d + 1) for r in visits) for d in days), len(days)),
        "ways_91d": sum(map(len, used)),
    }


DEFINITIONS: dict[str, Callable[[Person, Any], dict[str, float]]] = {
    f.__name__: f
    for f in (
        deposit,
        membership,
        investment,
        credit,
        digital,
        product,
        insurance,
        consultation,
        overseas,
        other_channel,
    )
}


def frame(group: str, columns: Sequence[str], tables: Tables, as_of: date, state: Any) -> pl.DataFrame:
    """`customer_id` and the columns by hand, in the order of the customers."""
    rows = []
    for customer, person in sorted(people(tables, as_of).items()):
        measures = DEFINITIONS[group](person, state)
        assert [f"{group}__{name}" for name in measures] == list(columns)
        rows.append({"customer_id": customer, **{f"{group}__{name}": float(v) for name, v in measures.items()}})
    return pl.DataFrame(rows)
