"""The digest of rows: the same in any order and in any files, another one if any value differs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.contracts import CONTRACTS
from evcharge.lake.row_digest import Digest, digest_of
from evcharge.lake.schemas import QUARANTINE_SCHEMA, raw_schema

SCHEMAS = [*(raw_schema(contract) for contract in CONTRACTS.values()), QUARANTINE_SCHEMA]
AT = datetime(2026, 3, 1, tzinfo=UTC)
ROWS = [
    {"text": "a", "count": 1, "share": 0.5, "flag": True, "at": AT, "names": ["x"], "parts": [{"kw": 1.0}]},
    {"text": "", "count": 0, "share": 0.0, "flag": False, "at": AT.replace(hour=1), "names": [], "parts": []},
    dict.fromkeys(("text", "count", "share", "flag", "at", "names", "parts")),
]
SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("count", pa.int32()),
        ("share", pa.float64()),
        ("flag", pa.bool_()),
        ("at", pa.timestamp("us", "UTC")),
        ("names", pa.list_(pa.string())),
        ("parts", pa.list_(pa.struct([("kw", pa.float64())]))),
    ]
)


def digest(rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> Digest:
    return digest_of([pa.Table.from_pylist(rows, schema)])


@given(st.permutations(ROWS * 3), st.integers(0, 9))
def test_order_and_batches_do_not_matter(rows: list[dict[str, Any]], cut: int) -> None:
    parts = digest_of(pa.Table.from_pylist(part, SCHEMA) for part in (rows[:cut], rows[cut:]))
    assert parts == digest(ROWS * 3)
    assert parts.rows == 9


@pytest.mark.parametrize("name", SCHEMA.names)
@pytest.mark.parametrize("row", range(3))
def test_each_value_counts(row: int, name: str) -> None:
    others = {other[name] if not isinstance(other[name], list) else str(other[name]) for other in ROWS}
    assert len(others) == 3
    for other in ROWS:
        changed = [dict(one) for one in ROWS]
        changed[row][name] = other[name]
        assert (digest(changed) == digest(ROWS)) == (other is ROWS[row])


def test_a_value_in_another_column_or_row_differs() -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.int64())])
    rows = [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert digest(rows, schema) != digest([{"a": 2, "b": 1}, {"a": 3, "b": 4}], schema)
    assert digest(rows, schema) != digest([{"a": 3, "b": 2}, {"a": 1, "b": 4}], schema)
    assert digest([rows[0]] * 2, schema) != digest([rows[1]] * 2, schema)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_all_columns_of_the_archive_have_a_hash(schema: pa.Schema) -> None:
    nulls = pa.table([pa.nulls(2, field.type) for field in schema], names=schema.names)
    assert digest_of([nulls]).rows == 2
    for field in schema:
        value = {"string": "a", "binary": b"a", "bool": True, "double": 1.0}.get(str(field.type))
        if value is None:
            value = AT if pa.types.is_timestamp(field.type) else [] if pa.types.is_list(field.type) else 1
        changed = nulls.set_column(schema.get_field_index(field.name), field.name, pa.array([value, None], field.type))
        assert digest_of([changed]) != digest_of([nulls])
