"""The customers whom a deployment has forgotten: whose rows no delivery may bring back.

`forgotten.json` in the home holds no id, only keyed digests of ids, and the key. Whoever has the home can ask whether a
known id is on the list; the list without the key answers nothing. What is erased belongs to `erasure/`.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path

import polars as pl

from feature_assets.sources import Delivery
from feature_assets.sources.files import scan, unreadable
from pipeline.resources.files import publish_frame, publish_json

FILE = "forgotten.json"
CUSTOMER_COLUMNS = ("customer_id", "household_id")
"""Columns that name a customer, in contract tables, delivered tables and what is made from them."""


@dataclass(frozen=True)
class Forgotten:
    """The list.

    Attributes:
        key: of the digests, hexadecimal; made with the first entry.
        customers: digest of an id → day on which it was forgotten (YYYY-MM-DD).
        finished: whether everything of theirs was erased; False while that is under way, and after a kill.
        seals: number of a version of the model → digest of the seal that its bundle is about to get (`erasure/`).
    """

    key: str = ""
    customers: dict[str, str] = field(default_factory=dict)
    finished: bool = True
    seals: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> "Forgotten":
        """The list of the home in a folder; empty where it has none."""
        file = root / FILE
        return cls(**json.loads(file.read_text())) if file.exists() else cls()

    def save(self, root: Path) -> None:
        """Write the list into the home in a folder."""
        publish_json(asdict(self), root / FILE)

    def with_more(self, ids: Iterable[str]) -> "Forgotten":
        """The list with these customers, whose erasure begins."""
        listed = replace(self, key=self.key or secrets.token_hex(32))
        new = {listed._digest(canonical_id(each)): date.today().isoformat() for each in ids}
        return replace(listed, customers=new | self.customers, finished=False)

    @property
    def digest(self) -> str:
        """Of the customers on the list; empty where there are none."""
        return hashlib.sha256(" ".join(sorted(self.customers)).encode()).hexdigest() if self.customers else ""

    def among(self, values: pl.Series) -> pl.Series:
        """Those of some ids, of any type, that are on the list, each once and as they came."""
        values = values.unique().drop_nulls()
        known = [self._digest(each) in self.customers for each in canonical(values)] if self.customers else []
        return values.filter(pl.Series(known, dtype=pl.Boolean)) if any(known) else values.clear()

    def leave_out(self, delivery: Delivery) -> Delivery:
        """The delivery without the rows of these customers, which therefore no table and no quarantine can hold.

        Raises:
            DeliveryError: a file is damaged.
        """
        if not self.customers:
            return delivery
        frames, notes = dict(delivery.frames), []
        for name, lazy in delivery.frames.items():
            try:
                frames[name], rows = rows_without(lazy, self.among)
            except (pl.exceptions.PolarsError, OSError) as error:
                raise unreadable(name, delivery.place(name), error) from error
            if rows:
                notes.append(f"{rows:,} rows of table {name} are of forgotten customers and left out")
        return replace(delivery, frames=frames, notes=(*delivery.notes, *notes))

    def _digest(self, name: str) -> str:
        return hashlib.blake2b(name.encode(), key=bytes.fromhex(self.key), digest_size=16).hexdigest()


def rows_without(
    lazy: pl.LazyFrame, among: Callable[[pl.Series], pl.Series], columns: Collection[str] = CUSTOMER_COLUMNS
) -> tuple[pl.LazyFrame, int]:
    """A frame without the rows of some customers, and how many those are.

    Args:
        among: distinct ids → those whose rows go.
        columns: that name a customer, as far as the frame has them.

    Raises:
        PolarsError, OSError: the file behind the frame is damaged.
    """
    found = 0
    for column in (name for name in lazy.collect_schema().names() if name in columns):
        if (out := among(lazy.select(column).unique().collect()[column])).len():
            theirs = pl.col(column).is_in(out.implode()).fill_null(False)
            found += lazy.filter(theirs).select(pl.len()).collect().item()
            lazy = lazy.filter(~theirs)
    return lazy, found


def clean_file(file: Path, among: Callable[[pl.Series], pl.Series]) -> int:
    """Write a Parquet file anew without the rows of some customers; how many those were. Times keep their microseconds.

    Raises:
        DeliveryError, PolarsError, OSError: the file is damaged.
    """
    lazy, rows = rows_without(scan(file.stem, file), among)
    if rows:
        publish_frame(lazy.collect(), file)
    return rows


def canonical(values: pl.Series) -> pl.Series:
    """Ids as text in one form, however a delivery wrote them: numbers as whole ones, without spaces around."""
    text = values.cast(pl.String).str.strip_chars().str.strip_chars("\ufeff\u200b\u2060\u00ad").str.strip_chars()
    return text.str.replace(r"^(-?\d+)\.0+$", "${1}")


def canonical_id(value: str) -> str:
    """`canonical` of one id."""
    return str(canonical(pl.Series([value]))[0])
