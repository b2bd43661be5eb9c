"""The registry feed: publishes the changes of a file or of the API's answer to Kafka, and keeps what it published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from evcharge.connections import ServerDownError
from evcharge.contracts import STATION_REGISTRY
from evcharge.errors import UserError
from evcharge.feeds.durable_files import replace_durably, write_durably
from evcharge.feeds.producer import KafkaPublisher, Publisher
from evcharge.feeds.sent_ledger import end_offsets, publish_chunk
from evcharge.log import log
from evcharge.registry import state as states
from evcharge.registry.afdc import SOURCE, Row
from evcharge.registry.api import AfdcClient, NoKeyError
from evcharge.registry.files import read_file
from evcharge.registry.snapshot import (
    Problem,
    RegistryError,
    Scope,
    Snapshot,
    by_reason,
    current_stations,
    diff,
    problems_to_json,
)
from evcharge.registry.state import FEED, Change, State
from evcharge.settings import Settings

#: Our own small registry, which is loaded if no file is named. `examples/registry-synthetic.csv` is a link to it.
EXAMPLE = Path(__file__).with_name("registry-synthetic.csv").resolve()
# Publishing this many rows takes half a second.
CHUNK_ROWS = 10_000
# A few of 86,000 records are always odd. If more are rejected, the schema has changed under the same names.
LARGEST_REJECTED_SHARE = 0.2

OpenPublisher = Callable[[Settings], AbstractContextManager[Publisher]]


@dataclass
class LoadReport:
    """What a load did. `changes` counts stations that are new, changed, returned, gone and unchanged.

    `kept` counts stations that are missing but not marked gone, because the list may lack them by mistake. `published` counts
    messages; `completed` counts the messages of an earlier load that had been killed. `topic_offsets` has the offset after the
    last acknowledged one, by topic and partition; `sent` has topic, partition and offset of every message.
    """

    origin: str
    scope: str
    as_of: datetime | None
    stations: int
    not_electric: int
    changes: dict[str, int]
    published: int
    completed: int
    rejected: list[Problem]
    corrected: list[Problem]
    kept: int = 0
    notes: list[str] = field(default_factory=list)
    topic_offsets: dict[str, dict[int, int]] = field(default_factory=dict)
    sent: list[pa.Table] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-able dict."""
        return {
            **{name: value for name, value in vars(self).items() if name != "sent"},
            "as_of": self.as_of and self.as_of.isoformat(),
            "rejected": problems_to_json(self.rejected),
            "corrected": problems_to_json(self.corrected),
        }

    def metadata(self) -> dict[str, Any]:
        """Plain values for people to read."""
        return {
            "scope": self.scope,
            "stations": self.stations,
            "published": self.published,
            **self.changes,
            "missing_but_kept": self.kept,
            "rejected": {reason: len(rows) for reason, rows in by_reason(self.rejected).items()},
        }


