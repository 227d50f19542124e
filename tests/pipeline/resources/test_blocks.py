"""Views over stored tables, a block of customers at a time: what is computed of them is the whole, in its order."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from feature_assets.data.blocks import Sample, blocks_of
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from pipeline.resources.blocks import Views, in_slices, stored_tables
from pipeline.resources.digests import seal
from tests.deliveries import synthetic

AS_OF = synthetic.AS_OF


@pytest.fixture(scope="module")
def whole() -> Tables:
    return synthetic.tables(40, seed=3)


@pytest.fixture(scope="module")
def stored(whole: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    whole.save(folder)
    seal(folder)
    return folder


@pytest.mark.parametrize("at_a_time", [1, 7, 39, 40, 1_000])
def test_blocks_are_the_whole_in_its_order(whole: Tables, stored: Path, at_a_time: int) -> None:
    views, known = Views(stored, AS_OF, at_a_time), View(whole, AS_OF)
    assert views.whole == (at_a_time >= 40)
    assert views.customers().equals(known.customers.select("customer_id"))
    assert {name: views.has(name) for name in ("sessions", "refunds", "overseas", "inflows")} == {
        name: whole.has(name) for name in ("sessions", "refunds", "overseas", "inflows")
    }
    numbers = known.customers.select("customer_id", number=pl.int_range(pl.len())).lazy()
    assert pl.concat(view.customers for view in views).equals(known.customers)
    shards = views.shards()
    assert [shard.number for shard in shards] == [*range(-(-40 // at_a_time))]
    for shard in shards:
        mine = shard.own(numbers)
        assert mine["customer_id"].equals(shard.view().customers["customer_id"])
        assert (mine.height, mine["number"][0]) == (shard.customers, shard.first)
    assert pl.concat(shard.own(numbers) for shard in shards).equals(numbers.collect())
    assert pl.concat(in_slices(numbers, at_a_time)).equals(numbers.collect())


def test_shards_have_a_customer_and_count_those_before_them(whole: Tables, stored: Path) -> None:
    joined = whole.frames["customers"]["joined_on"].sort()
    day = joined[20]
    views = Views(stored, day, 1)
    known = [view.customers["customer_id"].to_list() for view in views]
    assert all(len(ids) == 1 for ids in known)
    assert len(known) == int((joined < day).sum()) < 40
    assert [shard.first for shard in views.shards()] == [*range(len(known))]
    assert pl.Series([one for [one] in known]).equals(views.customers()["customer_id"].alias(""))


def test_before_anybody_joined_there_is_no_shard(stored: Path) -> None:
    views = Views(stored, date(1990, 1, 1), 7)
    assert views.customers().is_empty()
    assert views.shards() == []


def test_a_training_reads_a_stable_sample_with_all_that_belongs_to_it(whole: Tables, stored: Path) -> None:
    everybody = stored_tables(stored, 40)
    assert everybody.customers == 40
    some = stored_tables(stored, 10)
    assert 3 <= some.customers < 25
    assert stored_tables(stored, 10) is some, "it is kept"
    ids = some.frames["customers"]["customer_id"]
    again = Sample.of_stored(stored / "customers.parquet", 10)
    assert ids.equals(again.ids)
    for name, frame in some.frames.items():
        of = pl.col("customer_id").is_in(ids.implode()) if "customer_id" in frame.columns else pl.lit(True)
        assert frame.equals(whole.frames[name].filter(of), null_equal=True), name
    assert View(some, AS_OF + timedelta(days=1)).customers.height == some.customers


def test_altered_tables_are_refused(whole: Tables, tmp_path: Path) -> None:
    whole.save(tmp_path / "stored")
    seal(tmp_path / "stored")
    file = tmp_path / "stored" / "sessions.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(dg.Failure, match=r"sessions\.parquet"):
        next(Views(tmp_path / "stored", AS_OF, 7).tables())


def test_at_least_one_customer_at_a_time(stored: Path) -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        blocks_of(stored / "customers.parquet", 0)
