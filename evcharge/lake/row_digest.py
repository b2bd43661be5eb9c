"""A hash of rows that does not depend on their order or on the files that they are in.

Each row has a 64-bit hash of all its columns (XXH3 for texts, bytes and lists), and the rows' hashes are added up. Two sets of
rows differ in it with a probability of 1 - 2**-64.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

#: The constants of SplitMix64's finalizer (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_STEP = np.uint64(0x9E3779B97F4A7C15)
#: Stands for a null.
_NULL = np.uint64(0xA5A5A5A5A5A5A5A5)


@dataclass(frozen=True, slots=True)
class Digest:
    """How many rows there are, and the sum of their hashes modulo 2**64."""

    rows: int = 0
    total: int = 0

    def __add__(self, other: Digest) -> Digest:
        return Digest(self.rows + other.rows, (self.total + other.total) % 2**64)

    def __str__(self) -> str:
        return f"{self.total:016x}"


def digest_of(batches: Iterable[pa.RecordBatch | pa.Table]) -> Digest:
    """The digest of all rows. The batches have the same columns in the same order."""
    total = Digest()
    for batch in batches:
        total += Digest(batch.num_rows, int(np.sum(_row_hashes(batch), dtype=np.uint64)))
    return total


def _row_hashes(batch: pa.RecordBatch | pa.Table) -> np.ndarray:
    hashes = np.zeros(batch.num_rows, np.uint64)
    for column in batch.columns:
        hashes = _mixed(hashes * _FACTORS[0] + _STEP + _hashes(column))
    return hashes


def _hashes(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A number for each value, made of its bits."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_nested(column.type):
        return _of_bytes([orjson.dumps(value) for value in column.to_pylist()])
    is_null = column.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        values = column.dictionary_encode("encode")
        of_value = _of_bytes(value or b"" for value in values.dictionary.cast(pa.binary()).to_pylist())
        hashes = of_value[values.indices.to_numpy()]
    else:
        hashes = _mixed(_bits(column))
    return np.where(is_null, _NULL, hashes)


def _bits(column: pa.Array) -> np.ndarray:
    """The values of numbers, times and booleans as 64 bits each; those of nulls are 0."""
    kind = column.type
    if pa.types.is_floating(kind):
        return pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy().view(np.uint64)
    if pa.types.is_date32(kind):
        column = column.cast(pa.int32())
    return pc.fill_null(column.cast(pa.int64()), 0).to_numpy().astype(np.int64).view(np.uint64)


def _of_bytes(values: Iterable[bytes]) -> np.ndarray:
    return np.fromiter((xxhash.xxh3_64_intdigest(value) for value in values), np.uint64)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer: each bit of the result depends on all bits of the number."""
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
        numbers = (numbers ^ (numbers >> shift)) * factor
    return numbers ^ (numbers >> _SHIFTS[2])
