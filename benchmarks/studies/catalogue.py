"""The studies of this repository, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

from benchmarks.studies.study import Comparison, Study, Variant
from pipeline.settings import Settings

DEFAULT = "default"
TREES = Variant("baselines", run="baselines", why="the baselines of a night on the same rows")

# The embedded data begin on 2017-01-01 and end on 2017-12-31. A snapshot needs 56 days before it, the longest label 84
# days after it, once for training and once for the holdout, which keeps two dates of it: the first possible origin is
# 2017-08-20, with one training date for the longest label. From 2017-10-15 on it has two months of training dates.
# These three lie five weeks apart.
EMBEDDED_ORIGINS = (date(2017, 10, 23), date(2017, 11, 27), date(2018, 1, 1))
# Eight weeks apart; the oracle has ten weekly dates from 84 days before the end backwards.
BANK_ORIGINS = (date(2025, 4, 29), date(2025, 6, 24))


def _default_network() -> dict:
    return Settings.model_fields["network"].default.to_dict()


def ablation_variants() -> Iterator[Variant]:
    """The default, then each of its parts switched off alone."""
    yield Variant(DEFAULT)
    for expert in _default_network()["experts"]:
        name = expert["name"]
        yield Variant(f"without {name}", {f"network.experts.{name}": None}, why=f"what the expert {name} brings")
    off = {
        "HMM routing": ("network.routing.enabled", False),
        "soft cluster routing": ("network.basket.routing", "hard"),
        "logit transfer": ("network.transfer.strength", 0.0),
        "adaTT": ("network.adatt.enabled", False),
        "evidential heads": ("network.evidential.enabled", False),
        "autoencoder": ("network.autoencoder.enabled", False),
        "auxiliary path": ("network.auxiliary.enabled", False),
        "gate priors": ("network.gate.prior_bias", 0.0),
        "phase 2": ("training.phase2_epochs", 0),
    }
    for part, (path, value) in off.items():
        yield Variant(f"without {part}", {path: value}, why=f"{path}: {value}")
    yield Variant("fixed weights", {"network.weighting.strategy": "fixed"}, why="weights of losses that do not move")


EMBEDDED = Study(
    name="embedded",
    title="The embedded data set: three origins, five seeds",
    question="Is the network better than the baselines of a night, on the same rows, beyond chance?",
    dataset="completejourney",
    origins=EMBEDDED_ORIGINS,
    seeds=(1, 2, 3, 4, 5),
    variants=(Variant(DEFAULT), TREES),
    comparisons=(
        Comparison(f"{DEFAULT}/network", ("baselines/LightGBM", "baselines/own past"), "The network alone"),
        Comparison("baselines/LightGBM", ("baselines/constant",), "Boosted trees alone"),
    ),
)

BANK = Study(
    name="bank",
    title="The bank simulation: two origins, three seeds, and the oracle",
    question="Is the network better than the baselines of a night on 20,000 simulated customers, and how far is the "
    "best possible prediction?",
    dataset="bank_simulation",
    origins=BANK_ORIGINS,
    seeds=(1, 2, 3),
    variants=(Variant(DEFAULT), TREES),
    comparisons=(
        Comparison(f"{DEFAULT}/network", ("baselines/LightGBM", "baselines/own past"), "The network alone"),
        Comparison("baselines/LightGBM", ("baselines/constant",), "Boosted trees alone"),
    ),
    oracle=True,
)

ABLATION = Study(
    name="ablation",
    title="Ablation: each part switched off alone",
    question="Which parts of the default earn their place? The default against itself without one part, on validation "
    "customers: ahead means that the part brings something.",
    dataset="completejourney",
    origins=(date(2018, 1, 1),),
    seeds=(1, 2, 3),
    variants=tuple(ablation_variants()),
    comparisons=(
        Comparison(
            f"{DEFAULT}/network",
            tuple(f"{variant.name}/network" for variant in ablation_variants() if variant.name != DEFAULT),
            "The default against the default without one part",
        ),
    ),
    role="validation",
)

VALIDATION_DATES = Study(
    name="validation-dates",
    title="Early stopping on later dates or on training dates",
    question="Which rows should choose the epoch: validation customers at dates after every training label (as a night "
    "does), or the same customers at the latest training dates? Both are calibrated on the former and judged on "
    "test customers.",
    dataset="completejourney",
    origins=EMBEDDED_ORIGINS,
    seeds=(1, 2, 3),
    variants=(
        Variant("later dates", why="validation customers of the holdout"),
        Variant("training dates", stopping="training dates", why="the same customers at the latest training dates"),
    ),
    comparisons=(
        Comparison(
            "later dates/network", ("training dates/network",), "Stopping on later dates against training dates"
        ),
    ),
)

FRESHNESS = Study(
    name="freshness",
    title="Fresh models on the embedded data",
    question="A version has seen no label of the last 91 days. What is it worth to fit it again, with the settings and "
    "epochs found and the calibration kept, on every label that had matured by the origin? Both score the same later "
    "rows, four dates from the origin on.",
    dataset="completejourney",
    origins=(date(2017, 10, 2), date(2017, 10, 30), date(2017, 11, 27)),
    seeds=(1, 2, 3),
    variants=(Variant(DEFAULT, run="refit"),),
    comparisons=(Comparison(f"{DEFAULT}/refit", (f"{DEFAULT}/network",), "Fitted again against left as it is"),),
    role="later",
    later_weeks=4,
)

FRESHNESS_BANK = replace(
    FRESHNESS,
    name="freshness-bank",
    title="Fresh models on the bank simulation, whose process drifts",
    dataset="bank_simulation",
    origins=(date(2024, 12, 10), date(2025, 4, 1)),
)

STUDIES = {study.name: study for study in (EMBEDDED, BANK, ABLATION, VALIDATION_DATES, FRESHNESS, FRESHNESS_BANK)}
