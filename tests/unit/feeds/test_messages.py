"""Events of recorded sessions and their bytes, against the contract."""

from datetime import datetime, timedelta, timezone
from typing import Any

import orjson
import pytest

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, FieldType
from evcharge.feeds.messages import message
from evcharge.recorded.readers import read_sessions
from evcharge.recorded.replay import session_events
from evcharge.settings import PROJECT

KINDS: dict[FieldType, tuple[type, ...]] = {
    FieldType.STRING: (str,),
    FieldType.TIMESTAMP: (str,),
    FieldType.INTEGER: (int,),
    FieldType.DOUBLE: (int, float),
}


def events_of(name: str) -> list[dict[str, Any]]:
    recording = read_sessions(PROJECT / "examples" / name)
    return [event for session in recording.sessions() for event in session_events(session)]


@pytest.mark.parametrize("name", ["sessions-acn.csv", "sessions-epfl.csv", "sessions-generic.csv"])
def test_events_satisfy_the_contract(name: str) -> None:
    for event in events_of(name):
        document = orjson.loads(message(SESSION_EVENTS, event))
        assert document["schema_version"] == SESSION_EVENTS.schema_version
        assert document["event_id"] == f"{document['session_id']}-{document['sequence']}"
        for field in SESSION_EVENTS.fields:
            value = document.get(field.name)
            if value is None:
                assert field.name not in document
                assert not field.required
                continue
            assert type(value) in KINDS[field.type]
            assert not field.values or value in field.values
            assert field.minimum is None or value >= field.minimum
            assert field.maximum is None or value <= field.maximum


def test_a_stopped_event_is_a_complete_record() -> None:
    started, stopped = events_of("sessions-generic.csv")[:2]
    assert (started["event_type"], started["sequence"], started["energy_delivered_kwh"]) == ("started", 0, 0.0)
    assert (stopped["event_type"], stopped["sequence"], stopped["energy_delivered_kwh"]) == ("stopped", 1, 17.043)
    assert stopped["started_at"] == started["occurred_at"]
    assert (stopped["idle_s"], stopped["queue_wait_s"], stopped["state_of_charge_start"]) == (120, 300, 43)


def test_times_are_utc_to_the_millisecond() -> None:
    at = datetime(2024, 5, 1, 8, 0, 0, 123_999, tzinfo=timezone(timedelta(hours=2)))
    assert message(STATION_REGISTRY, {"station_id": "é", "observed_at": at, "city": None}) == (
        '{"schema_version":1,"station_id":"é","observed_at":"2024-05-01T06:00:00.123Z"}'.encode()
    )


def test_what_no_contract_allows_is_refused() -> None:
    with pytest.raises(ValueError, match="session-events has no field colour"):
        message(SESSION_EVENTS, {"colour": "red"})
    for wrong, cause in ((datetime(2024, 5, 1), "no time zone"), (object(), "no place in a message")):  # noqa: DTZ001
        with pytest.raises(TypeError) as raised:
            message(SESSION_EVENTS, {"occurred_at": wrong})
        assert cause in str(raised.value.__cause__)
