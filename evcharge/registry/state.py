"""What the registry feed last published, in files of its own: `<feeds_dir>/afdc/`.

`state.json.gz` has every station's last published row and where it came from. A change is first written to
`pending.json.gz`, then published, then taken into the state: a load that was killed in between is completed by whoever
uses the feed next, with the same rows and the same times, so that it ends as if it had not been killed.
"""

from __future__ import annotations

import gzip
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import orjson

from evcharge import lock
from evcharge.feeds.durable_files import write_durably
from evcharge.registry.afdc import Row
from evcharge.registry.snapshot import RegistryError
from evcharge.settings import Settings

FEED = "afdc"
_VERSION = 1
_TIMES = ("observed_at", "removed_at")


@dataclass
class Change:
    """Rows to publish, and what is true once they are: the snapshot that told, and the API's `last_updated`."""

    rows: list[Row]
    observed_at: datetime
    snapshot: dict[str, Any]
    api_last_updated: str | None


@dataclass
class State:
    """`stations` are the last published rows by station id; `snapshots` tells of the last one of each source and scope."""

    stations: dict[str, Row] = field(default_factory=dict)
    snapshots: dict[str, dict[str, Any]] = field(default_factory=dict)
    observed_at: datetime | None = None
    api_last_updated: str | None = None

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """The state, empty if nothing was ever published. Raises RegistryError."""
        told = _read(folder(settings) / "state.json.gz")
        if told is None:
            return cls()
        return cls(
            {row["station_id"]: row for row in map(_with_times, told["stations"])},
            told["snapshots"],
            datetime.fromisoformat(told["observed_at"]),
            told["api_last_updated"],
        )

    def apply(self, settings: Settings, change: Change) -> None:
        """Takes in a change whose rows are all acknowledged, durably, and forgets that it was pending."""
        self.stations |= {row["station_id"]: row for row in change.rows}
        self.snapshots[f"{'+'.join(change.snapshot['sources'])} {change.snapshot['scope']}"] = change.snapshot
        self.observed_at = change.observed_at
        self.api_last_updated = change.api_last_updated
        _write(
            folder(settings) / "state.json.gz",
            {
                "stations": list(self.stations.values()),
                "snapshots": self.snapshots,
                "observed_at": self.observed_at,
                "api_last_updated": self.api_last_updated,
            },
        )
        _pending(settings).unlink(missing_ok=True)


def write_pending(settings: Settings, change: Change) -> None:
    """Writes down what is about to be published."""
    _write(_pending(settings), vars(change))


def read_pending(settings: Settings) -> Change | None:
    """The change of a load that was killed, None if there was none. Raises RegistryError."""
    told = _read(_pending(settings))
    if told is None:
        return None
    return Change(
        [_with_times(row) for row in told["rows"]],
        datetime.fromisoformat(told["observed_at"]),
        told["snapshot"],
        told["api_last_updated"],
    )


def only_one(settings: Settings) -> AbstractContextManager[None]:
    """Holds the feed: of two loads at once the later one would not know the earlier. Raises RegistryError if it is held."""
    path = folder(settings) / "lock"
    return lock.only_one(path, RegistryError(f"another process loads the registry ({path} is locked)"))


def folder(settings: Settings) -> Path:
    return settings.feeds_dir / FEED


def _pending(settings: Settings) -> Path:
    return folder(settings) / "pending.json.gz"


def _with_times(row: Row) -> Row:
    return row | {name: datetime.fromisoformat(row[name]) for name in _TIMES if row.get(name) is not None}


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        told: dict[str, Any] = orjson.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, ValueError) as error:
        raise RegistryError(f"{path} can not be read ({error})") from None
    if told.get("version") != _VERSION:
        raise RegistryError(f"{path} is not of this version of the registry feed")
    return told


def _write(path: Path, content: dict[str, Any]) -> None:
    write_durably(path, gzip.compress(orjson.dumps({"version": _VERSION} | content), compresslevel=1))
