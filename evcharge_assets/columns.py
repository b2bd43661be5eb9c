"""Dagster column schemas, derived from the contracts and from the warehouse's own SQL comments."""

from __future__ import annotations

import dagster as dg
import pyarrow as pa

from evcharge.contracts import Contract
from evcharge.lake.layout import ARCHIVE_FIELDS
from evcharge.warehouse.schema import SQL, warehouse_tables


def contract_columns(contract: Contract, *, archived: bool) -> dg.TableSchema:
    """Columns of a topic's messages or, `archived`, of their rows in the lake."""
    columns = [
        dg.TableColumn(
            field.name,
            field.type.value.lower(),
            description=field.description + (f" [{field.unit}]" if field.unit else ""),
            constraints=dg.TableColumnConstraints(
                nullable=not field.required, other=[field.limits] if field.limits else None
            ),
        )
        for field in contract.fields
    ]
    return dg.TableSchema([*columns, *(_arrow_column(f) for f in ARCHIVE_FIELDS)] if archived else columns)


def warehouse_columns(table: str) -> dg.TableSchema:
    """Columns of a ClickHouse table or view, as its SQL names them. Raises KeyError for an unknown name."""
    for found in warehouse_tables(SQL):
        if found.name == table:
            return dg.TableSchema(
                [dg.TableColumn(name, type_, description=text) for name, type_, text in found.columns]
            )
    raise KeyError(table)


def _arrow_column(field: pa.Field) -> dg.TableColumn:
    return dg.TableColumn(field.name, str(field.type), constraints=dg.TableColumnConstraints(nullable=field.nullable))
