"""The customers whom a deployment has forgotten: whose rows no delivery may bring back.

`forgotten.json` in the home holds no id, only keyed digests of ids, and the key. Whoever has the home can ask whether a
known id is on the list; the list without the key answers nothing. What is erased belongs to `erasure/`.
"""

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path

import polars as pl

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.dataset import DatasetConfig
from feature_assets.sources import Delivery, read_delivery
from feature_assets.sources.files import scan, unreadable
from feature_assets.sources.own.text_files import unreadable as unreadable_text
from feature_assets.sources.own.whose import Part, parts
from pipeline.resources.files import discard, empty_beside, publish_bytes, publish_frame, publish_json

FILE = "forgotten.json"
CUSTOMER_COLUMNS = ("customer_id", "household_id")
"""Columns that name a customer, in contract tables, delivered tables and what is made from them. In the user's own
files a description says which do."""
_WHOSE = "\0whose"
"""Beside the columns of a file: whose a row is."""


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


def clean_file(file: Path, among: Callable[[pl.Series], pl.Series], dry: bool = False) -> int:
    """Write a Parquet file anew without the rows of some customers; how many those were. Times keep their microseconds.

    Raises:
        DeliveryError, PolarsError, OSError: the file is damaged.
    """
    lazy, rows = rows_without(scan(file.stem, file), among)
    if rows and not dry:
        publish_frame(lazy.collect(), file)
    return rows


def clean_delivered(
    dataset: DatasetConfig, folder: Path, among: Callable[[pl.Series], pl.Series], dry: bool = False
) -> int:
    """Write the kept files of a delivery anew without the rows of some customers, each in its own form, so that every
    other row is read as before; how many those were.

    Raises:
        DeliveryError: a file is damaged, lacks the column that names its customers, or cannot be written so.
    """
    if not dataset.tables:
        files = sorted(set(read_delivery(dataset, folder).files.values()))
        return sum(clean_file(file, among, dry) for file in files)
    return sum(_clean_part(part, among, dry) for part in parts(dataset, folder))


def named_in(dataset: DatasetConfig, folder: Path) -> Iterator[pl.Series]:
    """The customers whom the kept files of a delivery of the user's own files name, file by file, each once.

    Raises:
        DeliveryError: a file is damaged, or lacks the column that names its customers.
    """
    for part in parts(dataset, folder):
        with _readable(part):
            yield part.rows().select(part.whose().alias(_WHOSE)).unique().collect()[_WHOSE]


def _clean_part(part: Part, among: Callable[[pl.Series], pl.Series], dry: bool) -> int:
    with _readable(part):
        rows = part.rows()
        names = [_WHOSE, *(CUSTOMER_COLUMNS if part.as_asked and part.lacking() else ())]
        lazy, found = rows_without(rows.with_columns(part.whose().alias(_WHOSE)), among, names)
        if dry or not found:
            return found
        kept = lazy.drop(_WHOSE).collect()
    if part.parquet:
        publish_frame(kept, part.path)
        return found
    content = part.without(kept)
    if content is None:
        discard(part.path)
        return found
    beside = empty_beside(part.path)
    try:
        copy = beside / part.path.name
        publish_bytes(content, copy)
        if not _same(part, copy, kept):
            raise DeliveryError(
                f"table {part.table}: {part.path} cannot be written without the rows of forgotten customers so that "
                f"the others are read as before: give this table as Parquet"
            )
        copy.replace(part.path)
    finally:
        shutil.rmtree(beside)
    return found


def _same(part: Part, copy: Path, kept: pl.DataFrame) -> bool:
    try:
        return part.rows(copy).collect().equals(kept)
    except (DeliveryError, pl.exceptions.PolarsError):
        return False


@contextmanager
def _readable(part: Part) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        if part.parquet:
            raise unreadable(part.table, part.path, error) from error
        raise unreadable_text(part.table, part.path, error) from error


def canonical(values: pl.Series) -> pl.Series:
    """Ids as text in one form, however a delivery wrote them: numbers as whole ones, without spaces around."""
    text = values.cast(pl.String).str.strip_chars().str.strip_chars("\ufeff\u200b\u2060\u00ad").str.strip_chars()
    return text.str.replace(r"^(-?\d+)\.0+$", "${1}")


def canonical_id(value: str) -> str:
    """`canonical` of one id."""
    return str(canonical(pl.Series([value]))[0])
