"""Arrow batches that have a limit: read from files a few at a time, and gathered until they are worth a write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import pyarrow.dataset as ds

#: Rows that are read from a file at once: with wide rows some 10 MB.
_SCANNED_ROWS = 32_768
#: Files that are read at once where they are small, so that one need not wait for the other one's request.
_SMALL_FILES = 4


def scanned(files: ds.Dataset, columns: list[str], wanted: ds.Expression | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of Parquet files that are `wanted` (None: all), batch by batch.

    What is in memory is a row group, or a few small files. Arrow left to itself reads on for as long as the caller is busy with
    a batch, up to a gigabyte.
    """
    fragments = iter(files.get_fragments())
    at_once = 1
    while group := list(islice(fragments, at_once)):
        rows = 0
        for piece in _pieces(files, group):
            for batch in piece.to_batches(columns=columns, filter=wanted, batch_size=_SCANNED_ROWS, batch_readahead=1):
                rows += batch.num_rows
                yield batch
                del batch
        give_back()
        at_once = _SMALL_FILES if rows < _SCANNED_ROWS else 1


def _pieces(files: ds.Dataset, group: list[ds.Fragment]) -> Iterator[ds.Dataset]:
    """What is read in one go: several files, or each row group of a single one."""
    import pyarrow.dataset as ds

    parts = [group] if len(group) > 1 else ([part] for part in group[0].split_by_row_group(schema=files.schema))
    return (ds.FileSystemDataset(part, files.schema, files.format, files.filesystem) for part in parts)


def give_back() -> None:
    """Gives the memory that Arrow has freed back to the system."""
    pa.default_memory_pool().release_unused()


@contextmanager
def plain_memory() -> Iterator[None]:
    """Lets Arrow allocate as everything else does. Its own allocator keeps some 100 MB more of what its threads have freed."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


class Gathering:
    """Tables that are held until they have at least `rows` rows or `nbytes` bytes together."""

    def __init__(self, rows: int, nbytes: int) -> None:
        self._most_rows, self._most_bytes = rows, nbytes
        self._held: list[pa.Table] = []
        self._rows = self._bytes = 0

    def add(self, table: pa.Table) -> pa.Table | None:
        """What is held, once it is enough; it is then held no longer."""
        if table.num_rows:
            self._held.append(table)
            self._rows += table.num_rows
            self._bytes += table.nbytes
        return self.take() if self._rows >= self._most_rows or self._bytes >= self._most_bytes else None

    def take(self) -> pa.Table | None:
        """What is held, None if nothing is; it is then held no longer."""
        held, self._held = self._held, []
        self._rows = self._bytes = 0
        return pa.concat_tables(held) if held else None


def gathered(batches: Iterable[pa.RecordBatch], rows: int, nbytes: int) -> Iterator[pa.Table]:
    """The batches as tables of at least `rows` rows or `nbytes` bytes; the last one may be smaller, and none is empty."""
    gathering = Gathering(rows, nbytes)
    for batch in batches:
        table = gathering.add(pa.Table.from_batches([batch]))
        # a batch that is taken must not be held any longer by this function
        del batch
        if table is not None:
            yield table
        del table
    if (table := gathering.take()) is not None:
        yield table