@dataclass
class PollReport:
    """How a poll ended: `unchanged` since the last poll (then `load` is None), or `loaded`."""

    outcome: str
    last_updated: str
    load: LoadReport | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-able dict."""
        return {**vars(self), "load": self.load and self.load.to_json()}


def load_file(
    settings: Settings,
    path: Path = EXAMPLE,
    *,
    scope: str | None = None,
    confirm_removals: bool = False,
    open_publisher: OpenPublisher = KafkaPublisher,
    now: datetime | None = None,
) -> LoadReport:
    """Publishes the changes that a file has. A second load of the same file publishes nothing.

    Raises RegistryError with nothing published; it is a VanishingError if more than 20 % of the scope's stations are missing.
    Raises ServerDownError naming Kafka: then the next load, of any file, first completes this one.
    """
    # Our own registry is complete.
    snapshot = read_file(path, Scope.parse("source" if scope is None and path.resolve() == EXAMPLE else scope))
    with states.only_one(settings):
        return _load(settings, snapshot, str(path), None, confirm_removals, open_publisher, now)


def poll(
    settings: Settings,
    *,
    confirm_removals: bool = False,
    open_publisher: OpenPublisher = KafkaPublisher,
    client: AfdcClient | None = None,
    now: datetime | None = None,
) -> PollReport:
    """Asks the API for its last update, and publishes the changes since the last published snapshot.

    Raises NoKeyError, RegistryError and ServerDownError with nothing published; the error says how old the last good copy is.
    Writes the outcome down for `status`.
    """
    at = now or datetime.now(UTC)
    with states.only_one(settings):
        try:
            report = _poll(settings, client or AfdcClient(settings), confirm_removals, open_publisher, at)
        except (UserError, ServerDownError) as error:
            outcome = "not polled" if isinstance(error, NoKeyError) else "failed"
            _write_poll(settings, {"at": at, "outcome": outcome, "detail": str(error)})
            raise type(error)(f"{error}; {_describe_copy(settings, at)}") from error
        detail = f"AFDC was last updated {report.last_updated}"
        _write_poll(settings, {"at": at, "outcome": report.outcome, "detail": detail})
        return report


def status(settings: Settings, now: datetime | None = None) -> dict[str, Any]:
    """Current and gone stations by source and by snapshot scope, the last good copy and the last poll, as a JSON-able dict."""
    state, at = State.read(settings), now or datetime.now(UTC)
    sources: dict[str, Counter[str]] = {}
    for row in state.stations.values():
        sources.setdefault(row["source"], Counter())["gone" if row.get("removed_at") else "current"] += 1
    copy, poll_file = _copy(settings), _poll_file(settings)
    pending = states.read_pending(settings)
    return {
        "sources": {name: {kind: counts[kind] for kind in ("current", "gone")} for name, counts in sources.items()},
        "snapshots": [_with_counts(state, snapshot) for snapshot in state.snapshots.values()],
        "pending": 0 if pending is None else len(pending.rows),
        "last_good_copy": {"file": str(copy), "age_s": _age(copy, at).total_seconds()} if copy.exists() else None,
        "last_poll": orjson.loads(poll_file.read_bytes()) if poll_file.exists() else None,
    }


def known_stations(settings: Settings) -> list[Row]:
    """The last published row of each station that is not gone. Raises RegistryError."""
    return list(current_stations(State.read(settings).stations))


def _poll(
    settings: Settings, client: AfdcClient, confirm_removals: bool, open_publisher: OpenPublisher, at: datetime
) -> PollReport:
    last_updated = client.last_updated()
    if State.read(settings).api_last_updated == last_updated and states.read_pending(settings) is None:
        return PollReport("unchanged", last_updated)
    fresh = _copy(settings).with_suffix(".tmp")
    try:
        snapshot = Snapshot.gather(enumerate(client.stations(fresh), start=1), Scope("all"))
        read = len(snapshot.stations) + len(snapshot.rejected)
        if not snapshot.stations or len(snapshot.rejected) > LARGEST_REJECTED_SHARE * read:
            reasons = ", ".join(by_reason(snapshot.rejected)) or "no electric station came"
            raise RegistryError(
                f"{len(snapshot.rejected):,} of {read:,} stations cannot be read: AFDC's schema has changed ({reasons})"
            )
        load = _load(settings, snapshot, "AFDC API", last_updated, confirm_removals, open_publisher, at)
        replace_durably(fresh, _copy(settings))
    finally:
        fresh.unlink(missing_ok=True)
    return PollReport("loaded", last_updated, load)


def _load(
    settings: Settings,
    snapshot: Snapshot,
    origin: str,
    api_last_updated: str | None,
    confirm_removals: bool,
    open_publisher: OpenPublisher,
    now: datetime | None,
) -> LoadReport:
    state = State.read(settings)
    sent: list[pa.Table] = []
    pending = states.read_pending(settings)
    if pending is not None:
        log.info("registry load that was killed is completed", rows=len(pending.rows))
        sent = _publish(settings, state, pending, open_publisher)
    # Later than every earlier row, even if the clock was set back: a station's later row wins.
    observed_at = _milliseconds(now or datetime.now(UTC))
    if state.observed_at is not None:
        observed_at = max(observed_at, state.observed_at + timedelta(milliseconds=1))
    changes = diff(state.stations, snapshot, observed_at, confirm_removals=confirm_removals)
    sources = sorted({row["source"] for row in snapshot.stations.values()})
    report = LoadReport(
        origin=origin,
        scope=snapshot.scope.name,
        as_of=snapshot.as_of,
        stations=len(snapshot.stations),
        not_electric=snapshot.not_electric,
        changes=changes.counts,
        published=len(changes.rows),
        completed=0 if pending is None else len(pending.rows),
        rejected=snapshot.rejected,
        corrected=snapshot.corrected,
        kept=changes.kept,
        notes=_notes(state, snapshot, sources, changes.kept),
        sent=sent,
    )
    loaded = {
        "sources": sources,
        "scope": snapshot.scope.name,
        "origin": origin,
        "loaded_at": observed_at.isoformat(),
        "as_of": snapshot.as_of and snapshot.as_of.isoformat(),
        "stations": len(snapshot.stations),
    }
    # A file that changed one of AFDC's stations differs from the API's last answer: the next poll must load again.
    if api_last_updated is None and not (changes.rows and SOURCE in sources):
        api_last_updated = state.api_last_updated
    change = Change(changes.rows, observed_at, loaded, api_last_updated)
    if changes.rows:
        states.write_pending(settings, change)
    report.sent += _publish(settings, state, change, open_publisher)
    for published in report.sent:
        report.topic_offsets |= end_offsets(published)
    return report


def _publish(settings: Settings, state: State, change: Change, open_publisher: OpenPublisher) -> list[pa.Table]:
    """Publishes a change, then adds it to the state. Returns topic, partition and offset of every message."""
    sent: list[pa.Table] = []
    if change.rows:
        with open_publisher(settings) as publisher:
            for first in range(0, len(change.rows), CHUNK_ROWS):
                rows = change.rows[first : first + CHUNK_ROWS]
                chunk = f"{change.observed_at:%Y%m%d}"
                published = publish_chunk(settings, publisher, FEED, chunk, STATION_REGISTRY, rows)
                sent.append(published.select(["topic", "partition", "offset"]))
    state.apply(settings, change)
    return sent


def _notes(state: State, snapshot: Snapshot, sources: list[str], kept: int) -> list[str]:
    notes = [*snapshot.notes]
    if kept:
        missing = "1 station" if kept == 1 else f"{kept:,} stations"
        notes.append(
            f"{missing} of scope {snapshot.scope.name} missing, and not marked gone: {', and '.join(snapshot.doubts)}; "
            "if really gone, add --confirm-removals"
        )
    if snapshot.scope.name == "undeclared":
        notes.append("no --scope: stations that are missing from the file stay as they are")
    before = state.snapshots.get(f"{'+'.join(sources)} {snapshot.scope.name}", {}).get("as_of")
    if before and snapshot.as_of and snapshot.as_of < datetime.fromisoformat(before):
        notes.append(f"older than the last snapshot of this scope, which was as of {before[:10]}")
    return notes


def _with_counts(state: State, snapshot: dict[str, Any]) -> dict[str, Any]:
    """A snapshot with the numbers of stations that are current and gone in its scope now."""
    scope, sources = Scope(snapshot["scope"]), set(snapshot["sources"])
    rows = [row for row in state.stations.values() if row["source"] in sources and scope.takes(row["state"])]
    current = sum(1 for row in rows if row.get("removed_at") is None)
    return {**snapshot, "current": current, "gone": len(rows) - current}


def _describe_copy(settings: Settings, at: datetime) -> str:
    copy = _copy(settings)
    if not copy.exists():
        return "there is no earlier copy"
    return f"the last good copy, {describe_age(_age(copy, at))} old, stays in use"


def describe_age(age: timedelta) -> str:
    """An age in its largest unit, e.g. "3 days"."""
    seconds = int(age.total_seconds())
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _age(path: Path, at: datetime) -> timedelta:
    return at - datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _milliseconds(at: datetime) -> datetime:
    """To the millisecond, as in messages, so that the kept rows equal the published rows."""
    return at.astimezone(UTC).replace(microsecond=at.microsecond // 1000 * 1000)


def _copy(settings: Settings) -> Path:
    """The last answer of the API that was loaded, unchanged."""
    return states.folder(settings) / "last-good.json.gz"


def _poll_file(settings: Settings) -> Path:
    return states.folder(settings) / "poll.json"


def _write_poll(settings: Settings, content: dict[str, Any]) -> None:
    write_durably(_poll_file(settings), orjson.dumps(content))
