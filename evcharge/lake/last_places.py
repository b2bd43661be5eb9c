"""Each car's last two places on main, so that a jump is judged alike however Kafka's records are cut into ranges.

A publication of `vehicle-telemetry` reads the file, and writes it anew on its own branch. A place is forgotten `KEPT` after
Kafka took it, so the file grows with the number of cars that drive, and not with history. A lake without the file goes on: the
first row of each car is then not judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evcharge.connections import lake_files
from evcharge.lake.layout import LAST_PLACES_PATH as PATH
from evcharge.lake.repository import Repository

#: At MAX_JUMP_KMH a car is anywhere on the globe after 57 hours: an older place shows no jump.
KEPT = timedelta(hours=72)

SCHEMA = pa.schema(
    [
        ("kafka_partition", pa.int32()),
        ("vehicle_id", pa.string()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("occurred_at", pa.timestamp("us", tz="UTC")),
        ("kafka_offset", pa.int64()),
        ("kafka_timestamp", pa.timestamp("us", tz="UTC")),
    ]
)
#: SCHEMA as Spark DDL.
DDL = (
    "kafka_partition INT, vehicle_id STRING, latitude DOUBLE, longitude DOUBLE, occurred_at TIMESTAMP, kafka_offset BIGINT, "
    "kafka_timestamp TIMESTAMP"
)


def read_last_places(repository: Repository, ref: str) -> pa.Table:
    """The places at `ref`, in rows of SCHEMA: of each car the last two that Kafka took, jumps too."""
    content = repository.read(ref, PATH)
    return SCHEMA.empty_table() if content is None else from_bytes(content)


def write_last_places(repository: Repository, branch: str, places: pa.Table) -> None:
    with lake_files(repository.settings).open_output_stream(f"{repository.name}/{branch}/{PATH}") as stream:
        stream.write(to_bytes(places))


def places_after(before: pa.Table, new: Iterable[pa.Table]) -> pa.Table:
    """The last places once a range is published: `before` it, and the `newest_two` of each of its parts."""
    places = newest_two(pa.concat_tables([before, *new]))
    if not places.num_rows:
        return places
    # Kafka's broker sets these times when it takes a record, so no later row has an earlier one.
    oldest = pc.subtract(pc.max(places["kafka_timestamp"]), pa.scalar(KEPT, pa.duration("us")))
    return places.filter(pc.greater_equal(places["kafka_timestamp"], oldest))


def newest_two(rows: pa.Table) -> pa.Table:
    """Of each car in each partition the two rows that Kafka took last. `rows` has at least the columns of SCHEMA."""
    rows = rows.select(SCHEMA.names).sort_by(
        [
            *((name, "ascending") for name in ("kafka_partition", "vehicle_id")),
            *((name, "descending") for name in ("kafka_timestamp", "kafka_offset")),
        ]
    )
    partitions, cars = (rows[name].to_numpy(zero_copy_only=False) for name in ("kafka_partition", "vehicle_id"))
    wanted = np.ones(rows.num_rows, dtype=bool)
    wanted[2:] = (partitions[2:] != partitions[:-2]) | (cars[2:] != cars[:-2])
    return rows.filter(pa.array(wanted)).cast(SCHEMA)


def to_bytes(places: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(places, sink, compression="zstd")
    return bytes(sink.getvalue())


def from_bytes(content: bytes) -> pa.Table:
    return pq.read_table(BytesIO(content)).cast(SCHEMA)
