"""Contract rows and their bytes on Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from evcharge.clock import to_iso
from evcharge.contracts import CONTRACTS, Contract

_COLUMNS = {topic: frozenset(contract.columns) for topic, contract in CONTRACTS.items()}


def message(contract: Contract, row: Mapping[str, Any]) -> bytes:
    """The row as the contract's JSON, with the schema version, without null fields, with times in UTC to the millisecond.

    Raises ValueError for a field that the contract does not have. Raises TypeError for a value that JSON does not have, or a
    time without a zone.
    """
    present: dict[str, Any] = {"schema_version": contract.schema_version}
    for name, value in row.items():
        if value is not None:
            present[name] = value
    if not present.keys() <= _COLUMNS[contract.topic]:
        unknown = sorted(present.keys() - _COLUMNS[contract.topic])
        raise ValueError(f"{contract.topic} has no field {', '.join(unknown)}")
    return orjson.dumps(present, default=_encode, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _encode(value: object) -> str:
    if isinstance(value, datetime):
        return to_iso(value)
    raise TypeError(f"{type(value).__name__} has no place in a message")
