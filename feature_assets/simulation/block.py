"""One block of customers, from their traits to all of their events: a pure function of (seed, block).

The order of drawing is the causal order: traits → latent paths → campaigns → purchases → flows → balances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.simulation.basics import draw_basics
from feature_assets.simulation.campaigns import Clicks, Exposures, draw_clicks, plan_exposures, purchase_lift
from feature_assets.simulation.contacts import Contacts, Sessions, draw_contacts, draw_sessions
from feature_assets.simulation.customers import Customers, draw_customers
from feature_assets.simulation.flows import Flows, draw_flows
from feature_assets.simulation.holdings import Holdings, draw_holdings
from feature_assets.simulation.intensity import (
    known_purchase_rate,
    known_session_rate,
    path_purchase_factor,
    path_session_factor,
)
from feature_assets.simulation.paths import Paths, draw_paths, first_state
from feature_assets.simulation.purchases import Purchases, complete
from feature_assets.simulation.receipts import itemise
from feature_assets.simulation.statements import Balances, Stated, draw_balances, draw_statements
from feature_assets.simulation.world import World


@dataclass(frozen=True)
class Block:
    """Everything about a block's customers; rows refer to `customers`. `receipts` are the purchases by lines."""

    customers: Customers
    paths: Paths
    exposures: Exposures
    clicks: Clicks
    lift: np.ndarray
    holdings: Holdings
    purchases: Purchases
    receipts: Purchases
    flows: Flows
    sessions: Sessions
    contacts: Contacts
    balances: Balances
    stated: Stated


def generator(seed: int, block: int, purpose: int) -> np.random.Generator:
    """The generator of a block for one purpose: 0 the data, 1 dirty rows, 2 the oracle, 3 its uplift."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 1, block, purpose])))


def simulate_block(world: World, seed: int, block: int, n: int) -> Block:
    """n customers of block number `block`."""
    rng = generator(seed, block, 0)
    days = world.calendar.days
    customers = draw_customers(rng, world, n)
    paths = draw_paths(rng, world, customers, first_state(rng, world, customers), 0, days)
    exposures = plan_exposures(rng, world, customers)
    lift = purchase_lift(world, customers, exposures)
    holdings = draw_holdings(rng, world, customers, paths.lifecycle)
    rate = known_purchase_rate(world, customers, lift, 0, days) * path_purchase_factor(world, paths)
    purchases = complete(rng, world, customers, draw_basics(rng, world, customers, paths, rate))
    sessions_rate = known_session_rate(world, customers, 0, days) * path_session_factor(world, paths)
    flows = draw_flows(rng, world, customers, holdings, paths)
    monthly = _monthly(world, n, purchases, flows)
    return Block(
        customers=customers,
        paths=paths,
        exposures=exposures,
        clicks=draw_clicks(rng, world, customers, exposures, paths),
        lift=lift,
        holdings=holdings,
        purchases=purchases,
        receipts=itemise(rng, purchases),
        flows=flows,
        sessions=draw_sessions(rng, world, customers, paths, sessions_rate, exposures),
        contacts=draw_contacts(rng, world, customers, paths),
        balances=draw_balances(rng, world, customers, holdings, monthly),
        stated=draw_statements(rng, world, customers, holdings),
    )


def _monthly(world: World, n: int, purchases: Purchases, flows: Flows) -> np.ndarray:
    """Net flow of the current account and spend at merchants, float64 [n, M, 2]."""
    months = world.calendar.months
    spent = purchases.row * months + world.calendar.month[purchases.day]
    spend = np.bincount(spent, purchases.amount, n * months)
    flowed = flows.row * months + world.calendar.month[flows.day]
    net = np.bincount(flowed, flows.signed(), n * months) - spend
    return np.stack([net, spend], axis=1).reshape(n, months, 2)
