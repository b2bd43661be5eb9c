"""The state of the registry feed: what it last published, in files of its own under `<feeds_dir>/afdc/`.

`state.json.gz` has every station's last published row and its snapshot. A change is first written to `pending.json.gz`, then
published, then added to the state. If a load is killed in between, the next load completes it with the same rows and the
same times, so that the result is the same as without the kill.
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
    """Rows to publish, with what the state notes after that: their snapshot and the API's `last_updated`."""

    rows: list[Row]
    observed_at: datetime
    snapshot: dict[str, Any]
    api_last_updated: str | None


@dataclass
class State:
    """`stations` has the last published row by station id, `snapshots` the last snapshot of each source and scope."""

    stations: dict[str, Row] = field(default_factory=dict)
    snapshots: dict[str, dict[str, Any]] = field(default_factory=dict)
    observed_at: datetime | None = None
    api_last_updated: str | None = None

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """The state; empty if nothing was ever published. Raises RegistryError."""
        content = _read(folder(settings) / "state.json.gz")
        if content is None:
            return cls()
        return cls(
            {row["station_id"]: row for row in map(_with_times, content["stations"])},
            content["snapshots"],
            datetime.fromisoformat(content["observed_at"]),
            content["api_last_updated"],
        )

    def apply(self, settings: Settings, change: Change) -> None:
        """Adds a change whose rows are all acknowledged, writes the state, and removes the pending change."""
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
    """Writes the change that is about to be published."""
    _write(_pending(settings), vars(change))


def read_pending(settings: Settings) -> Change | None:
    """The change of a load that was killed; None if there is none. Raises RegistryError."""
    content = _read(_pending(settings))
    if content is None:
        return None
    return Change(
        [_with_times(row) for row in content["rows"]],
        datetime.fromisoformat(content["observed_at"]),
        content["snapshot"],
        content["api_last_updated"],
    )


def only_one(settings: Settings) -> AbstractContextManager[None]:
    """Holds the feed's lock: of two loads at once, one would miss the other's changes. Raises RegistryError if it is held."""
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
        content: dict[str, Any] = orjson.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, ValueError) as error:
        raise RegistryError(f"{path} cannot be read ({error})") from None
    if content.get("version") != _VERSION:
        raise RegistryError(f"{path} is not of this version of the registry feed")
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    write_durably(path, gzip.compress(orjson.dumps({"version": _VERSION} | content), compresslevel=1))
