"""Spark's DDL and Parquet's schema are derived from the contract in two places. They must agree."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyspark.sql.pandas.types import from_arrow_schema

from evcharge.contracts import CONTRACTS, Contract, Rule
from evcharge.contracts.spark import ddl, verdict
from evcharge.lake.layout import ARCHIVE_DDL, quarantine_path, raw_path
from evcharge.lake.schemas import ARCHIVE_FIELDS, QUARANTINE_SCHEMA, raw_schema

contracts = pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)


def simple(spark_ddl: str) -> str:
    """DDL as Spark's simple string of a struct: `a INT, b ARRAY<STRING>` becomes `struct<a:int,b:array<string>>`."""
    spaced = spark_ddl.lower().replace(": ", ":").replace(", ", ",")
    return f"struct<{spaced.replace(' ', ':')}>"


@contracts
def test_ddl_and_arrow_schema_agree(contract: Contract) -> None:
    spark_schema = from_arrow_schema(raw_schema(contract)).simpleString()
    assert spark_schema == simple(f"{ddl(contract)}, {ARCHIVE_DDL}")


@contracts
def test_required_fields_are_not_nullable_in_the_archive(contract: Contract) -> None:
    schema = raw_schema(contract)
    assert schema.names == [*contract.columns, *(field.name for field in ARCHIVE_FIELDS)]
    for field in contract.fields:
        assert schema.field(field.name).nullable is not field.required


def test_quarantine_keeps_the_record_as_it_came() -> None:
    assert QUARANTINE_SCHEMA.field("kafka_key").type == QUARANTINE_SCHEMA.field("kafka_value").type == pa.binary()
    assert QUARANTINE_SCHEMA.names[: len(ARCHIVE_FIELDS)] == [field.name for field in ARCHIVE_FIELDS]


def test_the_first_broken_rule_wins() -> None:
    first, second = Rule("FIRST", "a", "a IS NULL", ""), Rule("SECOND", "b", "b < 0", "")
    assert verdict([first, second]) == (
        "CASE WHEN a IS NULL THEN named_struct('rule_code', 'FIRST', 'rule_field', 'a') "
        "WHEN b < 0 THEN named_struct('rule_code', 'SECOND', 'rule_field', 'b') END"
    )


def test_paths_of_the_archive() -> None:
    assert (
        raw_path("t", "2026-11-21", "2026-11-22-03", "x")
        == "raw/t/event_date=2026-11-21/ingest_hour=2026-11-22-03/x.parquet"
    )
    assert quarantine_path("t", "2026-11-22-03", "x") == "quarantine/t/ingest_hour=2026-11-22-03/x.parquet"
