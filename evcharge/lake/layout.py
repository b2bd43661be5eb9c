"""The archive's paths in the repository, and the columns that it adds to a contract's."""

from __future__ import annotations

import pyarrow as pa

from evcharge.contracts import Contract, FieldType

#: Added to every raw row: where the record was in Kafka, and which publication archived it.
ARCHIVE_FIELDS = (
    pa.field("topic_generation", pa.int32(), nullable=False),
    pa.field("kafka_partition", pa.int32(), nullable=False),
    pa.field("kafka_offset", pa.int64(), nullable=False),
    pa.field("kafka_timestamp", pa.timestamp("us", tz="UTC")),
    pa.field("publication_id", pa.string(), nullable=False),
)

#: ARCHIVE_FIELDS as Spark DDL.
ARCHIVE_DDL = (
    "topic_generation INT, kafka_partition INT, kafka_offset BIGINT, kafka_timestamp TIMESTAMP, publication_id STRING"
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

_ARROW = {
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


def raw_schema(contract: Contract) -> pa.Schema:
    """The Parquet schema of `raw/<topic>/`."""
    own = [pa.field(f.name, _ARROW[f.type], nullable=not f.required) for f in contract.fields]
    return pa.schema([*own, *ARCHIVE_FIELDS])


def raw_prefix(topic: str, event_date: str | None = None) -> str:
    """Folder of a topic's good rows, or of those of one UTC event date (`YYYY-MM-DD`)."""
    return f"raw/{topic}/" + (f"event_date={event_date}/" if event_date else "")


def raw_path(topic: str, event_date: str, ingest_hour: str, name: str) -> str:
    return f"{raw_prefix(topic, event_date)}ingest_hour={ingest_hour}/{name}.parquet"


def quarantine_path(topic: str, ingest_hour: str, name: str) -> str:
    return f"quarantine/{topic}/ingest_hour={ingest_hour}/{name}.parquet"
