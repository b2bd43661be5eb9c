"""Random draws without a generator's state: a draw is a pure function of seed, purpose, entity and counter.

A run can resume without a saved generator. No draw depends on the order in which entities are served, so one more vehicle or
other chunks of time never change what the others do.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from hashlib import blake2b
from statistics import NormalDist

_WORDS = struct.Struct("<8Q")
_KEY = struct.Struct("<qqq")
_UNIT = 2.0**-52
_standard_normal = NormalDist().inv_cdf

Uniforms = tuple[float, float, float, float, float, float, float, float]


class Purpose(IntEnum):
    """What a block of draws is for: one stream per entity and purpose."""

    STATION = 1
    POPULARITY = 2
    VEHICLE = 3
    HABIT = 4
    PLAN = 5
    QUEUE = 6
    STAY = 7
    FAULT = 8
    TELEMATICS = 9
    DRIVE = 10
    ERRAND = 11
    DIRTY_EVENT = 12
    DIRTY_STATION = 13
    START = 14
    SITE = 15
    GUEST = 16
    PROFILE = 17


class Draws:
    """Uniform draws under one seed (any integer of up to 64 bits, signed)."""

    def __init__(self, seed: int) -> None:
        self._salt = struct.pack("<q8x", seed)

    def block(self, purpose: Purpose, entity: int, counter: int = 0) -> Uniforms:
        """Eight independent uniforms in the open interval (0, 1), from one BLAKE2b digest."""
        digest = blake2b(_KEY.pack(purpose, entity, counter), salt=self._salt).digest()
        a, b, c, d, e, f, g, h = _WORDS.unpack(digest)
        # 52 bits and a half: with 53 bits the largest word would round to 1.0.
        return (
            ((a >> 12) + 0.5) * _UNIT,
            ((b >> 12) + 0.5) * _UNIT,
            ((c >> 12) + 0.5) * _UNIT,
            ((d >> 12) + 0.5) * _UNIT,
            ((e >> 12) + 0.5) * _UNIT,
            ((f >> 12) + 0.5) * _UNIT,
            ((g >> 12) + 0.5) * _UNIT,
            ((h >> 12) + 0.5) * _UNIT,
        )


def normal(uniform: float) -> float:
    """The standard normal quantile of `uniform`."""
    return _standard_normal(uniform)
