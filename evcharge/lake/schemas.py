"""The Arrow schemas of the archive's Parquet files."""

from __future__ import annotations

import pyarrow as pa

from evcharge.contracts import Contract, FieldType
from evcharge.lake.layout import ARCHIVE_COLUMNS

#: A field's type in Arrow.
ARROW_TYPES = {
    FieldType.STRING: pa.string(),
    FieldType.INTEGER: pa.int32(),
    FieldType.LONG: pa.int64(),
    FieldType.DOUBLE: pa.float64(),
    FieldType.BOOLEAN: pa.bool_(),
    FieldType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    FieldType.STRINGS: pa.list_(pa.string()),
    FieldType.CONNECTORS: pa.list_(
        pa.struct([("connector_type", pa.string()), ("power_kw", pa.float64()), ("ports", pa.int32())])
    ),
    FieldType.EVSES: pa.list_(
        pa.struct(
            [
                ("evse_id", pa.string()),
                ("connector_id", pa.string()),
                ("connector_type", pa.string()),
                ("power_kw", pa.float64()),
            ]
        )
    ),
}

#: What the archive adds to every raw row.
ARCHIVE_FIELDS = tuple(pa.field(c.name, ARROW_TYPES[c.type], nullable=not c.required) for c in ARCHIVE_COLUMNS)

#: The columns of Spark's Kafka source that a publication reads.
KAFKA_SCHEMA = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("key", pa.binary()),
        ("value", pa.binary()),
    ]
)

QUARANTINE_SCHEMA = pa.schema(
    [
        *ARCHIVE_FIELDS,
        pa.field("kafka_key", pa.binary()),
        pa.field("kafka_value", pa.binary()),
        pa.field("rule_code", pa.string(), nullable=False),
        pa.field("rule_field", pa.string(), nullable=False),
    ]
)


def raw_schema(contract: Contract) -> pa.Schema:
    """The Parquet schema of `raw/<topic>/`."""
    own = [pa.field(f.name, ARROW_TYPES[f.type], nullable=not f.required) for f in contract.fields]
    return pa.schema([*own, *ARCHIVE_FIELDS])
