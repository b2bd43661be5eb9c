"""A disk that is nearly full: nothing is half done, nothing is lost, and everything goes on once there is room."""

from __future__ import annotations

from secrets import token_hex

import pytest
from support import NOON, RUN, Lake, evcharge, station, stopped

from evcharge.contracts import SESSION_EVENTS
from evcharge.disk import NoRoomError
from evcharge.feeds.producer import KafkaPublisher
from evcharge.kafka_log import topic_states
from evcharge.lake.maintenance import maintain

STATION = "no-room"


def test_nothing_is_added_until_there_is_room(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.register(station(STATION))
    session = f"no-room-{token_hex(3)}"
    planned = lake.send_events([stopped(session, STATION)])
    full = Lake(lake.settings.model_copy(update={"disk_reserve_mb": 10**12}))

    def state() -> list[object]:
        ends = topic_states(lake.settings, [SESSION_EVENTS.topic])[SESSION_EVENTS.topic].log_end
        branches = sorted(name for name, _ in lake.repository.branches(""))
        return [ends, lake.repository.head().id, branches, lake.query("SELECT * FROM loaded_day ORDER BY ALL")]

    before = state()
    with pytest.raises(NoRoomError), KafkaPublisher(full.settings) as publisher:
        publisher.publish(SESSION_EVENTS, [stopped(f"{session}-more", STATION)])
    with pytest.raises(NoRoomError):
        full.publish(planned)
    with pytest.raises(NoRoomError):
        maintain(full.settings, full.repository, RUN.run_id)
    with pytest.raises(NoRoomError):
        full.load([NOON.date()], in_full=True)
    monkeypatch.setenv("EVCHARGE_DISK_RESERVE_MB", str(10**12))
    done = evcharge("lake", "publish")
    assert (done.returncode, done.stderr.splitlines()[-1].partition(" the disk of ")[0]) == (1, "evcharge:")
    assert "Traceback" not in done.stderr
    assert "nothing is sent, published or loaded until there is room" in evcharge("stack", "status").stdout
    assert state() == before

    monkeypatch.delenv("EVCHARGE_DISK_RESERVE_MB")
    lake.publish(planned)
    lake.load_waiting()
    assert lake.query("SELECT publication_id FROM v_charging_sessions WHERE session_id = %(id)s", id=session) == [
        (planned.publication_id,)
    ]
    assert "until there is room" not in evcharge("stack", "status").stdout
