"""Permutation importance of the inputs of a model of the bank simulation, beside the causes that were simulated.

    python benchmarks/inputs.py HOME

Reads the newest evaluation of a home (`PLE_HOME` of `DATASET=bank_simulation make nightly`), where every input was
shuffled over the test rows that read it. The simulation planted causes of some tasks in each input
(docs/bank_simulation.md); the loss of a model that uses them increases. Losses differ in size, so an increase is shown
as a share of the task's loss, with its standard error over rows. The last four lines shuffle inputs of equal content
together: a model that reads 70 columns of topology loses little when only the diagrams are another customer's. In a
home of another data set nothing is planted, and its table is printed unchanged.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import polars as pl

SHAPE = ("ctr", "cvr", "churn", "retention", "life_stage", "nba")
CLUSTERS = (
    *("ctr", "cvr", "engagement", "churn", "ltv", "balance_util", "channel", "nba", "spending_category"),
    "spending_bucket",
)
PLANTED = {
    "features_normalised": ("engagement", "churn", "ltv", "balance_util", "channel", "spending_category"),
    "features_raw": ("life_stage", "channel", "spending_category", "spending_bucket"),
    "cluster_probs": CLUSTERS,
    "txn_seq": ("engagement", "churn", "timing", "consumption_cycle"),
    "session_seq": ("ctr", "engagement"),
    "hmm_journey": ("ctr", "cvr", "engagement"),
    "hmm_lifecycle": ("churn", "retention", "life_stage"),
    "hmm_behavior": ("channel", "spending_category"),
    "tda_short": SHAPE,
    "tda_long": SHAPE,
    "tda_global": SHAPE,
    "hierarchy": ("spending_category", "brand_prediction"),
    "collaborative": ("spending_category", "brand_prediction", "merchant_affinity"),
    "segment": ("engagement", "life_stage", "ltv"),
    "coldstart": ("engagement", "life_stage", "ltv"),
    "anonymous": ("engagement", "spending_category", "brand_prediction"),
    "topology": SHAPE,
    "clusters": CLUSTERS,
    "hidden_states": ("ctr", "cvr", "engagement", "churn", "retention", "life_stage", "channel", "spending_category"),
    "sequences": ("ctr", "engagement", "churn", "timing", "consumption_cycle"),
}
"""Input → tasks of which it holds a cause (numbers of docs/bank_simulation.md: segments and money 1, 2, 11, 12;
chains 4–6; shape 7; habits 9; trees and communities 3; who is new 14)."""


def newest_evaluation(home: Path) -> dict[str, list[dict[str, object]]]:
    """The evaluation of the home's newest training."""
    files = sorted(home.glob("lake/training/as_of=*/evaluation.json"))
    if not files:
        raise SystemExit(f"no evaluation under {home}/lake/training: run a night that trains first")
    evaluation: dict[str, list[dict[str, object]]] = json.loads(files[-1].read_text())
    return evaluation


def shares(rows: list[dict[str, object]]) -> pl.DataFrame:
    """Rows of `permutation_importance` with `percent` and `percent_error`: the increase and its standard error in per
    cent of the task's loss; null where no row of the input has a label of the task."""
    known = pl.when(pl.col("loss") != 0)
    return pl.DataFrame(rows).with_columns(
        percent=known.then(100 * pl.col("increase") / pl.col("loss").abs()),
        percent_error=known.then(100 * pl.col("error") / pl.col("loss").abs()),
    )


def main() -> None:
    """Print the table and, for the simulation, whether each input is used where it was planted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    given = parser.parse_args()
    table = shares(newest_evaluation(given.home)["inputs"])
    print("increase of a task's loss in per cent when an input is shuffled")
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=250, float_precision=2, tbl_hide_dataframe_shape=True):
        print(table.pivot("task", index="input", values="percent"))
    if not (given.home / "simulations").is_dir():
        return
    print("\nmean over the tasks that an input was planted for; its error, as if their errors were one")
    print(f"{'input':<22}{'rows reading':>12}{'increase':>12}{'error':>9}  planted for")
    for name, tasks in PLANTED.items():
        part = table.filter(pl.col("input") == name, pl.col("task").is_in(tasks))
        mean, error = (float(part[column].drop_nulls().to_numpy().mean()) for column in ("percent", "percent_error"))
        verdict = "  NOT USED" if mean <= 0 else "" if mean > 2 * error else "  not beyond two errors"
        print(f"{name:<22}{part['share'][0]:>12.0%}{mean:>11.3f}%{error:>8.3f}%  {', '.join(tasks)}{verdict}")


if __name__ == "__main__":
    main()
