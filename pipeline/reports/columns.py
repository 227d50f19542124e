"""Columns as the UI explains them before any night: what each means, and which columns it is made from.

All of it follows from the contract and from the registry, so a column that joins them is described and has its lineage.
"""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from feature_assets import registry
from feature_assets.data.contract import CONTRACT
from feature_assets.data.declaration import Table
from feature_assets.data.parts import table_of
from feature_assets.group import FeatureGroup

Key = Callable[[str], dg.AssetKey]
CUSTOMER = ("customer_id", "String", "the customer")
SCHEMA, LINEAGE = "dagster/column_schema", "dagster/column_lineage"


def _schema(rows: Mapping[str, tuple[str, str]]) -> dg.TableSchema:
    """Of column → (type, meaning)."""
    return dg.TableSchema([dg.TableColumn(name, kind, description=told) for name, (kind, told) in rows.items()])


def table_columns(table: Table) -> dict[str, Any]:
    """Metadata of a contract table: type and meaning of each column."""
    meanings = table.meanings
    return {SCHEMA: _schema({c.name: (str(c.dtype), meanings[c.name]) for c in table.columns})}


def _of_group(group: FeatureGroup) -> dict[str, tuple[str, str]]:
    """Column or side input → (type, meaning). A side input is a list of one customer's values, row by row."""
    found = {c.name: ("Float32", f"{c.meaning} [{c.unit}, {c.window}]") for c in group.columns}
    for side in group.side_inputs:
        shape = " × ".join(map(str, side.shape))
        found[side.name] = (f"List({side.dtype.__name__})", f"{side.meaning} [{shape} values a customer]")
    return found


def group_columns(group: FeatureGroup, tables: Key) -> dict[str, Any]:
    """Metadata of a group: meanings, and lineage. A feature reads whole rows of its sources; the lineage names the
    column by which these rows are found: the customer's, or the table's own key.

    Args:
        tables: contract table → its asset.
    """
    deps: dict[str, list[dg.TableColumnDep]] = {}
    for column in group.columns:
        read = sorted({table_of(source) for source in column.sources})
        deps[column.name] = [dg.TableColumnDep(tables(name), _found_by(CONTRACT[name])) for name in read]
    return {
        SCHEMA: _schema({CUSTOMER[0]: CUSTOMER[1:], **_of_group(group)}),
        LINEAGE: dg.TableColumnLineage(deps),
    }


def _found_by(table: Table) -> str:
    """The column by which rows of a table are found."""
    names = [column.name for column in table.columns]
    keys = [column.name for column in table.columns if column.key]
    return CUSTOMER[0] if CUSTOMER[0] in names else [*keys, *names][0]


def matrix_columns(groups: Key, own: Mapping[str, str]) -> dict[str, Any]:
    """Metadata of the feature matrix: meanings of all columns and side inputs, each with the group it comes from.

    Args:
        groups: group → its asset.
        own: columns of the matrix itself → meaning.
    """
    rows, deps = {CUSTOMER[0]: CUSTOMER[1:]}, {}
    scaled_names = {name for name in registry.names() if registry.is_normalised(name)}
    for name, group in registry.registry().items():
        for column, (kind, told) in _of_group(group).items():
            scaled = ", scaled" if column in scaled_names else ""
            rows[column] = (kind, f"{told}{scaled}, from the group {name}")
            deps[column] = [dg.TableColumnDep(groups(name), column)]
    rows |= {name: ("String", told) for name, told in own.items()}
    return {SCHEMA: _schema(rows), LINEAGE: dg.TableColumnLineage(deps)}
