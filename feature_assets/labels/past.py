"""Facts about customers that are known strictly before t, which decide for whom a task is defined at t.

Everything is read through `View`, so nothing that happens at t or later can change them. Source: DATA §3.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from feature_assets.events.ragged import Events
from feature_assets.events.view import View


@dataclass(frozen=True)
class Past:
    """Facts of the N customers of a view, each a Boolean series [N] in the order of `View.customers`.

    Attributes:
        view: of t.
        days: for which whoever bought counts as active; None for those of the data set.
    """

    view: View
    days: int | None = None

    @property
    def active_days(self) -> int:
        """Days for which whoever bought counts as active."""
        return self.view.dataset.active_days if self.days is None else self.days

    def everyone(self) -> pl.Series:
        """True for each customer."""
        return pl.repeat(True, self.view.customers.height, eager=True)

    @cached_property
    def bought(self) -> pl.Series:
        """A purchase in the last `active_days` days."""
        return self._any(self.view.recent_purchases(self.active_days))

    @cached_property
    def active(self) -> pl.Series:
        """A purchase or a session in the last `active_days` days."""
        if not self.view.has("sessions"):
            return self.bought
        return self.bought | self._any(self.view.events("sessions", (), longest=self.active_days))

    @cached_property
    def has_limit(self) -> pl.Series:
        """A statement of the last `active_days` days that states a limit."""
        if not self.view.has("balances"):
            return ~self.everyone()
        statements = self.view.events("balances", ("limit",), longest=self.active_days)
        return self._any(statements.where(statements.values("limit") > 0))

    def in_campaign(self, without: Collection[str] = ()) -> pl.Series:
        """A member of a campaign that is not over at t, whose kind is none of `without`.

        A member has an event of the campaign before t (it was aimed at them, or reached them), and none that says that
        it was withheld from them. Of a campaign that has not started yet the kind and the last day are not known: it
        counts.
        """
        if not self.view.has("campaign_events"):
            return ~self.everyone()
        events = self.view.events("campaign_events", ("campaign_id", "is_control"))
        key = events.row * len(events.names("campaign_id")) + events.codes("campaign_id")
        withheld = np.isin(key, key[events.values("is_control") == 1])
        ruled_out = events.is_in("campaign_id", *self._over_or_of(without))
        return self._any(events.where(~withheld & ~ruled_out))

    def _over_or_of(self, kinds: Collection[str]) -> list[str]:
        """Ids of the campaigns that are over at t or of one of these kinds; the view hides a last day to come."""
        if not self.view.has("campaigns"):
            return []
        ruled_out = pl.col("ends_on").is_not_null() | pl.col("kind").is_in(list(kinds))
        return self.view.campaigns.filter(ruled_out)["campaign_id"].to_list()

    def _any(self, events: Events) -> pl.Series:
        """Whether a customer has one of these events."""
        return pl.Series(events.count() > 0)
