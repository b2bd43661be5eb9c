"""Dagster column schemas, derived from the contracts and from the warehouse's own SQL comments."""

from __future__ import annotations

import dagster as dg

from evcharge.contracts import Contract, Field
from evcharge.lake.layout import ARCHIVE_COLUMNS
from evcharge.warehouse.schema import SQL, warehouse_tables


def contract_columns(contract: Contract, *, archived: bool) -> dg.TableSchema:
    """Columns of a topic's messages or, `archived`, of their rows in the lake."""
    fields = (*contract.fields, *(ARCHIVE_COLUMNS if archived else ()))
    return dg.TableSchema([_column(field) for field in fields])


def warehouse_columns(table: str) -> dg.TableSchema:
    """Columns of a ClickHouse table or view, as its SQL names them. Raises KeyError for an unknown name."""
    for found in warehouse_tables(SQL):
        if found.name == table:
            return dg.TableSchema(
                [dg.TableColumn(name, type_, description=text) for name, type_, text in found.columns]
            )
    raise KeyError(table)


def _column(field: Field) -> dg.TableColumn:
    return dg.TableColumn(
        field.name,
        field.type.value.lower(),
        description=field.description + (f" [{field.unit}]" if field.unit else ""),
        constraints=dg.TableColumnConstraints(
            nullable=not field.required, other=[field.limits] if field.limits else None
        ),
    )
