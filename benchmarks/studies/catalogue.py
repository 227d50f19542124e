"""The studies of this repository, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.studies.nights import peers
from benchmarks.studies.nights.study import NightStudy
from benchmarks.studies.study import Comparison, Printed, Study, Variant
from benchmarks.studies.tables import cell as table_cell
from benchmarks.studies.tables import census, synthetic, third_party
from benchmarks.studies.tables.study import TableStudy
from feature_assets.snapshots import NotEnoughHistory
from feature_assets.sources import load_tables
from pipeline.settings import Settings
from pipeline.training import baselines, material

DEFAULT, TUNED = "default", "tuned trees"
UNCAPPED = Variant(
    TUNED,
    {"boosting.single.max_trees": 20_000, "boosting.single.rounds": 10_000, "boosting.multiclass.max_trees": 40_000}
    | {"boosting.multiclass.rounds": 10_000},
    run="trees",
    why="LightGBM with the searched settings, as many trees as early stopping wants",
)

# The embedded data begin on 2017-01-01 and end on 2017-12-31. A snapshot needs 56 days before it, the longest label 84
# days after it, once for training and once for the holdout, which keeps two dates of it: the first possible origin is
# 2017-08-20, with one training date for the longest label. From 2017-10-15 on it has two months of training dates.
# These three lie five weeks apart.
EMBEDDED_ORIGINS = ("2017-10-23", "2017-11-27", "2018-01-01")
# Eight weeks apart; the oracle has ten weekly dates from 84 days before the end backwards.
BANK_ORIGINS = ("2025-04-29", "2025-06-24")


SETTINGS = Settings(home=Path("/"))


def ablation_variants() -> Iterator[Variant]:
    """The default; each of its parts switched off alone; what is off by default switched on alone; presets."""
    yield Variant(DEFAULT)
    for expert in SETTINGS.network.experts:
        yield Variant(
            f"without {expert.name}",
            {f"network.experts.{expert.name}": None},
            why=f"what the expert {expert.name} brings",
        )
    off: dict[str, tuple[str, Any]] = {
        "members": ("network.members", 1),
        "preferred expert": ("network.gate.preferred", []),
        "gate dropout": ("network.gate.dropout", 0.0),
        "HMM routing": ("network.routing.enabled", False),
        "soft cluster routing": ("network.basket.routing", "hard"),
        "logit transfer": ("network.transfer.strength", 0.0),
        "auxiliary path": ("network.auxiliary.enabled", False),
        "linear term": ("network.linear.enabled", False),
        "class terms": ("network.classes.enabled", False),
        "experts of single tasks": ("network.task_experts.enabled", False),
        "repeat term": ("network.repeat.enabled", False),
        "an epoch a task": ("training.best_epoch", "network"),
        "moving average": ("training.average", 0.0),
        "plain losses": ("losses", "task"),
        "spaced rows": ("row_spacing_days", 1),
    }
    for part, (path, value) in off.items():
        yield Variant(f"without {part}", {path: value}, why=f"{path}: {value}")
    on: dict[str, dict[str, Any]] = {
        "adaTT": {"network.adatt.enabled": True, "network.adatt.warmup_epochs": 1, "network.adatt.freeze_epoch": 3},
        "evidential heads": {"network.evidential.enabled": True},
        "autoencoder": {"network.autoencoder.enabled": True},
        "learned weights": {"network.weighting.strategy": "uncertainty"},
        "phase 2": {"training.phase2_epochs": 1, "training.phase2_warmup_epochs": 0},
        "all columns": {"columns": "all"},
        "reference columns": {"columns": "reference"},
    }
    for part, changes in on.items():
        why = ", ".join(f"{path}: {value}" for path, value in changes.items())
        yield Variant(f"with {part}", changes, why=why)
    yield Variant("trunk", {"preset": "trunk"}, why="the wide expert alone: what gates and experts have to beat")


def _versions(*more: str) -> tuple[Comparison, ...]:
    trees = f"{TUNED}/LightGBM"
    return (
        Comparison(f"{DEFAULT}/model", (trees, f"{DEFAULT}/network", *more), "The registered version"),
        Comparison(f"{DEFAULT}/network", (trees, *more), "The network alone"),
        Comparison(f"{DEFAULT}/LightGBM", (trees, f"{DEFAULT}/constant"), "The night's trees alone"),
    )


EMBEDDED = NightStudy(
    name="embedded",
    title="The embedded data set: three origins, five seeds",
    question="Is a version better than tuned boosted trees on the same rows, beyond chance?",
    dataset="completejourney",
    origins=EMBEDDED_ORIGINS,
    seeds=(1, 2, 3, 4, 5),
    variants=(Variant(DEFAULT), UNCAPPED),
    comparisons=_versions(f"{DEFAULT}/own past"),
    core_hours=6.4,
)

BANK = NightStudy(
    name="bank",
    title="The bank simulation: two origins, three seeds, and the oracle",
    question="Is a version better than tuned boosted trees on 20,000 simulated customers, and how far is the best "
    "possible prediction?",
    dataset="bank_simulation",
    origins=BANK_ORIGINS,
    seeds=(1, 2, 3),
    variants=(Variant(DEFAULT), UNCAPPED),
    comparisons=_versions(f"{DEFAULT}/own past"),
    oracle=True,
    core_hours=2.7,
)

ABLATION = NightStudy(
    name="ablation",
    title="Ablation: each part switched alone",
    question="Which parts of the default earn their place? The default against itself without one part (ahead: the "
    "part brings something) or with one that is off (behind: it would), the network alone, on validation customers.",
    dataset="completejourney",
    origins=("2018-01-01",),
    seeds=(1, 2, 3),
    variants=tuple(ablation_variants()),
    comparisons=(
        Comparison(
            f"{DEFAULT}/network",
            tuple(f"{variant.name}/network" for variant in ablation_variants() if variant.name != DEFAULT),
            "The default against the default with one part switched",
        ),
    ),
    role="validation",
)

VALIDATION_DATES = NightStudy(
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

FRESHNESS = NightStudy(
    name="freshness",
    title="Fresh models on the embedded data",
    question="A version has seen no label of the last 91 days. What is it worth to fit it again, with the settings, "
    "epochs and numbers of trees found and weights and calibration kept, on every label that had matured by the "
    "origin? Both score the same later rows, four dates from the origin on.",
    dataset="completejourney",
    origins=("2017-10-02", "2017-10-30", "2017-11-27"),
    seeds=(1, 2, 3),
    variants=(Variant(DEFAULT, run="refit"),),
    comparisons=(
        Comparison(f"{DEFAULT}/refit", (f"{DEFAULT}/model",), "The version fitted again against the version as it is"),
        Comparison(f"{DEFAULT}/refit network", (f"{DEFAULT}/network",), "Its network alone, again against as it is"),
    ),
    role="later",
    later_weeks=4,
)

FRESHNESS_BANK = replace(
    FRESHNESS,
    name="freshness-bank",
    title="Fresh models on the bank simulation, whose process drifts",
    dataset="bank_simulation",
    origins=("2024-12-10", "2025-04-01"),
)

PEERS = NightStudy(
    name="peers",
    title="Other models on the same rows",
    question="How does a version stand beside other libraries' models, one a task, and beside the published multi-task "
    "networks, trained by the same trainer for as many epochs?",
    dataset="completejourney",
    origins=EMBEDDED_ORIGINS,
    seeds=(1, 2, 3),
    variants=(
        Variant(DEFAULT),
        UNCAPPED,
        *(Variant(name, run="peer", peer=name, why="on the columns of the version") for name in peers.LIBRARIES),
        *(Variant(name, run="peer", peer=name, why="a published network") for name in peers.PUBLISHED),
    ),
    comparisons=(
        *(
            Comparison(
                f"{DEFAULT}/{source}",
                (f"{TUNED}/LightGBM", *(f"{name}/peer" for name in (*peers.LIBRARIES, *peers.PUBLISHED))),
                title,
            )
            for source, title in (("model", "The registered version"), ("network", "The network alone"))
        ),
    ),
)

ALONE = {
    "network.routing.enabled": False,
    "network.auxiliary.enabled": False,
    "network.repeat.enabled": False,
    "training.expert_rates": {},
}
"""What a table without customers' history has nothing for."""
TABLE_PEERS = tuple(
    Variant(name, run="peer", peer=name, why=why)
    for names, why in (
        (peers.PUBLISHED, "a published network, ours"),
        (third_party.LIBRARIES, "the published PLE of that library"),
        (("realmlp", "tabm"), "a network a task"),
    )
    for name in names
)
TABLE_TREES = tuple(
    Variant(source, run="trees", peer=library, why=f"{source}, searched, a model a task")
    for library, source in table_cell.TREES.items()
)

