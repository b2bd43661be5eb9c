"""Publishes a recorded file: its stations first, then two events for each session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.contracts.session_events import event_id
from evcharge.feeds.producer import KafkaPublisher, Publisher
from evcharge.feeds.sent_ledger import end_offsets, publish_chunk
from evcharge.recorded.readers import RecordedSession, Recording
from evcharge.recorded.taken_ids import TakenIds, taken_ids
from evcharge.settings import Settings

#: Sessions of a ledger chunk: 20,000 events, half a second of publishing.
CHUNK_SESSIONS = 10_000


@dataclass
class ReplayReport:
    """What a replay published.

    `taken` counts its session ids that were sent before. `topic_offsets`: by topic and partition, the offset after the last
    acknowledged one. `sent` has topic, partition and offset of every message of this replay.
    """

    file: str
    source: str
    feed: str
    stations: int
    sessions: int
    events: int
    energy_delivered_kwh: float
    rejected: dict[str, int]
    rejected_rows: dict[str, list[int]]
    ledger: str
    taken: TakenIds = field(default_factory=TakenIds)
    topic_offsets: dict[str, dict[int, int]] = field(default_factory=dict)
    ended_on: set[date] = field(default_factory=set)
    sent: list[pa.Table] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values for JSON. Its days become the first and the last one."""
        days = sorted(self.ended_on)
        return {
            **{name: value for name, value in vars(self).items() if name not in ("ended_on", "sent", "taken")},
            "taken_ids": asdict(self.taken),
            "first_day": days[0].isoformat() if days else None,
            "last_day": days[-1].isoformat() if days else None,
        }

    def add(self, published: pa.Table) -> None:
        """Counts the ledger rows of a published chunk."""
        self.sent.append(published.select(["topic", "partition", "offset"]))
        for topic, ends in end_offsets(published).items():
            offsets = self.topic_offsets.setdefault(topic, {})
            for partition, end in ends.items():
                offsets[partition] = max(offsets.get(partition, 0), end)
        stopped = published.filter(pc.equal(published["event_type"], "stopped"))
        self.ended_on.update(pc.unique(stopped["occurred_at"].cast(pa.date32())).to_pylist())


def feed_name(recording: Recording) -> str:
    """The feed of a recorded file. The same content at the same site is the same feed, whatever the file's name."""
    return f"replay-{recording.source}-{recording.digest}"


def replay(
    settings: Settings,
    recording: Recording,
    *,
    publisher: Publisher | None = None,
    now: datetime | None = None,
    on_progress: Callable[[int], None] = lambda sessions: None,
) -> ReplayReport:
    """Publishes the recording's stations, then its sessions in chunks. Each chunk is acknowledged before the next.

    A second replay sends the same event ids again; every reader counts them once. `on_progress` gets the number of
    sessions of each chunk. Raises ServerDownError that names Kafka; another replay then completes it.
    """
    if publisher is None:
        with KafkaPublisher(settings) as opened:
            return replay(settings, recording, publisher=opened, now=now, on_progress=on_progress)
    feed = feed_name(recording)
    report = ReplayReport(
        file=str(recording.path),
        source=recording.source,
        feed=feed,
        stations=len(recording.registered),
        sessions=recording.session_count,
        events=2 * recording.session_count,
        energy_delivered_kwh=recording.energy_delivered_wh / 1000,
        rejected=dict(recording.rejected),
        rejected_rows=recording.rejected_rows,
        ledger=str(settings.feeds_dir / feed / "ledger"),
    )
    observed_at = now or datetime.now(UTC)
    stations = [{**station, "observed_at": observed_at} for station in recording.registered]
    if stations:
        report.add(publish_chunk(settings, publisher, feed, "stations", STATION_REGISTRY, stations))
    sessions = recording.sessions()
    number = 0
    while chunk := list(islice(sessions, CHUNK_SESSIONS)):
        report.taken += taken_ids(settings, feed, chunk)
        rows = [event for session in chunk for event in session_events(session)]
        report.add(publish_chunk(settings, publisher, feed, f"{number:06d}", SESSION_EVENTS, rows))
        on_progress(len(chunk))
        number += 1
    return report


def session_events(session: RecordedSession) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `started` and the `stopped` event of a recorded session, as rows of the session-events contract.

    Recordings have no events in between. The sequence numbers are 0 and 1.
    """
    common = {
        "session_id": session.session_id,
        "station_id": session.station_id,
        "evse_id": session.evse_id,
        "connector_id": session.connector_id,
        "ev_id": session.ev_id,
        "ev_model_id": session.ev_model_id,
    }
    started = {
        **common,
        "event_id": event_id(session.session_id, 0),
        "sequence": 0,
        "event_type": "started",
        "occurred_at": session.started_at,
        "energy_delivered_kwh": 0.0,
        "state_of_charge": session.soc_start,
    }
    stopped = {
        **common,
        "event_id": event_id(session.session_id, 1),
        "sequence": 1,
        "event_type": "stopped",
        "occurred_at": session.ended_at,
        "energy_delivered_kwh": session.energy_delivered_kwh,
        "state_of_charge": session.soc_end,
        "reason": session.reason,
        "started_at": session.started_at,
        "idle_s": session.idle_s,
        "queue_wait_s": session.queue_wait_s,
        "state_of_charge_start": session.soc_start,
    }
    return started, stopped
