"""Dagster metadata of a frame: row count, column schema with meanings, a preview."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

Metadata = dict[str, Any]


def markdown(frame: pl.DataFrame, rows: int = 100, digits: int = 4, of: int | None = None) -> dg.MarkdownMetadataValue:
    """A frame as a Markdown table of at most `rows` rows. `of`: rows of the table, where `frame` is its head."""
    return dg.MetadataValue.md(markdown_text(frame, rows, digits, of))


def markdown_text(frame: pl.DataFrame, rows: int = 100, digits: int = 4, of: int | None = None) -> str:
    """The Markdown of `markdown`."""
    height = frame.height if of is None else of
    shown = frame.head(rows).with_columns(pl.selectors.float().round_sig_figs(digits))
    with pl.Config(
        tbl_formatting="MARKDOWN",
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=10_000,
        fmt_str_lengths=200,
        fmt_table_cell_list_len=4,
    ):
        text = str(shown)
    return text if height <= rows else f"{text}\n\n… and {height - rows:,} rows more"


def frame_metadata(
    frame: pl.DataFrame | pl.LazyFrame,
    meanings: Mapping[str, str] | None = None,
    preview: Sequence[str] | None = None,
) -> Metadata:
    """Row count, column schema and a preview of five rows.

    `meanings` describes columns by name; `preview` names the columns of the preview (default: the first ten).
    """
    meanings = meanings or {}
    types = frame.collect_schema()
    schema = dg.TableSchema(
        columns=[dg.TableColumn(name, str(dtype), description=meanings.get(name)) for name, dtype in types.items()]
    )
    rows = frame.lazy()
    shown = rows.select(preview if preview is not None else types.names()[:10]).head(5).collect()
    height = rows.select(pl.len()).collect().item()
    return {
        "dagster/row_count": height,
        "dagster/column_schema": schema,
        "columns": len(types),
        "preview": markdown(shown, rows=5, of=height),
    }
