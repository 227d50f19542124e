"""Settings of boosted trees: a number of trees, never a time, so that a busy machine grows the same ones."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ple_model.boosting.candidates import CandidateBudget
from ple_model.closed import ClosedModel


class TreeBudget(ClosedModel):
    """The budget of one boosted model."""

    rounds: int = Field(default=600, ge=1)
    max_trees: int = Field(default=2_000, ge=1, description="rounds × trees a round stay below this")
    early_stopping: int = Field(default=30, ge=1, description="rounds without a better validation loss that end a fit")
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    leaves: int = Field(default=31, ge=2)
    min_leaf_rows: int = Field(default=20, ge=1)
    column_share: float = Field(default=0.3, gt=0, le=1, description="columns drawn for each tree")
    row_share: float = Field(default=1.0, gt=0, le=1, description="rows drawn for each tree")
    l2: float = Field(default=1.0, ge=0)
    max_rows: int | None = Field(default=None, ge=1, description="training rows; more are sampled down; None takes all")

    def rounds_for(self, trees_a_round: int) -> int:
        """Most rounds of a fit whose rounds have so many trees."""
        return max(1, min(self.rounds, self.max_trees // trees_a_round))


class BoostingBudget(ClosedModel):
    """The budget of all boosted models of a training."""

    single: TreeBudget = Field(default=TreeBudget(), description="binary and regression tasks")
    multiclass: TreeBudget = Field(
        default=TreeBudget(leaves=15), description="one tree a class and round: `max_trees` bounds the rounds"
    )
    candidates: CandidateBudget = Field(
        default=CandidateBudget(), description="brands of customers whose history is known: one model over all of them"
    )
    brand: TreeBudget = Field(
        default=TreeBudget(rounds=60, early_stopping=8, learning_rate=0.1, leaves=15),
        description="each of the brands, where no history is known",
    )
    tasks: Mapping[str, TreeBudget] = Field(default={}, description="task → its own budget in place of those above")
    brands: int = Field(default=20, ge=0, description="most frequent brands that get a model of their own")
    max_bin: int = Field(default=63, ge=2, le=255)
    workers: int = Field(default=2, ge=1, description="tasks fitted side by side, each in one thread")
