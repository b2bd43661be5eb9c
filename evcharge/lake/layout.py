"""The archive's paths in the repository, and the columns that it adds to a contract's."""

from __future__ import annotations

from evcharge.contracts import Field, FieldType

#: Added to every raw row: where the record was in Kafka, and which publication archived it.
ARCHIVE_COLUMNS = (
    Field(
        "topic_generation",
        FieldType.INTEGER,
        "Counts the topics of this name: a topic that is deleted and created again starts its offsets again",
        required=True,
    ),
    Field("kafka_partition", FieldType.INTEGER, "Partition of the record", required=True),
    Field("kafka_offset", FieldType.LONG, "Offset of the record in its partition", required=True),
    Field("kafka_timestamp", FieldType.TIMESTAMP, "When Kafka took the record"),
    Field(
        "publication_id",
        FieldType.STRING,
        "Publication that brought the row to main; `evcharge lake log --json` lists them",
        required=True,
    ),
)

#: ARCHIVE_COLUMNS as Spark DDL.
ARCHIVE_DDL = ", ".join(f"{column.name} {column.type.value}" for column in ARCHIVE_COLUMNS)

#: Each car's last places (`evcharge.lake.last_places`).
LAST_PLACES_PATH = "_ledger/vehicle-telemetry-places.parquet"

#: The ids of all stations of the registry and their time zones (`evcharge.lake.known_stations`).
KNOWN_STATIONS_PATH = "_ledger/station-registry-known.parquet"


def raw_prefix(topic: str, event_date: str | None = None) -> str:
    """Folder of a topic's good rows, or of those of one UTC event date (`YYYY-MM-DD`)."""
    return f"raw/{topic}/" + (f"event_date={event_date}/" if event_date else "")


def raw_path(topic: str, event_date: str, ingest_hour: str, name: str) -> str:
    return f"{raw_prefix(topic, event_date)}ingest_hour={ingest_hour}/{name}.parquet"


def quarantine_path(topic: str, ingest_hour: str, name: str) -> str:
    return f"quarantine/{topic}/ingest_hour={ingest_hour}/{name}.parquet"


def manifest_prefix(topic: str, ingest_hour: str) -> str:
    """Folder of the manifests of an ingest hour: a file each, or several in `JOINED_MANIFESTS`."""
    return f"_publications/{topic}/{ingest_hour}/"


#: The name of the file that has the manifests of a compacted hour.
JOINED_MANIFESTS = "compacted.json"
_COMPACTED = "compacted-"


def compacted_path(folder: str, name: str) -> str:
    return f"{folder}{_COMPACTED}{name}.parquet"


def is_compacted(path: str) -> bool:
    """Whether a file has the rows of several publications."""
    return path.rpartition("/")[2].startswith(_COMPACTED)
