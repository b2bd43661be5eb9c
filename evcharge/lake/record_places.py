"""Places of records in Kafka, partition and offset, as one number each: eight bytes instead of two hundred.

A place's code is partition * 2**44 + offset, so codes are in the order of partitions and offsets. A partition would have to
take a million records a second for half a year to reach 2**44.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

_OFFSET_BITS = 44


def place_codes(partitions: Any, offsets: Any) -> np.ndarray:
    """The codes of places, from Arrow or numpy columns without nulls."""
    return (np.asarray(partitions, np.int64) << _OFFSET_BITS) + np.asarray(offsets, np.int64)


def partition_and_offset(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The partitions and offsets of codes."""
    return codes >> _OFFSET_BITS, codes & (2**_OFFSET_BITS - 1)


@dataclass(frozen=True, slots=True)
class Moves:
    """Records that were sent again: the codes of the places where they were, sorted, and of their newest copies."""

    old: np.ndarray
    new: np.ndarray

    @classmethod
    def none(cls) -> Self:
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))

    @classmethod
    def of(cls, old: np.ndarray, new: np.ndarray) -> Self:
        """From the codes of each record and its copy. A copy may have been sent again as well: its own copy counts."""
        order = np.argsort(old, kind="stable")
        old, new = old[order], new[order]
        last = np.r_[old[1:] != old[:-1], True] if len(old) else np.zeros(0, bool)
        moves = cls(old[last], new[last])
        for _ in range(len(old).bit_length()):  # each round doubles the copies that are passed over
            moves = cls(moves.old, moves.applied(moves.new))
        return moves

    def applied(self, codes: np.ndarray) -> np.ndarray:
        """The places after the moves."""
        if not len(self.old):
            return codes
        at = np.minimum(np.searchsorted(self.old, codes), len(self.old) - 1)
        return np.where(self.old[at] == codes, self.new[at], codes)
