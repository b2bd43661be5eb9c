"""How a station's document is shown: an outlet is free only if it is known to be free."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from listed_station import FRESH, NOW, SINCE, STALE, event, ms, registered

from evcharge.live.station_state import StationState
from evcharge.queries.availability import Availability, Station, read_station
from evcharge.queries.freshness import Freshness
from evcharge.queries.station import station_now


def heard(ago: timedelta = timedelta(minutes=5)) -> StationState:
    """e1 charges, e2 was left, e3 is broken."""
    state = registered()
    event(state, "e1", "started", ago, state_of_charge=20.0)
    event(state, "e2", "stopped", ago)
    event(state, "e3", "faulted", ago)
    return state


def read(state: StationState, fresh: Freshness = FRESH, **fits: Any) -> Station:
    return read_station(state.document(), fresh, SINCE, **fits)


def counts(station: Station) -> dict[str, int]:
    return {kind.value: station.count(kind) for kind in Availability if station.count(kind)}


def test_the_last_events_are_shown() -> None:
    station = read(heard())
    assert counts(station) == {"free": 1, "busy": 1, "out_of_service": 1}
    assert (station.availability, station.total, station.remark) == (Availability.FREE, 3, None)


def test_a_station_without_events_is_unknown() -> None:
    station = read(registered())
    assert counts(station) == {"unknown": 3}
    assert station.availability is Availability.UNKNOWN
    assert station.queue_length is None
    assert station.remark == "nothing was heard from it yet"


def test_a_station_that_fell_silent_is_unknown() -> None:
    assert counts(read(heard(timedelta(hours=24)))) == {"free": 1, "busy": 1, "out_of_service": 1}
    station = read(heard(timedelta(hours=24, minutes=1)))
    assert counts(station) == {"unknown": 3}
    assert station.remark == "nothing was heard from it for 24 h"


def test_nothing_is_free_when_the_stream_is_down() -> None:
    station = read(heard(), STALE)
    assert counts(station) == {"unknown": 3}
    assert station.availability is Availability.UNKNOWN


@pytest.mark.parametrize("fresh", [FRESH, STALE])
@pytest.mark.parametrize(
    ("fields", "remark"),
    [
        ({"status_code": "P"}, "planned, not open yet"),
        ({"status_code": "T"}, "closed for now"),
        ({"removed_at": ms(NOW - timedelta(days=2))}, "gone from the registry since 2026-05-18"),
    ],
)
def test_a_station_that_is_not_open_says_so(fresh: Freshness, fields: dict[str, Any], remark: str) -> None:
    state = registered(**fields)
    event(state, "e2", "stopped", timedelta(minutes=1))
    station = read(state, fresh)
    assert counts(station) == {"out_of_service": 3}
    assert (station.availability, station.remark) == (Availability.OUT_OF_SERVICE, remark)


def test_a_station_that_no_registry_knows_is_not_known() -> None:
    state = StationState("s")
    event(state, "e1", "stopped", timedelta(minutes=1))
    station = read(state)
    assert counts(station) == {"unknown": 1}
    assert station.remark == "not in the registry: only its sessions are known"


def test_only_outlets_that_fit_count() -> None:
    assert counts(read(heard(), connector_type="J1772COMBO")) == {"free": 1, "busy": 1}
    assert counts(read(heard(), connector_type="J1772COMBO", min_power_kw=100.0)) == {"busy": 1}
    assert counts(read(heard(), min_power_kw=50.0)) == {"free": 1, "busy": 1, "out_of_service": 1}
    assert read(heard(), connector_type="CHADEMO").availability is Availability.OUT_OF_SERVICE


def test_ccs_finds_both_of_its_connectors() -> None:
    kinds = {"e1": "CCS1", "e2": "IEC_62196_T2_COMBO", "e3": "CCS", "e4": "n.a."}
    listed = [
        {"evse_id": evse, "connector_id": "1", "connector_type": kind, "power_kw": None} for evse, kind in kinds.items()
    ]
    state = registered(total_outlets=4, evses=listed)
    found = {
        name: read(state, connector_type=name).total for name in ("CCS", "J1772COMBO", "IEC_62196_T2_COMBO", "TESLA")
    }
    assert found == {"CCS": 3, "J1772COMBO": 2, "IEC_62196_T2_COMBO": 2, "TESLA": 0}


def test_an_outlet_of_unknown_connector_is_not_free_for_a_connector() -> None:
    state = registered(evses=None, connectors=None)
    event(state, "e9", "stopped", timedelta(minutes=1))
    assert counts(read(state)) == {"free": 1, "unknown": 2}
    assert counts(read(state, connector_type="J1772COMBO")) == {"unknown": 3}


def test_one_unknown_outlet_keeps_a_station_from_being_called_busy() -> None:
    state = registered()
    event(state, "e1", "started", timedelta(minutes=5))
    assert read(state).availability is Availability.UNKNOWN
    assert read(state, connector_type="J1772COMBO", min_power_kw=100.0).availability is Availability.BUSY


def test_a_station_without_outlets_is_unknown() -> None:
    assert read(registered(total_outlets=0, evses=None)).availability is Availability.UNKNOWN


def test_evses_show_status_and_session() -> None:
    state = heard()
    event(state, "e1", "meter", timedelta(minutes=1), sequence=1, state_of_charge=30.0, energy_delivered_kwh=8.0)
    answer = station_now(state.document(), FRESH, SINCE)
    assert {evse.evse_id: evse.status for evse in answer.evses} == {
        "e1": "CHARGING",
        "e2": "AVAILABLE",
        "e3": "OUTOFORDER",
    }
    session = answer.evses[0].session
    assert session is not None
    assert (session.energy_delivered_kwh, session.state_of_charge) == (8.0, 30.0)
    # ten percent in four minutes: fifty more to 80 % take twenty
    assert session.expected_end_at == "2026-05-20T18:49:00.000Z"


@pytest.mark.parametrize("zone", ["SystemV/PST8", "America", "../etc", "\u0000", "x" * 5_000, "", None])
def test_a_time_zone_that_this_machine_does_not_know_reads_as_utc(zone: str | None) -> None:
    assert station_now(registered(time_zone=zone).document(), FRESH, SINCE).time_zone == "UTC"


def test_evses_are_unknown_when_their_station_is() -> None:
    for fresh, ago in ((STALE, timedelta(minutes=5)), (FRESH, timedelta(days=2))):
        answer = station_now(heard(ago).document(), fresh, SINCE)
        assert {(evse.status, evse.since_at, evse.session) for evse in answer.evses} == {("UNKNOWN", None, None)}
    planned = station_now(registered(status_code="P").document(), STALE, SINCE)
    assert {evse.status for evse in planned.evses} == {"PLANNED"}
