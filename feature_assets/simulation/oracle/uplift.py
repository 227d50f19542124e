"""Expected effect of a campaign on spend, in total and by category, given the latent state at t: the best possible
score of the tasks uplift and category_uplift.

A campaign multiplies the purchase rate by 1 + uplift for two weeks from the first impression on, unless another
campaign does so already. The expected additional purchases of a day are therefore (rate without the campaign) × uplift
× P(the two weeks cover the day), and their amounts are drawn along latent paths from t on, as those of all purchases
are. Blocks are simulated again from `simulation.json`, so no other file of the simulation depends on this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from feature_assets.labels.constants import EFFECT_DAYS
from feature_assets.simulation.basics import REFUND_DAYS, draw_basics
from feature_assets.simulation.block import Block, generator
from feature_assets.simulation.campaigns import IMPRESSION_SHARES, Exposures
from feature_assets.simulation.config import CATEGORIES
from feature_assets.simulation.description import Description, Part
from feature_assets.simulation.intensity import known_purchase_rate, path_purchase_factor
from feature_assets.simulation.oracle.constants import H
from feature_assets.simulation.parallel import spread
from feature_assets.simulation.paths import draw_paths
from feature_assets.simulation.simulate import write_parquet
from feature_assets.simulation.world import World

FOLDER = "uplift_oracle"
SIZE = 64  # customers whose paths are drawn at once
DRAWS = 32  # latent paths a customer
OVERSAMPLING = 6  # purchases drawn for each expected one: amounts vary more than paths do
REPEATED = 0.55  # mean share of the amount that a near repeat costs (`basics.aftermath`)
PURPOSE = 3  # of the generator of a block: 0 to 2 are the data, dirty rows and the oracle of the other tasks


@dataclass(frozen=True)
class UpliftJob:
    """The oracle of one block."""

    folder: Path
    run: Description
    part: Part
    days: tuple[date, ...]


def write_uplift(folder: Path, days: Sequence[date], workers: int = 1) -> None:
    """Write `<folder>/uplift_oracle/as_of=…/part-….parquet`: customer_id, `uplift` Float64 and `category_uplift`
    List(Float64) in the order of CATEGORIES, for every customer who is assigned in [t, t + H) (`first_assignments`).

    Args:
        folder: of a simulation.
        days: as-of dates t.
        workers: processes; the bytes do not depend on them.

    Raises:
        FileNotFoundError: the folder holds no simulation.
    """
    run = Description.load(folder)
    jobs = [UpliftJob(folder / FOLDER, run, part, tuple(days)) for part in run.parts]
    for _ in spread(write_uplift_block, jobs, workers):
        pass


def write_uplift_block(job: UpliftJob) -> None:
    """Write one file a date."""
    run, part = job.run, job.part
    world = run.world()
    block, ids = run.block(world, part), run.ids(part)
    rng = generator(run.seed, part.number, PURPOSE)
    for day in job.days:
        rows, effect = uplift_block(rng, world, block, (day - run.parameters.first_day).days)
        frame = pl.DataFrame(
            {
                "customer_id": ids.gather(rows.astype(np.uint32)),
                "uplift": effect.sum(axis=1),
                "category_uplift": pl.Series(effect, dtype=pl.Array(pl.Float64, len(CATEGORIES))).arr.to_list(),
            }
        )
        write_parquet(job.folder / f"as_of={day}" / part.file, frame)


def uplift_block(rng: np.random.Generator, world: World, block: Block, day: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the assigned customers, int64 [n], and their expected additional net spend by category in the 28 days
    from the start of the campaign, float64 [n, 12]."""
    rows, campaign = first_assignments(world, block, day)
    effect = np.zeros((len(rows), len(CATEGORIES)))
    for k in range(0, len(rows), SIZE):
        some = slice(k, k + SIZE)
        effect[some] = _effect(rng, world, block, day, rows[some], campaign[some])
    return rows, effect


