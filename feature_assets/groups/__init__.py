"""One module (or package) a feature group: its columns, how they are fitted, how they are computed.

Each offers `GROUP`, an object of `FeatureGroup`, or several as `GROUPS`; `implemented` lists them. `measures.py` is the
base class of groups that are a table of measures. How events are read and cut at t belongs to `events/`, the names of a
source's tables and files to `sources/`.
"""

from __future__ import annotations

from importlib import import_module

from feature_assets.group import FeatureGroup

MODULES: tuple[str, ...] = (
    "base",
    "multi_source.campaign",
    "base.raw_power_law",
    "sequences.txn_seq",
    "multi_source.deposit",
    "multi_source.membership",
    "multi_source.investment",
    "multi_source.credit",
    "multi_source.digital",
    "multi_source.product",
    "multi_source.insurance",
    "multi_source.consultation",
    "multi_source.overseas",
    "multi_source.other_channel",
    "sequences.session_seq",
    "sequences.brand_history",
    "base.segment",
    "domain.tda",
    "domain.gmm",
    "multidisciplinary.reaction_kinetics",
    "multidisciplinary.epidemic",
    "multidisciplinary.interference",
    "multidisciplinary.routine_activity",
    "domain.income_decomposition",
    "domain.financial_behaviour",
    "model_derived.hmm",
    "embeddings.mamba",
    "model_derived.series_dynamics",
    "model_derived.bandit",
    "embeddings.poincare",
    "embeddings.merchant",
    "embeddings.lightgcn",
    "plain.periods",
    "plain.waits",
    "plain.calendar",
    "plain.departments",
    "plain.repeats",
    "plain.channel_counts",
    "plain.exposure",
    "plain.held",
    "plain.stages",
)


def implemented() -> list[FeatureGroup]:
    """The built-in groups in the order of `MODULES`, imported when they are first asked for."""
    modules = [import_module(f"{__name__}.{module}") for module in MODULES]
    return [group for module in modules for group in getattr(module, "GROUPS", None) or (module.GROUP,)]
