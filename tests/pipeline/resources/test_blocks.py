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
from pipeline.resources.blocks import Own, Views, in_slices, spool, stored_tables
from pipeline.resources.digests import seal
from pipeline.resources.files import strays
from pipeline.resources.publication import Published
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


def spent(view: View, own: Own, numbers: pl.LazyFrame) -> pl.DataFrame:
    mine = own(numbers)
    assert mine["customer_id"].equals(view.customers["customer_id"])
    return mine.with_columns(spent=view.net_spend(90), as_of=pl.lit(view.as_of))


@pytest.mark.parametrize("at_a_time", [1, 7, 39, 40, 1_000])
def test_blocks_are_the_whole_in_its_order(whole: Tables, stored: Path, at_a_time: int, tmp_path: Path) -> None:
    views, known = Views(stored, AS_OF, at_a_time), View(whole, AS_OF)
    assert views.whole == (at_a_time >= 40)
    assert views.customers().equals(known.customers.select("customer_id"))
    assert {name: views.has(name) for name in ("sessions", "refunds", "overseas", "inflows")} == {
        name: whole.has(name) for name in ("sessions", "refunds", "overseas", "inflows")
    }
    numbers = known.customers.select("customer_id", number=pl.int_range(pl.len())).lazy()
    expected = spent(known, lambda frame: frame.collect(), numbers)
    with spool(tmp_path / "lake") as folder:
        found = views.computed(lambda view, own: spent(view, own, numbers), folder)
        assert isinstance(found, pl.DataFrame if views.whole else pl.LazyFrame)
        assert found.lazy().collect().equals(expected)
        table = Published(tmp_path / "lake", "spent")
        table.publish(found, AS_OF.isoformat())
    assert table.read(AS_OF.isoformat()).equals(expected)
    assert pl.concat(in_slices(table.scan(AS_OF.isoformat()), at_a_time)).equals(expected)
    assert not [*strays(tmp_path / "lake")]


def test_a_date_before_anybody_joined_is_refused(stored: Path, tmp_path: Path) -> None:
    views = Views(stored, date(1990, 1, 1), 7)
    assert views.customers().is_empty()
    with pytest.raises(dg.Failure, match="no customer is known before 1990-01-01"):
        views.computed(lambda view, _: view.customers, tmp_path)


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