def first_assignments(world: World, block: Block, day: int) -> tuple[np.ndarray, np.ndarray]:
    """Customers who had joined before `day` and are targets of a campaign that starts in [day, day + H), controls
    included, and the first such campaign: int64 [n] each."""
    e = block.exposures
    start = world.campaigns.start[e.target_campaign]
    joined = block.customers.joined[e.target_row] < day
    inside = np.flatnonzero((start >= day) & (start < day + H) & joined)
    order = inside[np.lexsort((e.target_campaign[inside], start[inside], e.target_row[inside]))]
    rows = e.target_row[order]
    first = np.flatnonzero(np.diff(rows, prepend=-1) > 0)
    return rows[first], e.target_campaign[order][first]


def _effect(
    rng: np.random.Generator, world: World, block: Block, day: int, rows: np.ndarray, campaign: np.ndarray
) -> np.ndarray:
    """Expected additional net spend by category [n, 12] of some customers of one block."""
    config, n = world.config, len(rows)
    days = min(H + EFFECT_DAYS, world.calendar.days - day)
    owner = np.arange(n).repeat(DRAWS)
    people = block.customers.take(rows)
    repeated = people.take(owner)
    state = block.paths.state(world, block.customers, day).take(rows).repeat(DRAWS)
    paths = draw_paths(rng, world, repeated, state, day, days)
    busy = _other_campaigns(world, block.exposures, rows, campaign, day, days)
    lift = np.where(busy, 1 + people.uplift[:, None], 1.0).astype(np.float32)
    rate = known_purchase_rate(world, people, lift, day, days)[owner] * path_purchase_factor(world, paths)
    purchases = draw_basics(rng, world, repeated, paths, OVERSAMPLING * rate)
    since = day + np.arange(days) - world.campaigns.start[campaign][:, None]
    inside = ~busy & (since >= 0) & (since < EFFECT_DAYS)
    covered = _coverage(world)[campaign[:, None], np.clip(since, 0, EFFECT_DAYS - 1)] * inside
    of = owner[purchases.row]
    at = purchases.day - day
    left = np.clip(EFFECT_DAYS - 1 - since[of, at], 0, REFUND_DAYS)  # days on which a refund still counts
    net = 1 + REPEATED * people.near_repeat[of] - config.refund_share * left / REFUND_DAYS
    weight = people.uplift[of] * covered[of, at] * net * (purchases.subscription < 0) / (OVERSAMPLING * DRAWS)
    key = of * len(CATEGORIES) + purchases.category
    return np.bincount(key, weight * purchases.amount, n * len(CATEGORIES)).reshape(n, len(CATEGORIES))


def _other_campaigns(
    world: World, exposures: Exposures, rows: np.ndarray, campaign: np.ndarray, day: int, days: int
) -> np.ndarray:
    """Whether another campaign raises the purchase rate of each customer on each day, bool [n, days]."""
    position = np.full(int(max(exposures.row.max(initial=0), rows.max())) + 1, -1)
    position[rows] = np.arange(len(rows))
    first = np.flatnonzero((exposures.nth == 0) & (position[exposures.row] >= 0))
    of = position[exposures.row[first]]
    first, of = (kept[exposures.campaign[first] != campaign[of]] for kept in (first, of))
    busy = np.zeros((len(rows), days), bool)
    for k in range(world.config.uplift_days):
        at = exposures.day[first] + k - day
        inside = (at >= 0) & (at < days)
        busy[of[inside], at[inside]] = True
    return busy


def _coverage(world: World) -> np.ndarray:
    """P(a treated customer's first impression lies on day k or one of the 13 before), by campaign and day since its
    start [C, EFFECT_DAYS]. Impressions lie on day ⌊length × U^1.5⌋ (`campaigns.plan_exposures`)."""
    day = np.arange(-world.config.uplift_days, EFFECT_DAYS)
    by_then = np.clip((day + 1) / world.campaigns.length[:, None], 0.0, 1.0) ** (2 / 3)
    shares = np.array(IMPRESSION_SHARES)
    seen = sum(share * (1 - (1 - by_then) ** (k + 1)) for k, share in enumerate(shares))
    return seen[:, world.config.uplift_days :] - seen[:, :EFFECT_DAYS]
