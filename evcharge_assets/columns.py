"""Dagster column schemas, derived from the contracts and from the warehouse's own SQL comments."""

from __future__ import annotations

import re

import dagster as dg
import pyarrow as pa

from evcharge.contracts import Contract
from evcharge.lake.layout import ARCHIVE_FIELDS, QUARANTINE_SCHEMA
from evcharge.warehouse.schema import SQL, statements


def contract_columns(contract: Contract, *, archived: bool) -> dg.TableSchema:
    """Columns of a topic's messages or, `archived`, of their rows in the lake."""
    columns = [
        dg.TableColumn(
            field.name,
            field.type.value.lower(),
            description=field.description + (f" [{field.unit}]" if field.unit else ""),
            constraints=dg.TableColumnConstraints(nullable=not field.required),
        )
        for field in contract.fields
    ]
    return dg.TableSchema([*columns, *(_arrow_column(f) for f in ARCHIVE_FIELDS)] if archived else columns)


def quarantine_columns() -> dg.TableSchema:
    return dg.TableSchema([_arrow_column(field) for field in QUARANTINE_SCHEMA])


def warehouse_columns(table: str) -> dg.TableSchema:
    """Columns of a ClickHouse table, read from its CREATE TABLE. Raises KeyError if there is none."""
    for file in sorted(SQL.glob("*.sql")):
        for statement in statements(file):
            if re.match(rf"CREATE TABLE IF NOT EXISTS {table}\b", statement):
                found = re.findall(r"^\s+(\w+)\s+(\S.*?) COMMENT '(.*)'", statement, flags=re.MULTILINE)
                return dg.TableSchema([dg.TableColumn(n, t.strip(), description=d) for n, t, d in found])
    raise KeyError(table)


def view_columns(view: str) -> dg.TableSchema:
    """Columns of a ClickHouse view, read from its SELECT list. Raises KeyError if there is none."""
    for file in sorted(SQL.glob("*.sql")):
        for statement in statements(file):
            if statement.startswith(f"CREATE OR REPLACE VIEW {view} "):
                select = statement.split("SELECT", 1)[1].split("\nFROM", 1)[0]
                return dg.TableSchema([dg.TableColumn(name) for name in re.findall(r" AS (\w+)", select)])
    raise KeyError(view)


def _arrow_column(field: pa.Field) -> dg.TableColumn:
    return dg.TableColumn(field.name, str(field.type), constraints=dg.TableColumnConstraints(nullable=field.nullable))