CENSUS = TableStudy(
    name="census",
    title="Census-Income (KDD): two groups of two tasks",
    question="Multi-task networks on a public table, beside boosted trees that were searched: what do several tasks "
    "bring over one at a time, and what does a network bring over trees?",
    source="census",
    origins=census.GROUPS,
    seeds=(1, 2, 3, 4, 5),
    variants=(Variant(DEFAULT), *TABLE_TREES, *TABLE_PEERS),
    comparisons=tuple(
        Comparison(
            f"{DEFAULT}/{source}",
            (
                *(f"{trees.name}/{trees.name}" for trees in TABLE_TREES),
                *(f"{peer.name}/peer" for peer in TABLE_PEERS),
            ),
            title,
        )
        for source, title in (("model", "The registered form"), ("network", "The network alone"))
    ),
    seesaw="single_task/peer",
    printed=tuple(
        Printed(
            f"{name}, as printed",
            {"income": income, "never_married (income)": married},
            "Tang et al. 2020 (RecSys); it does not state the halves of the test file, the encoding of the inputs "
            "or the number of runs",
        )
        for name, income, married in (
            ("single-task", 0.9445, 0.9923),
            ("MMoE", 0.9393, 0.9928),
            ("PLE", 0.9522, 0.9945),
        )
    ),
    settings={
        **ALONE,
        "network.experts": [{"name": "wide"}, {"name": "deepfm"}, {"name": "optimal_transport"}],
    },
)

