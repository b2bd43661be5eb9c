"""Folds the session events that surely are good straight from Kafka's records, without Spark's rules.

Spark plans each batch anew, and to plan all rules of the contract takes longer than to judge a batch. So the worker picks what
surely is good (`evcharge.lake.surely_good`), and says which records it left. Spark's rules judge these in a pass of their own,
which most batches do not need.

A station's records are folded in the order of their offsets. So what is good waits with a record that is left, if that may be
of the same station.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evcharge.contracts import CONTRACTS
from evcharge.lake.record_places import place_codes
from evcharge.lake.surely_good import MAX_BYTES, SurelyGood
from evcharge.live.batch_report import TouchedHours
from evcharge.live.station_folder import StationFolder
from evcharge.live.worker import times_in_ms

#: Kafka's records as `QuickFolder` takes them. A longer message is left anyway, and would only fill the worker's memory.
RECORD_COLUMNS = (
    *("partition", "offset", "timestamp"),
    f"CASE WHEN octet_length(value) <= {MAX_BYTES} THEN value END AS value",
)

_STATION = re.compile(rb'"station_id"\s*:\s*(?:"([^"]*)"|null)')


@dataclass(frozen=True)
class QuickFolder:
    """Takes the Arrow batches of a task: Kafka's records, with each partition's in the order of their offsets."""

    folder: StationFolder

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        hours, waiting = TouchedHours(), Waiting()
        self.folder.write(self._ready(batches, waiting), hours)
        yield hours.report(waiting.offsets)

    def _ready(self, batches: Iterable[pa.RecordBatch], waiting: Waiting) -> Iterator[pa.RecordBatch]:
        topic = self.folder.topic
        good = SurelyGood(self.folder.settings, topic)
        # those of `rebuild.in_milliseconds`
        columns = [*CONTRACTS[topic].columns, "kafka_partition", "kafka_offset"]
        for batch in batches:
            yield from times_in_ms(waiting.spare(*good.pick(batch)).select(columns)).to_batches()


@dataclass
class Waiting:
    """What waits for Spark's rules: the `offsets` by partition, and the stations and partitions of which later rows wait."""

    offsets: dict[int, list[int]] = field(default_factory=dict)
    _stations: set[str] = field(default_factory=set)
    _partitions: set[int] = field(default_factory=set)

    def spare(self, good: pa.Table, left: pa.RecordBatch) -> pa.Table:
        """The good rows that need not wait, of what was picked and what was left from the same records."""
        for partition, value in zip(left["partition"].to_pylist(), left["value"].to_pylist(), strict=True):
            station_id = station_of(value)
            if station_id is None:
                self._partitions.add(partition)
            else:
                self._stations.add(station_id)
        self._add(left["partition"], left["offset"])
        if not self._stations and not self._partitions:
            return good
        waits = pc.or_(
            pc.is_in(good["station_id"], pa.array(self._stations, pa.string())),
            pc.is_in(good["kafka_partition"], pa.array(self._partitions, pa.int32())),
        )
        late = good.filter(waits)
        self._add(late["kafka_partition"], late["kafka_offset"])
        return good.filter(pc.invert(waits))

    def _add(self, partitions: pa.Array, offsets: pa.Array) -> None:
        for partition, offset in zip(partitions.to_pylist(), offsets.to_pylist(), strict=True):
            self.offsets.setdefault(partition, []).append(offset)


def station_of(value: bytes | None) -> str | None:
    """The only station of which a message may be a good event; empty if it is none of any; None if nobody can tell."""
    # An escape may spell the name of a field, and of two values the reader decides.
    if value is None or b"\\" in value or b"\0" in value:
        return None
    count = value.count(b'"station_id"')
    if count == 0:
        return ""
    found = _STATION.search(value)
    if count > 1 or found is None:
        return None
    try:
        return (found[1] or b"").decode()
    except UnicodeDecodeError:
        return None


@dataclass(frozen=True)
class LeftFolder:
    """Takes the good rows of a range of offsets, and folds those that were left."""

    folder: StationFolder
    offsets: Mapping[int, Sequence[int]]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        left = np.concatenate([place_codes(partition, offsets) for partition, offsets in self.offsets.items()])
        yield from self.folder(
            batch.filter(pa.array(np.isin(place_codes(batch["kafka_partition"], batch["kafka_offset"]), left)))
            for batch in batches
        )
