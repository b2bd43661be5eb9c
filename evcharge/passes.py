"""Rows of any number, taken in passes that fit into memory. A pass has all rows of some stations.

Whoever compares stores or folds events needs all rows of a station at once, and of other stations none. So rows are put into
buckets by the hash of their station. Beyond a few megabytes they go into a file, sorted by bucket; a pass reads the blocks of
some neighbouring buckets. The file has no name: nothing of it is left when the process ends, however it ends.

Memory follows the largest station and not the history: it is some five times PASS_BYTES, and HELD_BYTES for each open
`StationRows`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Self

import numpy as np
import pyarrow as pa
import xxhash

from evcharge.errors import UserError
from evcharge.gathering import give_back

#: With a billion rows a bucket has a million.
BUCKETS = 1_024
_BUCKET_SHIFT = 54
#: What a `StationRows` holds before it writes, and what a pass reads of all stores together.
HELD_BYTES = 16_000_000
PASS_BYTES = 12_000_000

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# not compressed: for blocks of some rows that takes ten times as long as writing and reading them
_WRITTEN_AS = pa.ipc.IpcWriteOptions(use_threads=False)


def station_hashes(stations: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """64-bit hashes (XXH3) of station ids, the same in every process. A station that is null has that of an empty text."""
    if isinstance(stations, pa.ChunkedArray):
        stations = stations.combine_chunks()
    names = stations.dictionary_encode("encode")
    hashes = [xxhash.xxh3_64_intdigest((name or "").encode()) for name in names.dictionary.to_pylist()]
    return np.array(hashes, np.uint64)[names.indices.to_numpy()]


def of_stations(rows: pa.Table, share: float | None) -> pa.Table:
    """The rows of a sample of the stations: always the same ones, `share` (0 to 1) of all. With None all rows."""
    if share is None:
        return rows
    # the low bits, since the high ones choose the bucket
    low = station_hashes(rows["station_id"]) & np.uint64(2**32 - 1)
    return rows.filter(pa.array(low < share * 2**32))


class StationRows:
    """Rows with a column `station_id`, by bucket: first all are added, then they are read. Use it as a context manager.

    `folder` is where the file goes, on a disk and not in memory. Raises UserError if the disk is full.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.num_rows = 0
        self._folder, self._schema = folder, schema
        self._held: list[pa.Table] = []
        self._held_bytes = 0
        self._bucket_bytes = np.zeros(BUCKETS, np.int64)
        self._file: IO[bytes] | None = None
        #: Of each time of writing, where the block of each bucket begins in the file, and where the last one ends.
        self._written: list[np.ndarray] = []
        #: What is not written in the end, sorted by bucket, and where each bucket begins.
        self._rest: tuple[pa.Table, np.ndarray] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._held, self._rest = [], None
        if self._file is not None:
            self._file.close()

    def add(self, rows: pa.Table) -> None:
        if rows.num_rows == 0:
            return
        self._held.append(rows)
        self._held_bytes += rows.nbytes
        self.num_rows += rows.num_rows
        if self._held_bytes >= HELD_BYTES:
            self._write()

    def bucket_bytes(self) -> np.ndarray:
        """The bytes of each bucket. After it nothing is added any more."""
        if self._rest is None:
            if self._written:
                self._write()
            self._rest = self._sorted()
        return self._bucket_bytes

    def read(self, first: int, end: int) -> pa.Table:
        """The rows of the buckets first <= bucket < end. Those of a bucket are in the order in which they were added."""
        self.bucket_bytes()
        tables = [pa.Table.from_batches(self._blocks(first, end), self._schema)]
        if self._rest is not None:
            rest, starts = self._rest
            tables.append(rest.slice(starts[first], starts[end] - starts[first]))
        return pa.concat_tables(tables).combine_chunks()

    def _sorted(self) -> tuple[pa.Table, np.ndarray]:
        """What is held, sorted by bucket, and where each bucket begins. Nothing is held after it."""
        rows = pa.concat_tables([self._schema.empty_table(), *self._held]).combine_chunks()
        self._held, held_bytes = [], self._held_bytes
        self._held_bytes = 0
        buckets = (station_hashes(rows["station_id"]) >> np.uint64(_BUCKET_SHIFT)).astype(np.int16)
        counts = np.bincount(buckets, minlength=BUCKETS)
        self._bucket_bytes += counts * (held_bytes // max(rows.num_rows, 1))
        # in numpy a stable sort of two-byte integers takes time in proportion to the rows
        rows = rows.take(pa.array(np.argsort(buckets, kind="stable")))
        return rows, np.r_[0, np.cumsum(counts)]

    def _write(self) -> None:
        rows, starts = self._sorted()
        if rows.num_rows == 0:
            return
        try:
            self._written.append(self._append(rows, starts))
            give_back()
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise UserError(f"{self._folder} has no room for the rows that are put in order there: {error}") from error

    def _append(self, rows: pa.Table, starts: np.ndarray) -> np.ndarray:
        """Writes rows that are sorted by bucket. Returns where the block of each bucket begins, and where the last one ends."""
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = TemporaryFile(dir=self._folder)  # noqa: SIM115
        end = self._file.seek(0, os.SEEK_END)
        positions = np.empty(BUCKETS + 1, np.int64)
        (batch,) = rows.combine_chunks().to_batches()
        sink = pa.PythonFile(self._file, "w")
        with pa.ipc.new_stream(sink, self._schema, options=_WRITTEN_AS) as writer:
            # the schema is written before the first batch
            writer.write_batch(batch.slice(0, 0))
            positions[0] = sink.tell()
            for bucket in range(BUCKETS):
                if starts[bucket + 1] > starts[bucket]:
                    writer.write_batch(batch.slice(starts[bucket], starts[bucket + 1] - starts[bucket]))
                positions[bucket + 1] = sink.tell()
        self._file.flush()
        # to Arrow the file begins where it began to write
        return end + positions

    def _blocks(self, first: int, end: int) -> Iterator[pa.RecordBatch]:
        for positions in self._written:
            assert self._file is not None
            read = pa.py_buffer(os.pread(self._file.fileno(), positions[end] - positions[first], positions[first]))
            for start, stop in pairwise((positions[first : end + 1] - positions[first]).tolist()):
                if stop > start:
                    yield pa.ipc.read_record_batch(read.slice(start, stop - start), self._schema)


def passes(*stores: StationRows, pass_bytes: int = PASS_BYTES) -> Iterator[tuple[pa.Table, ...]]:
    """The rows of each store, pass by pass; at least one pass. A station is in one pass, with its rows of all stores.

    A pass has `pass_bytes`, unless a single bucket has more.
    """
    sizes = sum((store.bucket_bytes() for store in stores), np.zeros(BUCKETS, np.int64))
    first, held = 0, 0
    for bucket in range(BUCKETS):
        if held and held + sizes[bucket] > pass_bytes:
            yield tuple(store.read(first, bucket) for store in stores)
            give_back()
            first, held = bucket, 0
        held += sizes[bucket]
    yield tuple(store.read(first, BUCKETS) for store in stores)