SYNTHETIC = TableStudy(
    name="synthetic",
    title="The synthetic regression of the MMoE paper",
    question="Two tasks whose weights have a correlation of 0.5 to 1: from which one on does sharing everything "
    "cost less than it brings, and do gates and experts of a task's own help below it?",
    source="synthetic",
    origins=synthetic.CORRELATIONS,
    seeds=(1, 2, 3, 4, 5),
    variants=tuple(variant for variant in TABLE_PEERS if variant.peer in peers.PUBLISHED)
    + tuple(variant for variant in TABLE_TREES if variant.peer == "lightgbm"),
    comparisons=tuple(
        Comparison(
            f"{subject}/peer",
            tuple(f"{other}/peer" for other in ("single_task", "shared_bottom", "mmoe")),
            f"{subject} against one task at a time, one bottom and MMoE",
        )
        for subject in ("cgc", "ple")
    ),
    settings=ALONE,
    seesaw="single_task/peer",
    along=(*(f"{name}/peer" for name in peers.PUBLISHED), "LightGBM/LightGBM"),
)

OWN = "own"
"""The study of somebody's own data set, which is made from its description (`own`)."""
OWN_ORIGINS, OWN_WEEKS_APART = 3, 4


def own(description: Path) -> NightStudy:
    """A version against searched trees and a model of repeat buying on data of somebody's own: the end of the data and
    the dates before it, four weeks apart, as far as a training can be done as of them.

    Args:
        description: YAML file of the data set.

    Raises:
        NotEnoughHistory: a training needs more days than there are.
    """
    settings = Settings(home=Path("/"), dataset_file=description.resolve())
    dataset = load_tables(settings.load_dataset()).dataset
    origins: list[str] = []
    for number in range(OWN_ORIGINS):
        day = dataset.covers_until - timedelta(weeks=OWN_WEEKS_APART * number)
        try:
            material.training_plan(settings, dataset, day)
        except NotEnoughHistory:
            if not origins:
                raise
            break
        origins.insert(0, str(day))
    return NightStudy(
        name=f"{OWN}-{description.stem}",
        title=f"{dataset.title}: {len(origins)} origins, three seeds",
        question="Is a version better than searched boosted trees and than a model of repeat buying on the same rows, "
        "beyond chance?",
        dataset=description.stem,
        dataset_file=settings.dataset_file,
        origins=tuple(origins),
        seeds=(1, 2, 3),
        variants=(Variant(DEFAULT), UNCAPPED),
        comparisons=tuple(
            Comparison(
                f"{DEFAULT}/{source}",
                (
                    f"{TUNED}/LightGBM",
                    *(f"{DEFAULT}/{simple}" for simple in (baselines.REPEAT_BUYING, baselines.OWN_PAST)),
                ),
                title,
            )
            for source, title in (("model", "The registered version"), ("network", "The network alone"))
        ),
    )


NIGHTS = {study.name: study for study in (EMBEDDED, BANK, ABLATION, VALIDATION_DATES, FRESHNESS, FRESHNESS_BANK, PEERS)}
STUDIES: dict[str, Study] = {**NIGHTS, CENSUS.name: CENSUS, SYNTHETIC.name: SYNTHETIC}
