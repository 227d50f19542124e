"""One module (or package) a feature group: its columns, how they are fitted, how they are computed.

Each offers `GROUP`, an object of `schema.Group`, or several as `GROUPS`; `implemented` lists them. What several groups
share lies in modules with a leading underscore: purchase lines (`_lines`), other events (`_events`), statements
(`_statements`), flows of money (`_flows`), daily series (`_days`), sums over windows (`_windows`), tables of measures
(`_measures`). Names of tables and files of a source do not belong here.
"""

from __future__ import annotations

from importlib import import_module

from feature_assets.schema import Group

MODULES: tuple[str, ...] = (
    "base",
    "campaign",
    "raw_power_law",
    "txn_seq",
    "deposit",
    "membership",
    "investment",
    "credit",
    "digital",
    "product",
    "insurance",
    "consultation",
    "overseas",
    "other_channel",
    "session_seq",
    "segment",
    "tda",
    "gmm",
    "reaction_kinetics",
    "epidemic",
    "interference",
    "routine_activity",
    "income_decomposition",
    "financial_behaviour",
    "hmm",
    "mamba",
    "series_dynamics",
    "bandit",
    "poincare",
    "merchant",
    "lightgcn",
)


def implemented() -> list[Group]:
    """The groups of `MODULES`, imported when asked for (they import the schema themselves)."""
    modules = [import_module(f"{__name__}.{module}") for module in MODULES]
    return [group for module in modules for group in getattr(module, "GROUPS", None) or (module.GROUP,)]
