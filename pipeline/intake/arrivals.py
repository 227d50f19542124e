"""Arrivals: the deliveries of a data set whose deliveries add up, kept for good, and what was known by a date.

    lake/arrivals/<data set>/<number>_<arrived_on>_<digest>/  delivered/: the files as they came; volume.json: its size;
                                                              read.json: what of it was read from databases
    lake/arrivals/<data set>/closed.json                      the newest as-of date that was made from them
    lake/versions/<data set>/<code and description>/<same>/   rows/<table>.parquet: the new and corrected rows; counts

An arrival is written once, by one rename, and never changed; its versions (`versions.py`) are made from it again where
the code that reads or the description changed. Which rows are new belongs to `feature_assets.sources.arrivals`, what
has arrived to `inbox.py`.
Source: docs/decisions/0015.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.declaration import Table
from feature_assets.sources import Delivery, Ingested, read_delivery, reader_of, reading_code
from feature_assets.sources.arrivals import ARRIVED, Arrival, Checked, check, meet, merge, resolved, stack
from pipeline.intake import versions
from pipeline.intake.forgotten import Forgotten, clean_delivered
from pipeline.intake.inbox import arrived
from pipeline.resources.digests import broken, code_digest, file_digest, seal
from pipeline.resources.files import empty_beside, publish_folder, publish_json
from pipeline.resources.lake import Lake

Log = Callable[[str], None]

DELIVERED, CLOSED, VOLUME, READ = "delivered", "closed.json", "volume.json", "read.json"


@dataclass(frozen=True)
class Entry:
    """An arrival of the ledger. Numbers count from 1 without a gap; days never go back."""

    number: int
    arrived_on: date
    digest: str

    @property
    def name(self) -> str:
        """Name of its folders."""
        return f"{self.number:05d}_{self.arrived_on}_{self.digest}"

    @classmethod
    def of(cls, folder: Path) -> "Entry":
        """The entry of a folder."""
        number, day, digest = folder.name.split("_")
        return cls(int(number), date.fromisoformat(day), digest)


@dataclass(frozen=True)
class Verdict:
    """What a judge says of the size of an arrival.

    Attributes:
        volume: its size, kept with it for the judgement of later ones.
        unusual: what is unusual about it, in words.
        compared: earlier arrivals that it was compared with.
        refusal: why it is not taken in; "" where it is.
    """

    volume: Mapping[str, Any]
    unusual: tuple[str, ...] = ()
    compared: int = 0
    refusal: str = ""


class Judge(Protocol):
    """Judges the size of an arrival before it is taken in."""

    def __call__(
        self, tables: Mapping[str, Table], arrival: Ingested, digest: str, earlier: Sequence[Mapping[str, Any]]
    ) -> Verdict:
        """The verdict.

        Args:
            tables: declarations of the delivered tables.
            arrival: its rows, with their references resolved over all that is known.
            digest: of its files.
            earlier: `volume` of the arrivals before it, newest first.
        """


class Refused(DeliveryError):
    """An arrival that loses too many rows, or is far smaller than earlier ones. It is not taken in.

    Attributes:
        ingested: its faults.
        digest: of its files.
        verdict: on its size, where it is refused for that.
    """

    def __init__(self, why: str, ingested: Ingested, digest: str, verdict: Verdict | None = None) -> None:
        super().__init__(why)
        self.ingested, self.digest, self.verdict = ingested, digest, verdict


class Ledger:
    """The arrivals of one data set in one lake. One process at a time may take any in."""

    def __init__(self, lake: Lake, dataset: DatasetConfig) -> None:
        self._lake, self._dataset, self._reader = lake, dataset, reader_of(dataset)
        self._kept = lake.path("arrivals", dataset.name)
        self._met: list[Arrival] = []  # the first arrivals, read so far
        self._forgotten = Forgotten.read(Path(lake.root).parent)

    def entries(self) -> list[Entry]:
        """The arrivals that were taken in, in their order.

        Raises:
            DeliveryError: one is missing.
        """
        folders = self._kept.glob("[0-9]*_*_*")
        found = sorted((Entry.of(folder) for folder in folders), key=lambda entry: entry.number)
        for number, entry in enumerate(found, start=1):
            if entry.number != number:
                raise DeliveryError(f"arrival {number} is missing in {self._kept}: restore the folder from a backup")
        return found

    def take_in(self, inbox: Path, as_of: date, log: Log, judge: Judge) -> None:
        """Take in what has arrived by the as-of date and is not in the ledger yet, each arrival whole or not at all.

        Args:
            inbox: a folder of folders `arrived_on=YYYY-MM-DD`, each a delivery, or one delivery, which then arrives on
                the as-of date.
            judge: of the size of each arrival, but for one that repeats an earlier one or adds to that of its own day.

        Raises:
            DeliveryError: a delivery cannot be read, or says that it arrived before one that was taken in.
            Refused: a delivery lost more rows than its limit allows, or the judge refused it.
        """
        closed = self.closed()
        if as_of < closed:
            log(f"made from what had arrived by {as_of}: the night of {closed} was made already, nothing is taken in")
            return
        for day, folder in arrived(inbox, as_of, log):
            delivery = read_delivery(self._dataset, folder)
            if not delivery.files:
                raise DeliveryError(f"{folder} holds none of the tables {', '.join(self._reader.tables)}")
            digest = _files_digest(delivery)
            entries = self.entries()
            if Entry(0, day, digest) in [Entry(0, entry.arrived_on, entry.digest) for entry in entries]:
                continue
            if day < closed:
                raise DeliveryError(
                    f"{folder}: this delivery was not there, or was another one, when the night of {closed} was made. "
                    f"Deliver it as {ARRIVED}= the day on which it comes."
                )
            verdict = self._take(Entry(len(entries) + 1, day, digest), delivery, folder, judge)
            unusual = verdict.unusual if verdict else ()
            for note in (*self._met[-1].notes, *(f"the delivery of {day}: {words}" for words in unusual)):
                log(note)
        entries = self.entries()
        if entries and entries[-1].arrived_on < as_of:
            log(f"nothing has arrived for {as_of}; the newest delivery is that of {entries[-1].arrived_on}")

    def close(self, as_of: date) -> None:
        """Note that an as-of date was made: what claims to have arrived before it comes too late from now on."""
        if as_of > self.closed():
            publish_json({"closed": str(as_of)}, self._kept / CLOSED)

    def closed(self) -> date:
        """The newest as-of date that was made, or the newest day of arrival if that is later."""
        file = self._kept / CLOSED
        made = date.fromisoformat(json.loads(file.read_text())["closed"]) if file.exists() else date.min
        return max([made, *(entry.arrived_on for entry in self.entries())])

    def _take(self, entry: Entry, delivery: Delivery, folder: Path, judge: Judge) -> Verdict | None:
        """Copy the files, meet what is known, and publish: the versions first, so that the entry is the last word."""
        earlier = self.arrivals()
        same = [other.name for other in self.entries() if other.digest == entry.digest]
        place = self._kept / entry.name
        beside = empty_beside(place)
        try:
            for path in () if same else delivery.files.values():
                copy = beside / DELIVERED / path.relative_to(folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            publish_json({"same files as": same[0] if same else None}, beside / versions.NOTE)
            if (folder / READ).is_file():
                shutil.copyfile(folder / READ, beside / READ)
            copied = self._open(beside)
            if _files_digest(copied) != entry.digest:
                raise DeliveryError(f"{folder} changed while it was read: run the night again")
            if self._forgotten.customers and not same:
                clean_delivered(self._dataset, beside / DELIVERED, self._forgotten.among)
            copied = self._open(beside)
            arrival, verdict = self._judge(entry, copied, earlier, judge)
            versions.save(arrival, self._versions / entry.name)
            if verdict:
                publish_json(asdict(verdict), beside / VOLUME)
            seal(beside)
            publish_folder(beside, place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        self._met.append(arrival)
        return verdict

    def _judge(
        self, entry: Entry, delivery: Delivery, earlier: list[Arrival], judge: Judge
    ) -> tuple[Arrival, Verdict | None]:
        """The arrival after it met the earlier ones, and the verdict on its size, unless it is refused."""
        before = stack(earlier)
        checked = self._checked(delivery, entry)
        judged = resolved(checked, self._dataset, entry.arrived_on, before)
        try:
            judged.check_limits()
        except DeliveryError as error:
            why = f"the delivery of {entry.arrived_on} is not taken in: {error}"
            raise Refused(why, judged, entry.digest) from None
        arrival = meet(checked, self._dataset, entry.arrived_on, earlier, before)
        if (
            arrival.repeats
            or not checked.tables
            or any(other.arrived_on == entry.arrived_on for other in self.entries())
        ):
            return arrival, None
        known = [verdict["volume"] for _, verdict in reversed(self._verdicts())]
        verdict = judge(checked.tables, judged, entry.digest, known)
        if verdict.refusal:
            why = f"the delivery of {entry.arrived_on} is not taken in: {verdict.refusal}"
            raise Refused(why, judged, entry.digest, verdict)
        return arrival, verdict

    def _checked(self, delivery: Delivery, entry: Entry) -> Checked:
        """The rows of an arrival, each judged by itself: none, where all were of customers who are forgotten."""
        if self._forgotten.customers and not any(
            frame.select(pl.len()).collect().item() for frame in delivery.frames.values()
        ):
            return Checked({}, {}, {})
        return check(self._reader, delivery, entry.arrived_on)

    def _verdicts(self) -> list[tuple[Entry, dict[str, Any]]]:
        """The verdicts on the sizes of the arrivals that were judged, in their order."""
        files = [(entry, self._kept / entry.name / VOLUME) for entry in self.entries()]
        return [(entry, json.loads(file.read_text())) for entry, file in files if file.exists()]

    def read(self) -> Iterator[tuple[Entry, dict[str, Any]]]:
        """The arrivals that were read from databases, newest first, and the note of each (`extracts.py`)."""
        for entry in reversed(self.entries()):
            if (file := self._kept / entry.name / READ).is_file():
                yield entry, json.loads(file.read_text())

    def verdict(self, day: date) -> Verdict:
        """The verdict on the size of what arrived on a day; without words where nothing did or nothing was judged."""
        known = [verdict for entry, verdict in self._verdicts() if entry.arrived_on == day]
        return Verdict(**known[0] | {"unusual": tuple(known[0]["unusual"])}) if known else Verdict({})

    def _open(self, folder: Path) -> Delivery:
        """The delivery of an arrival; the same files as those of an earlier one are kept once."""
        note = json.loads((folder / versions.NOTE).read_text())
        kept = self._kept / note["same files as"] if note["same files as"] else folder
        return self._forgotten.leave_out(read_delivery(self._dataset, kept / DELIVERED))

    def arrivals(self, until: date = date.max) -> list[Arrival]:
        """The arrivals up to and with a day, in their order; versions that are not there or not whole are made again.

        Raises:
            DeliveryError: the copy of a delivery was altered, or cannot be read any more.
        """
        entries = [entry for entry in self.entries() if entry.arrived_on <= until]
        for entry in entries[len(self._met) :]:
            folder = self._versions / entry.name
            if why := broken(folder):
                if folder.exists():
                    logging.getLogger(__name__).warning("%s; it is made again from the arrival", why)
                versions.save(self._met_again(entry), folder)
            self._met.append(versions.load(folder))
        return self._met[: len(entries)]

    def _met_again(self, entry: Entry) -> Arrival:
        place = self._kept / entry.name
        if why := broken(place):
            raise DeliveryError(f"{why}: restore the folder from a backup")
        checked = self._checked(self._open(place), entry)
        return meet(checked, self._dataset, entry.arrived_on, self._met, stack(self._met))

    @cached_property
    def _versions(self) -> Path:
        return self._lake.path("versions", self._dataset.name, self._key)

    @cached_property
    def _key(self) -> str:
        """16 hex digits of the code that reads and of the description, apart from how far it reaches."""
        sha = hashlib.sha256(self._dataset.in_full(exclude=("covers_until", "folder")).encode())
        sha.update(code_digest(reading_code()).encode())
        sha.update(self._forgotten.digest.encode())
        return sha.hexdigest()[:16]

    def _telling(self, until: date) -> dict[Entry, Arrival]:
        """The arrivals that changed or set aside a row: without the others everything would be the same."""
        arrivals = self.arrivals(until)
        found = {entry: arrival for entry, arrival in zip(self.entries(), arrivals, strict=False) if arrival.tells}
        if not found:
            first = self.entries()[:1]
            words = f"the first delivery is that of {first[0].arrived_on}" if first else "there is no delivery yet"
            raise DeliveryError(f"nothing has arrived by {until}: {words}")
        return found

    def digest(self, as_of: date) -> str:
        """16 hex digits of what was known at an as-of date.

        Raises:
            DeliveryError: nothing has arrived by then.
        """
        names = [entry.name for entry in self._telling(as_of)]
        return hashlib.sha256(" ".join([self._key, *names]).encode()).hexdigest()[:16]

    def files(self, as_of: date) -> dict[str, Path]:
        """`<table>/<arrival>` → the rows of a table that an arrival changed."""
        folders = [self._versions / entry.name / "rows" for entry in self._telling(as_of)]
        files = [file for folder in folders for file in sorted(folder.glob("*.parquet"))]
        return {f"{file.stem}/{file.parents[1].name}": file for file in files}

    def merged(self, as_of: date) -> Ingested:
        """The tables of what was known at an as-of date, and the rows that were set aside.

        Raises:
            DeliveryError: nothing has arrived by then, or no row of a required table.
        """
        return merge(self._reader, self._dataset, list(self._telling(as_of).values()), self.files(as_of))

    def counts(self, as_of: date) -> pl.DataFrame:
        """`arrived_on` and the counts of each table of each arrival up to an as-of date, in their order."""
        return pl.concat(a.counts.select(pl.lit(a.arrived_on).alias(ARRIVED), pl.all()) for a in self.arrivals(as_of))

    def forget_old_versions(self) -> None:
        """Delete the versions that other code or another description made."""
        for folder in self._versions.parent.iterdir():
            if folder != self._versions:
                shutil.rmtree(folder)


def _files_digest(delivery: Delivery) -> str:
    """16 hex digits of the delivered files: their tables and bytes."""
    sha = hashlib.sha256()
    for name in sorted(delivery.files):
        sha.update(f"{name} {file_digest(delivery.files[name])} ".encode())
    return sha.hexdigest()[:16]
