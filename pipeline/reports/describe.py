"""Dagster metadata of a frame: row count, column schema with meanings, a preview."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

Metadata = dict[str, Any]


def markdown(frame: pl.DataFrame, rows: int = 100, digits: int = 4) -> dg.MarkdownMetadataValue:
    """A frame as a Markdown table of at most `rows` rows."""
    return dg.MetadataValue.md(markdown_text(frame, rows, digits))


def markdown_text(frame: pl.DataFrame, rows: int = 100, digits: int = 4) -> str:
    """The Markdown of `markdown`."""
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
    return text if frame.height <= rows else f"{text}\n\n… and {frame.height - rows:,} rows more"


def frame_metadata(
    frame: pl.DataFrame, meanings: Mapping[str, str] | None = None, preview: Sequence[str] | None = None
) -> Metadata:
    """Row count, column schema and a preview of five rows.

    `meanings` describes columns by name; `preview` names the columns of the preview (default: the first ten).
    """
    meanings = meanings or {}
    schema = dg.TableSchema(
        columns=[
            dg.TableColumn(name, str(dtype), description=meanings.get(name)) for name, dtype in frame.schema.items()
        ]
    )
    shown = frame.select(preview if preview is not None else frame.columns[:10])
    return {
        "dagster/row_count": frame.height,
        "dagster/column_schema": schema,
        "columns": frame.width,
        "preview": markdown(shown, rows=5),
    }
